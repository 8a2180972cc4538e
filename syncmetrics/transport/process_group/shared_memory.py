"""A way between the ranks of one host: they write what they send into memory that all of them see.

An exchange is this. Each rank copies its bytes to a slot of its own, stamps it with the number of the exchange, and
raises one semaphore for each of those that are to read it. It then waits for one semaphore of each of those that it
reads, and reads their slots. POSIX has these two operations synchronize memory, so a rank that has taken the semaphore
of another sees all that it wrote before it raised it, on any processor. A slot has two places, used in turn: a rank
begins exchange n + 2, which overwrites that of n, only after all have raised their semaphores for n + 1, and so have
read n. The stamps are there to be looked at: bytes of another exchange are never taken for those of this one.

Where the ranks of a group are on several hosts, those of a host meet in its memory, and the first of them speaks for
all of them: it gathers what all hosts have over a lane between the first ranks, and puts it where the others of its
host read it. A world of 16,384 ranks on 2,048 hosts is an exchange of 2,048, and what arrives is the same, byte for
byte.
"""

from __future__ import annotations

import os
import select
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import PacketError
from syncmetrics.transport.process_group.segment import Segment

__all__ = ["MOST_RANKS", "SLOT_BYTES", "Between", "Layout", "SharedMemory", "bytes_needed"]

#: Ranks of one host. Each pair of them has two semaphores.
MOST_RANKS = 32
#: What a rank can send in one exchange: what is larger goes over the group.
SLOT_BYTES = 64 << 10
#: What all ranks of several hosts can send in one exchange, together: packets of 4 MiB, and 1 KiB for each rank.
_RESULT_BYTES, _RESULT_BYTES_OF_A_RANK = 4 << 20, 1 << 10

#: The token, the number of the exchange, the size of what each rank sends, and how many bytes of it are there.
_STAMP = struct.Struct("<16sqqq")
_STAMP_BYTES = 64
_SLOT = _STAMP_BYTES + SLOT_BYTES
#: A rank that waits looks so often whether the process that it waits for still runs.
_LOOK_SECONDS = 0.02
#: Waking a process takes longer than an exchange. Where each has a core, one that waits looks for so long first.
_SPIN_SECONDS = 2e-4

#: Starts a gather between the first ranks of the hosts: where it arrives, what is sent, how long it may take.
Between = Callable[[Tensor, Tensor, "timedelta | None"], Any]


@dataclass(frozen=True, slots=True)
class Layout:
    """Which ranks of a group share memory with which.

    Attributes:
        hosts: The ranks of each host, ascending; the hosts by their first ranks.
        host: That of this rank.
        local: Which of the ranks of its host this one is.
    """

    hosts: tuple[tuple[int, ...], ...]
    host: int
    local: int

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return sum(map(len, self.hosts))

    @property
    def mine(self) -> tuple[int, ...]:
        """The ranks of this host."""
        return self.hosts[self.host]

    @property
    def most(self) -> int:
        """Ranks on the host that has most of them: what all hosts send is as long."""
        return max(map(len, self.hosts))

    @property
    def is_worth_it(self) -> bool:
        """Whether some share memory, and hosts send no more than twice what they have."""
        return 1 < self.most <= MOST_RANKS and len(self.hosts) * self.most <= 2 * self.world_size + MOST_RANKS

    @property
    def result_bytes(self) -> int:
        """What all ranks can send in one exchange, together, where they are on several hosts."""
        if len(self.hosts) == 1:
            return 0
        return min(max(_RESULT_BYTES, self.world_size * _RESULT_BYTES_OF_A_RANK), self.world_size * SLOT_BYTES)

    @property
    def size(self) -> int:
        """Bytes of the memory of this host."""
        return len(self.mine) * 2 * _SLOT + (_STAMP_BYTES + self.result_bytes if self.result_bytes else 0)

    def rows(self) -> Tensor | None:
        """Give where each rank's part stands in what the hosts send, padded to the most ranks; None for in order."""
        rows = [0] * self.world_size
        for host, ranks in enumerate(self.hosts):
            for local, rank in enumerate(ranks):
                rows[rank] = host * self.most + local
        return None if rows == [*range(len(self.hosts) * self.most)] else torch.tensor(rows)


def bytes_needed(ranks: int, world_size: int) -> int:
    """Give the bytes that so many ranks of a host share, of a group of that many ranks in all."""
    hosts = (tuple(range(ranks)), tuple(range(ranks, world_size)))
    return Layout(tuple(filter(None, hosts)), 0, 0).size


class SharedMemory:
    """What the ranks of a group share.

    Args:
        segment: The memory and the semaphores of this host.
        layout: Who shares memory with whom.
        pids: The processes of the ranks of this host, if these can be seen from here; else 0.
        between: Gathers between the first ranks of the hosts, if this is one of several.

    Raises:
        OSError: A semaphore cannot be opened.
    """

    def __init__(self, segment: Segment, layout: Layout, pids: Sequence[int], between: Between | None = None) -> None:
        self._ended: dict[int, int] = {}  # by rank on this host, what can be asked whether its process has ended
        count, me = len(layout.mine), layout.local
        others = [peer for peer in range(count) if peer != me]
        self._layout = layout
        self._token = segment.token
        self._memory: Any = segment.memory
        whole = torch.frombuffer(segment.memory, dtype=torch.uint8)
        self._slots = whole[: count * 2 * _SLOT].view(count, 2, _SLOT)[:, :, _STAMP_BYTES:]
        self._result = whole[count * 2 * _SLOT + _STAMP_BYTES :]
        self._rows = layout.rows()
        self._most_bytes = min(SLOT_BYTES, layout.result_bytes // layout.world_size or SLOT_BYTES)
        self._between = between
        # An exchange asks for no memory: what fails on one rank alone fails before all agree.
        self._block = torch.empty(layout.most * self._most_bytes if between else 0, dtype=torch.uint8)
        padded = len(layout.hosts) * layout.most * self._most_bytes
        self._gathered = torch.empty(padded if between and self._rows is not None else 0, dtype=torch.uint8)
        # Over several hosts all wait for the first rank, and it for all of them.
        partners = others if self.is_all or me == 0 else [0]
        self._raised = [segment.semaphore(me, peer) for peer in partners]
        self._awaited = [(peer, segment.semaphore(peer, me)) for peer in partners]
        self._number = 0
        self._spin = _SPIN_SECONDS if _cores() >= count else 0.0
        for peer in partners:
            if pids[peer] and hasattr(os, "pidfd_open"):
                with suppress(OSError):
                    self._ended[peer] = os.pidfd_open(pids[peer])

    @property
    def is_all(self) -> bool:
        """Whether all ranks of the group share this memory, and none is on another host."""
        return len(self._layout.hosts) == 1

    def fits(self, local: Tensor) -> bool:
        """Whether a buffer can be sent: the same on all ranks, as their sizes are."""
        return local.device.type == "cpu" and local.numel() <= self._most_bytes

    def all_gather(
        self, out: Tensor, local: Tensor, limit: timedelta | None = None, filled: int | None = None
    ) -> _Exchange:
        """Start gathering `local` of all ranks into `out`.

        Args:
            out: Of shape `(world_size * n,)`, uint8, on the CPU.
            local: Of shape `(n,)`, uint8, on the CPU.
            limit: How long what goes between hosts may take.
            filled: How many of the first bytes of `local` say something; what is behind them need not arrive.
        """
        filled = local.numel() if filled is None else filled
        if self.is_all:
            return _Exchange(self, out, local, filled)
        if self._layout.local:
            return _Follower(self, out, local, filled)
        return _Speaker(self, out, local, filled, limit)

    def close(self) -> None:
        """Let go of what the system keeps for it. It is of no use from then on."""
        self._close_descriptors()
        self._raised, self._awaited, self._between = [], [], None
        self._slots = self._result = self._block = self._gathered = torch.empty(0)
        self._memory = memoryview(b"")

    def __del__(self) -> None:
        with suppress(Exception):  # the interpreter may be ending
            self._close_descriptors()

    def _close_descriptors(self) -> None:
        descriptors, self._ended = self._ended, {}
        for descriptor in descriptors.values():
            with suppress(OSError):
                os.close(descriptor)

    def _write(self, local: Tensor, filled: int) -> int:
        """Begin an exchange: write this rank's part to its slot."""
        self._number += 1
        me, place = self._layout.local, self._number & 1
        self._slots[me, place, :filled].copy_(local[:filled])
        _STAMP.pack_into(self._memory, (2 * me + place) * _SLOT, self._token, self._number, local.numel(), filled)
        return self._number

    def _raise(self) -> None:
        for semaphore in self._raised:
            semaphore.release()

    def _read(self, number: int, size: int) -> Tensor:
        """Give the parts of all ranks of this host, as far as one of them is filled: a view of the memory."""
        place, ranks = number & 1, self._layout.mine
        filled = [self._check((2 * peer + place) * _SLOT, rank, number, size) for peer, rank in enumerate(ranks)]
        return self._slots[:, place, : max(filled)]

    def _write_result(self, number: int, size: int) -> None:
        at = len(self._layout.mine) * 2 * _SLOT
        _STAMP.pack_into(self._memory, at, self._token, number, size, size)

    def _read_result(self, number: int, size: int) -> Tensor:
        self._check(len(self._layout.mine) * 2 * _SLOT, self._layout.mine[0], number, size)
        return self._result[:size]

    def _check(self, at: int, rank: int, number: int, size: int) -> int:
        """Give how many bytes are there that a rank has sent in this exchange, and in no other one."""
        filled: int
        token, stamped, length, filled = _STAMP.unpack_from(self._memory, at)
        if (token, stamped, length) != (self._token, number, size):
            raise PacketError(
                f"rank {rank} sent {length} bytes in exchange {stamped} of the memory that the ranks share, where"
                f" {size} bytes in exchange {number} were expected."
            )
        return filled

    def _gone(self, awaited: Sequence[tuple[int, Any]]) -> list[int]:
        """Give those that are waited for whose processes have ended."""
        asked = {self._ended[peer]: peer for peer, _ in awaited if peer in self._ended}
        if not asked:
            return []
        poll = select.poll()
        for descriptor in asked:
            poll.register(descriptor, select.POLLIN)
        return sorted(asked[descriptor] for descriptor, _ in poll.poll(0))


class _Exchange:
    """One exchange that has begun, as `torch.distributed` has its works: asked whether it is done, and waited for.

    It is done when those on this host that are waited for have come, and `_finish` has done the rest.
    """

    def __init__(self, shared: SharedMemory, out: Tensor, local: Tensor, filled: int) -> None:
        self._shared = shared
        self._out = out
        self._size = local.numel()
        self._number = shared._write(local, filled)
        self._awaited = list(shared._awaited)
        self._is_done = False
        self._lost: RuntimeError | None = None
        self._begin()

    def _begin(self) -> None:
        self._shared._raise()

    def _finish(self, seconds: float | None) -> bool:
        """Do what is left when those of this host have come; whether that is done within so many seconds."""
        parts = self._shared._read(self._number, self._size)
        self._out.view(-1, self._size)[:, : parts.shape[1]].copy_(parts)
        return True

    def is_completed(self) -> bool:
        """Whether all have come, or one of them never will."""
        if self._is_over:
            return True
        try:
            return self._advance(0.0)
        except RuntimeError as error:
            if error is not self._lost:
                raise
            return True

    @property
    def _is_over(self) -> bool:
        return self._is_done or self._lost is not None

    def wait(self, timeout: timedelta | None = None) -> None:
        """Wait for the others.

        Raises:
            RuntimeError: The time is over, or the process of one of them has ended, or its connection is lost.
        """
        if self._lost is not None:
            raise self._lost
        if not self._is_done and not self._advance(None if timeout is None else timeout.total_seconds()):
            raise RuntimeError("the exchange through shared memory timed out")

    def _advance(self, seconds: float | None) -> bool:
        start = time.monotonic() if seconds else 0.0
        if not self._have_come(seconds):
            return False
        left = max(0.0, seconds - (time.monotonic() - start)) if seconds else seconds
        self._is_done = self._finish(left)
        return self._is_done

    def _have_come(self, seconds: float | None) -> bool:
        awaited, start, pause = self._awaited, 0.0, 0.002
        while awaited:
            _, semaphore = awaited[-1]
            if semaphore.acquire(False):
                awaited.pop()
                continue
            if seconds == 0.0:
                return False
            now = time.monotonic()
            if not start and self._may_spin() and self._comes_soon(now + self._shared._spin):
                continue
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
                ranks = [self._shared._layout.mine[peer] for peer in late]
                self._lost = RuntimeError(f"connection closed by peer: the processes of ranks {ranks} have ended")
                raise self._lost
        return True

    def _may_spin(self) -> bool:
        """Whether nobody else would run meanwhile: not another rank, and not another thread of this process."""
        return self._shared._spin > 0.0 and threading.current_thread() is threading.main_thread()

    def _comes_soon(self, until: float) -> bool:
        """Look, without going to sleep, whether one more comes."""
        acquire = self._awaited[-1][1].acquire
        while True:
            for _ in range(20):
                if acquire(False):
                    self._awaited.pop()
                    return True
            if time.monotonic() > until:
                return False

    def _came(self, peer: int, semaphore: Any) -> bool:
        if not semaphore.acquire(False):
            return False
        self._awaited[:] = [(other, one) for other, one in self._awaited if other != peer]
        return True


class _Follower(_Exchange):
    """What a rank does that another one of its host speaks for."""

    def _finish(self, seconds: float | None) -> bool:
        self._out.copy_(self._shared._read_result(self._number, self._out.numel()))
        return True


class _Speaker(_Exchange):
    """What the first rank of a host does for the others of it, towards the other hosts."""

    def __init__(self, shared: SharedMemory, out: Tensor, local: Tensor, filled: int, limit: timedelta | None) -> None:
        self._limit = limit
        self._gathered = torch.empty(0)
        self._work: Any = None
        super().__init__(shared, out, local, filled)

    def _begin(self) -> None:
        """Raise nothing: the others wait for what all hosts have."""

    def _finish(self, seconds: float | None) -> bool:
        if self._work is None:
            self._work = self._start()
        if not self._work.is_completed():
            if seconds == 0.0:
                return False
            with suppress(RuntimeError):  # that the time is over; how it ended is asked below
                self._work.wait(timedelta(seconds=max(_LOOK_SECONDS if seconds is None else seconds, 0.001)))
            if not self._work.is_completed():
                return False
        try:
            self._work.wait()
        except RuntimeError as error:
            self._lost = error
            raise
        self._tell()
        return True

    def _start(self) -> Any:
        shared, layout = self._shared, self._shared._layout
        block = shared._block[: layout.most * self._size]
        parts = shared._read(self._number, self._size)
        block.view(-1, self._size)[: len(layout.mine), : parts.shape[1]].copy_(parts)
        # Where the ranks stand in order, what arrives is put straight where the others of this host read it.
        arrives_in = shared._result if shared._rows is None else shared._gathered
        self._gathered = arrives_in[: len(layout.hosts) * block.numel()]
        assert shared._between is not None
        return shared._between(self._gathered, block, self._limit)

    def _tell(self) -> None:
        shared, result = self._shared, self._shared._result[: self._out.numel()]
        if shared._rows is not None:
            parts = self._gathered.view(-1, self._size)
            torch.index_select(parts, 0, shared._rows, out=result.view(-1, self._size))
        self._out.copy_(result)
        shared._write_result(self._number, self._out.numel())
        shared._raise()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
