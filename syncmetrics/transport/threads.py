"""Ranks as threads of one process: a peer of the real thing, for tests and for trying things out.

Every rank is a thread, and a collective is a meeting at a barrier. It passes the same contract tests as
`torch.distributed` does, starts in a millisecond, and can hold hundreds of ranks.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from syncmetrics.errors import PeerLostError, Standing, SyncError, SyncTimeoutError
from syncmetrics.transport.asking import MOST_ASKED
from syncmetrics.transport.base import MovedError, settle
from syncmetrics.transport.episodes import EpisodicTransport
from syncmetrics.transport.roll_call import IN_VAIN, Place, Verdict
from syncmetrics.transport.stacks import standing_of_thread, with_sources

__all__ = ["ThreadsTransport", "ThreadsWorld", "current_transport", "run_threads"]

_Result = TypeVar("_Result")
_current = threading.local()

#: What arrives behind what a rank has filled: a number that is wrong as a count, a size and a float.
_NOT_FILLED = 0xA5


def current_transport() -> ThreadsTransport | None:
    """Give the transport of the rank that this thread is, or None if it is none."""
    return getattr(_current, "transport", None)


class _Lane:
    """What the threads of one world share of one lane.

    Attributes:
        slots: What each rank has brought to the operation that is under way.
        here: The ranks that have come to it.
        what: What to call it in a message.
        done: How many operations have come to their end.
        result: What all ranks brought to the last of them.
        verdict: Why the lane is not used any more.
    """

    def __init__(self, world_size: int) -> None:
        self.slots: list[Any] = [None] * world_size
        self.here: set[int] = set()
        self.what = ""
        self.done = 0
        self.result: list[Any] = []
        self.verdict: Verdict | None = None


class ThreadsWorld:
    """What the threads of one world share.

    Args:
        world_size: Number of ranks.
        timeout: Seconds that a rank waits for the others at a meeting if it names no time itself.

    Attributes:
        members: The transport of each rank.
    """

    def __init__(self, world_size: int, timeout: float = 60.0) -> None:
        if world_size < 1:
            raise ValueError(f"`world_size` must be at least 1, but is {world_size} instead.")
        self.world_size = world_size
        self.timeout = timeout
        self.members: weakref.WeakValueDictionary[int, ThreadsTransport] = weakref.WeakValueDictionary()
        self._gone: set[int] = set()
        self._lost: Verdict | None = None
        self._lanes: dict[int, _Lane] = {}
        self._condition = threading.Condition()
        self._twin: ThreadsWorld | None = None

    def twin(self) -> ThreadsWorld:
        """Give the other world of the same ranks; each of them gets the same one."""
        with self._condition:
            if self._twin is None:
                self._twin = ThreadsWorld(self.world_size, self.timeout)
                self._twin._gone = set(self._gone)
            return self._twin

    def lane(self, number: int) -> _Lane:
        """Give a lane."""
        return self._lanes.setdefault(number, _Lane(self.world_size))

    def meet(
        self, rank: int, value: Any, timeout: float | None, at: Place, what: str, vainly: bool = False
    ) -> list[Any]:
        """Wait for all ranks, and give what each of them brought, in rank order.

        Args:
            rank: Who comes.
            value: What it brings.
            timeout: Seconds to wait for the others.
            at: Where it is.
            what: What to call this in a message.
            vainly: As for `Transport.begin`.

        Raises:
            PeerLostError: A rank has left for good.
            SyncTimeoutError: A rank has not come in time.
            PeerError: A rank has left the episode.
            MovedError: The others left the lane in an episode before this one.
        """
        seconds = self.timeout if timeout is None else timeout
        with self._condition:
            lane = self.lane(at.lane)
            before = lane.done
            if lane.verdict is None:
                lane.slots[rank], lane.what = value, what
                lane.here.add(rank)
                if len(lane.here) == self.world_size:
                    lane.result, lane.slots = lane.slots, [None] * self.world_size
                    lane.here = set()
                    lane.done += 1
                    self._condition.notify_all()
                    return lane.result
                if self._gone:
                    self._give_up(lane, "lost", at.first, 0.0)
                elif not self._condition.wait_for(lambda: lane.done > before or lane.verdict is not None, seconds):
                    verdict = self._give_up(lane, "timeout", at.first, seconds)
                    if vainly:
                        lane.verdict = IN_VAIN  # for the others
                        raise verdict.error()
                if lane.done > before:
                    return lane.result
            assert lane.verdict is not None
            raise at.outcome(lane.verdict)

    def tell(self, rank: int, text: str, at: Place) -> None:
        """Say that a rank has left an episode midway."""
        with self._condition:
            lane = self.lane(at.lane)
            lane.verdict = lane.verdict or Verdict("left", at.first, (rank,), text)
            self._condition.notify_all()

    def _standing(self, rank: int) -> Standing:
        member = self.members.get(rank)
        thread = next((one for one in threading.enumerate() if member and one.ident == member.last_thread), None)
        if member is None or thread is None:
            return Standing(rank, silence="it has no thread")
        return with_sources(standing_of_thread(rank, thread, member.last_sync))

    def leave(self, rank: int) -> None:
        """Say that this rank will not come any more, so that no one waits for it. It does not raise."""
        with self._condition:
            self._gone.add(rank)
            for lane in self._lanes.values():
                if lane.here and lane.verdict is None:
                    self._give_up(lane, "lost", lane.done, 0.0)
            twin = self._twin
        if twin is not None:
            twin.leave(rank)

    def _give_up(self, lane: _Lane, why: Literal["lost", "timeout"], first: int, waited: float) -> Verdict:
        missing = self._gone if why == "lost" else set(range(self.world_size)) - lane.here
        verdict = Verdict.of(why, first, tuple(sorted(missing)), lane.what, waited)
        if why == "timeout":
            verdict = verdict.saying([self._standing(rank) for rank in verdict.ranks[:MOST_ASKED]])
        if verdict.is_final:
            verdict = self._lost = self._lost or verdict
        lane.verdict = verdict
        self._condition.notify_all()
        return verdict


class ThreadsTransport(EpisodicTransport):
    """One rank of a `ThreadsWorld`."""

    rank_is_thread = True

    def __init__(self, world: ThreadsWorld, rank: int) -> None:
        super().__init__(has_lane=True)
        self.last_thread = threading.get_ident()
        self._world = world
        self._rank = rank
        world.members[rank] = self
        self._twin: ThreadsTransport | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> ThreadsTransport:
        return self

    def _come(self, value: Any, timeout: float | None, what: str) -> list[Any]:
        """Meet all ranks in an operation."""

        def operate() -> list[Any]:
            self._operations += 1
            try:
                return self._world.meet(self._rank, value, timeout, self._place, what)
            except (SyncError, MovedError) as error:
                self._fail(error)
                raise

        return self._within_episode(timeout, what, operate)

    def _meet(self, timeout: float | None, what: str, vainly: bool) -> None:
        self._world.meet(self._rank, None, timeout, self._place, what, vainly)

    def _tell(self, text: str) -> None:
        self._world.tell(self._rank, text, self._place)

    def confirm(self, apart: float, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Find nothing: threads agree under one lock."""

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
        with self._world._condition:  # another thread of this rank may ask, too
            if self._twin is None:
                self._twin = ThreadsTransport(self._world.twin(), self._rank)
            return self._twin

    def all_gather(
        self,
        out: Tensor,
        local: Tensor,
        *,
        filled: int | None = None,
        timeout: float | None = None,
        what: str = "a sync",
    ) -> None:
        """Gather `local` of every rank into `out`: behind what is filled comes what nobody takes for something."""
        sent = local.clone()
        if filled is not None:
            sent[filled:] = _NOT_FILLED
        pieces = self._come(sent, timeout, what)
        if any(piece.shape != local.shape for piece in pieces):
            raise AssertionError(f"all_gather needs equal sizes, got {[piece.numel() for piece in pieces]}")
        torch.cat(pieces, out=out)

    def broadcast(self, buffer: Tensor, src: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Copy the buffer of rank `src` into `buffer`."""
        pieces = self._come(buffer.clone() if self._rank == src else buffer.numel(), timeout, what)
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
        arrived = self._come(pieces[self._rank].clone(), timeout, what)
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
        arrived = self._come(torch.split(local.clone(), list(local_sizes)), timeout, what)
        pieces = [theirs[self._rank] for theirs in arrived]
        if [piece.numel() for piece in pieces] != list(out_sizes):
            raise AssertionError(f"all_to_all needs {[p.numel() for p in pieces]}, but `out_sizes` is {out_sizes}")
        torch.cat(pieces, out=out)

    def all_reduce_sum(self, buffer: Tensor, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Replace `buffer` by its sum over ranks."""
        buffer.copy_(torch.stack(self._come(buffer.clone(), timeout, what)).sum(0))


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
