"""A module that holds declared states: what a metric is and has, before anything is updated, synced or computed."""

from __future__ import annotations

import copy
import dataclasses
import enum
import inspect
import sys
import weakref
import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from syncmetrics.checkpoint import state_dict as checkpoint
from syncmetrics.checkpoint import stateful
from syncmetrics.errors import StateError, SyncError
from syncmetrics.metric.books import Books, aside, from_aside
from syncmetrics.metric.code import settings_read, updating_code
from syncmetrics.metric.compiled import know
from syncmetrics.metric.options import check_period, check_rank, refuse_unknown
from syncmetrics.registry import meet_hosts
from syncmetrics.states.merge import merge_over_time, own_copy
from syncmetrics.states.reductions import ReduceFx, Reduction
from syncmetrics.states.rows import RowBuffer, rows_like
from syncmetrics.states.spec import State, States, declare_state, is_own, own_tensor, spec_key
from syncmetrics.states.store import Holder, Mode, all_replaced
from syncmetrics.sync.hosts import Host
from syncmetrics.sync.node import Node, Syncable
from syncmetrics.sync.route import Route
from syncmetrics.sync.tally import Tally
from syncmetrics.transport import WORLD, bind_group, transport_over, unbind_group
from syncmetrics.transport.patience import check_seconds

__all__ = ["SETTINGS", "StatefulModule"]

_Self = TypeVar("_Self", bound="StatefulModule")

#: With whom a metric is synced, when, and how it steps: equal in all metrics that share their states.
_POLICY = ("dist_sync_on_step", "sync_every", "sync_on_compute", "sync_timeout", "compute_on", "full_state_update")

#: Counts how often a setting of any metric was changed, so that one look tells that none was.
SETTINGS = [0]

#: Settings of every metric, which change how it is synced but not what it is.
_OWN_SETTINGS = frozenset({*_POLICY, "compute_with_cache", "training"})

#: Methods that a user may have put in place of those of the class: such a metric shares with nobody.
_OVERRIDES = frozenset({"update", "compute", "forward", "reset"})


_NOTHING = object()


class _Reader:
    """Reads a state of this name, in a metric that has it. It does what `__getattr__` does, in less time.

    It stands in the class, where nothing is looked up in vain, and keeps nothing from an instance that has another
    attribute of the name.

    Args:
        name: Name of the state.
        value: What an instance has that does not declare it: what the class has said, `total = None`; or nothing.
    """

    __slots__ = ("_name", "_value")

    def __init__(self, name: str, value: Any = _NOTHING) -> None:
        self._name, self._value = name, value

    def __get__(self, metric: Any, owner: type) -> Any:
        if metric is None:
            return self
        try:
            return metric.__dict__["_holder"].store.states[self._name]
        except KeyError:
            if self._value is _NOTHING:
                raise AttributeError(self._name) from None  # on to `__getattr__`
            return self._value


def leave_out_of_script(cls: type) -> None:
    """See to it that TorchScript compiles nothing of a class, so that a model which holds one of it can be scripted."""
    members: dict[str, Any] = {}
    for one in reversed(cls.__mro__):  # what `inspect` says, which takes milliseconds for each class
        members.update(vars(one))
    names = sorted(name for name, member in members.items() if isinstance(member, property))
    cls.__jit_unused_properties__ = names  # type: ignore[attr-defined]
    if "forward" in vars(cls):
        torch.jit.unused(vars(cls)["forward"])


def names_for_script(module: nn.Module) -> list[str]:
    """Give the names of everything that a module has, for TorchScript to ignore."""
    inside = (*module._parameters, *module._buffers, *module._modules)
    return [*module.__dict__, *inside, *module.__jit_unused_properties__]  # type: ignore[misc]  # of the class


class Declared(dict[str, Any]):
    """What is declared for each state, as torchmetrics' containers ask for it.

    No two are alike to them: they would let metrics share states whose values happen to be equal.
    """

    def keys(self) -> Any:
        """Give the names."""
        return _Unlike(super().keys())


class _Unlike:
    def __init__(self, names: Any) -> None:
        self._names = names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]  # as of the keys of every dict


class StatefulModule(nn.Module, Host):
    """States as attributes, in `state_dict`, and on a device; and with whom they are synced.

    States are neither parameters nor buffers. All of them live in one store, which several modules may hold; reading
    and setting the attribute reaches the states that the store shows at the moment.
    """

    higher_is_better: bool | None = None
    is_differentiable: bool | None = None
    full_state_update: bool | None = None

    #: Which picture `plot` makes: "roc", "precision_recall", "precision_recall_at_k" or "calibration" of a curve,
    #: "confusion_matrix", "value_at_threshold" of a value and the threshold where it is, "counts" of positives and
    #: negatives; None of numbers, or of what looks like one of these.
    plot_kind: str | None = None
    #: What stands above it, if that is not the name of the class; the least and the greatest value there can be, if
    #: there are such; and what there are several values of.
    plot_name: str | None = None
    plot_lower_bound: float | None = None
    plot_upper_bound: float | None = None
    plot_legend_name: str | None = None

    dist_sync_on_step: bool
    sync_on_compute: bool
    compute_with_cache: bool
    sync_timeout: float | None
    sync_every: int | None
    compute_on: int | None

    #: Whether the states are those of the metric inside, which keeps the books: see `_core`.
    _delegates: ClassVar[bool] = False
    #: Whether `update` binds its states to new tensors and edits none, so that nothing is copied before it.
    _rebinds: ClassVar[bool] = False
    #: Whether the class has a `forward` of its own, which runs when a collection is called.
    _overrides_forward: ClassVar[bool] = False
    #: Whether that is left out in a step that is synced: it knows of this process alone.
    _forward_is_local: ClassVar[bool] = False

    _holder: Holder
    _books: Books

    #: Names of all properties, of which TorchScript is to compile none: set for each class.
    __jit_unused_properties__: ClassVar[list[str]] = []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        leave_out_of_script(cls)

    @property
    def __jit_ignored_attributes__(self) -> list[str]:
        return names_for_script(self)

    def __init__(
        self,
        *,
        dist_sync_on_step: bool | None = False,
        sync_on_compute: bool = True,
        process_group: Any = WORLD,
        sync_timeout: float | None = None,
        sync_every: int | None = None,
        compute_on: int | None = None,
        compute_with_cache: bool = True,
        atomic: bool | None = None,
        **unknown: Any,
    ) -> None:
        cls = type(self)
        for name in ("update", "compute"):
            if getattr(cls, name) is getattr(StatefulModule, name):
                raise TypeError(f"`{cls.__name__}` must have {'an' if name == 'update' else 'a'} `{name}` method.")
        refuse_unknown(cls, unknown)
        super().__init__()
        own = self.__dict__
        own["_holder"], own["_books"] = Holder(atomic=atomic, rebinds=self._rebinds), Books(bind_group(process_group))
        self.dist_sync_on_step = bool(dist_sync_on_step) or sync_every is not None
        self.sync_every = check_period(sync_every)
        self.compute_on = check_rank(compute_on)
        self.sync_on_compute = sync_on_compute
        self.compute_with_cache = compute_with_cache
        self.sync_timeout = check_seconds("sync_timeout", sync_timeout)
        know(self)
        meet_hosts()

    # -- what a metric is

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add one batch to the states. To be written by every metric."""
        raise NotImplementedError(f"`{self._label}` must have an `update` method.")

    def compute(self, *args: Any, **kwargs: Any) -> Any:
        """Give the value of the states. To be written by every metric."""
        raise NotImplementedError(f"`{self._label}` must have a `compute` method.")

    def merge_states(self, a: States, b: States) -> States:
        """Merge two whole sets of states, earlier and later or lower and higher rank.

        Override this when states belong together (count, mean and sum of squared deviations, say). Edit neither
        argument. It is called only with states that have seen an update.
        """
        means = [name for name, spec in self._holder.specs.items() if spec.reduction.name == "mean"]
        if means:
            raise StateError(
                f"`{self._label}`: `merge_states` cannot know how many updates are in a 'mean' state"
                f" ({means[0]}); override it."
            )
        return merge_over_time(self._holder.specs, a, b, (1, 1))

    @property
    def process_group(self) -> Any:
        """Over which ranks the metric is synced."""
        return unbind_group(self._books.group)

    @process_group.setter
    def process_group(self, process_group: Any) -> None:
        self._books.group = bind_group(process_group)
        self._changed()

    @property
    def compute_group(self) -> Hashable | None:
        """What this metric accumulates.

        Metrics in a collection share one state if their `update` runs the same code, their states are declared alike,
        and this value is equal and not None. It must hold every setting that `update` and the defaults depend on, and
        `update` must leave all attributes alone that are no states. A metric shares with none if it overrides `update`
        or what that calls, but not this; if it overrides `forward` or `reset`; and if it has metrics inside.
        """
        return None

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """Names of the values, for a metric whose `compute` gives a dict; None for one that gives one value."""
        return None

    # -- states

    def add_state(
        self, name: str, default: State, dist_reduce_fx: ReduceFx | Reduction = None, persistent: bool = False
    ) -> None:
        """Declare a state. It becomes an attribute.

        Args:
            name: Name of the state.
            default: Its value after `reset`: a tensor of any shape and dtype, or an empty list, to append tensors or
                plain data to. A `RowBuffer()` in place of the list joins what is appended, so that ten thousand batches
                are a few large tensors: for "cat" states of which only the rows matter, not who appended which.
            dist_reduce_fx: How it is reduced over ranks: "sum", "exact_sum" (of floats, without rounding: see
                `exact_add`), "mean", "min", "max", "cat", None (stacked; lists are joined) or a callable, which gets
                the stacked tensors or the joined list. A "sum" or "mean" in half precision is kept in float32: in
                bfloat16, 256 + 1 is 256.
            persistent: Whether it goes into `state_dict`.

        Raises:
            StateError: The declaration cannot work; the text says what to write instead.
        """
        if "_holder" not in self.__dict__:
            raise StateError(f"`{self._label}`: call super().__init__() before add_state({name!r}, ...).")
        if not str(name).isidentifier():
            raise StateError(f"`{self._label}`: `name` must be a Python identifier, but is {name!r} instead.")
        if name in self._holder.specs:
            raise StateError(f"`{self._label}`: state `{name}` is declared twice.")
        of_class = inspect.getattr_static(type(self), name, _NOTHING)
        known = isinstance(of_class, _Reader)
        is_free = known or of_class is _NOTHING or (of_class is None and not hasattr(StatefulModule, name))
        if not is_free or name in self.__dict__ or name in self._modules:
            raise StateError(
                f"`{self._label}`: the name `{name}` is taken by an attribute of the metric; give the state another"
                " one."
            )
        try:
            spec = declare_state(name, default, dist_reduce_fx, persistent)
        except (StateError, TypeError) as error:
            raise StateError(f"`{self._label}`: state `{name}`: {error}") from None
        if not known:
            setattr(type(self), name, _Reader(name, of_class))
        self._holder.declare(spec)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_holder"].store.states[name]
        except KeyError:  # before `__init__`, or no state
            if name in ("_holder", "_books"):
                raise StateError(
                    f"`{self._label}` has no states yet: its `__init__` must call super().__init__() first."
                ) from None
            return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            holder: Holder = self.__dict__["_holder"]
            store = holder.store
            states = store.states
            if states is store.lent and states.get(name, states) is value:
                return  # edited in place in an update, `self.total += x`: there is nothing to do
        except KeyError:
            if isinstance(value, (nn.Module, nn.Parameter)):
                raise StateError(f"`{self._label}`: call super().__init__() before `self.{name} = ...`.") from None
            super().__setattr__(name, value)
            return
        spec = holder.specs.get(name)
        if spec is None:
            super().__setattr__(name, value)
            self._changed()
            return
        if isinstance(value, Tensor):
            if not (value.requires_grad and self._keeps_graph) and not is_own(value, spec):
                value = own_tensor(value, spec)
        elif not isinstance(value, list):
            raise TypeError(
                f"`{self._label}`: state `{name}` must be a tensor or a list, but is a {type(value).__name__} instead;"
                " write torch.as_tensor(...)."
            )
        elif isinstance(spec.default, RowBuffer) and not isinstance(value, RowBuffer):
            value = rows_like(spec.default, value)
        holder.store.set(name, value)

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """Do as every module does. A metric inside changes what is updated, synced and shared."""
        super().add_module(name, module)
        self._changed()

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Do as every module does. A value that was computed before is not good any more."""
        super().register_buffer(name, tensor, persistent)
        self._changed()

    def __delattr__(self, name: str) -> None:
        if name in self._holder.specs:
            raise StateError(f"`{self._label}`: state `{name}` cannot be deleted; `reset()` gives it its default.")
        super().__delattr__(name)
        self._changed()

    @property
    def metric_state(self) -> States:
        """Copies of the states as they are now, by name."""
        return own_copy(self._core._holder.store.states, elements=True)

    @property
    def update_count(self) -> int:
        """Number of updates since the last reset, the one under way included.

        Of this process, or of all ranks while their states are shown.
        """
        return self._core._holder.store.update_count

    @property
    def update_called(self) -> bool:
        """Whether there was any update since the last reset."""
        return self.update_count > 0

    @property
    def device(self) -> torch.device:
        """The device of the states."""
        return self._core._holder.store.device

    @property
    def dtype(self) -> torch.dtype:
        """What `set_dtype` said last; before that, torch's default dtype when the metric was made."""
        return self._books.dtype

    def set_dtype(self: _Self, dst_type: str | torch.dtype) -> _Self:
        """Keep floating point states in another dtype from now on, those of metrics inside too.

        A sum or mean is kept in at least float32. Integers stay as they are.
        """
        dtype = getattr(torch, dst_type.removeprefix("torch.")) if isinstance(dst_type, str) else dst_type
        for module in self.modules():
            if isinstance(module, StatefulModule):
                module._leave_group()
                module._holder.cast(dtype)
                module._books.dtype = dtype
                module._changed()
        return self

    def persistent(self, mode: bool = False) -> None:
        """Say for all states whether they go into `state_dict`, those of metrics inside too."""
        for module in self.modules():
            if isinstance(module, StatefulModule):
                specs = module._holder.specs
                for name, spec in specs.items():
                    specs[name] = dataclasses.replace(spec, persistent=mode)

    def reset(self) -> None:
        """Give every state its default, those of metrics inside too. It does not communicate."""
        inside = list(_metrics_inside(self))
        if not inside:
            self._reset_own()
            return
        with all_replaced(module._holder.as_it_is() for module in self.modules() if isinstance(module, StatefulModule)):
            self._reset_own()
            for module in inside:
                module.reset()

    def _reset_own(self) -> None:
        self._holder.reset()
        self._begin_steps()
        self._books.forget()

    # -- as torchmetrics names it

    @property
    def _defaults(self) -> dict[str, Any]:
        return Declared({name: own_copy({name: spec.default})[name] for name, spec in self._holder.specs.items()})

    @_defaults.setter
    def _defaults(self, value: Any) -> None:
        self._refuse_declarations("_defaults")

    @property
    def _reductions(self) -> dict[str, Any]:
        named = {name: spec.reduction for name, spec in self._holder.specs.items()}
        return {name: r.fx or (None if r.name == "none" else r.name) for name, r in named.items()}

    @_reductions.setter
    def _reductions(self, value: Any) -> None:
        self._refuse_declarations("_reductions")

    @property
    def _persistent(self) -> dict[str, bool]:
        return {name: spec.persistent for name, spec in self._holder.specs.items()}

    @_persistent.setter
    def _persistent(self, value: Any) -> None:
        self._refuse_declarations("_persistent")

    def _refuse_declarations(self, name: str) -> None:
        """Let a wrapper say that its states are those of the metric inside, which is so anyway; and nobody else."""
        if self._holder.specs or not self._modules:
            raise StateError(f"`{self._label}`: `{name}` cannot be set; declare states with add_state().")

    @property
    def _is_synced(self) -> bool:
        return self._core._holder.store.mode is Mode.SYNCED

    @property
    def _update_count(self) -> int:
        return self.update_count

    @_update_count.setter
    def _update_count(self, count: int) -> None:
        self._holder.store.update_count = count

    @property
    def _forward_cache(self) -> Any:
        return from_aside(self._books.step_value)

    @_forward_cache.setter
    def _forward_cache(self, value: Any) -> None:
        self._books.step_value = aside(value, value)

    @property
    def _computed(self) -> Any:
        return from_aside(self._books.values[-1].value) if self._books.values else None

    @_computed.setter
    def _computed(self, value: Any) -> None:
        if value is None:
            self._books.values = []

    def _reduce_states(self, incoming_state: Mapping[str, State]) -> None:
        """Merge states of earlier batches into the local ones, as torchmetrics' `Running` does with its window."""
        store = self._holder.store
        merged = merge_over_time(self._holder.specs, dict(incoming_state), store.local[0], (1, max(1, store.local[1])))
        store.replace(merged, store.local[1], store.local_samples)

    def _filter_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        """Leave the keyword arguments that `update` takes."""
        taken = self._takes()
        return kwargs if taken is None else {name: value for name, value in kwargs.items() if name in taken}

    # -- nn.Module

    def train(self: _Self, mode: bool = True) -> _Self:
        """Do as every module does. A metric is the same in training and in evaluation."""
        meet_hosts()
        return super().train(mode)

    def _apply(self: _Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Self:
        """Move states as a module moves its parameters, but never change their dtype."""
        meet_hosts()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._move(fn(torch.empty(0, device=self._holder.store.device)).device)
        return self

    @property
    def _about(self) -> Tensor:
        """Give what stands in a state dict beside the states: a key of it must be the name of something here."""
        return checkpoint.note(self._holder.specs, self.update_count, "")

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Give the persistent states, as a module does, and whose they are.

        `torch.distributed.checkpoint` and accelerate, which ask every rank, get what all ranks have accumulated, as
        from `save_state`: from them it is collective. Nothing else communicates.
        """
        purpose = None if args or kwargs else stateful.asked_for(sys._getframe(1))
        return super().state_dict(*args, **kwargs) if purpose is None else stateful.whole(self, purpose)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Take the states out of a state dict, or of what `save_state` gave. It does not communicate.

        Raises:
            RuntimeError: A key is missing, or not expected, or what stands there does not fit.
            StateError: What `save_state` gave does not fit.
        """
        if stateful.load_whole(self, state_dict):
            state_dict, kwargs = {}, {"strict": False}
        return super().load_state_dict(state_dict, *args, **kwargs)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        self._holder.store.check_appended(self._label)
        checkpoint.save(destination, prefix, self._holder, self._place())

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
        holder = self._holder
        rest, loaded = checkpoint.load(state_dict, prefix, holder, strict, missing_keys, error_msgs, self._place())
        super()._load_from_state_dict(rest, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        self._changed()  # buffers may be others
        if loaded is not None:
            self._leave_group()
            states, update_count = loaded
            store = holder.store
            store.replace({**store.local[0], **states}, update_count)

    def _place(self) -> checkpoint.Place:
        """Give where this process is: among the ranks that the metric is synced over, and among all."""
        world = transport_over(WORLD)
        try:
            rank = self._route().transport.rank
        except SyncError:  # its group is gone
            rank = world.rank
        return checkpoint.Place(rank, world.rank, world.world_size)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        know(self)
        meet_hosts()
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        for name in self._holder.specs:  # a class that this process has not made an instance of
            if not isinstance(inspect.getattr_static(type(self), name, None), _Reader):
                setattr(type(self), name, _Reader(name))

    def __copy__(self: _Self) -> _Self:
        """Give a metric with states of its own. Metrics inside are copied too; other modules are shared."""
        meet_hosts()
        twin = self._twin()
        twin._modules = {
            name: copy.copy(module) if isinstance(module, StatefulModule) else module
            for name, module in self._modules.items()
        }
        return twin

    def _replicate_for_data_parallel(self: _Self) -> _Self:
        twin = self._twin()
        twin._modules = dict(self._modules)
        twin.__dict__["_is_replica"] = True
        return twin

    def _twin(self: _Self) -> _Self:
        twin = self.__new__(type(self))
        know(twin)
        twin.__dict__.update(self.__dict__)
        twin.__dict__["_parameters"], twin.__dict__["_buffers"] = dict(self._parameters), dict(self._buffers)
        twin.__dict__["_holder"], twin.__dict__["_books"] = self._holder.copy(), self._books.copy()
        return twin

    # -- as a host

    def _hosted(self, path: str) -> list[tuple[Syncable, Route]]:
        route = self._route()
        return [(node, route) for node in self._nodes(path)]

    def _hosted_steps(self) -> list[list[Node]]:
        inside = [module for module in self.modules() if isinstance(module, StatefulModule)]
        return [module._nodes() for module in inside]

    def _hosted_value(self) -> Any:
        return self.compute()

    def _hosted_outputs(self) -> dict[str, tuple[Any, str]]:
        return {name: (self, name) for name in self.output_names or ("",)}

    def _hosted_versions(self) -> tuple[Any, ...]:
        return tuple(node.versions for node in self._nodes())

    # -- for the rooms of this package

    @property
    def _core(self) -> StatefulModule:
        """The metric whose states these are: another one for a wrapper that has none of its own."""
        return self

    @property
    def _label(self) -> str:
        return type(self).__name__

    @property
    def _merge(self) -> Callable[[States, States], States] | None:
        return None if type(self).merge_states is StatefulModule.merge_states else self.merge_states

    @property
    def _keeps_graph(self) -> bool:
        """Whether what is set now may carry a graph: in a step whose value is to be differentiated."""
        return bool(self.is_differentiable) and self._holder.store.mode is Mode.STEP and torch.is_grad_enabled()

    def _nodes(self, path: str = "") -> list[Node]:
        """Give this metric and all metrics inside it, each once."""
        if not self._modules:
            return [self._node(path, [(path, self)])]
        nodes, seen = [], set[int]()
        sharing: dict[int, list[tuple[str, StatefulModule]]] = {}  # of collections inside
        for name, module in self.named_modules():
            where = ".".join(part for part in (path, name) if part)
            if isinstance(module, StatefulModule):
                if module._core is module and not {id(module._holder), id(module._holder.store)} & seen:
                    some = sharing.get(id(module), [(where, module)])
                    for _, metric in some:
                        seen |= {id(metric._holder), id(metric._holder.store)}
                    nodes.append(some[0][1]._node(some[0][0], some))
            elif isinstance(module, Host):
                for group in module._hosted_groups():
                    named = [(f"{where}.{inner}", metric) for inner, metric in group]
                    sharing.update({id(metric): named for _, metric in named})
        return nodes

    def _node(self, path: str, sharing: Sequence[tuple[str, StatefulModule]]) -> Node:
        """Give a node for this metric and those that may share its states, which are named in alphabetical order."""
        merge, kept = self._merge, self._books.node
        if len(sharing) > 1 or merge is not None:
            holders = tuple((name, metric._holder) for name, metric in sharing)
            return Node(path, self._label, holders, merge, tuple(weakref.ref(metric) for _, metric in sharing))
        if kept is None or kept.path != path:
            kept = self._books.node = Node(path, self._label, ((path, self._holder),), None, (weakref.ref(self),))
        return kept

    def _before(self) -> list[tuple[str, Callable[[], list[str]]]]:
        """Remember what is shown, of this metric and of those inside it: the name of each, and what puts it back.

        What puts it back gives the names of the states that it could not put back.
        """
        if not self._modules:
            return [(self._label, self._holder.before()), *self._before_guests()]
        found = [(node.label, holder.before()) for node in self._nodes() for holder in node.owners]
        for module in self.modules():
            if isinstance(module, StatefulModule):
                found += module._before_guests()
        return found

    def _before_guests(self) -> list[tuple[str, Callable[[], list[str]]]]:
        """Likewise for what is in metrics of other libraries, which keep it themselves."""
        return []

    def _derive(self, key: Hashable, function: Callable[..., Any], *args: Any) -> Any:
        """Give what a function makes of the states that are shown: computed once for all metrics that share them."""
        return self._holder.store.derive(key, function, *args)

    def _takes(self) -> frozenset[str] | None:
        """Give the names of the arguments that `update` takes, or None if it takes any."""
        parameters = self._update_parameters().values()
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return None
        return frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))

    def _update_parameters(self) -> Mapping[str, inspect.Parameter]:
        """Give the arguments that `update` takes."""
        return inspect.signature(self._core.update).parameters

    def _route(self) -> Route:
        """Say over whom the metric is synced."""
        return Route(transport_over(self._books.group), timeout=self.sync_timeout)

    def _said(self) -> tuple[tuple[str, str], ...]:
        """Give the attributes that `update` and `compute` read, as text: they change the value, so ranks compare them.

        Those that a verb sets are no settings; those that begin with an underscore may differ.
        """
        books = self._books
        if books.said is None or books.said[0] != books.settings:
            own = self.__dict__
            names = settings_read(type(self), _Reader) & own.keys() - _OWN_SETTINGS
            said = [(name, _say(own[name])) for name in sorted(names) if name[0] != "_" and _is_said(own[name])]
            books.said = books.settings, tuple(said)
        return books.said[1]

    @property
    def _settings_changed(self) -> int:
        return SETTINGS[0]

    def _stepped(self) -> tuple[int, int | None]:
        return self._books.synced_steps, self.sync_every

    def _note_step(self) -> None:
        self._books.synced_steps += 1

    def _hear(self, tally: Tally, index: int) -> None:
        self._books.tally = tally, index

    @property
    def _heard(self) -> tuple[Tally, int] | None:
        """What all ranks brought to the last sync, and which of its metrics this one was."""
        return self._books.tally

    def _steps_taken(self) -> list[int]:
        found = [module for module in self.modules() if isinstance(module, StatefulModule)]
        return [n for module in found for n in (module._books.steps, module._books.synced_steps)]

    def _go_on_from(self, steps: Sequence[int]) -> None:
        found = [module for module in self.modules() if isinstance(module, StatefulModule)]
        for module, taken, synced in zip(found, steps[::2], steps[1::2], strict=True):
            module._books.steps, module._books.synced_steps = taken, synced

    def _begin_steps(self) -> None:
        for module in self.modules() if self._modules else (self,):
            if isinstance(module, StatefulModule):
                module._books.steps = module._books.synced_steps = 0

    def _settings(self) -> tuple[int, ...]:
        """Give what changes whenever a setting does, of this metric or of one inside it."""
        if not self._modules:
            return (self._books.settings,)
        return tuple(m._books.settings for m in self.modules() if isinstance(m, StatefulModule))

    def _changed(self) -> None:
        """Note that a setting was changed.

        A value computed before it is not good any more; and the metric goes its own way if it accumulates something
        else from now on than those that it shares its states with.
        """
        self._books.settings += 1
        SETTINGS[0] += 1
        holder = self._holder
        holder.store.is_ready = False
        if holder.store.holders > 1 and holder.store.key != self._sharing_key():
            holder.leave()

    def _sharing_key(self) -> Hashable | None:
        """Give what metrics must have in common to share their states; None for one that shares with nobody.

        It follows from what is declared and set, which is the same on every rank: the code, the declarations, the
        settings, and with whom they sync and when.
        """
        cls, group = type(self), self.compute_group
        if group is None:
            return None
        lowest, code = updating_code(cls, _Reader)
        said_by = next(one for one in cls.__mro__ if "compute_group" in vars(one))
        if (
            not issubclass(said_by, lowest)  # it was said of other code than what runs
            or self._overrides_forward
            or cls.reset is not StatefulModule.reset
            or self._modules
            or not _OVERRIDES.isdisjoint(self.__dict__)
        ):
            return None
        policy = tuple(getattr(self, name) for name in _POLICY)
        return (group, code, cls.merge_states, spec_key(self._holder.specs.values()), self._books.group, policy)

    def _move(self, device: torch.device) -> None:
        holder = self._holder
        if device != holder.store.device:
            holder.store.move(holder.specs, device)
            self._books.forget()

    def _leave_group(self) -> None:
        """Take an own copy of states that are shared with other metrics of a collection."""
        self._holder.leave()


#: Values that every process writes alike. Others (paths, devices, tensors, containers that change) are not compared.
_SAID = (bool, int, float, complex, str, bytes, type(None), torch.dtype, enum.Enum)


def _is_said(value: Any) -> bool:
    return all(map(_is_said, value)) if type(value) is tuple else isinstance(value, _SAID)


def _say(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}... (digest {zlib.crc32(text.encode()):08x})"


def _metrics_inside(module: nn.Module) -> Iterator[Any]:
    """Give the outermost metrics and collections inside a module: those inside of them are theirs to reset."""
    for child in module.children():
        if isinstance(child, Host):
            yield child
        else:
            yield from _metrics_inside(child)
