"""What a rank does in the tests of law 9: it computes in two threads at once."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from syncmetrics import SumMetric, SyncError
from syncmetrics.transport.base import Role
from syncmetrics.transport.process_group import transport

STEPS = 30


def value_of(thread: int, step: int) -> float:
    """Give the value of all ranks that a thread must have after so many steps."""
    return (1000.0 * thread + 1.0) * (1 + step) * 3.0


def two_threads(rank: int, world_size: int, attempt: int) -> list[Any]:
    """Update and compute in two threads, over one group; end with the first error, which is to name what went wrong."""
    ended = threading.Event()
    found: list[Any] = [None, None]

    def body(thread: int) -> None:
        metric, values, told = SumMetric(sync_timeout=2.0), [], None
        try:
            for _ in range(STEPS):
                if ended.is_set():
                    break
                metric.update(torch.tensor((1000.0 * thread + 1.0) * (rank + 1), dtype=torch.float64))
                values.append(metric.compute().item())
        except SyncError as error:
            told = str(error)
            ended.set()
        found[thread] = values, told

    threads = [threading.Thread(target=body, args=(n,), name=f"loop {n}") for n in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return found


def one_transport(rank: int, world_size: int) -> int:
    """Ask for what syncs over groups that nothing was synced over yet in many threads; give how many there were."""
    makers: list[Callable[[], object]] = [
        transport.world_transport,
        lambda: transport.world_transport().twin(),
        lambda: transport.transport_between((0,), "test", Role),
    ]
    most = 0
    sys.setswitchinterval(1e-6)
    for attempt in range(200):
        transport._transports.clear()
        transport._between.clear()
        start, found = threading.Barrier(4), []

        def body(start: threading.Barrier = start, found: list[object] = found, attempt: int = attempt) -> None:
            start.wait(30.0)
            found.append(makers[attempt % len(makers)]())

        threads = [threading.Thread(target=body) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert len(found) == len(threads)
        most = max(most, len({id(each) for each in found}))
    return most


def own_groups(rank: int, world_size: int) -> None:
    """Update and compute in two threads, each over a group of its own."""
    groups = [dist.new_group(list(range(world_size))) for _ in range(2)]
    wrong: list[Any] = []

    def body(thread: int) -> None:
        metric = SumMetric(process_group=groups[thread])
        for step in range(STEPS):
            metric.update(torch.tensor((1000.0 * thread + 1.0) * (rank + 1), dtype=torch.float64))
            value = metric.compute().item()
            if value != value_of(thread, step):
                wrong.append((thread, step, value))

    threads = [threading.Thread(target=body, args=(n,), name=f"loop {n}") for n in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong


def steps_of_threads(rank: int, world_size: int, steps: int) -> list[float]:
    """Step metrics of their own in three threads, with a garbage collection wherever one can be."""

    class InFull(SumMetric):
        full_state_update = True  # the second `update` of a step has the random numbers of the first

    def body(thread: int) -> None:
        metric = InFull(sync_on_compute=False)
        for _ in range(steps):
            metric.reset()
            metric(1.0)
            metric(2.0)
        found[thread] = metric.compute().item()

    found = [0.0] * 3
    sys.setswitchinterval(1e-6)
    gc.set_threshold(1)
    gc.callbacks.append(lambda phase, info: time.sleep(0))  # which lets another thread in
    threads = [threading.Thread(target=body, args=(n,)) for n in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return found
