"""A module that holds declared states: what it takes to have them, before anything is updated, synced or computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from syncmetrics import checkpoint
from syncmetrics.errors import StateError
from syncmetrics.states.reductions import ReduceFx
from syncmetrics.states.rows import RowBuffer, rows_like
from syncmetrics.states.store import State, States, StateSpec, Store, declare_state, fresh_states, own_tensor

__all__ = ["SYNC_POLICY", "StatefulModule"]

#: Attributes that are set in every step and are no module and no parameter, which nn.Module looks for at some length.
_PLAIN = frozenset({"_cache", "_forward_cache", "_own_store", "_steps"})

#: With whom a metric is synced, and when: equal in all metrics that share their states.
SYNC_POLICY = ("_group", "dist_sync_on_step", "sync_every", "sync_on_compute")

_Self = TypeVar("_Self", bound="StatefulModule")


class _Reader:
    """Reads a state of this name, in a metric that has it. It does what `__getattr__` does, in less time.

    It stands in the class, where nothing is looked up in vain, and keeps nothing from an instance that has another
    attribute of the name.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, metric: Any, owner: type) -> Any:
        if metric is None:
            return self
        try:
            return metric.__dict__["_own_store"].states[self._name]
        except KeyError:
            raise AttributeError(self._name) from None  # on to `__getattr__`


class StatefulModule(nn.Module):
    """States as attributes, in `state_dict`, and on a device.

    States are neither parameters nor buffers. All of them live in one `Store`, which several modules may hold; reading
    and setting the attribute reaches the states that the store shows at the moment.
    """

    _specs: dict[str, StateSpec]
    _list_names: tuple[str, ...]
    _cache: tuple[Any, Any, Any] | None
    _forward_cache: Any

    def __init__(self) -> None:
        super().__init__()
        self._specs = {}
        self._list_names = ()
        self._own_store = Store()
        self._cache = None
        self._forward_cache = None

    def add_state(self, name: str, default: State, dist_reduce_fx: ReduceFx = None, persistent: bool = False) -> None:
        """Declare a state. It becomes an attribute.

        Args:
            name: Name of the state.
            default: Its value after `reset`: a tensor of any shape and dtype, or an empty list, to append tensors or
                plain data to. A `RowBuffer()` in place of the list joins what is appended, so that ten thousand batches
                are a few large tensors: for "cat" states of which only the rows matter, not who appended which.
            dist_reduce_fx: How it is reduced over ranks: "sum", "mean", "min", "max", "cat", None (stacked; lists are
                joined) or a callable, which gets the stacked tensors or the joined list.
            persistent: Whether it goes into `state_dict`.

        Raises:
            StateError: The declaration cannot work; the text says what to write instead.
        """
        if "_specs" not in self.__dict__:
            raise StateError(f"`{type(self).__name__}`: call super().__init__() before add_state({name!r}, ...).")
        if not name.isidentifier():
            raise StateError(f"`{self._label}`: `name` must be a Python identifier, but is {name!r} instead.")
        if name in self._specs:
            raise StateError(f"`{self._label}`: state `{name}` is declared twice.")
        known = isinstance(getattr(type(self), name, None), _Reader)
        if (hasattr(type(self), name) and not known) or name in self.__dict__ or name in self._modules:
            raise StateError(
                f"`{self._label}`: the name `{name}` is taken by an attribute of the metric; give the"
                " state another one."
            )
        try:
            spec = declare_state(name, default, dist_reduce_fx, persistent)
        except (StateError, TypeError) as error:
            raise StateError(f"`{self._label}`: state `{name}`: {error}") from None
        if not known:
            setattr(type(self), name, _Reader(name))
        self._specs[name] = spec
        self._list_names = tuple(n for n, s in self._specs.items() if s.is_list)
        self._store.states = {**self._store.states, **fresh_states({name: spec}, self._store.device)}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_own_store"].states[name]
        except KeyError:  # before `__init__`, or no state
            return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        specs = self.__dict__.get("_specs")
        if specs is None or name not in specs:
            if name in _PLAIN:
                self.__dict__[name] = value
            else:
                if name in SYNC_POLICY and self.__dict__.get(name, value) != value:
                    self._leave_group()  # metrics that share states are synced alike
                super().__setattr__(name, value)
            return
        if isinstance(value, Tensor):
            if value.requires_grad or value.is_inference():
                value = own_tensor(value)
        elif not isinstance(value, list):
            raise TypeError(
                f"`{self._label}`: state `{name}` must be a tensor or a list, but is a {type(value).__name__} instead;"
                " write torch.as_tensor(...)."
            )
        else:
            default = specs[name].default
            if isinstance(default, RowBuffer) and not isinstance(value, RowBuffer):
                value = rows_like(default, value)
        store = self.__dict__["_own_store"]
        store.states[name] = value
        store.version += 1

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__.get("_specs", {}):
            raise StateError(f"`{self._label}`: state `{name}` cannot be deleted; `reset()` gives it its default.")
        super().__delattr__(name)

    @property
    def metric_state(self) -> States:
        """The states as they are now, by name. A new dict; its tensors are the metric's own."""
        return {name: list(v) if isinstance(v, list) else v for name, v in self._store.states.items()}

    @property
    def update_count(self) -> int:
        """Number of updates since the last reset: of this process, or of all ranks while synced."""
        return self._store.update_count

    @property
    def update_called(self) -> bool:
        """Whether there was any update since the last reset."""
        return self._store.update_count > 0

    @property
    def device(self) -> torch.device:
        """The device of the states."""
        return self._store.device

    def persistent(self, mode: bool = False) -> None:
        """Say for all states whether they go into `state_dict`."""
        self._specs = {name: dataclasses.replace(spec, persistent=mode) for name, spec in self._specs.items()}

    # -- nn.Module

    def _apply(self: _Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Self:
        """Move states as a module moves its parameters, but never change their dtype."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._move(fn(torch.empty(0, device=self._store.device)).device)
        return self

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        checkpoint.save(destination, prefix, self._specs, *self._store.local)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        rest, loaded = checkpoint.load(
            state_dict, prefix, self._specs, self._store.device, strict, missing_keys, error_msgs
        )
        super()._load_from_state_dict(rest, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        if loaded is not None:
            self._leave_group()
            states, update_count = loaded
            self._store.replace({**self._store.local[0], **states}, update_count)

    # -- inside

    @property
    def _store(self) -> Store:
        return self._own_store

    @_store.setter
    def _store(self, store: Store) -> None:
        self._own_store = store

    @property
    def _label(self) -> str:
        return type(self).__name__

    def _move(self, device: torch.device) -> None:
        if device != self._store.device:
            self._store.move(device)
            self._forget()

    def _leave_group(self) -> None:
        """Take an own copy of states that are shared with other metrics of a collection."""
        if self._store.sharers > 1:
            self._store = self._store.fork()

    def _forget(self) -> None:
        self._cache = self._forward_cache = None
