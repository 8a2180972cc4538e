"""What the ranks of test_run_ranks.py do. A module of its own, so that a rank does not have to import pytest."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

DTYPES = (
    torch.uint16,
    torch.uint32,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.complex64,
    torch.bool,
)


def whoami(rank: int, world_size: int, *args: Any) -> tuple[Any, ...]:
    time.sleep(0.05 * (world_size - rank))  # the last rank reports first
    return rank, world_size, dist.get_rank(), dist.get_world_size(), torch.get_num_threads(), *args


def reduce_ranks(rank: int, world_size: int) -> torch.Tensor:
    total = torch.tensor([rank + 1.0])
    dist.all_reduce(total)
    return total


def tensors(rank: int, world_size: int) -> list[torch.Tensor]:
    return [torch.tensor([0, 1, rank + 1]).to(dtype) for dtype in DTYPES]


def environment(rank: int, world_size: int, name: str) -> str | None:
    return os.environ.get(name)


def fail_on(rank: int, world_size: int, failing: int) -> None:
    if rank == failing:
        raise KeyError(f"rank {rank} has no such key")
    dist.barrier()


def abort_on(rank: int, world_size: int, failing: int) -> None:
    if rank == failing:
        signal.signal(signal.SIGABRT, signal.SIG_DFL)  # no dump of the interpreter on standard error
        os.kill(os.getpid(), signal.SIGABRT)
    dist.barrier()


def exit_on(rank: int, world_size: int, failing: int, how: str) -> int:
    if rank == failing:
        sys.exit("gone by sys.exit") if how == "sys" else os._exit(7)
    return rank


def one_is_late(rank: int, world_size: int) -> float:
    """All but rank 0 are done long before rank 0 builds a group of its own with them."""
    group = dist.new_group()
    if rank == 0:
        time.sleep(0.5)
    total = torch.tensor([1.0])
    work = dist.all_reduce(total, group=group, async_op=True)
    if rank == 0:
        work.wait()
    return total.item() if rank == 0 else 0.0


def hang_but(rank: int, world_size: int, directory: str, finishing: int | None = None) -> int:
    Path(directory, str(rank)).write_text(str(os.getpid()))
    if rank != finishing:
        wait_for_ever()
    return rank


def wait_for_ever() -> None:
    while True:
        time.sleep(60)


def unpicklable(rank: int, world_size: int) -> Any:
    return lambda: rank


def linger(rank: int, world_size: int) -> int:
    """Leave a handler behind that kills the process on its way out."""
    if rank == 1:
        import threading

        threading.Thread(target=lambda: (time.sleep(0.3), os._exit(9))).start()
    return rank


def run_code(rank: int, world_size: int, code: str) -> None:
    """Run a script. Nothing but torch, syncmetrics and what is in this module has been imported."""
    exec(compile(code, "script", "exec"), {"__name__": "script"})
