"""Memory that processes of one host share under a name, with a semaphore for each pair of them.

Its names are gone once all have opened it, so that nothing is left behind when the processes end, however they do; what
a job left that was killed before is swept away by the next one.
"""

from __future__ import annotations

import importlib
import mmap
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from syncmetrics.transport.neighbours import is_running, start_of_process

__all__ = ["CANNOT", "Segment", "place_of_memory"]

#: What is raised where there is no shared memory, no room in it, or a Python without semaphores.
CANNOT = (OSError, ValueError, ImportError, AttributeError)

_DIRECTORY = Path("/dev/shm")
#: The system keeps semaphores that have a name here.
_SEMAPHORES = Path("/dev/shm")
_PREFIX = "syncmetrics"
_SEMAPHORE, _MOST = 1, 1 << 30


def place_of_memory() -> str:
    """Tell processes of one host apart that do not share memory, as those of containers: empty if there is none."""
    try:
        found = os.stat(_DIRECTORY)
    except OSError:
        return ""
    return f"{found.st_dev}.{found.st_ino}"


class Segment:
    """Memory with a name, and semaphores with names, until `unlink` takes the names away.

    Attributes:
        name: What it is called.
        token: Random bytes, which its first bytes are.
        memory: The memory.
    """

    memory: mmap.mmap

    def __init__(self, name: str, token: bytes, ranks: int, memory: mmap.mmap | None) -> None:
        self.name = name
        self.token = token
        if memory is not None:
            self.memory = memory
        self._ranks = ranks
        self._made: list[Any] = []

    @classmethod
    def make(cls, ranks: int, size: int) -> Segment | None:
        """Make one of so many bytes that this user alone can open; None if there is no room for it."""
        _sweep()
        pid = os.getpid()
        name = f"{_PREFIX}-{pid}-{start_of_process(pid)}-{_space_of_processes()}-{os.urandom(12).hex()}"
        token = os.urandom(16)
        segment = cls(name, token, ranks, None)
        try:
            descriptor = os.open(_DIRECTORY / name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)
            try:
                # All of it now: memory that is not there ends the process when it is touched.
                os.posix_fallocate(descriptor, 0, size)
                segment.memory = mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)
            segment.memory[: len(token)] = token
            for one in range(ranks):
                for other in range(ranks):
                    if one != other:
                        segment._made.append(_semaphore(segment._name_of(one, other), new=True))
        except CANNOT:
            segment.unlink()
            return None
        return segment

    @classmethod
    def open(cls, name: str, token: bytes, ranks: int, size: int) -> Segment:
        """Open that of another rank.

        Raises:
            OSError: This process cannot.
            ValueError: It is another one.
        """
        if not name.startswith(f"{_PREFIX}-") or "/" in name:
            raise ValueError(f"{name!r} is no segment")
        descriptor = os.open(_DIRECTORY / name, os.O_RDWR | os.O_NOFOLLOW)
        try:
            found = os.fstat(descriptor)
            if found.st_size != size or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise ValueError(f"{name!r} is not what was made")
            memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        if memory[: len(token)] != token:
            raise ValueError(f"{name!r} is another segment of that name")
        return cls(name, token, ranks, memory)

    def semaphore(self, one: int, other: int) -> Any:
        """Open the semaphore that rank `one` raises for rank `other`."""
        return _semaphore(self._name_of(one, other), new=False)

    def unlink(self) -> None:
        """Take the names away. Whoever has opened it keeps it."""
        _unlink(_DIRECTORY / self.name)
        for one in range(self._ranks):
            for other in range(self._ranks):
                if one != other:
                    _unlink(_SEMAPHORES / f"sem.{self._name_of(one, other)[1:]}")
        self._made = []

    def _name_of(self, one: int, other: int) -> str:
        return f"/{self.name}-{one}-{other}"


def _semaphore(name: str, *, new: bool) -> Any:
    """Make or open a semaphore. That of the standard library is a POSIX one, which processes open by its name."""
    semlock: Any = importlib.import_module("_multiprocessing").SemLock
    return semlock(_SEMAPHORE, 0, _MOST, name, False) if new else semlock._rebuild(0, _SEMAPHORE, _MOST, name)


def _unlink(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _sweep() -> None:
    """Take away what jobs of this user have left that were killed while they opened it."""
    for directory in {_DIRECTORY, _SEMAPHORES}:
        with suppress(OSError):
            for entry in os.scandir(directory):
                kind, _, rest = entry.name.removeprefix("sem.").partition("-")
                if kind != _PREFIX:
                    continue
                pid, start, space, *_ = [*rest.split("-"), "", ""]
                with suppress(OSError):
                    # What a container beside this one makes belongs to a process that cannot be seen from here.
                    is_own = entry.stat(follow_symlinks=False).st_uid == os.geteuid() and space == _space_of_processes()
                    if is_own and pid.isdigit() and not is_running(int(pid), start):
                        _unlink(Path(entry.path))


def _space_of_processes() -> str:
    """Tell in which space process numbers are meant."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return "0"
