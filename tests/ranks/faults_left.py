"""Syncs that a rank leaves in the middle, and what becomes of the next ones."""

from __future__ import annotations

import signal
import time
from typing import Any

import torch

from syncmetrics import Metric
from syncmetrics.transport import resolve_transport
from tests.ranks.faults_gone import LARGE, filled
from tests.ranks.faults_watch import BoomError, Watch, gave_up, say, wait_to_hear
from tests.samples import Total

__all__ = ["interrupted", "interrupted_in_transfer", "no_memory", "not_on_a_device", "on_to_another", "tried_again"]


class TwoSums(Metric):
    """Two sums that do not fit into a packet."""

    def __init__(self, device: str = "cpu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("first", "second"):
            self.add_state(name, torch.zeros(20_000), dist_reduce_fx="sum")
        self.update()
        if device == "meta":
            for name in ("first", "second"):
                setattr(self, name, getattr(self, name).to(device))

    def update(self) -> None:
        self.first = self.first + 1
        self.second = self.second + 2

    def compute(self) -> Any:
        return self.first + self.second


def _right_after(watch: Watch, world_size: int) -> None:
    """Look whether the ranks are in step again: a metric that nobody has seen, small and large."""
    for rows in (10, LARGE):
        metric = filled(rows, resolve_transport().rank)
        right = torch.arange(world_size).repeat_interleave(rows).float()
        watch.right(f"{rows} rows after", metric.compute, right, metric)


def not_on_a_device(watch: Watch, rank: int, world_size: int) -> None:
    watch.fault("meta", TwoSums("meta" if rank == world_size - 1 else "cpu").compute)
    watch.right("as on the others", TwoSums().compute, torch.full((20_000,), 3.0 * world_size))


def no_memory(watch: Watch, rank: int, world_size: int) -> None:
    """Rank 0 has no memory for what the others send."""
    metrics = [TwoSums(), filled(LARGE, rank)]
    empty = torch.empty

    def little(*size: Any, **kwargs: Any) -> Any:
        if sum(part if isinstance(part, int) else 0 for part in size) > 40_000:
            raise RuntimeError("can't allocate memory")
        return empty(*size, **kwargs)

    for number, metric in enumerate(metrics):
        if rank == 0 and number:
            torch.empty = little
        try:
            if number:
                watch.fault("no memory", metric.compute, metric)
            else:
                watch.right("before", metric.compute, torch.full((20_000,), 3.0 * world_size), metric)
        finally:
            torch.empty = empty
    _right_after(watch, world_size)


def interrupted(watch: Watch, rank: int, world_size: int) -> None:
    """An alarm goes off while rank 0 waits for the others, which come later."""
    metric = filled(10, rank)
    if rank == 0:

        def ring(*_: Any) -> None:
            raise BoomError("the time is up")

        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        try:
            watch.own("sync", metric.compute, metric)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
        say("rank 0 was interrupted")
    else:
        wait_to_hear("rank 0 was interrupted")
        watch.fault("sync", metric.compute, metric)
    watch.right("again", metric.compute, torch.arange(world_size).repeat_interleave(10).float(), metric)
    _right_after(watch, world_size)


def interrupted_in_transfer(watch: Watch, rank: int, world_size: int) -> None:
    """Rank 0 leaves between the exchange and the end of the transfer."""
    metric = filled(LARGE, rank)
    if rank == 0:
        transport: Any = resolve_transport()

        def leave(*args: Any, **kwargs: Any) -> None:
            raise BoomError("in the middle")

        transport.broadcasts = leave
        watch.own("sync", metric.compute, metric)
        del transport.broadcasts
    else:
        watch.fault("sync", metric.compute, metric)
    watch.right("again", metric.compute, torch.arange(world_size).repeat_interleave(LARGE).float(), metric)
    _right_after(watch, world_size)


def on_to_another(watch: Watch, rank: int, world_size: int) -> None:
    """Rank 0 gives up on one metric and goes on to another, to which the others come late."""
    first, second = Total(sync_timeout=0.7), filled(LARGE, rank, sync_timeout=60.0)
    first.update(torch.ones(1))
    if rank == 0:
        watch.fault("first", first.compute, first)
        say("rank 0 goes on")
    else:
        wait_to_hear("rank 0 goes on")
        watch.fault("first", second.compute, second)
    watch.right("second", second.compute, torch.arange(world_size).repeat_interleave(LARGE).float(), second)
    _right_after(watch, world_size)


def tried_again(watch: Watch, rank: int, world_size: int) -> None:
    """The first background sync, which opens its lane, is given up by those that came, and tried again by all."""
    metric, absent = filled(10, rank, sync_timeout=0.7), world_size - 1
    words = gave_up("tried", list(range(absent)))
    if rank == absent:
        wait_to_hear(*words)
        time.sleep(2.0)
    watch.fault("first", lambda: metric.compute_async().wait(), metric)
    if rank != absent:
        say(words[rank])
        wait_to_hear("tried: all")
    else:
        say("tried: all")
    right = torch.arange(world_size).repeat_interleave(10).float()
    metric.sync_timeout = 60.0
    watch.right("again", lambda: metric.compute_async().wait(), right, metric)
    _right_after(watch, world_size)
