"""Any number of metrics by one sync, wherever they live, ours and those of other libraries."""

from __future__ import annotations

import enum
from contextlib import AbstractContextManager
from typing import Any

from syncmetrics.metric.collection import MetricCollection
from syncmetrics.metric.metric import Metric
from syncmetrics.sync import Host, grouped, hosts_in, together_of
from syncmetrics.sync import synced as show_all
from syncmetrics.transport import is_absent, resolve_transport

__all__ = ["OWN", "sync_and_compute", "synced"]


class _Own(enum.Enum):
    OWN = "own"

    def __repr__(self) -> str:
        return "each metric's own"


#: Each metric's own group. None would not do: it means all ranks.
OWN = _Own.OWN


def synced(*metrics: Any, process_group: Any = OWN, timeout: float | None = None) -> AbstractContextManager[None]:
    """Show the states of all ranks in any number of metrics, by one sync.

    Inside the `with` block every `compute()` gives the value of all ranks and costs no communication. Afterwards the
    local states are what they were, whatever was raised. Collective: every rank of the group must enter this with the
    same metrics, in any order of the keys of a mapping.

    Args:
        *metrics: Metrics, collections, and lists, tuples, dicts, ModuleLists and ModuleDicts of them.
        process_group: Over which ranks. Left out, each metric's own; those that have one in common are synced together.
        timeout: Seconds to wait for the other ranks; left out, each metric's own.

    Raises:
        TypeError: Something is no metric.
        StateError: A metric is synced already.
        SyncError: The sync did not come to its end.
    """
    transport = None if process_group is OWN else resolve_transport(process_group)
    return show_all(together_of(hosts_in(list(metrics)), transport, timeout), "synced")


def sync_and_compute(metrics: Any, *, process_group: Any = OWN, timeout: float | None = None) -> Any:
    """Give the values of all metrics, by one sync.

    Collective: every rank of the group must call this.

    Args:
        metrics: A metric, a collection, or a list, tuple, dict, ModuleList or ModuleDict of them.
        process_group: Over which ranks. Left out, each metric's own.
        timeout: Seconds to wait for the other ranks; left out, each metric's own.

    Returns:
        The values, in the structure that `metrics` has.
    """
    if is_absent(process_group):
        return grouped(metrics, lambda metric: _nothing(next(hosts_in(metric))[1]))
    with synced(metrics, process_group=process_group, timeout=timeout):
        return grouped(metrics, lambda metric: next(hosts_in(metric))[1]._hosted_value())


def _nothing(host: Host) -> Any:
    """Give what stands for the values on a rank that takes no part."""
    if isinstance(host, MetricCollection):
        return dict.fromkeys(host.output_names)
    names = host.output_names if isinstance(host, Metric) else None
    return None if names is None else dict.fromkeys(names)
