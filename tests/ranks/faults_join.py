"""Ranks with fewer steps than the others, inside `syncmetrics.join`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch.distributed.algorithms import Join
from torch.nn.parallel import DistributedDataParallel

import syncmetrics
from tests.ranks.faults_watch import BoomError, Watch
from tests.samples import Rows, Total

STEPS = (5, 3, 0, 1)  # of each rank


def batch_of(rank: int, step: int, rows: int = 2) -> torch.Tensor:
    return torch.full((rows,), float(10 * rank + step))


def _steps(watch: Watch, rank: int, world_size: int, rows: int = 2, with_model: bool = False) -> None:
    total, kept = Total(dist_sync_on_step=True), Rows(dist_sync_on_step=True)
    model = DistributedDataParallel(torch.nn.Linear(1, 1)) if with_model else None
    counts = STEPS[:world_size]
    with Join([model]) if model is not None else nullcontext(), syncmetrics.join(total, kept):
        for step in range(counts[rank]):
            batches = [batch_of(r, step, rows) for r in range(world_size) if step < counts[r]]
            mine = batch_of(rank, step, rows)
            if model is not None:
                model(mine[:, None]).sum().backward()
            watch.right(f"total of step {step}", lambda x=mine: total(x), sum(b.double().sum() for b in batches))
            watch.right(f"rows of step {step}", lambda x=mine: kept(x), torch.cat(batches))
    everything = [batch_of(r, step, rows) for r in range(world_size) for step in range(counts[r])]
    watch.right("total", total.compute, torch.cat(everything).double().sum(), total)
    watch.right("rows", kept.compute, torch.cat(everything), kept)


def join_steps(watch: Watch, rank: int, world_size: int) -> None:
    _steps(watch, rank, world_size)


def join_large(watch: Watch, rank: int, world_size: int) -> None:
    for rows in (20_000, 100_000):  # beyond a packet; beyond what shares a buffer
        _steps(watch, rank, world_size, rows)


def join_ddp(watch: Watch, rank: int, world_size: int) -> None:
    _steps(watch, rank, world_size, with_model=True)


def join_failing(watch: Watch, rank: int, world_size: int) -> None:
    """Rank 0 fails at its second step; the last rank has left by then, and hears of it at its next sync."""
    metric = Total(dist_sync_on_step=True)
    last = world_size - 1

    def loop() -> None:
        with syncmetrics.join(metric):
            for step in range(1 if rank == last else 3):
                if rank == 0 and step == 1:
                    raise BoomError("no such batch")
                metric(batch_of(rank, step))

    if rank == 0:
        watch.own("step", loop)
    elif rank == last:
        loop()
        watch.fault("step", metric.compute, metric)
    else:
        watch.fault("step", loop)


def _disagree(watch: Watch, rank: int, world_size: int, rows: int) -> None:
    metric = Rows(dist_sync_on_step=True, sync_timeout=5.0)
    last = world_size - 1

    def loop() -> None:
        with syncmetrics.join(metric):
            for step in range(1 if rank == last else 3):
                metric(torch.ones(rows, 3 if rank == 0 and step == 1 else 2))

    if rank == last:
        loop()
        watch.fault("step", metric.compute, metric)
    else:
        watch.fault("step", loop)


def join_disagreeing(watch: Watch, rank: int, world_size: int) -> None:
    _disagree(watch, rank, world_size, 3)


def join_disagreeing_large(watch: Watch, rank: int, world_size: int) -> None:
    _disagree(watch, rank, world_size, 100_000)


def join_in_join(watch: Watch, rank: int, world_size: int) -> None:
    """The last rank has no batch; the others do, inside of the block, what is not to be done there."""
    last = world_size - 1

    def inner(kind: str, metric: Rows, other: Rows) -> None:
        if kind == "join":
            with syncmetrics.join(other):
                other(batch_of(rank, 0))
        elif kind == "compute":
            metric.compute()
        else:
            syncmetrics.sync_and_compute([metric, other])

    for rows in (2, 20_000, 100_000):
        for kind in ("join", "compute", "sync_and_compute"):
            metric, other = Rows(dist_sync_on_step=True), Rows(dist_sync_on_step=True)

            def loop(kind: str = kind, metric: Rows = metric, other: Rows = other, rows: int = rows) -> None:
                with syncmetrics.join(metric):
                    if rank != last:
                        metric(batch_of(rank, 0, rows))
                        inner(kind, metric, other)

            if rank == last:
                loop()
                watch.fault(f"{kind}, {rows}", metric.compute, metric)
            else:
                watch.own(f"{kind}, {rows}", lambda act=loop: _told(act))
            everything = torch.cat([batch_of(r, 0, rows) for r in range(last)])
            watch.right(f"{kind}, {rows}, afterwards", metric.compute, everything, metric)


def _told(act: Callable[[], None]) -> None:
    try:
        act()
    except syncmetrics.SyncRefusedError as error:
        raise BoomError("refused") from error
