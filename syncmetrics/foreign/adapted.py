"""A metric of another library as one of ours, so that it can stand in a `MetricCollection` and share its one sync."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from syncmetrics.foreign.adapter import ForeignNode, adapter_of, foreign_nodes
from syncmetrics.metric.metric import Metric
from syncmetrics.sync.show import Node
from syncmetrics.states.store import Mode, States, own_copy
from syncmetrics.sync import Merged, Part

__all__ = ["AdaptedMetric"]


class AdaptedMetric(Metric):
    """Hold a metric of another library. Its states stay where they are; only their sync goes through the engine.

    Args:
        metric: A metric for which there is an adapter.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: There is no adapter for it.
    """

    def __init__(self, metric: Any, **kwargs: Any) -> None:
        adapter = adapter_of(metric)
        if adapter is None:
            raise TypeError(f"there is no adapter for a {type(metric).__name__}; `register_adapter` adds one.")
        super().__init__(process_group=adapter.process_group(metric), **kwargs)
        self.inner = metric
        self._adapter = adapter

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update the metric inside."""
        self.inner.update(*args, **kwargs)

    def compute(self) -> Any:
        """Give the value of the metric inside. Collective, as every `compute`."""
        return self._adapter.compute(self.inner)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add one batch, and give its value as the metric inside does, which may be None. It does not communicate."""
        self._prepare_update("forward", args, kwargs)
        self._forward_cache = self._adapter.forward(self.inner, args, kwargs)
        self._store.grow(self._store.states, self._store.update_count + 1)
        return self._forward_cache

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """Names of the values of the metric inside, if it gives several and they are known."""
        return self._adapter.output_names(self.inner)

    def _update_parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.inner.update).parameters

    def _node(self, path: str) -> Node:
        guests = tuple(n for n, _ in foreign_nodes("", self.inner, self._adapter) if isinstance(n, ForeignNode))
        return _AdaptedNode(path, self._store, {}, None, self.inner, guests)


@dataclass(frozen=True, slots=True)
class _AdaptedNode(Node):
    """The node of a metric whose states are those of one or several foreign metrics."""

    inner: Any = None
    guests: tuple[ForeignNode, ...] = ()

    def reset(self) -> None:
        self.inner.reset()
        self.store.reset({})

    def local_part(self) -> Part:
        parts = [guest.local_part() for guest in self.guests]
        update_count = self.store.local[1]
        if len(parts) == 1:
            (part,) = parts
            specs, states, merge = part.specs, part.states, part.merge
        else:
            named = [(f"{p.path}.{name}", spec, p.states[name]) for p in parts for name, spec in p.specs.items()]
            specs = {name: replace(spec, name=name) for name, spec, _ in named}
            states = {name: value for name, _, value in named}
            merge = None
        device = next((part.device for part in parts), self.store.device)
        return Part(self.path, specs, states, update_count, device, merge, self.store.fresh)

    def show(self, result: Merged) -> None:
        self._show_guests(result.states, result.update_count)
        self.store.show({}, result.update_count, Mode.SYNCED)

    def show_copy(self) -> None:
        part = self.local_part()
        self._show_guests(own_copy(dict(part.states)), part.update_count)
        self.store.show({}, part.update_count, Mode.COPY)

    def put_back(self) -> None:
        for guest in self.guests:
            guest.put_back()
        self.store.put_back()

    def _show_guests(self, states: States, update_count: int) -> None:
        for guest in self.guests:
            names = guest.adapter.reductions(guest.metric)
            prefix = f"{guest.path}." if len(self.guests) > 1 else ""
            guest.show(Merged({name: states[prefix + name] for name in names}, update_count))
