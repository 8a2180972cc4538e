"""The seam: how bytes get from one rank to the others.

A transport knows ranks and bytes; it knows no state and no metric. Whatever implements `Transport` can carry a sync:
`torch.distributed`, threads in one process, or something of the user's own.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from syncmetrics.errors import Mark, PacketError, PeerError, SchemaMismatchError, SyncRefusedError, is_marked, mark

__all__ = [
    "MovedError",
    "Role",
    "Transport",
    "caller_of",
    "episode",
    "leave_pending",
    "release",
    "reserve",
    "role_of",
    "settle",
    "span_of",
]


@runtime_checkable
class Transport(Protocol):
    """Moves bytes between the ranks of one group.

    Every method but `wire_device` is collective: every rank of the group must call it, in the same
    order, with the same sizes. All tensors are dense, contiguous, 1-d `uint8` unless said otherwise and lie on a
    device that
    `wire_device` gave. A transport raises `SyncTimeoutError` or `PeerLostError` when a rank does not come or is gone.
    """

    @property
    def rank(self) -> int:
        """Rank of this process in the group."""
        ...

    @property
    def world_size(self) -> int:
        """Number of ranks in the group."""
        ...

    @property
    def name(self) -> str:
        """What to call the group in a message."""
        ...

    def wire_device(self, device_types: Sequence[str]) -> torch.device:
        """Give the device to send from, for data that lies on devices of these types on the several ranks.

        The answer has the same type on every rank that asks with the same types. It does not communicate.
        """
        ...

    def begin(self, *, timeout: float | None = None, what: str = "a sync", vainly: bool = False) -> bool:
        """Begin an episode: operations that every rank goes through together, or inside of one a part of it.

        It does not communicate, unless the last episode was left midway: then all ranks meet, and go on over a lane
        on which nothing is left of it.

        Args:
            timeout: Seconds to wait for the other ranks then.
            what: What to call this in a message.
            vainly: Whether the others may never come to this meeting. If they do not, they are not told that they
                should have.

        Returns:
            Whether the ranks have met for it: then they are together, whatever each of them has counted before.
        """
        ...

    def end(self, error: BaseException | None = None) -> None:
        """End an episode. It does not communicate.

        Args:
            error: Why this rank leaves it midway, if it does and the other ranks do not know: they are told as soon as
                they wait for it.
        """
        ...

    def confirm(self, apart: float, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Raise what another rank has concluded about this episode, if one may have. It does not communicate.

        Args:
            apart: How many seconds the first rank came before the last one, as far as their clocks can tell, or for
                how long this one was in the operation, if that is more. Where it is short, none has waited so long that
                it has given up, and nobody is asked.
            timeout: Seconds that they wait.
            what: What to call this in a message.
        """
        ...

    def twin(self) -> Transport:
        """Give a transport over the same ranks whose operations do not interleave with those of this one.

        It does not communicate, and gives the same one each time. Its first episode may be a meeting of all ranks.
        """
        ...

    def all_gather(
        self,
        out: Tensor,
        local: Tensor,
        *,
        filled: int | None = None,
        timeout: float | None = None,
        what: str = "a sync",
    ) -> None:
        """Gather `local`, of shape `(n,)` on every rank, into `out`, of shape `(world_size * n,)`.

        Both may lie on the CPU whatever `wire_device` says: so the packets do, with which a sync begins.

        Args:
            out: Where all of them arrive.
            local: What this rank sends.
            filled: How many of its first bytes say something, which may be more or fewer on other ranks; None for all
                of them. What arrives behind them may be anything, and need not be sent.
            timeout: Seconds to wait for the other ranks.
            what: What to call this in a message.
        """
        ...

    def broadcast(self, buffer: Tensor, src: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Fill `buffer` with what rank `src` has in it."""
        ...

    def broadcasts(
        self, buffers: Sequence[tuple[int, Tensor]], *, timeout: float | None = None, what: str = "a sync"
    ) -> None:
        """Fill every buffer with what its rank has in it, all of them under way at the same time.

        Args:
            buffers: Pairs of a rank and a buffer. The order, the ranks and the sizes are the same everywhere.
            timeout: Seconds to wait for the other ranks.
            what: What to call this in a message.
        """
        ...

    def gather(self, pieces: Sequence[Tensor], dst: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Bring every rank's own piece to rank `dst`.

        Args:
            pieces: One buffer for each rank; their sizes may differ, and 0 is fine. Rank `dst` has them all and gets
                them filled; the others need only their own, the rest may be empty.
            dst: Rank that receives.
            timeout: Seconds to wait for the other ranks.
            what: What to call this in a message.
        """
        ...

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
        """Send to every rank a piece of its own.

        Args:
            out: Gets the pieces for this rank, in the order of the ranks that sent them; of shape `(sum(out_sizes),)`.
            local: The pieces for the ranks, one behind another; of shape `(sum(local_sizes),)`.
            out_sizes: Size of the piece from each rank: what that rank has in its `local_sizes` for this one.
            local_sizes: Size of the piece for each rank; 0 is fine.
            timeout: Seconds to wait for the other ranks.
            what: What to call this in a message.
        """
        ...

    def all_reduce_sum(self, buffer: Tensor, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Replace an `int64` buffer by its sum over ranks, the one reduction that does not depend on any order."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Role:
    """What a rank is beside those that it syncs with: in a model that is spread over more than its data.

    Attributes:
        is_outside: Whether it has no data, and only gets the value.
        whole: All ranks that are to be asked whether replicas hold the same; None if none is.
        replicas: Ranks of `whole` that are to hold the same, set by set.
        names: What to call each rank of `whole`.
    """

    is_outside: bool = False
    whole: Transport | None = None
    replicas: tuple[tuple[int, ...], ...] = ()
    names: tuple[str, ...] = ()

    def twin(self) -> Role:
        """Give the same role over twins of the transports."""
        return self if self.whole is None else replace(self, whole=self.whole.twin())


_PLAIN = Role()


def role_of(transport: Transport) -> Role:
    """Give the role of this rank; that of one among equals for a transport which knows of no other."""
    return getattr(transport, "role", _PLAIN)


class MovedError(Exception):
    """The other ranks have gone to another lane, before the first operation of an episode: it is to begin again."""


#: What is raised with the same text on every rank, from what all of them have received: no rank is left behind.
_AGREED = (SchemaMismatchError, PeerError, PacketError)


class episode:  # noqa: N801 - used as a function
    """Let the operations of a `with` block be an episode of a transport.

    A block that raises has left the episode midway, unless all ranks raise the same from what they have received.

    Args:
        transport: Over whom.
        timeout: Seconds to wait for the other ranks.
        what: What to call this in a message.
        vainly: As for `Transport.begin`.

    Attributes:
        have_met: Whether the ranks have met anew for this episode.
    """

    def __init__(self, transport: Transport, timeout: float | None, what: str, *, vainly: bool = False) -> None:
        self._transport = transport
        self._timeout = timeout
        self._what = what
        self._vainly = vainly
        self.have_met = False

    def __enter__(self) -> episode:
        self.have_met = self._transport.begin(timeout=self._timeout, what=self._what, vainly=self._vainly)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, _AGREED) or is_marked(error, Mark.AGREED):
            self._transport.end()
        else:
            self._transport.end(error)
            mark(error, Mark.TOLD)


#: What has to end before the next sync over a transport can begin: work that a rank left to the background.
_pending: weakref.WeakKeyDictionary[Transport, Callable[[], None]] = weakref.WeakKeyDictionary()


def leave_pending(transport: Transport, wait: Callable[[], None]) -> None:
    """Have `wait` called before the next sync over `transport`. What it raises is raised there."""
    _pending[transport] = wait


#: Groups over which nothing may be synced for the time being, and why.
_reserved: weakref.WeakKeyDictionary[Transport, str] = weakref.WeakKeyDictionary()


def reserve(transport: Transport, why: str) -> None:
    """Refuse syncs over `transport` until `release`, with these words."""
    _reserved[transport] = why


def release(transport: Transport) -> None:
    """Allow syncs over `transport` again."""
    _reserved.pop(transport, None)


def settle(transport: Transport) -> None:
    """Wait for what was left pending over `transport`, if anything was.

    Raises:
        SyncRefusedError: Nothing may be synced over it now.
    """
    why = _reserved.get(transport) if _reserved else None
    if why is not None:
        raise SyncRefusedError(why)
    wait = _pending.pop(transport, None) if _pending else None
    if wait is not None:
        wait()


def caller_of(transport: Transport) -> str:
    """Give the name of the thread that syncs over `transport`; nothing for the one that is expected to.

    That is the main thread, a thread of this package, or one that is a rank itself.
    """
    thread = threading.current_thread()
    if thread is threading.main_thread() or getattr(transport, "rank_is_thread", False):
        return ""
    return "" if thread.name.startswith("syncmetrics ") else thread.name


def span_of(pieces: Sequence[Tensor]) -> Tensor | None:
    """Give the buffer that the pieces are all of, one behind another; None if they lie apart."""
    filled = [piece for piece in pieces if piece.numel()] or list(pieces[:1])
    first, total = filled[0], sum(piece.numel() for piece in filled)
    end = first.storage_offset()  # of bytes; a tensor without data has no address
    for piece in filled:
        if piece.storage_offset() != end or piece.untyped_storage().data_ptr() != first.untyped_storage().data_ptr():
            return None
        end += piece.numel()
    return first.as_strided((total,), (1,))
