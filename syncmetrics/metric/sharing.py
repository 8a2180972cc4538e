"""Which metrics hold one store: decided by what they declare, and undone when one of them goes its own way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from syncmetrics.metric.bookkeeping import raw_function
from syncmetrics.metric.metric import Metric
from syncmetrics.metric.stateful import SYNC_POLICY
from syncmetrics.states.store import Mode, Store, spec_key

__all__ = ["Group", "groups_of", "share_states", "take_apart"]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Metrics of one collection that share one store.

    Attributes:
        names: Their names.
        cores: The metrics whose states these are, in the same order.
        store: What they share.
    """

    names: tuple[str, ...]
    cores: tuple[Metric, ...]
    store: Store

    @property
    def holds(self) -> bool:
        """Whether all of them still hold the store."""
        store = self.store
        for core in self.cores:  # noqa: SIM110 - a generator costs more, and this is asked in every update
            if core._own_store is not store:
                return False
        return True


def groups_of(metrics: Iterable[tuple[str, Metric]]) -> list[Group]:
    """Group metrics by the store they hold, which is the truth about who shares with whom."""
    found: dict[int, list[tuple[str, Metric]]] = {}
    for name, metric in metrics:
        found.setdefault(id(metric._store), []).append((name, metric._core))
    return [
        Group(tuple(name for name, _ in members), tuple(core for _, core in members), members[0][1]._own_store)
        for members in found.values()
    ]


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
            leader.sharers += 1
        core._store = leader  # said to the leader too: a metric may tell a store that it holds it


def _sharing_key(metric: Metric) -> tuple[Any, ...]:
    """Give what two metrics must have in common: the code, the declarations, the settings, and with whom they sync."""
    code = (raw_function(type(metric).update), type(metric).merge_states)
    policy = tuple(_hashable(getattr(metric, name)) for name in SYNC_POLICY)
    where = (metric.sync_timeout, metric._store.device)
    return (metric.compute_group, code, spec_key(metric._specs.values()), policy, where)


def take_apart(cores: Sequence[Metric]) -> None:
    """Give these metrics, which share a store, one of their own, apart from others that hold it too."""
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
