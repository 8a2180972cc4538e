"""Which sync of a group is which: ranks count alike, whatever they gave up."""

from __future__ import annotations

import torch

from syncmetrics import SchemaMismatchError, SumMetric
from syncmetrics.sync.memory import memory_of
from syncmetrics.transport import resolve_transport
from syncmetrics.transport.threads import run_threads


def test_ranks_that_have_counted_differently_are_told_once_and_count_on_together() -> None:
    def body(rank: int, world_size: int) -> list[str]:
        memory_of(resolve_transport()).synced = 3 * rank  # as if some had given up what others came to
        found = []
        for _ in range(3):
            metric = SumMetric()
            metric.update(torch.tensor(float(rank)))
            try:
                found.append(str(metric.compute().item()))
            except SchemaMismatchError as error:
                found.append("sync number" if "sync number" in str(error) else str(error))
        return found

    assert run_threads(body, 3) == [["sync number", "3.0", "3.0"]] * 3
