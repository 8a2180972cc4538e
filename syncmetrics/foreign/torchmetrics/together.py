"""Metrics of torchmetrics that are brought in one exchange: those of one `fuse`, or those inside one metric."""

from __future__ import annotations

import threading
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.wrappers import ClasswiseWrapper

from syncmetrics.foreign.adapter import ForeignNode
from syncmetrics.foreign.torchmetrics.adapter import ADAPTER
from syncmetrics.states.merge import own_copy
from syncmetrics.sync import Merged, Part, Route, report_failure, sync_parts
from syncmetrics.transport import WORLD, Transport, resolve_transport

__all__ = ["Together", "bring", "fused", "inside", "is_default", "together_with", "transport_of"]


class _Mark:
    """How the local states of a metric stood. It keeps none of them alive."""

    def __init__(self, metric: Any) -> None:
        self.update_count = metric._update_count
        self.seen = [_reference(item) for item in _seen(metric)]

    def holds(self, metric: Any) -> bool:
        """Whether the metric was neither updated nor reset since."""
        seen = _seen(metric)
        return (
            bool(self.update_count == metric._update_count)
            and len(seen) == len(self.seen)
            and all(then() is now for then, now in zip(self.seen, seen, strict=True))
        )


def _seen(metric: Any) -> list[Any]:
    seen: list[Any] = []
    for value in ADAPTER.states(metric).values():
        seen.extend([len(value), *value[:1], *value[-1:]] if isinstance(value, list) else [value])
    return seen


def _reference(item: Any) -> Callable[[], Any]:
    return weakref.ref(item) if isinstance(item, Tensor) else lambda: item


@dataclass
class Together:
    """Metrics that sync together: of one `fuse`, or inside one metric.

    Attributes:
        label: What an exchange of it is called in an error.
        members: The name of each metric, and the metric, by its id.
        collections: The collections among the modules, whose groups share states.
        marks: How the members stood at the last exchange.
        ready: What was brought for members that have not used it yet.
        used: The names of those that have.
        transport: Over whom it was brought.
    """

    label: str
    members: dict[int, tuple[str, weakref.ref[Any]]] = field(default_factory=dict)
    collections: list[weakref.ref[Any]] = field(default_factory=list)
    marks: dict[int, _Mark] = field(default_factory=dict)
    ready: dict[int, Merged] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    transport: Transport | None = None

    def add(self, path: str, module: torch.nn.Module) -> None:
        """Take in the metrics inside a module."""
        for name, inner in module.named_modules(prefix=path):
            if isinstance(inner, torchmetrics.MetricCollection):
                self.collections.append(weakref.ref(inner))
            elif isinstance(inner, ClasswiseWrapper):
                continue  # it shows the states of the metric inside as its own
            elif isinstance(inner, torchmetrics.Metric) and id(inner) not in self.members:
                self.members[id(inner)] = (name, weakref.ref(inner))

    def merged(self, metric: Any, transport: Transport) -> Merged:
        """Give the states of all ranks for a member, by an exchange if what is ready is not good any more."""
        alive = {key: member for key, (_, ref) in self.members.items() if (member := ref()) is not None}
        if not any(metric._is_synced for metric in alive.values()):
            for reference in self.collections:
                if (collection := reference()) is not None:
                    collection._compute_groups_create_state_ref()
        if not self._good(metric, transport, alive):
            self._exchange(metric, transport, alive)
        self.used.add(self.members[id(metric)][0])
        ready = self.ready[id(metric)]
        return replace(ready, states=own_copy(ready.states))

    def _good(self, metric: Any, transport: Transport, alive: Mapping[int, Any]) -> bool:
        return (
            self.transport is transport
            and id(metric) in self.ready
            and self.marks.keys() == alive.keys()
            and all(mark.holds(alive[key]) for key, mark in self.marks.items())
        )

    def _exchange(self, metric: Any, transport: Transport, alive: Mapping[int, Any]) -> None:
        label = f"{self.label}, after {_list(sorted(self.used))}" if self.used else self.label
        self.ready, self.used, self.transport = {}, set(), transport
        self.marks = {key: _Mark(member) for key, member in alive.items()}
        nodes = [
            ForeignNode(self.members[key][0], member, ADAPTER)
            for key, member in alive.items()
            if member is metric or (_takes_part(member) and transport_of(member) is transport)
        ]
        results = bring(nodes, transport, label)
        self.ready = {id(node.metric): result for node, result in zip(nodes, results, strict=True)}

    def use_up(self, metric: Any) -> None:
        """Forget what was brought for a metric whose value is computed, and kept by the metric."""
        if metric.compute_with_cache:
            self.ready.pop(id(metric), None)


def _list(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= 100 else f"{len(names)} metrics ({zlib.crc32(text.encode()):08x})"


#: The group of each fused metric, by its id; ids come again, so the metric itself stands beside it.
fused: dict[int, tuple[Together, weakref.ref[Any]]] = {}


class _Now(threading.local):
    """The metrics inside the one whose value is being computed: they are exchanged together."""

    group: Together | None = None


_now = _Now()


def together_with(metric: Any) -> Together | None:
    """Give what a metric is brought together with at this moment, if with anything."""
    group, member = fused.get(id(metric), (_now.group, None))
    if member is None and group is not None:
        member = group.members.get(id(metric), (None, None))[1]
    return group if member is not None and member() is metric else None


@contextmanager
def inside(metric: Any) -> Iterator[None]:
    """Let the metrics inside a metric sync together, the first time that any of them does."""
    before = _now.group
    new = None if before is not None and id(metric) in before.members else Together(type(metric).__name__)
    if new is not None:
        new.add("", metric)
        if len(new.members) == 1:
            new = before
    try:
        _now.group = new or before
        yield
    finally:
        _now.group = before


def is_default(dist_sync_fn: Any) -> bool:
    """Whether the gather function is torchmetrics' own."""
    return dist_sync_fn is None or dist_sync_fn is gather_all_tensors


def transport_of(metric: Any, process_group: Any = None) -> Transport:
    """Give the transport of a group that was named in the call, or else of the metric's own."""
    group = process_group or metric.process_group
    return resolve_transport(WORLD if group is None else group)


def _takes_part(metric: Any) -> bool:
    """Whether a metric would sync by itself, through the engine, if its value were computed now."""
    available = metric.distributed_available_fn
    return bool(
        metric._reductions
        and getattr(type(metric)._sync_dist, "_through_engine", False)
        and is_default(metric.dist_sync_fn)
        and metric._to_sync
        and metric._should_unsync
        and not metric._is_synced
        and callable(available)
        and available()
    )


def bring(nodes: Sequence[ForeignNode], transport: Transport, label: str) -> list[Merged]:
    """Bring the states of all ranks in one exchange. Collective: every rank of the group must call this."""
    route = Route(transport)
    try:
        parts = [_part(node) for node in nodes]
    except Exception as error:  # the other ranks must hear of it
        report_failure(error, route, label=label)
        raise
    merged = sync_parts(parts, route, label=label)
    assert merged is not None, "the result is for every rank"
    return merged


def _part(node: ForeignNode) -> Part:
    return replace(node.local_part(), device=node.metric.device)
