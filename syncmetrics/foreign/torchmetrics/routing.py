"""Every metric of torchmetrics in this process through the engine, and many at once with `fuse`."""

from __future__ import annotations

import functools
import gc
import importlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.metric import CompositionalMetric
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.wrappers.abstract import WrapperMetric

from syncmetrics.foreign.adapter import ForeignNode
from syncmetrics.foreign.replacements import Replacements
from syncmetrics.foreign.torchmetrics.adapter import ADAPTER, as_torchmetrics, refuse_update
from syncmetrics.foreign.torchmetrics.together import (
    Together,
    bring,
    fused,
    inside,
    is_default,
    together_with,
    transport_of,
)
from syncmetrics.transport import Transport

__all__ = ["fuse", "install", "uninstall"]

_replaced = Replacements()

#: Methods of single metrics that were replaced, by the id of the metric and the name: the metric, and the original.
_wrapped: dict[tuple[int, str], tuple[weakref.ref[Any], Any]] = {}

#: Classes of torchmetrics whose own `_sync_dist` gathers what the engine brings anyway.
_GATHER_BY_THEMSELVES = ("torchmetrics.detection.mean_ap", "torchmetrics.detection._mean_ap")


def install() -> None:
    """Let every torchmetrics metric of this process sync through the engine, those that exist already too.

    Each `compute` then costs one exchange, together with all metrics inside the metric. A metric that was given a
    `dist_sync_fn`, and a class of your own with its own `_sync_dist`, keep their way. Doing this twice is harmless.
    """
    if _replaced:
        return
    _replaced.replace(torchmetrics.Metric, "_sync_dist", _routed(torchmetrics.Metric._sync_dist))
    for name in _GATHER_BY_THEMSELVES:
        with suppress(ImportError):
            cls = importlib.import_module(name).MeanAveragePrecision
            _replaced.replace(cls, "_sync_dist", _routed(cls._sync_dist))
    _replaced.replace(torchmetrics.Metric, "sync_context", _sync_context)
    for cls in (CompositionalMetric, WrapperMetric):
        _replaced.replace(cls, "_wrap_compute", _together_from_now_on)
    for metric in gc.get_objects():  # those that were made before have their `compute` already
        if issubclass(type(metric), (CompositionalMetric, WrapperMetric)) and "compute" in metric.__dict__:
            _wrap(metric, "compute", _together)


def uninstall() -> None:
    """Put back everything that `install` replaced, and forget what `fuse` was told."""
    _replaced.undo()
    while _wrapped:
        (_, name), (reference, original) = _wrapped.popitem()
        if (metric := reference()) is not None:
            metric.__dict__[name] = original
    fused.clear()


def _wrap(metric: Any, name: str, around: Callable[[Any, Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace one method of one metric, unless it is replaced already."""
    key = id(metric), name
    if key not in _wrapped:
        original = metric.__dict__[name]
        _wrapped[key] = weakref.ref(metric, lambda _: _wrapped.pop(key, None)), original
        metric.__dict__[name] = around(metric, original)


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
    group = Together("fuse")
    for path, module in _modules(obj, ""):
        group.add(path, module)
    if not group.members:
        raise TypeError(
            f"`fuse` takes an object with torchmetrics metrics in it, but a {type(obj).__name__} was given."
        )
    install()
    for key in [key for key, (_, member) in fused.items() if member() is None]:
        del fused[key]  # so that nothing is left of metrics that are gone
    for key, (_, member) in group.members.items():
        fused[key] = (group, member)
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


def _routed(original: Callable[..., None]) -> Callable[..., None]:
    """Give a `_sync_dist` that is one exchange of all states, or the original for a gather function of the user."""

    def _sync_dist(self: Any, dist_sync_fn: Any = gather_all_tensors, process_group: Any = None) -> None:
        if not is_default(dist_sync_fn):
            original(self, dist_sync_fn, process_group=process_group)
            return
        try:
            _sync_through_engine(self, transport_of(self, process_group))
        except BaseException:
            self._cache = None
            raise

    _sync_dist._through_engine = True  # type: ignore[attr-defined]
    return _sync_dist


def _sync_through_engine(metric: Any, transport: Transport) -> None:
    if transport.world_size == 1 or not metric._reductions:
        return
    group = together_with(metric)
    if group is not None and metric._should_unsync and transport_of(metric) is transport:
        merged = group.merged(metric, transport)
    else:
        (merged,) = bring([ForeignNode("", metric, ADAPTER)], transport, type(metric).__name__)
    local = ADAPTER.states(metric)
    shown = as_torchmetrics(metric, merged.states)
    if "update" in metric.__dict__:
        _wrap(metric, "update", _guarded)
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
    with inside(self):
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
            group = together_with(self) if self._is_synced else None
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
        with inside(metric):
            return compute(*args, **kwargs)

    return wrapped


def _guarded(metric: Any, update: Callable[..., Any]) -> Callable[..., Any]:
    """Give an `update` that is refused while the metric is synced, as its `forward` is."""
    this = weakref.ref(metric)

    @functools.wraps(update)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        metric = this()
        if metric is not None and metric._is_synced:
            refuse_update(metric)
        return update(*args, **kwargs)

    return wrapped
