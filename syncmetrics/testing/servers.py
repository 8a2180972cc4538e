"""Fork ranks from a process that has imported the module of their function already.

Ranks are forked from a server that has imported torch and this package. What else they need every rank imports by
itself, in every call; where that is Lightning or transformers, the imports take many times as long as the tests. After
`import_once()` there is a further server for each module whose functions are run. It is forked from the first one,
imports the module, and then forks the ranks of all calls: new processes each time, as before, which find the module
imported. `also_imported` names modules that come before that of the function; servers for the same ones share them.

The servers end with the interpreter that has started them. A module that cannot be imported, or that starts threads or
uses CUDA while it is, gets no server: a fork would come out broken. Its ranks import it themselves, as they do without
`import_once`.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import send_handle
from typing import Any

from syncmetrics.testing.child import Job
from syncmetrics.testing.forking import ARE_YOU_THERE, READY, RankOrder, ServerOrder, read_number, serve

__all__ = [
    "Forked",
    "Server",
    "also_imported",
    "close_servers",
    "import_once",
    "server_of",
    "start_context",
    "start_first_server",
]

_KEPT = 8  # servers at a time
_LEAVE_SECONDS = 5.0
_ANSWER_SECONDS = 30.0

_wanted = False
_before: tuple[str, ...] = ()
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
    """Have more modules imported, once, for the ranks of all calls inside, before the one of the function.

    They may be what functions import as they run. Functions of several modules share what is named first.
    """
    global _before
    outside, _before = _before, modules
    try:
        yield
    finally:
        _before = outside


def start_context() -> Any:
    """Give what starts the first server, and all processes where there can be none."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch.distributed", "syncmetrics.testing.child"])
    return context


def start_first_server() -> None:
    """Start the server that all others, and ranks without one, are forked from, if it is not running."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        start_context()
        multiprocessing.forkserver.ensure_running()


def server_of(fn: Callable[..., Any], timeout: float) -> Server | None:
    """Give the server that forks ranks for a function; None if they are to be started without one.

    Args:
        fn: What the ranks are to run.
        timeout: Seconds that its module, or one that comes before it, may take to be imported.
    """
    module = getattr(fn, "__module__", None)
    if not _wanted or module is None or module in ("__main__", "__mp_main__", "builtins"):
        return None
    with _lock:
        return _find((*_before, module), timeout)


def close_servers() -> None:
    """End all servers. The next call starts new ones."""
    with _lock:
        for modules in sorted(_servers, key=len, reverse=True):  # one that was forked from another before that one
            _close(_servers.pop(modules))


def _find(modules: tuple[str, ...], timeout: float) -> Server | None:
    server = _servers.pop(modules) if modules in _servers else _started(modules, timeout)
    if server is not None and not server.answers():
        server.close()
        server = _started(modules, timeout)
    _servers[modules] = server  # the one that was used last is the last one
    # The one that was not used for longest goes, unless others were forked from it: they are its to look after.
    kept = [key for key, each in _servers.items() if each is not None]
    spare = [key for key in kept if not any(key == other[: len(key)] for other in kept if key != other)]
    if len(kept) > _KEPT and spare[0] != modules:
        _close(_servers.pop(spare[0]))
    return server


def _started(modules: tuple[str, ...], timeout: float) -> Server | None:
    above = _find(modules[:-1], timeout) if len(modules) > 1 else None
    try:
        server = Server(modules, above)
    except OSError:  # the one above is gone
        return None
    if server.is_ready(timeout):
        return server
    server.process.kill()  # it may be at an import that does not end
    server.close()
    return None


def _close(server: Server | None) -> None:
    if server is not None:
        server.close()


class Forked:
    """A process that a server has forked: what `multiprocessing` has of its own processes.

    Args:
        status: The end of a pipe from which its process number comes, and its exit code once it has ended.
    """

    def __init__(self, status: int) -> None:
        self.sentinel = status
        self.pid = read_number(status)
        self._code: int | None = None

    @property
    def exitcode(self) -> int | None:
        """Its exit code, or None if it is running."""
        if self._code is None and wait([self.sentinel], 0):
            try:
                self._code = read_number(self.sentinel)
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
    """A process that has imported modules and forks ranks, as its parent sees it.

    Args:
        modules: What it has imported.
        above: The server of all of these but the last, to fork it from; None for the first server of all.

    Raises:
        OSError: The server above is gone.
    """

    def __init__(self, modules: tuple[str, ...], above: Server | None) -> None:
        self._line, theirs = multiprocessing.Pipe()
        self._lock = threading.Lock()
        self.process: BaseProcess | Forked
        try:
            if above is not None:
                self.process = above._fork(ServerOrder(modules[-1:], dict(os.environ)), theirs)
            else:
                order = ServerOrder(modules, dict(os.environ))
                process: BaseProcess = start_context().Process(target=serve, args=(theirs, order), daemon=False)
                process.start()
                self.process = process
        except BaseException:
            self._line.close()
            raise
        finally:
            theirs.close()

    def is_ready(self, timeout: float) -> bool:
        """Wait until the modules are imported; say whether ranks can be forked."""
        try:
            return wait([self._line], timeout) != [] and self._line.recv_bytes() == READY
        except (EOFError, OSError):
            return False

    def answers(self) -> bool:
        """Say whether it is there still."""
        try:
            with self._lock:
                self._line.send_bytes(ARE_YOU_THERE)
                return self.is_ready(_ANSWER_SECONDS)
        except OSError:
            return False

    def start(self, job: Job, rank: int, line: Connection) -> Forked:
        """Fork a rank, which is at the other end of a line.

        Raises:
            OSError: The server is gone.
        """
        return self._fork(RankOrder(job, rank, os.getcwd(), list(sys.path)), line)

    def _fork(self, order: RankOrder | ServerOrder, line: Connection) -> Forked:
        ours, theirs = os.pipe()
        try:
            with self._lock:
                self._line.send_bytes(pickle.dumps(order))
                for handle in (line.fileno(), theirs):
                    send_handle(self._line, handle, self.process.pid)
        except BaseException:  # half an order may be on its way
            self._line.close()
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        try:
            return Forked(ours)
        except EOFError as error:
            os.close(ours)
            raise OSError("The server has ended.") from error

    def close(self) -> None:
        """Let the server end, which it does as soon as its last rank has ended."""
        self._line.close()
        self.process.join(_LEAVE_SECONDS)
        if not self.process.is_alive():
            self.process.close()


atexit.register(close_servers)
