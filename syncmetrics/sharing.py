"""Which metrics hold one store: decided by what they declare, and undone when one of them goes its own way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from syncmetrics.bookkeeping import raw_function
from syncmetrics.metric import Metric
from syncmetrics.states import Mode, Store, spec_key

__all__ = ["share_states", "take_apart"]


def share_states(metrics: Iterable[Metric]) -> None:
    """Let metrics that accumulate the same hold one store, if nothing was accumulated yet."""
    leaders: dict[Any, Store] = {}
    for metric in metrics:
        core = metric._core
        if core.compute_group is None or core._store.update_count > 0 or core._store.mode is not Mode.LOCAL:
            continue
        leader = leaders.setdefault(_sharing_key(core), core._store)
        if core._store is not leader:
            core._store.sharers -= 1
            core._store = leader
            leader.sharers += 1


def _sharing_key(metric: Metric) -> tuple[Any, ...]:
    """Give what two metrics must have in common: the code, the declarations, the settings, and with whom they sync."""
    code = (raw_function(type(metric).update), type(metric).merge_states)
    policy = (metric.sync_on_compute, metric.dist_sync_on_step, metric.sync_timeout, metric._store.device)
    return (metric.compute_group, code, spec_key(metric._specs.values()), _hashable(metric._group), policy)


def take_apart(metrics: Sequence[Metric]) -> None:
    """Give these metrics, which share a store, one of their own, apart from others that hold it too."""
    cores = [metric._core for metric in metrics]
    shared = cores[0]._store
    store = shared.fork()
    store.sharers = len(cores)
    shared.sharers -= len(cores) - 1
    for core in cores:
        core._store = store


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value
