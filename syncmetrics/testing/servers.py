"""Fork ranks from a process that has imported the module of their function already.

Ranks are forked from a server that has imported torch and this package. What else they need every rank imports by
itself, in every call; where that is Lightning or transformers, the imports take many times as long as the tests. After
`import_once()` there is a further server for each module whose functions are run. It is forked from the first one,
imports the module, and then forks the ranks of all calls: new processes each time, as before, which find the module
imported.

The servers end with the interpreter that has started them. A module that cannot be imported, or that starts threads or
uses CUDA while it is, gets no server: a fork would come out broken. Its ranks import it themselves, as they do without
`import_once`.
"""

from __future__ import annotations

import atexit
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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

import torch

from syncmetrics.testing.child import Job, adopt_environment, rank_main

__all__ = ["ForkedRank", "Server", "also_imported", "close_servers", "import_once", "server_of", "start_context"]

_KEPT = 6  # servers at a time; one that was not used for longest goes first
_LEAVE_SECONDS = 5.0
_ANSWER_SECONDS = 30.0
_READY, _ARE_YOU_THERE = b"ready", b"?"
_NUMBER = struct.Struct("q")

_wanted = False
_more: tuple[str, ...] = ()
_servers: dict[tuple[str, ...], Server | None] = {}  # by modules; None: no server can be had for these
_lock = threading.Lock()


def import_once() -> None:
    """Have ranks forked, from now on, from a process that has imported the module of their function.

    For a `conftest.py`. What a module reads while it is imported, as an environment variable, it then reads once, and
    not in each call. Nothing changes for functions of `__main__`, and nothing on systems without fork.
    """
    global _wanted
    _wanted = "forkserver" in multiprocessing.get_all_start_methods()


@contextlib.contextmanager
def also_imported(*modules: str) -> Iterator[None]:
    """Have more modules imported, once, for the ranks of all calls inside: those that functions import as they run."""
    global _more
    before, _more = _more, modules
    try:
        yield
    finally:
        _more = before


def start_context() -> Any:
    """Give what starts the first server, and all processes where there can be none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch.distributed", "syncmetrics.testing.child"])
    return context


def server_of(fn: Callable[..., Any], timeout: float) -> Server | None:
    """Give the server that forks ranks for a function; None if they are to be started without one.

    Args:
        fn: What the ranks are to run.
        timeout: Seconds that its module may take to be imported.
    """
    module = getattr(fn, "__module__", None)
    if not _wanted or module is None or module in ("__main__", "__mp_main__", "builtins"):
        return None
    modules = (*_more, module)
    with _lock:
        server = _servers.pop(modules) if modules in _servers else _started(modules, timeout)
        if server is not None and not server.answers():
            server.close()
            server = _started(modules, timeout)
        _servers[modules] = server  # the one that was used last is the last one
        running = [key for key, each in _servers.items() if each is not None]
        for key in running[:-_KEPT]:
            _close(_servers.pop(key))
        return server


def close_servers() -> None:
    """End all servers. The next call starts new ones."""
    with _lock:
        while _servers:
            _close(_servers.popitem()[1])


def _close(server: Server | None) -> None:
    if server is not None:
        server.close()


def _started(modules: tuple[str, ...], timeout: float) -> Server | None:
    server = Server(modules)
    if server.is_ready(timeout):
        return server
    server.close()
    return None


class ForkedRank:
    """A rank that a server has forked: what `multiprocessing` has of its own processes.

    Args:
        status: The end of a pipe from which its process number comes, and its exit code once it has ended.
    """

    def __init__(self, status: int) -> None:
        self.sentinel = status
        self.pid = _read(status)
        self._code: int | None = None

    @property
    def exitcode(self) -> int | None:
        """Its exit code, or None if it is running."""
        if self._code is None and wait([self.sentinel], 0):
            try:
                self._code = _read(self.sentinel)
            except EOFError:  # the server was killed, and nobody knows
                self._code = 255
        return self._code

    def is_alive(self) -> bool:
        """Say whether it is running."""
        return self.exitcode is None

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended."""
        if self._code is None:
            wait([self.sentinel], timeout)

    def kill(self) -> None:
        """Kill it."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let go of what was held for it."""
        os.close(self.sentinel)


class Server:
    """A process that has imported modules and forks ranks, as its parent sees it."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        context = start_context()
        self._line, theirs = context.Pipe()
        self._lock = threading.Lock()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, modules, dict(os.environ)), name=f"ranks of {modules[-1]}", daemon=False
        )
        self.process.start()
        theirs.close()

    def is_ready(self, timeout: float) -> bool:
        """Wait until the modules are imported; say whether ranks can be forked."""
        try:
            return wait([self._line], timeout) != [] and self._line.recv_bytes() == _READY
        except (EOFError, OSError):
            return False

    def answers(self) -> bool:
        """Say whether it is there still."""
        try:
            with self._lock:
                self._line.send_bytes(_ARE_YOU_THERE)
                return self.is_ready(_ANSWER_SECONDS)
        except OSError:
            return False

    def start(self, job: Job, rank: int, line: Connection) -> ForkedRank:
        """Fork a rank, which is at the other end of a line.

        Raises:
            OSError: The server is gone.
        """
        ours, theirs = os.pipe()
        try:
            with self._lock:
                self._line.send_bytes(pickle.dumps(_Order(job, rank, os.getcwd(), list(sys.path))))
                for handle in (line.fileno(), theirs):
                    send_handle(self._line, handle, self.process.pid)
        except BaseException:  # half an order may be on its way
            self._line.close()
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        try:
            return ForkedRank(ours)
        except EOFError as error:
            os.close(ours)
            raise OSError("The server has ended.") from error

    def close(self) -> None:
        """End the server."""
        self._line.close()
        self.process.join(_LEAVE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process.close()


# ---- what runs in a server -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Order:
    """A rank to fork."""

    job: Job
    rank: int
    directory: str
    path: list[str]


def _serve(line: Connection, modules: tuple[str, ...], environment: dict[str, str]) -> None:
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as the first server does: the parent sees to the ranks
    adopt_environment(environment)
    # With this, torch asks a library whether there is a GPU, and not CUDA, which no fork could use after it.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    torch.set_num_threads(1)
    if not _can_fork_after(modules):
        return
    gc.collect()
    gc.freeze()  # what is there now is not looked at again, and so not copied into each rank
    line.send_bytes(_READY)
    wake, woken = os.pipe()
    for end in (wake, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[BaseProcess, int] = {}
    sources: list[Any] = [line, wake]
    while len(sources) == 2 or running:  # when the parent is gone, or wants us to go, each rank sees to itself
        ready = wait(sources)
        if wake in ready:
            os.read(wake, 1 << 16)
            _tell_ends(running)
        if line in ready and not _obey(line, wake, woken, running, interrupt):
            sources.remove(line)


def _obey(line: Connection, wake: int, woken: int, running: dict[BaseProcess, int], interrupt: Any) -> bool:
    """Do what the parent says; return whether more may come."""
    try:
        said = line.recv_bytes()
        if said == _ARE_YOU_THERE:
            line.send_bytes(_READY)
            return True
        order = pickle.loads(said)  # our own parent wrote it
        talk, status = recv_handle(line), recv_handle(line)
    except (EOFError, OSError):
        return False
    process = multiprocessing.get_context("fork").Process(
        target=_be_rank,
        args=(order, talk, line, [wake, woken, status, *running.values()], interrupt),
        name=f"rank-{order.rank}",
        daemon=False,
    )
    process.start()
    os.close(talk)
    running[process] = status
    _write(status, process.pid or 0)
    return True


def _can_fork_after(modules: tuple[str, ...]) -> bool:
    """Import modules; say whether that went well and left nothing behind that does not survive a fork."""
    try:
        for module in modules:
            importlib.import_module(module)
    except BaseException:  # pytest skips modules by what is no Exception. The ranks will meet it again, and report it.
        return False
    uses_cuda: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch has no types for it
    return threading.active_count() == 1 and not uses_cuda


def _tell_ends(running: dict[BaseProcess, int]) -> None:
    for process, status in list(running.items()):
        if process.exitcode is not None:
            _write(status, process.exitcode)
            os.close(status)
            del running[process]
            process.close()


def _be_rank(order: _Order, talk: int, line: Connection, unwanted: Iterable[int], interrupt: Any) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, interrupt)
    line.close()
    for end in unwanted:
        os.close(end)
    os.chdir(order.directory)
    sys.path[:] = order.path
    rank_main(order.job, order.rank, Connection(talk))


def _read(end: int) -> int:
    data = b""
    while len(data) < _NUMBER.size:
        more = os.read(end, _NUMBER.size - len(data))
        if not more:
            raise EOFError
        data += more
    number: int = _NUMBER.unpack(data)[0]
    return number


def _write(end: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the parent has lost interest
        os.write(end, _NUMBER.pack(number))


atexit.register(close_servers)
