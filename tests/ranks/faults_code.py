"""Ranks whose code fails, or that take another way through the program than the others."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from syncmetrics import Metric, MetricCollection, share_errors, sync_and_compute
from tests.ranks.faults_watch import BoomError, Watch, gave_up, say, wait_to_hear
from tests.samples import Accuracy, Rows, Total


class Failing(Metric):
    """Fails where it is told to."""

    def __init__(self, where: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._where = where
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, x: float) -> None:
        self.total += x
        if self._where == "update":
            raise BoomError("this batch is bad")

    def compute(self) -> Tensor:
        if self._where == "compute":
            raise BoomError("no value today")
        return self.total.clone()


def fail_everywhere(stacked: Tensor) -> Tensor:
    raise BoomError("cannot reduce")


def fail_on_last(stacked: Tensor) -> Tensor:
    if dist.get_rank() == dist.get_world_size() - 1:
        raise BoomError("cannot reduce here")
    return stacked.sum(0)


class Custom(Metric):
    """A reduction of the user's own."""

    def __init__(self, fx: Any) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx=fx)

    def update(self, x: float) -> None:
        self.total += x

    def compute(self) -> Tensor:
        return self.total.clone()


def shared(call: Any) -> Any:
    """Make the call as a user would that wants the others to hear of its failures."""

    def sharing() -> Any:
        with share_errors():
            return call()

    return sharing


def told_next(watch: Watch, rank: int, failed: list[int], report: Any) -> None:
    """Let the ranks that failed tell the others, who are at their next sync."""
    nxt = Rows()
    nxt.update(torch.tensor([rank]))
    if rank in failed:
        watch.own("told", shared(report), nxt)
    else:
        watch.fault("told", shared(nxt.compute), nxt)


def bad_batch(watch: Watch, rank: int, world_size: int) -> None:
    metric = Failing("update" if rank == world_size - 1 else "")
    if rank == world_size - 1:
        watch.own("sync", shared(lambda: metric.update(1.0)))
    else:
        metric.update(1.0)
        watch.fault("sync", shared(metric.compute), metric)


def impossible_state(watch: Watch, rank: int, world_size: int) -> None:
    metric = Rows()
    metric.update(torch.ones(2, 3))
    if rank == 0:
        metric.update(torch.ones(2, 4))
    watch.fault("rows that do not fit", metric.compute, metric)
    total = Total()
    if rank == world_size - 1:
        total.total = torch.zeros(2).to_sparse()
    watch.fault("no dense tensor", total.compute, metric)


def reduction_fails_everywhere(watch: Watch, rank: int, world_size: int) -> None:
    metric = Custom(fail_everywhere)
    metric.update(1.0)
    watch.own("sync", shared(metric.compute), metric)


def reduction_fails_once(watch: Watch, rank: int, world_size: int) -> None:
    metric = Custom(fail_on_last)
    metric.update(1.0)
    if rank != world_size - 1:
        watch.right("sync", metric.compute, torch.tensor(float(world_size)), metric)
    told_next(watch, rank, [world_size - 1], metric.compute)


def compute_fails_everywhere(watch: Watch, rank: int, world_size: int) -> None:
    metric = Failing("compute")
    metric.update(1.0)
    watch.own("sync", shared(metric.compute), metric)
    metric._where = ""
    watch.right("again", metric.compute, torch.tensor(float(world_size), dtype=torch.float64), metric)


def compute_fails_once(watch: Watch, rank: int, world_size: int) -> None:
    metric = Failing("compute" if rank == 0 else "")
    metric.update(1.0)
    if rank != 0:
        watch.right("sync", metric.compute, torch.tensor(float(world_size), dtype=torch.float64), metric)
    told_next(watch, rank, [0], metric.compute)


# -- other ways through the program


def _two(rank: int) -> tuple[Total, Accuracy]:
    first, second = Total(), Accuracy()
    first.update(torch.tensor(float(rank)))
    second.update(torch.tensor([0, rank]), torch.tensor([0, 1]))
    return first, second


def skipped_compute(watch: Watch, rank: int, world_size: int) -> None:
    first, second = _two(rank)
    watch.fault("sync", second.compute if rank == world_size - 1 else first.compute, first, second)


def computed_again(watch: Watch, rank: int, world_size: int) -> None:
    first, second = _two(rank)
    right = torch.tensor(float(sum(range(world_size))), dtype=torch.float64)
    watch.right("sync", first.compute, right, first)
    if rank == 0:
        watch.right("cached", first.compute, right, first)
        first.update(torch.tensor(1.0))
        watch.fault("second sync", first.compute, first, second)
    else:
        watch.fault("second sync", second.compute, first, second)


def cached_on_one_rank(watch: Watch, rank: int, world_size: int) -> None:
    first, second = _two(rank)
    right = torch.tensor(float(sum(range(world_size))), dtype=torch.float64)
    watch.right("sync", first.compute, right, first)
    if rank == 0:
        watch.right("cached", first.compute, right, first)
        watch.fault("second sync", second.compute, first, second)
    else:
        first.update(torch.tensor(1.0))
        watch.fault("second sync", first.compute, first, second)


def another_epoch(watch: Watch, rank: int, world_size: int) -> None:
    first, _ = _two(rank)
    right = torch.tensor(float(sum(range(world_size))), dtype=torch.float64)
    watch.right("sync", first.compute, right, first)
    if rank == 0:
        watch.right("cached", first.compute, right, first)
        first.reset()
    first.update(torch.tensor(1.0))
    watch.fault("second sync", first.compute, first)


def updated_elsewhere(watch: Watch, rank: int, world_size: int) -> None:
    """A value is still good where nothing was updated, but all ranks sync: it must not be given for the new one."""
    first, other = _two(rank)
    right = torch.tensor(float(sum(range(world_size))), dtype=torch.float64)
    watch.right("sync", first.compute, right, first)
    if rank != 0:
        first.update(torch.tensor(1.0))
    right = right + world_size - 1

    def in_context() -> Any:
        with first.sync_context():
            return first.compute()

    watch.right("sync_context", in_context, right, first)
    if rank != 0:
        first.update(torch.tensor(1.0))
    right = right + world_size - 1
    watch.right("sync_and_compute", lambda: sync_and_compute([first, other])[0], right, first, other)
    pair = MetricCollection({"a": Total(), "b": Total()})
    for metric in pair.values():
        metric.update(torch.tensor(1.0))
    pair.compute()
    pair["a" if rank == 0 else "b"].update(torch.tensor(1.0))
    now = {"a": torch.tensor(world_size + 1.0).double(), "b": torch.tensor(2.0 * world_size - 1).double()}
    watch.right("collection", pair.compute, now, pair)


def step_meets_compute(watch: Watch, rank: int, world_size: int) -> None:
    """Fewer steps on one rank, without `join`: what comes behind its loop meets the next step of the others."""
    metric = Total(dist_sync_on_step=True)
    watch.right("step", lambda: metric(torch.ones(1)), torch.tensor(float(world_size), dtype=torch.float64))
    watch.fault("second", metric.compute if rank == 0 else lambda: metric(torch.ones(1)), metric)


def only_on_rank_zero(watch: Watch, rank: int, world_size: int) -> None:
    first, second = _two(rank)
    if rank == 0:
        watch.fault("sync", first.compute, first, second)
    else:
        watch.fault("sync", second.compute, first, second)


def only_rank_zero_comes(watch: Watch, rank: int, world_size: int) -> None:
    metric = Total(sync_timeout=0.5)
    metric.update(torch.tensor(1.0))
    (word,) = gave_up("only rank zero comes", [0])
    if rank == 0:
        watch.fault("sync", metric.compute, metric)
        say(word)
    else:
        wait_to_hear(word)


class MuteError(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def mute_error(watch: Watch, rank: int, world_size: int) -> None:
    metric = Total()
    metric.update(torch.ones(1))

    def fail() -> None:
        raise MuteError

    if rank == world_size - 1:
        with contextlib.suppress(MuteError):
            shared(fail)()
        watch.right("after", lambda: 1, 1)
    else:
        watch.fault("sync", shared(metric.compute), metric)
