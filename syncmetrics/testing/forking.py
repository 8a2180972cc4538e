"""What runs in a server that has imported modules: it forks ranks, and further servers."""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import os
import pickle
import signal
import struct
import sys
import threading
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle
from typing import Any

import torch

from syncmetrics.testing.child import Job, adopt_environment, rank_main

__all__ = ["ARE_YOU_THERE", "READY", "RankOrder", "ServerOrder", "read_number", "serve"]

#: What a server is asked, and what it says once it has imported its modules, and when it is asked.
ARE_YOU_THERE, READY = b"?", b"ready"

_NUMBER = struct.Struct("q")


@dataclass(frozen=True, slots=True)
class RankOrder:
    """A rank to fork."""

    job: Job
    rank: int
    directory: str
    path: list[str]


@dataclass(frozen=True, slots=True)
class ServerOrder:
    """A server to fork, which imports more."""

    modules: tuple[str, ...]
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Desk:
    """What a server works with: the line to its parent, a pipe that wakes it up, and where to tell how forks end."""

    line: Connection
    wake: int
    woken: int
    interrupt: Any
    running: dict[BaseProcess, int] = field(default_factory=dict)


def serve(line: Connection, order: ServerOrder) -> None:
    """Import modules, and fork what the parent wants until it hangs up.

    Args:
        line: To the parent: orders come in, each with a line for the new process and a pipe for its end.
        order: What to import.
    """
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as the first server does: the parent sees to the ranks
    adopt_environment(order.environment)
    # With this, torch asks a library whether there is a GPU, and not CUDA, which no fork could use after it.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    torch.set_num_threads(1)
    if not _can_fork_after(order.modules):
        return
    gc.collect()
    gc.freeze()  # what is there now is not looked at again, and so not copied into each rank
    wake, woken = os.pipe()
    for end in (wake, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    desk = _Desk(line, wake, woken, interrupt)
    line.send_bytes(READY)
    sources: list[Any] = [line, wake]
    while len(sources) == 2 or desk.running:  # without a parent, each rank sees to itself
        ready = wait(sources)
        if wake in ready:
            os.read(wake, 1 << 16)
            _tell_ends(desk.running)
        if line in ready and not _obey(desk):
            sources.remove(line)


def _can_fork_after(modules: tuple[str, ...]) -> bool:
    """Import modules; say whether that went well and left nothing behind that does not survive a fork."""
    try:
        for module in modules:
            importlib.import_module(module)
    except BaseException:  # pytest skips modules by what is no Exception. The ranks will meet it again, and report it.
        return False
    uses_cuda: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch has no types for it
    return threading.active_count() == 1 and not uses_cuda


def _obey(desk: _Desk) -> bool:
    """Do what the parent says; return whether more may come."""
    try:
        said = desk.line.recv_bytes()
        if said == ARE_YOU_THERE:
            desk.line.send_bytes(READY)
            return True
        order = pickle.loads(said)  # our own parent wrote it
        line, status = recv_handle(desk.line), recv_handle(desk.line)
    except (EOFError, OSError):
        return False
    process = multiprocessing.get_context("fork").Process(
        target=_be_forked, args=(desk, order, line, status), daemon=False
    )
    process.start()
    os.close(line)
    desk.running[process] = status
    _write_number(status, process.pid or 0)
    return True


def _tell_ends(running: dict[BaseProcess, int]) -> None:
    for process, status in list(running.items()):
        if process.exitcode is not None:
            _write_number(status, process.exitcode)
            os.close(status)
            del running[process]
            process.close()


def _be_forked(desk: _Desk, order: RankOrder | ServerOrder, line: int, status: int) -> None:
    """Let go of all that is the server's, and be what was ordered."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, desk.interrupt)
    desk.line.close()
    for end in (desk.wake, desk.woken, status, *desk.running.values()):
        os.close(end)
    if isinstance(order, ServerOrder):
        serve(Connection(line), order)
        return
    multiprocessing.current_process().name = f"rank-{order.rank}"
    os.chdir(order.directory)
    sys.path[:] = order.path
    rank_main(order.job, order.rank, Connection(line))


def read_number(end: int) -> int:
    """Read from a pipe the process number, or the exit code, that a server has written.

    Raises:
        EOFError: The server is gone.
    """
    data = b""
    while len(data) < _NUMBER.size:
        more = os.read(end, _NUMBER.size - len(data))
        if not more:
            raise EOFError
        data += more
    number: int = _NUMBER.unpack(data)[0]
    return number


def _write_number(end: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the parent has lost interest
        os.write(end, _NUMBER.pack(number))
