"""torchmetrics: its metrics in `synced`, all of them through the engine with `install`, and many at once with `fuse`.

Its meaning is kept (what `compute` sees, the order of lists of equal length, `tensor([])` where nobody has rows), and
is right where it is not by itself: ranks without data, lists of other lengths, other dtypes, means, exceptions.
"""

from __future__ import annotations

import functools
import gc
import importlib
import threading
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.metric import CompositionalMetric
from torchmetrics.utilities.data import dim_zero_cat, dim_zero_max, dim_zero_mean, dim_zero_min, dim_zero_sum
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.wrappers import ClasswiseWrapper
from torchmetrics.wrappers.abstract import WrapperMetric

from syncmetrics.adapters import Adapter, ForeignNode, register_adapter
from syncmetrics.reductions import ReduceFx, Reduction, cat_rows, resolve_reduction
from syncmetrics.states import State, States, own_copy
from syncmetrics.sync import Merged, Part, Route, report_failure, sync_parts
from syncmetrics.transport import WORLD, Transport, resolve_transport

__all__ = ["TorchmetricsAdapter", "fuse", "install", "uninstall"]

_NAMES: dict[Callable[..., Any], ReduceFx] = {
    dim_zero_sum: "sum",
    dim_zero_mean: "mean",
    dim_zero_max: "max",
    dim_zero_min: "min",
    dim_zero_cat: "cat",
}


#: As None, but lists of equal length are joined element by element.
_INTERLEAVED = replace(resolve_reduction(None), interleaved=True)


class TorchmetricsAdapter(Adapter):
    """How a `torchmetrics.Metric` takes part: with all metrics inside it, which wrappers have."""

    def reductions(self, metric: Any) -> Mapping[str, ReduceFx | Reduction]:
        """Give its states."""
        return {name: _reduction_of(fx) for name, fx in metric._reductions.items()}

    def states(self, metric: Any) -> States:
        """Give the local states, also while torchmetrics itself has synced the metric."""
        local = metric._cache if metric._is_synced and metric._cache is not None else {}
        return {name: local.get(name, getattr(metric, name)) for name in metric._reductions}

    def defaults(self, metric: Any) -> Mapping[str, State]:
        """Give what sums started from."""
        defaults: Mapping[str, State] = metric._defaults
        return defaults

    def update_count(self, metric: Any) -> int:
        """Give the number of updates."""
        count: int = metric._update_count
        return count

    def show(self, metric: Any, states: States, update_count: int) -> Callable[[], None]:
        """Put the states of all ranks in place, and keep `compute` from syncing once more."""
        kept = ("_to_sync", "_is_synced", "_update_count")
        before = {name: metric.__dict__[name] for name in kept}
        own = metric.__dict__  # a ClasswiseWrapper hands what is set on to the metric inside
        computed = own.get("_computed")
        put_back_states = super().show(metric, as_torchmetrics(metric, states), update_count)
        own.update(_to_sync=False, _is_synced=False, _computed=None, _update_count=update_count)

        def put_back() -> None:
            put_back_states()
            own.update(before)
            if own.get("_computed") is None:  # what was computed meanwhile is good until the next update
                own["_computed"] = computed

        return put_back

    def members(self, metric: Any) -> Iterator[tuple[str, Any]]:
        """Give this metric and all inside it; a collection first lets its groups share what one of them has."""
        for module in metric.modules():
            if isinstance(module, torchmetrics.MetricCollection):
                module._compute_groups_create_state_ref()
        for name, module in metric.named_modules():
            if isinstance(module, torchmetrics.Metric) and not isinstance(module, ClasswiseWrapper):
                yield name, module  # a ClasswiseWrapper shows the states of the metric inside as its own

    def process_group(self, metric: Any) -> Any:
        """Give its process group."""
        return WORLD if metric.process_group is None else metric.process_group


def _reduction_of(fx: Any) -> ReduceFx | Reduction:
    if fx is None:
        return _INTERLEAVED
    known = _NAMES.get(fx) if callable(fx) else None
    return known if known is not None else _custom(fx)


def _custom(fx: Callable[[Any], Any]) -> Reduction:
    return replace(resolve_reduction(fx), interleaved=True)


def as_torchmetrics(metric: Any, states: States) -> States:
    """Give merged states the form that torchmetrics gives them: rows as one tensor, `tensor([])` if nobody has any.

    The states of the metric must be the local ones: each merged one goes to the device of its local one.
    """
    shown: States = {}
    for name, value in states.items():
        if metric._reductions[name] is dim_zero_cat and isinstance(value, list):
            if not value:
                value = torch.tensor([], device=metric.device, dtype=metric.dtype)
            elif isinstance(value[0], Tensor):
                value = cat_rows(value)
        shown[name] = _moved(value, _device_of(metric, getattr(metric, name)))
    return shown


def _device_of(metric: Any, local: Any) -> torch.device:
    for item in local if isinstance(local, list) else [local]:
        if isinstance(item, Tensor):
            return item.device
    device: torch.device = torch.device("cpu") if metric.compute_on_cpu else metric.device
    return device


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    return value.to(device) if isinstance(value, Tensor) else value


_ADAPTER = TorchmetricsAdapter()
register_adapter(torchmetrics.Metric, _ADAPTER)
register_adapter(torchmetrics.MetricCollection, _ADAPTER)

#: What was replaced: class, name of the attribute, and what stood there.
_replaced: list[tuple[type, str, Any]] = []

#: Metrics of metrics that were there before, and the `compute` of each.
_wrapped: list[tuple[weakref.ref[Any], Any]] = []

#: Classes of torchmetrics whose own `_sync_dist` gathers what the engine brings anyway.
_GATHER_BY_THEMSELVES = ("torchmetrics.detection.mean_ap", "torchmetrics.detection._mean_ap")


def install() -> None:
    """Let every torchmetrics metric of this process sync through the engine, those that exist already too.

    Each `compute` then costs one exchange, together with all metrics inside the metric. A metric that was given a
    `dist_sync_fn`, and a class of your own with its own `_sync_dist`, keep their way. Doing this twice is harmless.
    """
    if _replaced:
        return
    _replace(torchmetrics.Metric, "_sync_dist", _routed(torchmetrics.Metric._sync_dist))
    for name in _GATHER_BY_THEMSELVES:
        with suppress(ImportError):
            cls = importlib.import_module(name).MeanAveragePrecision
            _replace(cls, "_sync_dist", _routed(cls._sync_dist))
    _replace(torchmetrics.Metric, "sync_context", _sync_context)
    for cls in (CompositionalMetric, WrapperMetric):
        _replace(cls, "_wrap_compute", _together_from_now_on)
    for metric in gc.get_objects():  # those that were made before have their `compute` already
        if issubclass(type(metric), (CompositionalMetric, WrapperMetric)) and "compute" in metric.__dict__:
            _wrapped.append((weakref.ref(metric), metric.__dict__["compute"]))
            metric.__dict__["compute"] = _together(metric, metric.__dict__["compute"])


def uninstall() -> None:
    """Put back everything that `install` replaced, and forget what `fuse` was told."""
    while _replaced:
        cls, name, original = _replaced.pop()
        setattr(cls, name, original)
    while _wrapped:
        reference, compute = _wrapped.pop()
        if (metric := reference()) is not None:
            metric.__dict__["compute"] = compute
    _fused.clear()


def _replace(cls: type, name: str, new: Any) -> None:
    _replaced.append((cls, name, cls.__dict__[name]))
    setattr(cls, name, new)


_Obj = TypeVar("_Obj")


def fuse(obj: _Obj) -> _Obj:
    """Let all metrics of `obj` sync in one exchange: the first `compute` after an update brings all, for all.

    It installs the engine if `install` was not called. What was brought for a metric is used once, and only until any
    metric of `obj` is updated or reset. As ever, all ranks must compute the same metrics: ranks that do not get a
    `SchemaMismatchError` at the next exchange, or a `SyncTimeoutError` if there is none. Copies of the metrics, and
    metrics that are added later, are not part of it.

    Args:
        obj: A MetricCollection, a module with metrics in it, or a list, tuple or dict of these.

    Returns:
        `obj` itself.

    Raises:
        TypeError: There is no torchmetrics metric in it.
    """
    group = _Fused("fuse")
    for path, module in _modules(obj, ""):
        group.add(path, module)
    if not group.members:
        raise TypeError(
            f"`fuse` takes an object with torchmetrics metrics in it, but a {type(obj).__name__} was given."
        )
    install()
    for key in [key for key, (_, member) in _fused.items() if member() is None]:
        del _fused[key]  # so that nothing is left of metrics that are gone
    for key, (_, member) in group.members.items():
        _fused[key] = (group, member)
    return obj


def _modules(obj: Any, path: str) -> Iterator[tuple[str, torch.nn.Module]]:
    if isinstance(obj, torch.nn.Module):
        yield path, obj
    elif isinstance(obj, Mapping):
        for key, value in obj.items():
            yield from _modules(value, f"{path}[{key!r}]")
    elif isinstance(obj, Iterable) and not isinstance(obj, (str, Tensor)):
        for index, value in enumerate(obj):
            yield from _modules(value, f"{path}[{index}]")


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
    for value in _ADAPTER.states(metric).values():
        seen.extend([len(value), *value[:1], *value[-1:]] if isinstance(value, list) else [value])
    return seen


def _reference(item: Any) -> Callable[[], Any]:
    return weakref.ref(item) if isinstance(item, Tensor) else lambda: item


@dataclass
class _Fused:
    """What was fused together.

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
            ForeignNode(self.members[key][0], member, _ADAPTER)
            for key, member in alive.items()
            if member is metric or (_takes_part(member) and _transport_of(member) is transport)
        ]
        results = _exchange(nodes, transport, label)
        self.ready = {id(node.metric): result for node, result in zip(nodes, results, strict=True)}

    def use_up(self, metric: Any) -> None:
        """Forget what was brought for a metric whose value is computed, and kept by the metric."""
        if metric.compute_with_cache:
            self.ready.pop(id(metric), None)


def _list(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= 100 else f"{len(names)} metrics ({zlib.crc32(text.encode()):08x})"


#: The group of each fused metric, by its id; ids come again, so the metric itself stands beside it.
_fused: dict[int, tuple[_Fused, weakref.ref[Any]]] = {}


class _Now(threading.local):
    """The metrics inside the one whose value is being computed: they are exchanged together."""

    group: _Fused | None = None


_now = _Now()


def _group_of(metric: Any) -> _Fused | None:
    group, member = _fused.get(id(metric), (_now.group, None))
    if member is None and group is not None:
        member = group.members.get(id(metric), (None, None))[1]
    return group if member is not None and member() is metric else None


@contextmanager
def _inside(metric: Any) -> Iterator[None]:
    """Let the metrics inside a metric sync together, the first time that any of them does."""
    before = _now.group
    inside = None if before is not None and id(metric) in before.members else _Fused(type(metric).__name__)
    if inside is not None:
        inside.add("", metric)
        if len(inside.members) == 1:
            inside = before
    try:
        _now.group = inside or before
        yield
    finally:
        _now.group = before


def _is_default(dist_sync_fn: Any) -> bool:
    return dist_sync_fn is None or dist_sync_fn is gather_all_tensors


def _transport_of(metric: Any, process_group: Any = None) -> Transport:
    group = process_group or metric.process_group
    return resolve_transport(WORLD if group is None else group)


def _takes_part(metric: Any) -> bool:
    """Whether a metric would sync by itself, through the engine, if its value were computed now."""
    available = metric.distributed_available_fn
    return bool(
        metric._reductions
        and getattr(type(metric)._sync_dist, "_through_engine", False)
        and _is_default(metric.dist_sync_fn)
        and metric._to_sync
        and metric._should_unsync
        and not metric._is_synced
        and callable(available)
        and available()
    )


def _exchange(nodes: Sequence[ForeignNode], transport: Transport, label: str) -> list[Merged]:
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


def _routed(original: Callable[..., None]) -> Callable[..., None]:
    """Give a `_sync_dist` that is one exchange of all states, or the original for a gather function of the user."""

    def _sync_dist(self: Any, dist_sync_fn: Any = gather_all_tensors, process_group: Any = None) -> None:
        if not _is_default(dist_sync_fn):
            original(self, dist_sync_fn, process_group=process_group)
            return
        try:
            _sync_through_engine(self, _transport_of(self, process_group))
        except BaseException:
            self._cache = None
            raise

    _sync_dist._through_engine = True  # type: ignore[attr-defined]
    return _sync_dist


def _sync_through_engine(metric: Any, transport: Transport) -> None:
    if transport.world_size == 1 or not metric._reductions:
        return
    group = _group_of(metric)
    if group is not None and metric._should_unsync and _transport_of(metric) is transport:
        merged = group.merged(metric, transport)
    else:
        (merged,) = _exchange([ForeignNode("", metric, _ADAPTER)], transport, type(metric).__name__)
    local = _ADAPTER.states(metric)
    shown = as_torchmetrics(metric, merged.states)
    metric._cache = local  # the states themselves: after `unsync` they are what they were, and not copies
    for name, value in shown.items():
        setattr(metric, name, value)


@contextmanager
def _sync_context(
    self: Any,
    dist_sync_fn: Any = None,
    process_group: Any = None,
    should_sync: bool = True,
    should_unsync: bool = True,
    distributed_available: Any = None,
) -> Iterator[None]:
    """Show the states of all ranks, and put the local ones back whatever is raised."""
    with _inside(self):
        self.sync(
            dist_sync_fn=dist_sync_fn,
            process_group=process_group,
            should_sync=should_sync,
            distributed_available=distributed_available,
        )
        try:
            yield
        except BaseException:
            should_unsync = should_unsync or should_sync
            raise
        else:
            group = _group_of(self) if self._is_synced else None
            if group is not None:
                group.use_up(self)
        finally:
            if self._is_synced and should_unsync:
                self.unsync()


def _together_from_now_on(self: Any, compute: Callable[..., Any]) -> Callable[..., Any]:
    """Stand for the `_wrap_compute` of metrics of metrics, which leaves `compute` as it is."""
    return _together(self, compute)


def _together(metric: Any, compute: Callable[..., Any]) -> Callable[..., Any]:
    """Give a `compute` during which the metrics inside sync together."""
    this = weakref.ref(metric)

    @functools.wraps(compute)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        metric = this()
        if metric is None or not _replaced:  # a metric that was made meanwhile keeps this after `uninstall`
            return compute(*args, **kwargs)
        with _inside(metric):
            return compute(*args, **kwargs)

    return wrapped
