"""A way between the ranks of one host: they write what they send into memory that all of them see.

Whether they share memory is found out, not assumed: one rank makes a segment with a random name, the others try to open
it, and it is used if all of them could. Its names are gone from then on, so that nothing is left behind when the
processes end, however they do; what a job left that was killed before is swept away by the next one.

An exchange is this. Each rank copies its bytes to a slot of its own, stamps it with the number of the exchange, and
raises one semaphore for each of the others. It then waits for one semaphore of each of the others, and reads their
slots. POSIX has these two operations synchronize memory, so a rank that has taken the semaphore of another sees all
that it wrote before it raised it, on any processor. A slot has two places, used in turn: a rank begins exchange n + 2,
which overwrites that of n, only after all have raised their semaphores for n + 1, and so have read n. The stamps are
there to be looked at: bytes of another exchange are never taken for those of this one.
"""

from __future__ import annotations

import importlib
import mmap
import os
import select
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import PacketError
from syncmetrics.transport.neighbours import host_of_process, is_running, start_of_process

__all__ = ["MOST_RANKS", "SLOT_BYTES", "SharedMemory", "is_wanted", "open_shared_memory", "set_shared_memory"]

#: Ranks of one host. Each pair of them has two semaphores.
MOST_RANKS = 32
#: What a rank can send in one exchange: what is larger goes over the group.
SLOT_BYTES = 64 << 10

_DIRECTORY = Path("/dev/shm")
_PREFIX = "syncmetrics"
_STAMP = struct.Struct("<16sqq")
_STAMP_BYTES = 64
_GREETING = struct.Struct("<8s?64s16s128sq")
_ANSWER = struct.Struct("<8s?")
_MAGIC = b"syncshm\x00"
_SEMAPHORE, _MOST = 1, 1 << 30
#: What is raised where there is no shared memory, no room in it, or a Python without semaphores.
_CANNOT = (OSError, ValueError, ImportError, AttributeError)
#: A rank that waits looks so often whether the process that it waits for still runs.
_LOOK_SECONDS = 0.02

_wanted: bool | None = None


def set_shared_memory(enabled: bool | None = None) -> None:
    """Say whether ranks of one host exchange packets through shared memory; the environment says so otherwise.

    Before the first call, and after one with None, `SYNCMETRICS_SHARED_MEMORY=0` turns it off. It is used for a group
    if all of its ranks want it and can. To be called before the first sync of a group.

    Args:
        enabled: Whether this process wants it; None for what the environment says.

    Raises:
        TypeError: It is something else.
    """
    global _wanted
    if enabled is not None and not isinstance(enabled, bool):
        raise TypeError(f"`enabled` must be a bool or None, but is {enabled!r} instead.")
    _wanted = enabled


def is_wanted() -> bool:
    """Whether this process wants to share memory with others."""
    if _wanted is not None:
        return _wanted
    return os.environ.get("SYNCMETRICS_SHARED_MEMORY", "1").strip().lower() not in ("0", "false", "no", "off")


def open_shared_memory(rank: int, world_size: int, gather: Callable[[bytes], list[bytes]]) -> SharedMemory | None:
    """Find out whether all ranks of a group share memory. Collective: every rank of the group must call this.

    Args:
        rank: Rank in the group.
        world_size: Number of ranks.
        gather: Gives what all ranks have given to it, in rank order, all of one size. It is called twice.

    Returns:
        What they share; None, on all ranks, if one of them does not.
    """
    wants = is_wanted() and sys.platform == "linux"
    made = _Segment.make(world_size) if wants and rank == 0 else None
    try:
        name, token = (made.name, made.token) if made is not None else ("", b"")
        host = host_of_process() or ""
        can = wants and (rank > 0 or made is not None)
        greeting = _GREETING.pack(_MAGIC, can, name.encode(), token, host.encode(), os.getpid())
        said = [_GREETING.unpack(one) for one in gather(greeting)]
        found = None
        if all(magic == _MAGIC and is_able for magic, is_able, *_ in said):
            _, _, name_of, token, _, _ = said[0]
            processes = [(str(host_of, "ascii").rstrip("\0"), pid) for *_, host_of, pid in said]
            with suppress(*_CANNOT):
                segment = made or _Segment.open(name_of.rstrip(b"\0").decode(), token, world_size)
                pids = [pid if host_of == host and host else 0 for host_of, pid in processes]
                found = SharedMemory(segment, rank, world_size, pids)
        answers = [_ANSWER.unpack(one) for one in gather(_ANSWER.pack(_MAGIC, found is not None))]
        if all(magic == _MAGIC and has for magic, has in answers):
            return found
        if found is not None:
            found.close()
        return None
    finally:
        if made is not None:
            made.unlink()


class SharedMemory:
    """What the ranks of a group share.

    Args:
        segment: The memory and the semaphores.
        rank: Rank in the group.
        world_size: Number of ranks.
        pids: Their processes, if these can be seen from here; else 0.

    Raises:
        OSError: A semaphore cannot be opened.
    """

    def __init__(self, segment: _Segment, rank: int, world_size: int, pids: Sequence[int]) -> None:
        self._ended: dict[int, int] = {}  # by rank, what can be asked whether its process has ended
        others = [peer for peer in range(world_size) if peer != rank]
        self._rank = rank
        self._world_size = world_size
        self._token = segment.token
        self._memory: Any = segment.memory
        whole = torch.frombuffer(segment.memory, dtype=torch.uint8)
        self._slots = whole.view(world_size, 2, _STAMP_BYTES + SLOT_BYTES)[:, :, _STAMP_BYTES:]
        self._raised = [segment.semaphore(rank, peer) for peer in others]
        self._awaited = [(peer, segment.semaphore(peer, rank)) for peer in others]
        self._number = 0
        for peer in others:
            if pids[peer] and hasattr(os, "pidfd_open"):
                with suppress(OSError):
                    self._ended[peer] = os.pidfd_open(pids[peer])

    def fits(self, local: Tensor) -> bool:
        """Whether a buffer can be sent: the same on all ranks, as their sizes are."""
        return local.device.type == "cpu" and local.numel() <= SLOT_BYTES

    def all_gather(self, out: Tensor, local: Tensor) -> _Exchange:
        """Start gathering `local` of all ranks into `out`."""
        return _Exchange(self, out, local)

    def close(self) -> None:
        """Let go of what the system keeps for it. It is of no use from then on."""
        self._close_descriptors()
        self._raised, self._awaited = [], []
        self._slots, self._memory = torch.empty(0), memoryview(b"")

    def __del__(self) -> None:
        with suppress(Exception):  # the interpreter may be ending
            self._close_descriptors()

    def _close_descriptors(self) -> None:
        descriptors, self._ended = self._ended, {}
        for descriptor in descriptors.values():
            with suppress(OSError):
                os.close(descriptor)

    def _stamp_at(self, rank: int, place: int) -> int:
        return (2 * rank + place) * (_STAMP_BYTES + SLOT_BYTES)

    def _begin(self, local: Tensor) -> int:
        self._number += 1
        place, size = self._number & 1, local.numel()
        self._slots[self._rank, place, :size].copy_(local)
        _STAMP.pack_into(self._memory, self._stamp_at(self._rank, place), self._token, self._number, size)
        for semaphore in self._raised:
            semaphore.release()
        return self._number

    def _end(self, number: int, out: Tensor, size: int) -> None:
        place = number & 1
        for peer in range(self._world_size):
            token, stamped, length = _STAMP.unpack_from(self._memory, self._stamp_at(peer, place))
            if (token, stamped, length) != (self._token, number, size):
                raise PacketError(
                    f"rank {peer} sent {length} bytes in exchange {stamped} of the memory that the ranks share, where"
                    f" {size} bytes in exchange {number} were expected."
                )
        out.view(self._world_size, size).copy_(self._slots[:, place, :size])

    def _gone(self, awaited: Sequence[tuple[int, Any]]) -> list[int]:
        """Give the ranks of those that are waited for whose processes have ended."""
        asked = {self._ended[peer]: peer for peer, _ in awaited if peer in self._ended}
        if not asked:
            return []
        poll = select.poll()
        for descriptor in asked:
            poll.register(descriptor, select.POLLIN)
        return sorted(asked[descriptor] for descriptor, _ in poll.poll(0))


class _Exchange:
    """One exchange that has begun, as `torch.distributed` has its works: asked whether it is done, and waited for."""

    def __init__(self, shared: SharedMemory, out: Tensor, local: Tensor) -> None:
        self._shared = shared
        self._out = out
        self._size = local.numel()
        self._number = shared._begin(local)
        self._awaited = list(shared._awaited)
        self._is_done = False
        self._lost: RuntimeError | None = None

    def is_completed(self) -> bool:
        """Whether all have come, or one of them never will."""
        return self._is_done or self._lost is not None or self._take(0.0)

    def wait(self, timeout: timedelta | None = None) -> None:
        """Wait for the others.

        Raises:
            RuntimeError: The time is over, or the process of one of them has ended.
        """
        if self._lost is not None:
            raise self._lost
        if not self._is_done and not self._take(None if timeout is None else timeout.total_seconds()):
            raise RuntimeError("the exchange through shared memory timed out")

    def _take(self, seconds: float | None) -> bool:
        awaited, start, pause = self._awaited, 0.0, 0.002
        while awaited:
            _, semaphore = awaited[-1]
            if semaphore.acquire(False):
                awaited.pop()
                continue
            if seconds == 0.0:
                return False
            now = time.monotonic()
            start = start or now
            left = pause if seconds is None else min(pause, seconds - (now - start))
            if left <= 0:
                return False
            if semaphore.acquire(True, left):
                awaited.pop()
                continue
            pause = _LOOK_SECONDS
            gone = self._shared._gone(awaited)
            # What a process did before it ended is there: it may have come.
            late = [peer for peer, semaphore in awaited if peer in gone and not self._came(peer, semaphore)]
            if late:
                self._lost = RuntimeError(f"connection closed by peer: the processes of ranks {late} have ended")
                raise self._lost
        self._shared._end(self._number, self._out, self._size)
        self._is_done = True
        return True

    def _came(self, peer: int, semaphore: Any) -> bool:
        if not semaphore.acquire(False):
            return False
        self._awaited[:] = [(other, one) for other, one in self._awaited if other != peer]
        return True


class _Segment:
    """Memory with a name, and semaphores with names, until `unlink` takes the names away.

    Attributes:
        name: What it is called.
        token: Random bytes, which its first bytes are.
        memory: The memory.
    """

    memory: mmap.mmap

    def __init__(self, name: str, token: bytes, world_size: int, memory: mmap.mmap | None) -> None:
        self.name = name
        self.token = token
        if memory is not None:
            self.memory = memory
        self._world_size = world_size
        self._made: list[Any] = []

    @classmethod
    def make(cls, world_size: int) -> _Segment | None:
        """Make one that this user alone can open; None if there is no room for it."""
        _sweep()
        pid = os.getpid()
        name = f"{_PREFIX}-{pid}-{start_of_process(pid)}-{os.urandom(12).hex()}"
        token, size = os.urandom(16), world_size * 2 * (_STAMP_BYTES + SLOT_BYTES)
        segment = cls(name, token, world_size, None)
        try:
            descriptor = os.open(_DIRECTORY / name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)
            try:
                # All of it now: memory that is not there ends the process when it is touched.
                os.posix_fallocate(descriptor, 0, size)
                segment.memory = mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)
            segment.memory[: len(token)] = token
            for one in range(world_size):
                for other in range(world_size):
                    if one != other:
                        segment._made.append(_semaphore(segment._name_of(one, other), new=True))
        except _CANNOT:
            segment.unlink()
            return None
        return segment

    @classmethod
    def open(cls, name: str, token: bytes, world_size: int) -> _Segment:
        """Open that of another rank.

        Raises:
            OSError: This process cannot.
            ValueError: It is another one.
        """
        if not name.startswith(f"{_PREFIX}-") or "/" in name:
            raise ValueError(f"{name!r} is no segment")
        size = world_size * 2 * (_STAMP_BYTES + SLOT_BYTES)
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
        return cls(name, token, world_size, memory)

    def semaphore(self, one: int, other: int) -> Any:
        """Open the semaphore that rank `one` raises for rank `other`."""
        return _semaphore(self._name_of(one, other), new=False)

    def unlink(self) -> None:
        """Take the names away. Whoever has opened it keeps it."""
        _unlink(self.name)
        for one in range(self._world_size):
            for other in range(self._world_size):
                if one != other:
                    _unlink(f"sem.{self._name_of(one, other)[1:]}")
        self._made = []

    def _name_of(self, one: int, other: int) -> str:
        return f"/{self.name}-{one}-{other}"


def _semaphore(name: str, *, new: bool) -> Any:
    """Make or open a semaphore. That of the standard library is a POSIX one, which processes open by its name."""
    semlock: Any = importlib.import_module("_multiprocessing").SemLock
    return semlock(_SEMAPHORE, 0, _MOST, name, False) if new else semlock._rebuild(0, _SEMAPHORE, _MOST, name)


def _unlink(name: str) -> None:
    with suppress(OSError):
        (_DIRECTORY / name).unlink()


def _sweep() -> None:
    """Take away what jobs of this user have left that were killed while they opened it."""
    with suppress(OSError):
        for entry in os.scandir(_DIRECTORY):
            kind, _, rest = entry.name.removeprefix("sem.").partition("-")
            if kind != _PREFIX:
                continue
            pid, _, rest = rest.partition("-")
            start = rest.partition("-")[0]
            with suppress(OSError):
                is_own = entry.stat(follow_symlinks=False).st_uid == os.geteuid()
                if is_own and pid.isdigit() and not is_running(int(pid), start):
                    _unlink(entry.name)
