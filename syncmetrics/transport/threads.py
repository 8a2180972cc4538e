"""Ranks as threads of one process: a peer of the real thing, for tests and for trying things out.

Every rank is a thread, and a collective is a meeting at a barrier. It passes the same contract tests as
`torch.distributed` does, starts in a millisecond, and can hold hundreds of ranks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from syncmetrics.errors import PeerLostError, SyncTimeoutError
from syncmetrics.transport.base import settle

__all__ = ["ThreadsTransport", "ThreadsWorld", "current_transport", "run_threads"]

_Result = TypeVar("_Result")
_current = threading.local()


def current_transport() -> ThreadsTransport | None:
    """Give the transport of the rank that this thread is, or None if it is none."""
    return getattr(_current, "transport", None)


class ThreadsWorld:
    """What the threads of one world share.

    Args:
        world_size: Number of ranks.
        timeout: Seconds that a rank waits for the others at a meeting if it names no time itself.
    """

    def __init__(self, world_size: int, timeout: float = 60.0) -> None:
        if world_size < 1:
            raise ValueError(f"`world_size` must be at least 1, but is {world_size} instead.")
        self.world_size = world_size
        self.timeout = timeout
        self._slots: list[Any] = [None] * world_size
        self._here: set[int] = set()
        self._gone: set[int] = set()
        self._round = 0
        self._result: list[Any] = []
        self._broken: tuple[str, tuple[int, ...]] | None = None
        self._condition = threading.Condition()
        self._twin: ThreadsWorld | None = None

    def twin(self) -> ThreadsWorld:
        """Give the other world of the same ranks; each of them gets the same one."""
        with self._condition:
            if self._twin is None:
                self._twin = ThreadsWorld(self.world_size, self.timeout)
                self._twin._gone = set(self._gone)
            return self._twin

    def meet(self, rank: int, value: Any, timeout: float | None) -> list[Any]:
        """Wait for all ranks, and give what each of them brought, in rank order.

        Raises:
            PeerLostError: A rank has left for good.
            SyncTimeoutError: A rank has not come in time. The world is of no more use then, as a real group is not.
        """
        with self._condition:
            self._refuse_broken()
            self._slots[rank] = value
            self._here.add(rank)
            current = self._round
            if len(self._here) == self.world_size:
                self._result, self._slots = self._slots, [None] * self.world_size
                self._here = set()
                self._round += 1
                self._condition.notify_all()
                return self._result
            if self._gone:
                self._break("lost")
                self._refuse_broken()
            done = self._condition.wait_for(
                lambda: self._round > current or self._broken is not None, self.timeout if timeout is None else timeout
            )
            if self._round > current:
                return self._result
            if not done:
                self._break("timeout")
            self._refuse_broken()
            raise AssertionError("a meeting ended without a reason")

    def leave(self, rank: int) -> None:
        """Say that this rank will not come any more, so that no one waits for it. It does not raise."""
        with self._condition:
            self._gone.add(rank)
            if self._here:
                self._break("lost")
            twin = self._twin
        if twin is not None:
            twin.leave(rank)

    def _break(self, why: str) -> None:
        missing = self._gone if why == "lost" else set(range(self.world_size)) - self._here
        self._broken = self._broken or (why, tuple(sorted(missing)))
        self._condition.notify_all()

    def _refuse_broken(self) -> None:
        if self._broken is None:
            return
        why, missing = self._broken
        ranks = ", ".join(map(str, missing))
        if why == "lost":
            raise PeerLostError(f"rank(s) {ranks} of {self.world_size} threads are gone.", missing)
        raise SyncTimeoutError(f"rank(s) {ranks} of {self.world_size} threads did not come in time.", missing)


class ThreadsTransport:
    """One rank of a `ThreadsWorld`."""

    rank_is_thread = True

    def __init__(self, world: ThreadsWorld, rank: int) -> None:
        self._world = world
        self._rank = rank
        self._twin: ThreadsTransport | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> ThreadsTransport:
        return self

    @property
    def rank(self) -> int:
        """Rank of this thread."""
        return self._rank

    @property
    def world_size(self) -> int:
        """Number of threads."""
        return self._world.world_size

    @property
    def name(self) -> str:
        """What to call the group in a message."""
        return f"{self.world_size} threads"

    def wire_device(self, device_types: Sequence[str]) -> torch.device:
        """Give the CPU, where threads meet."""
        return torch.device("cpu")

    def twin(self) -> ThreadsTransport:
        """Give a transport over another world of the same ranks."""
        if self._twin is None:
            self._twin = ThreadsTransport(self._world.twin(), self._rank)
        return self._twin

    def all_gather(self, out: Tensor, local: Tensor, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Gather `local` of every rank into `out`."""
        pieces = self._world.meet(self._rank, local.clone(), timeout)
        if any(piece.shape != local.shape for piece in pieces):
            raise AssertionError(f"all_gather needs equal sizes, got {[piece.numel() for piece in pieces]}")
        torch.cat(pieces, out=out)

    def broadcast(self, buffer: Tensor, src: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Copy the buffer of rank `src` into `buffer`."""
        pieces = self._world.meet(self._rank, buffer.clone() if self._rank == src else buffer.numel(), timeout)
        if any((p.numel() if isinstance(p, Tensor) else p) != buffer.numel() for p in pieces):
            raise AssertionError("broadcast needs equal sizes")
        buffer.copy_(pieces[src])

    def broadcasts(
        self, buffers: Sequence[tuple[int, Tensor]], *, timeout: float | None = None, what: str = "a sync"
    ) -> None:
        """Copy into every buffer that of its rank."""
        for src, buffer in buffers:
            self.broadcast(buffer, src, timeout=timeout, what=what)

    def gather(self, pieces: Sequence[Tensor], dst: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Copy every rank's own piece into the pieces of rank `dst`."""
        arrived = self._world.meet(self._rank, pieces[self._rank].clone(), timeout)
        if self._rank == dst:
            for mine, theirs in zip(pieces, arrived, strict=True):
                mine.copy_(theirs)

    def all_to_all(
        self,
        out: Tensor,
        local: Tensor,
        out_sizes: Sequence[int],
        local_sizes: Sequence[int],
        *,
        timeout: float | None = None,
        what: str = "a sync",
    ) -> None:
        """Copy the piece of every rank for this one into `out`."""
        arrived = self._world.meet(self._rank, torch.split(local.clone(), list(local_sizes)), timeout)
        pieces = [theirs[self._rank] for theirs in arrived]
        if [piece.numel() for piece in pieces] != list(out_sizes):
            raise AssertionError(f"all_to_all needs {[p.numel() for p in pieces]}, but `out_sizes` is {out_sizes}")
        torch.cat(pieces, out=out)

    def all_reduce_sum(self, buffer: Tensor, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Replace `buffer` by its sum over ranks."""
        buffer.copy_(torch.stack(self._world.meet(self._rank, buffer.clone(), timeout)).sum(0))


def run_threads(fn: Callable[..., _Result], world_size: int, *args: Any, timeout: float = 60.0) -> list[_Result]:
    """Call `fn(rank, world_size, *args)` in one thread a rank, each with its transport as the world.

    Inside, metrics, collections and helpers find the other threads as they would find the ranks of a process group.

    Args:
        fn: What each rank does.
        world_size: Number of ranks.
        *args: Passed on to every rank.
        timeout: Seconds that a rank waits at a meeting.

    Returns:
        What each rank returned, in rank order.

    Raises:
        BaseException: What a rank raised. When several did, the first that is no `SyncError` about another rank, by
            rank.
    """
    world = ThreadsWorld(world_size, timeout)
    results: list[Any] = [None] * world_size
    failures: dict[int, BaseException] = {}

    def body(rank: int) -> None:
        _current.transport = ThreadsTransport(world, rank)
        try:
            results[rank] = fn(rank, world_size, *args)
            settle(_current.transport)
        except BaseException as error:  # handed to the caller below
            failures[rank] = error
        finally:
            world.leave(rank)
            del _current.transport

    threads = [
        threading.Thread(target=body, args=(rank,), name=f"rank {rank}", daemon=True) for rank in range(world_size)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        causes = [e for _, e in sorted(failures.items()) if not isinstance(e, (PeerLostError, SyncTimeoutError))]
        raise (causes or [failures[min(failures)]])[0]
    return results
