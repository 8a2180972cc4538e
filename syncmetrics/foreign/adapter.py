"""Metrics of other libraries, and hand-written ones: how their states are read, reduced, shown and put back.

An adapter answers these questions for one class and its subclasses. Those for torchmetrics, torcheval and ignite come
with the package and are loaded when such a metric is met; `register_adapter` adds one for a base class of your own::

    class LossAdapter(Adapter):
        def reductions(self, metric):
            return {"total": "sum", "count": "sum"}

    register_adapter(MyLoss, LossAdapter())
    with synced(my_loss, some_torchmetrics_metric):
        print(my_loss.compute())
"""

from __future__ import annotations

import copy
import importlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.states.reductions import ReduceFx, Reduction
from syncmetrics.states.spec import State, States, spec_of_value
from syncmetrics.sync import Host, Merged, Part, Route, Syncable
from syncmetrics.transport import WORLD, resolve_transport

__all__ = ["Adapter", "AttributesAdapter", "ForeignNode", "adapter_of", "foreign_nodes", "register_adapter"]

#: Libraries whose adapters come with the package, by the name of their top-level module.
_BUILT_IN = ("torchmetrics", "torcheval", "ignite")


class Adapter:
    """How one class of metrics takes part in a sync.

    Only `reductions` must be written. The defaults suit a metric that keeps each state in an attribute of that name.
    """

    def reductions(self, metric: Any) -> Mapping[str, ReduceFx | Reduction]:
        """Give the states of the metric by name, and how each is reduced, as for `Metric.add_state`."""
        raise NotImplementedError(f"`{type(self).__name__}` must have a `reductions` method.")

    def states(self, metric: Any) -> States:
        """Give the local states: tensors, or lists of tensors or of plain data."""
        return {name: getattr(metric, name) for name in self.reductions(metric)}

    def defaults(self, metric: Any) -> Mapping[str, State]:
        """Give what sums started from, where that is not zero."""
        return {}

    def update_count(self, metric: Any) -> int:
        """Give how much was accumulated, which weighs a "mean"; 0 if nothing was."""
        return 1

    def merge(self, metric: Any) -> Callable[[States, States], States] | None:
        """Give a function that merges two whole sets of states, if the reductions alone cannot."""
        return None

    def show(self, metric: Any, states: States, update_count: int) -> Callable[[], None]:
        """Put the states of all ranks in place of the local ones.

        Returns:
            A function that puts the local ones back.
        """
        local = {name: getattr(metric, name) for name in states}

        def put_back() -> None:
            for name, value in local.items():
                setattr(metric, name, value)

        try:
            for name, value in states.items():
                setattr(metric, name, value)
        except BaseException:
            put_back()
            raise
        return put_back

    def load(self, metric: Any, states: States, update_count: int) -> None:
        """Put states that `save_state` has saved in place of the local ones, for good."""
        for name, value in states.items():
            setattr(metric, name, value)

    def check_saved(self, metric: Any) -> None:
        """Check that `load` can put back what `save_state` is about to save.

        Raises:
            StateError: The states alone are not what such a metric needs.
        """

    def before(self, metric: Any) -> Callable[[], None]:
        """Remember what the metric has, and give a function that puts it back after an update that failed."""
        own = vars(metric)
        kept = {name: _copy_of(value) for name, value in own.items()}

        def put_back() -> None:
            own.clear()
            own.update(kept)

        return put_back

    def members(self, metric: Any) -> Iterator[tuple[str, Any]]:
        """Give the metrics that take part: this one, or those inside, with names that are the same on every rank."""
        yield "", metric

    def process_group(self, metric: Any) -> Any:
        """Give the process group that the metric was given; `syncmetrics.WORLD` for all ranks."""
        return WORLD

    def forward(self, metric: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Add one batch, and give its value if the metric gives one. It must not communicate."""
        if callable(metric):
            return metric(*args, **kwargs)
        metric.update(*args, **kwargs)
        return None

    def compute(self, metric: Any) -> Any:
        """Give the value of what is shown. It must not communicate."""
        return metric.compute()

    def output_names(self, metric: Any) -> tuple[str, ...] | None:
        """Give the keys of the dict that `compute` gives, as far as they are known before; None for any other value."""
        return None

    def plot_kind(self, metric: Any) -> str | None:
        """Give which picture its values get, as `Metric.plot_kind`; None for numbers."""
        return None


class AttributesAdapter(Adapter):
    """How metrics take part that show the result of a sync in more attributes than those they sync.

    All attributes are kept while the metric shows the states of all ranks, and put back afterwards.
    """

    def __init__(self) -> None:
        #: Metrics that show the states of all ranks at the moment.
        self._shown: set[int] = set()

    def check_saved(self, metric: Any) -> None:
        """Refuse: what such a metric goes on with is in other attributes too."""
        raise StateError(
            f"a {type(metric).__name__} of {type(metric).__module__.partition('.')[0]} keeps more than its states, so"
            " `save_state` cannot save it; use its own state_dict on every rank."
        )

    def local_states(self, metric: Any) -> States:
        """Give the local states, as `Adapter.states` does."""
        raise NotImplementedError(f"`{type(self).__name__}` must have a `local_states` method.")

    def shown_attributes(self, metric: Any, states: States) -> Mapping[str, Any]:
        """Give the attributes with which the metric shows the states of all ranks."""
        raise NotImplementedError(f"`{type(self).__name__}` must have a `shown_attributes` method.")

    def states(self, metric: Any) -> States:
        """Give the local states.

        Raises:
            StateError: The metric shows those of all ranks.
        """
        if id(metric) in self._shown:
            raise StateError(f"this {type(metric).__name__} is synced already; leave the outer `synced` first.")
        return self.local_states(metric)

    def show(self, metric: Any, states: States, update_count: int) -> Callable[[], None]:
        """Put the states of all ranks in place."""
        if id(metric) in self._shown:  # the same metric, given twice: whoever showed it first puts it back
            return _nothing
        shown = self.shown_attributes(metric, states)
        own, local = metric.__dict__, dict(metric.__dict__)

        def put_back() -> None:
            self._shown.discard(id(metric))
            own.clear()
            own.update(local)

        self._shown.add(id(metric))
        own.update(shown)
        return put_back


def _copy_of(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return copy.copy(value) if type(value) in (list, dict, set, deque) else value


def _nothing() -> None:
    """Do nothing."""


_adapters: dict[type, Adapter] = {}


def register_adapter(metric_type: type, adapter: Adapter) -> None:
    """Make a class, and all its subclasses, one whose metrics `synced` and `sync_and_compute` take.

    Args:
        metric_type: The class.
        adapter: How its metrics take part.

    Raises:
        TypeError: It is no class, or no adapter.
    """
    given: tuple[Any, Any] = (metric_type, adapter)
    if not isinstance(given[0], type) or not isinstance(given[1], Adapter):
        raise TypeError("`register_adapter` takes a class and an instance of a subclass of syncmetrics.Adapter.")
    _adapters[metric_type] = adapter


def adapter_of(metric: Any) -> Adapter | None:
    """Give the adapter of a metric; None if there is none for its class."""
    for cls in type(metric).__mro__:
        package = cls.__module__.partition(".")[0]
        if package in _BUILT_IN:
            importlib.import_module(f"syncmetrics.foreign.{package}")
        if cls in _adapters:
            return _adapters[cls]
    return None


@dataclass(slots=True)
class ForeignNode:
    """A foreign metric in a sync.

    Attributes:
        path: Name of the metric inside what is synced together.
        metric: The metric.
        adapter: How it takes part.
        undo: What puts its local states back, while others are shown.
    """

    path: str
    metric: Any
    adapter: Adapter
    undo: Callable[[], None] | None = None

    def local_part(self) -> Part:
        """Give what this process brings to a sync."""
        adapter, metric = self.adapter, self.metric
        states, defaults = adapter.states(metric), adapter.defaults(metric)
        specs = {
            name: spec_of_value(name, states[name], fx, _tensor_or_none(defaults.get(name)))
            for name, fx in adapter.reductions(metric).items()
        }
        return Part(self.path, specs, states, adapter.update_count(metric), _device_of(states), adapter.merge(metric))

    def opening_part(self, route: Route) -> Part:
        """Give what this process brings to a sync: foreign metrics always bring all they have."""
        return self.local_part()

    def show(self, result: Merged, route: Route | None = None) -> None:
        """Show the states of all ranks."""
        self.undo = self.adapter.show(self.metric, result.states, result.update_count)

    def put_back(self) -> None:
        """Show the local states again."""
        if self.undo is not None:
            undo, self.undo = self.undo, None
            undo()

    def leave_epoch(self) -> None:
        """Foreign metrics do not say when they were reset."""

    def note_try(self, tag: int) -> None:
        """Nor does it matter then that a sync of them has begun."""

    def held(self) -> list[tuple[tuple[str, ...], Part]]:
        """Give what is saved."""
        self.adapter.check_saved(self.metric)
        return [((self.path,), self.local_part())]

    def as_it_is(self) -> Callable[[], None]:
        """Remember what there is, and give what puts it back."""
        return self.adapter.before(self.metric)

    def anew(self) -> States:
        """Give new states.

        Raises:
            StateError: The adapter does not say what a tensor starts from.
        """
        defaults = self.adapter.defaults(self.metric)
        states: States = {}
        for name, value in self.adapter.states(self.metric).items():
            if isinstance(value, Tensor) and name not in defaults:
                raise StateError(
                    f"state `{name}` of `{self.path}` cannot begin anew on a rank that was not there before: `defaults`"
                    " of its adapter does not say from what."
                )
            default = defaults.get(name, [])
            states[name] = default.clone() if isinstance(default, Tensor) else []
        return states

    def take(self, names: Sequence[str], states: States, update_count: int) -> None:
        """Put states in place, for good."""
        self.adapter.load(self.metric, states, update_count)


def foreign_nodes(path: str, metric: Any, adapter: Adapter) -> list[tuple[Syncable, Route]]:
    """Give a node for each metric inside a foreign one, with the route of each."""
    nodes: list[tuple[Syncable, Route]] = []
    for name, member in adapter.members(metric):
        where = ".".join(part for part in (path, name) if part)
        if isinstance(member, Host):  # one of ours, inside a container of theirs
            nodes.extend(member._hosted(where))
            continue
        inner = adapter if member is metric else adapter_of(member)
        if inner is not None:
            route = Route(resolve_transport(inner.process_group(member)))
            nodes.append((ForeignNode(where, member, inner), route))
    return nodes


def _device_of(states: States) -> torch.device:
    for value in states.values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Tensor):
                return item.device
    return torch.device("cpu")


def _tensor_or_none(value: Any) -> Tensor | None:
    return value if isinstance(value, Tensor) else None
