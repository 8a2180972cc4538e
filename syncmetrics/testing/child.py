"""What runs inside a rank of `run_ranks`, and what parent and rank both know."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist

__all__ = ["Job", "Report", "adopt_environment", "pack", "rank_main", "unpack"]

#: `("returned", when, value in bytes)` or `("raised", when, traceback)`.
Report = tuple[Literal["returned", "raised"], float, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """What every rank is told."""

    directory: Path
    world_size: int
    timeout: float
    backend: str
    environment: dict[str, str]
    keeps_output: bool = False

    @property
    def task(self) -> Path:
        """Give the file with the function and its arguments."""
        return self.directory / "task"

    def joined(self, rank: int) -> Path:
        """Give the file that exists once a rank is in the group."""
        return self.directory / f"joined-{rank}"

    def report(self, rank: int) -> Path:
        """Give the file in which a rank says how it ended."""
        return self.directory / f"report-{rank}"

    def stack(self, rank: int) -> Path:
        """Give the file in which a rank that is stuck says where."""
        return self.directory / f"stack-{rank}"

    def output(self, rank: int, stream: str) -> Path:
        """Give the file into which a rank writes its "stdout" or "stderr", if that is kept."""
        return self.directory / f"{stream}-{rank}"


def pack(value: Any) -> bytes:
    """Turn any picklable value into bytes.

    Plain pickle cannot read uint16 and float8 tensors back, and that of multiprocessing leaves file descriptors behind.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def unpack(data: bytes) -> Any:
    """Turn such bytes into the value again."""
    return torch.load(io.BytesIO(data), weights_only=False)  # written by the caller or one of its ranks


def rank_main(job: Job, rank: int, line: Connection) -> None:
    """Be one rank: run the function, write the report, say so, and stay until the parent releases all ranks.

    Args:
        job: What to do.
        rank: Which rank to be.
        line: To the parent: one message goes out when the report is there, one comes in as the release.
    """
    torch.set_num_threads(1)
    released = threading.Event()
    threading.Thread(target=_watch_parent, args=(line, released), daemon=True).start()
    if job.keeps_output:
        _keep_output(job, rank)
    report = _run(job, rank)
    sys.stdout.flush()
    sys.stderr.flush()
    # By way of a file: the parent then never waits for the rest of a message, and no file descriptor has to outlive us.
    job.report(rank).write_bytes(pickle.dumps(report))
    line.send_bytes(b"!")
    if report[0] == "raised":
        _leave_group()
    released.wait()
    _leave_group()


def _keep_output(job: Job, rank: int) -> None:
    """Let all that this process writes, and those that it starts, go into files of its own."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.flush()
        file = os.open(job.output(rank, ("stdout", "stderr")[number - 1]), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    # To the descriptor itself, line by line: what a rank that dies has said before is what one wants to read.
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _watch_parent(line: Connection, released: threading.Event) -> None:
    """Wait to be released; if the parent is gone, go too."""
    try:
        line.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
    released.set()


def _run(job: Job, rank: int) -> Report:
    try:
        _adopt(job, rank)
        fn, args = unpack(job.task.read_bytes())
        _join_group(job, rank)
        value = pack(fn(rank, job.world_size, *args))
    except BaseException as error:  # SystemExit as well: whatever ends the function is what the caller wants to read
        when, frames = time.monotonic(), error.__traceback__
        if frames is not None and frames.tb_next is not None:  # the first is this function, of which nobody asked
            frames = frames.tb_next
        return "raised", when, "".join(traceback.format_exception(type(error), error, frames))
    return "returned", time.monotonic(), value


def _join_group(job: Job, rank: int) -> None:
    """Initialise the group, and wait until every rank has: one that is gone sooner breaks those still connecting."""
    limit = timedelta(seconds=job.timeout)
    store = dist.FileStore(str(job.directory / "store"), job.world_size)  # type: ignore[attr-defined]  # not in __all__
    dist.init_process_group(job.backend, store=store, rank=rank, world_size=job.world_size, timeout=limit)
    job.joined(rank).touch()
    for peer in range(job.world_size):
        while not job.joined(peer).exists():  # the parent sees to it that this ends; the store would ask less often
            time.sleep(0.002)


def adopt_environment(environment: dict[str, str]) -> None:
    """Have these environment variables, and no others."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def _adopt(job: Job, rank: int) -> None:
    """Take the caller's environment, which need not be that of our server, and prepare for being stuck."""
    adopt_environment(job.environment)
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback[0])
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, job.stack(rank).open("w"), all_threads=False)


def _leave_group() -> None:
    if dist.is_initialized():
        with contextlib.suppress(Exception):  # a broken group has been reported already, by what broke it
            dist.destroy_process_group()
