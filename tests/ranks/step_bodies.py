"""What a rank does in the tests of `sync_every`. It imports no pytest, so that ranks start soon."""

from __future__ import annotations

from typing import Any

import torch

from syncmetrics import ClasswiseWrapper, MetricCollection, join
from tests.ranks.collective_bodies import Calls
from tests.samples import Counts, Most, PerClass, Rows, Total


def batch(rank: int, step: int) -> torch.Tensor:
    return torch.full((rank + 1,), float(10 * step + rank))


def total_of(world_size: int, *steps: int) -> float:
    return float(sum(batch(rank, step).sum() for rank in range(world_size) for step in steps))


def metric_steps(rank: int, world_size: int) -> None:
    """Steps are counted from the last reset, those that raise too; updates between them are not."""
    metric = Total(sync_every=3)
    assert metric.dist_sync_on_step
    for epoch in range(2):
        for step in range(7):
            if step == 3:
                metric.update(torch.zeros(1))
                if rank == 0:
                    metric.update(torch.zeros(1))
            if step == 4 and rank == 1:
                try:
                    metric("no batch")
                except AttributeError:
                    continue
            value = metric(batch(rank, step))
            due = step % 3 == 2
            assert value == (total_of(world_size, step) if due else batch(rank, step).sum()), (epoch, step)
        if rank == 1:
            metric.update(batch(rank, 4))
        assert metric.compute() == total_of(world_size, *range(7))
        metric.reset()


def counts(rank: int, world_size: int) -> list[dict[str, int]]:
    """Give the operations of each step of a whole collection."""
    found = []
    collection = MetricCollection(
        {
            "total": Total(),
            "rows": Rows(),
            "share": Counts(3),
            "most": Most(3),
            "classes": ClasswiseWrapper(PerClass(3)),
        },
        sync_every=2,
    )
    calls = Calls()
    for _ in range(2):
        for step in range(5):
            x = batch(rank, step).long() % 3
            with calls.counted() as counter:
                values = collection(x)
            found.append(dict(counter))
            everyone = range(world_size) if step % 2 else [rank]
            batches = torch.cat([batch(r, step).long() % 3 for r in everyone])
            assert values["total"] == batches.sum()
            assert torch.equal(values["rows"].reshape(-1), batches)
            assert values["most"] == torch.bincount(batches).max()
        collection.reset()
    return found


def other_periods(rank: int, world_size: int) -> None:
    """Metrics of one collection may step differently, even if they accumulate the same."""
    collection = MetricCollection({"never": Counts(3), "second": Most(3, sync_every=2), "each": Most(3, sync_every=1)})
    assert len(collection.compute_groups) == 3
    wrapped = ClasswiseWrapper(PerClass(2, sync_every=2))
    for step in range(4):
        values = collection(torch.full((rank + 1,), 1))
        everyone = sum(range(1, world_size + 1))
        assert values["each"] == everyone
        assert values["second"] == (everyone if step % 2 else rank + 1)
        both = wrapped(torch.tensor([rank % 2]))
        assert both["perclass_1"] == ((world_size // 2) / world_size if step % 2 else rank % 2)


def joined(rank: int, world_size: int) -> None:
    """Ranks with fewer steps leave the loop early."""
    collection = MetricCollection([Total(), Rows()], sync_every=2)
    steps = [5, 2, 0][:world_size]
    with join(collection):
        for step in range(steps[rank]):
            values = collection(batch(rank, step))
            here: Any = [r for r in range(world_size) if step < steps[r]] if step % 2 else [rank]
            assert values["Total"] == sum(batch(r, step).sum() for r in here)
    assert collection.compute()["Total"] == sum(batch(r, s).sum() for r in range(world_size) for s in range(steps[r]))
