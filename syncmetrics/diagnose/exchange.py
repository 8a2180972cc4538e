"""A timed exchange between ranks: a bare `all_gather`, and a sync with and without the memory that ranks share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any

import torch
import torch.distributed as dist

from syncmetrics.aggregation import SumMetric
from syncmetrics.diagnose.clocks import Clock, clocks_of_ranks
from syncmetrics.metric import synced
from syncmetrics.transport.process_group import world_transport
from syncmetrics.transport.process_group.greeting import wanting_shared_memory

__all__ = ["Exchange", "gather_into", "time_exchange", "timed_on_rank"]

#: What a rank gives to the bare gather: about as much as a sync of a few metrics.
BARE_BYTES = 8192
_CLOCK_ROUNDS = 10

#: `gather_into(out, local)`. Torch has renamed it, and the old name warns.
gather_into: Callable[..., Any] = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


@dataclass(frozen=True, slots=True)
class Exchange:
    """What exchanges took, in seconds: medians on rank 0.

    Attributes:
        world_size: Between how many ranks.
        backends: Which backend serves which device: `"cpu:gloo,cuda:nccl"`.
        bare: An `all_gather` of 8 KiB by hand.
        plain: A sync of one metric that goes over the process group.
        shared: A sync of one metric through shared memory; None where the ranks do not share any.
        accelerator: The bare gather between accelerators; None where the group serves none beside the CPU.
        clocks: How far the clocks of the ranks are apart.
    """

    world_size: int
    backends: str
    bare: float
    plain: float
    shared: float | None
    accelerator: float | None = None
    clocks: tuple[Clock, ...] = ()


def timed_on_rank(rank: int, world_size: int, rounds: int) -> Exchange:
    """Time exchanges on a rank of `run_ranks`. Collective: every rank of the group must call this."""
    return time_exchange(rounds)


def time_exchange(rounds: int = 50, *, timeout: float = 60.0) -> Exchange:
    """Time exchanges over the default process group. Collective: every rank of the group must call this.

    Args:
        rounds: How often each is done; they take turns.
        timeout: Seconds to wait for the other ranks.
    """
    device = world_transport().wire_device(["cpu"])
    with _group_without_shared_memory(timeout) as group:
        ways = {"bare": _bare(device), "plain": _sync(timeout, process_group=group), "shared": _sync(timeout)}
        accelerator = world_transport().wire_device(["cuda"])
        if accelerator.type != device.type:
            ways["accelerator"] = _bare(accelerator)
        for way in ways.values():
            way()  # the first one connects, and finds out whether memory is shared
        if not world_transport().shares_memory:
            ways["plain"] = ways.pop("shared")
        clocks = _clocks(device)
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                taken[name].append(time.perf_counter() - start)
    middle = {name: median(times) for name, times in taken.items()}
    return Exchange(
        world_size=dist.get_world_size(),
        backends=str(dist.get_backend_config()),
        bare=middle["bare"],
        plain=middle["plain"],
        shared=middle.get("shared"),
        accelerator=middle.get("accelerator"),
        clocks=tuple(clocks),
    )


@contextmanager
def _group_without_shared_memory(timeout: float) -> Iterator[Any]:
    """Make a group of all ranks whose syncs go over the group. A group finds out how with its first sync."""
    group = dist.new_group(timeout=timedelta(seconds=timeout))
    try:
        with wanting_shared_memory(False):
            _sync(timeout, process_group=group)()
        yield group
    finally:
        dist.destroy_process_group(group)


def _bare(device: torch.device) -> Callable[[], None]:
    local = torch.zeros(BARE_BYTES, dtype=torch.uint8, device=device)
    out = torch.empty(dist.get_world_size() * BARE_BYTES, dtype=torch.uint8, device=device)

    def gather() -> None:
        gather_into(out, local)
        out[:1].cpu()  # an accelerator may still be at it

    return gather


def _sync(timeout: float, **options: Any) -> Callable[[], None]:
    metric = SumMetric(sync_timeout=timeout, **options)
    metric.update(1.0)

    def sync() -> None:
        with synced(metric):
            pass

    return sync


def _clocks(device: torch.device) -> list[Clock]:
    """Compare the clocks of all ranks. Collective: every rank of the group must call this."""
    world, times = dist.get_world_size(), []
    gather = _bare(device)
    for _ in range(_CLOCK_ROUNDS):
        entered = time.time_ns()
        gather()
        times.append((entered, time.time_ns()))
    mine = torch.tensor(times, dtype=torch.int64, device=device).flatten()
    out = torch.empty(world * mine.numel(), dtype=torch.int64, device=device)
    gather_into(out, mine)
    read = out.view(world, _CLOCK_ROUNDS, 2).cpu()
    return clocks_of_ranks(read[:, :, 0].T.tolist(), read[:, :, 1].T.tolist())
