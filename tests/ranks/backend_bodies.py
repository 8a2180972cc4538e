"""What the ranks of test_backends.py do: groups that torch makes for debugging, and for pretending."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from syncmetrics import CatMetric, MetricCollection, SumMetric, SyncTimeoutError, sync_states
from tests.samples import Rows


def detailed(rank: int, world_size: int) -> tuple[list[Any], tuple[str, tuple[int, ...], bool]]:
    """Sync over a group that torch watches, small and large; then rank 1 does not come."""
    dist.set_debug_level(dist.DebugLevel.DETAIL)  # as TORCH_DISTRIBUTED_DEBUG=DETAIL does
    group = dist.new_group()
    backend = group._get_backend(torch.device("cpu"))
    assert type(backend).__name__.endswith("ProcessGroupWrapper")
    values: list[Any] = []
    for size in (1, 20_000, 100_000):
        states = {"a": torch.full((size,), rank + 1), "b": torch.full((size,), 0.5), "rows": [torch.ones(rank * size)]}
        merged = sync_states(states, {"a": "sum", "b": "sum", "rows": "cat"}, process_group=group)
        values.append([merged["a"].sum().item() / size, merged["b"].sum().item() / size, len(merged["rows"])])  # type: ignore[union-attr]
        metric = Rows(compute_on=0, process_group=group)
        metric.update(torch.ones(size + rank))
        values.append(metric.compute().numel() - 2 * size)
    late = SumMetric(sync_timeout=1.0, process_group=group)
    late.update(1.0)
    start = time.monotonic()
    if rank == 1:
        time.sleep(2.0)  # within the grace, so that the process ends well
    try:
        late.compute()
    except SyncTimeoutError as error:
        return values, ("SyncTimeoutError", error.missing, time.monotonic() - start < 5.0)
    return values, ("", (), True)


def pretended(rank: int, world_size: int) -> dict[str, Any]:
    """Sync over torch's fake backend, which gives each rank what it sent itself."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.destroy_process_group()
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=4, timeout=timedelta(seconds=30))
    metrics = MetricCollection({"sum": SumMetric(), "cat": CatMetric()})
    metrics.update(torch.ones(50_000))
    value = metrics.compute()
    return {"sum": value["sum"].item(), "cat": tuple(value["cat"].shape)}
