"""What the ranks of test_shared_memory.py do."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from syncmetrics import PeerError, PeerLostError, SumMetric, SyncTimeoutError, share_errors
from syncmetrics.transport.process_group import segment, set_shared_memory, shared_memory, world_transport
from syncmetrics.transport.process_group import transport as transport_module
from tests.ranks.memories import move


def left_behind() -> list[str]:
    """Give the names that this user's jobs have in the shared memory of the host, and that are of processes here."""
    mine = f"-{os.getpid()}-"
    return [name for name in os.listdir("/dev/shm") if "syncmetrics" in name and mine in name]


def _is_shared() -> bool:
    metric = SumMetric()
    metric.update(1.0)
    assert metric.compute() == dist.get_world_size()
    return world_transport()._shared is not None


def shared(rank: int, world_size: int) -> tuple[bool, list[str]]:
    return _is_shared(), left_behind()


def unwilling(rank: int, world_size: int, who: int, how: str) -> tuple[bool, list[str]]:
    """One rank has it turned off, has no room, or cannot open what another has made."""
    if rank == who:
        if how == "environment":
            os.environ["SYNCMETRICS_SHARED_MEMORY"] = "0"
        elif how == "argument":
            set_shared_memory(False)
        elif how == "full":

            def full(*args: Any) -> None:
                raise OSError(errno.ENOSPC, "no room")

            os.posix_fallocate = full
        elif how == "cannot open":

            def refuse(*args: Any) -> None:
                raise PermissionError(errno.EACCES, "not yours")

            segment.Segment.open = refuse  # type: ignore[assignment]
        elif how == "no memory":
            segment._DIRECTORY = Path("/nowhere")
    return _is_shared(), left_behind()


def on_hosts(rank: int, world_size: int, hosts: str, count: int, seed: int) -> tuple[bool, int, int, list[str]]:
    """Exchange over several hosts; count what goes from host to host."""
    move(rank, hosts)
    is_shared = _is_shared()
    between: list[int] = []
    shared = world_transport()._shared
    if shared is not None and shared._between is not None:
        start = shared._between

        def counting(*args: Any) -> Any:
            between.append(1)
            return start(*args)

        shared._between = counting
    exchanged = _exchange(rank, world_size, count, seed)
    return is_shared, len(between), exchanged, os.listdir(segment._DIRECTORY)


def gone_from_a_host(
    rank: int, world_size: int, hosts: str, victim: int, how: str
) -> tuple[str, tuple[int, ...], float]:
    """One rank is killed, comes late or raises while the others wait for it."""
    move(rank, hosts)
    assert _is_shared()
    metric = SumMetric(sync_timeout=1.0 if how == "late" else 20.0)
    metric.update(float(rank))
    dist.barrier()
    if rank == victim and how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == victim and how == "late":
        dist.barrier()
        return "", (), 0.0
    try:
        with share_errors():
            if rank == victim and how == "raises":
                raise ValueError("no data")
            metric.compute()
    except (PeerLostError, SyncTimeoutError) as error:
        if how == "late":
            dist.barrier()
        return type(error).__name__, error.missing, float(metric.sum_value)
    except PeerError as error:
        return type(error).__name__, tuple(error.failures), float(metric.sum_value)
    except ValueError:
        return "ValueError", (), float(metric.sum_value)
    return "none", (), 0.0


def exchanges(rank: int, world_size: int, count: int, seed: int) -> int:
    """Exchange random numbers of random bytes, with pauses, and look at every byte."""
    assert _is_shared()
    return _exchange(rank, world_size, count, seed)


def _exchange(rank: int, world_size: int, count: int, seed: int) -> int:
    transport = world_transport()
    same, own = random.Random(seed), random.Random(seed * 1000 + rank)
    for number in range(count):
        size = same.choice((1, 7, 64, 1000, 8192, 32 << 10, shared_memory.SLOT_BYTES))
        out = torch.empty(world_size * size, dtype=torch.uint8)
        local = torch.full((size,), (31 * number + rank) % 251, dtype=torch.uint8)
        if own.random() < 0.02:
            time.sleep(own.random() * 2e-3)
        elif own.random() < 0.2:
            os.sched_yield()
        filled = [same.randrange(size + 1) if same.random() < 0.5 else size for _ in range(world_size)]
        transport.all_gather(out, local, filled=filled[rank], timeout=30.0)
        wanted = torch.tensor([(31 * number + peer) % 251 for peer in range(world_size)], dtype=torch.uint8)
        wrong = out.view(world_size, size) != wanted.unsqueeze(1)
        if bool((wrong & (torch.arange(size) < torch.tensor(filled).unsqueeze(1))).any()):
            raise AssertionError(f"wrong bytes in exchange {number}")
    return count


def killed(rank: int, world_size: int, victim: int) -> tuple[str, tuple[int, ...], float]:
    """One rank is killed while the others wait for it."""
    assert _is_shared()
    metric = SumMetric(sync_timeout=20.0)
    metric.update(1.0)
    dist.barrier()
    if rank == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    start = time.monotonic()
    try:
        metric.compute()
    except PeerLostError as error:
        return "lost", error.missing, time.monotonic() - start
    return "none", (), 0.0


def _held() -> int:
    """Count what this process holds of other processes, and of segments."""
    folder = Path("/proc/self/fd")
    links = [os.readlink(folder / one) for one in os.listdir(folder) if (folder / one).is_symlink()]
    processes = sum("pidfd" in link for link in links)
    return processes + Path("/proc/self/maps").read_text().count("/dev/shm/syncmetrics-")


def stopped_and_late(rank: int, world_size: int) -> tuple[list[Any], list[int]]:
    """Rank 1 comes too late to some syncs: each leaves a lane, and descriptors and threads stay as many."""
    found, descriptors = [], []
    assert _is_shared()
    for number in range(6):
        metric = SumMetric(sync_timeout=0.3)
        metric.update(float(number))
        if rank == 1 and number % 2:
            time.sleep(0.8)
        try:
            found.append(metric.compute().item())
        except SyncTimeoutError as error:
            found.append(error.missing)
        dist.barrier()
        descriptors.append(_held())
    return found, descriptors


def no_way_between(rank: int, world_size: int, hosts: str) -> tuple[bool, float, bool]:
    """On two hosts between which no lane can be opened: everything goes over the group."""
    move(rank, hosts)

    def refuse(*args: Any) -> None:
        raise RuntimeError("connect timed out")

    transport_module.open_gloo = refuse  # type: ignore[assignment]
    start = time.monotonic()
    is_shared = _is_shared()
    metric = SumMetric()
    metric.update(float(rank))
    return is_shared, float(metric.compute()), time.monotonic() - start < 20.0
