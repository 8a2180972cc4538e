"""What a rank does in the test of law 4: it takes all there is to take from a metric, and edits it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from syncmetrics import Metric, MetricCollection, sync_and_compute, synced
from tests.laws.drawn import Drawn, Lengths, batch
from tests.samples import bits


def _sync_context(m: Any) -> Any:
    with m.sync_context():
        return m.compute(), [one.metric_state for one in _metrics(m)]


def _synced(m: Any) -> Any:
    with synced(m):
        return m.compute()


def _metrics(m: Any) -> list[Metric]:
    return list(m.values()) if isinstance(m, MetricCollection) else [m]


def _saved(m: Any) -> Any:
    for metric in _metrics(m):
        metric.persistent(True)
    return dict(m.state_dict())


#: Everything that hands something out.
WAYS: dict[str, Callable[[Any], Any]] = {
    "compute": lambda m: m.compute(),
    "compute twice": lambda m: (m.compute(), m.compute()),
    "compute_async": lambda m: m.compute_async().wait(),
    "sync_async": lambda m: m.sync_async().wait(),
    "sync_and_compute": sync_and_compute,
    "sync_context": _sync_context,
    "synced": _synced,
    "metric_state": lambda m: [one.metric_state for one in _metrics(m)],
    "state_dict": _saved,
    "defaults": lambda m: [one._defaults for one in _metrics(m)],
    "clone": lambda m: [one.metric_state for one in _metrics(m.clone())],
    "computed": lambda m: (m.compute(), [one._computed for one in _metrics(m)]),
}


def spoil(value: Any) -> None:
    """Edit every tensor in a value in place, and empty every list and dict."""
    if isinstance(value, Tensor):
        if value.numel():
            value.fill_(1 if value.dtype is torch.bool else 77)
    elif isinstance(value, (Mapping, list, tuple)):
        for item in list(value.values()) if isinstance(value, Mapping) else list(value):
            spoil(item)
        if isinstance(value, (dict, list)):
            value.clear()


def edit_all(rank: int, world_size: int, kinds: tuple[str, ...], ways: list[str], collected: bool) -> None:
    def make() -> Any:
        if not collected:
            return Drawn(kinds)
        return MetricCollection({"a": Drawn(kinds), "b": Lengths(kinds), "c": Drawn(kinds[::-1])})

    metric, twin = make(), make()
    for seed, way in enumerate(ways):
        x = batch(10 * rank + seed)
        spoil(metric(x))
        twin.update(x)
        metric.update(x)
        twin.update(x)
        spoil(WAYS[way](metric))
        assert bits(metric.compute()) == bits(twin.compute()), way
    metric.reset()
    twin.reset()
    metric.update(batch(rank))
    twin.update(batch(rank))
    assert bits(metric.compute()) == bits(twin.compute())
