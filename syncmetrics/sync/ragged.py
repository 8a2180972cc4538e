"""Bring pieces of any sizes from every rank to all of them, or to one: straight into place, in bounded chunks.

Which way they go follows from their sizes and from the number of ranks, so all ranks choose the same one.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from syncmetrics.sync.route import Route
from syncmetrics.transport.base import span_of

__all__ = ["Staging", "Way", "choose_way", "gather_ragged_bytes", "share_pieces", "staging_bytes", "windows"]

#: Up to this size one collective with staging is quicker than one for each rank without.
STEP_BYTES = 1 << 18
#: Up to so many ranks, broadcasts that are under way together are at least as quick as one gather in equal steps.
FEW_RANKS = 16


class Way(enum.Enum):
    """How pieces get to all ranks."""

    NOTHING = "nothing"  #: there is nothing to send
    WHOLE = "whole"  #: they are equal: one gather, straight into place
    STEPS = "steps"  #: gathers in equal steps; who has no more bytes sends zeros
    BROADCASTS = "broadcasts"  #: every rank broadcasts its own, straight into place, several at a time


def choose_way(sizes: Sequence[int], max_chunk_bytes: int) -> Way:
    """Choose how pieces of these sizes go to all ranks.

    Large ones are broadcast: no byte is copied, or sent to fill up. Small ones are gathered as long as that sends less
    than twice what there is, for each further operation would cost more than that; so are nearly equal ones of very
    many ranks.

    Args:
        sizes: Bytes of each rank.
        max_chunk_bytes: Bound of the staging memory, which a backend may need for a gather in one go.
    """
    total, longest, ranks = sum(sizes), max(sizes), len(sizes)
    if total == 0:
        return Way.NOTHING
    if ranks * longest > 2 * total or (longest > STEP_BYTES and ranks <= FEW_RANKS):
        return Way.BROADCASTS
    return Way.WHOLE if min(sizes) == longest and total <= max_chunk_bytes else Way.STEPS


class Staging:
    """Memory that the transfers of one sync use one after another: taken before the first of them begins.

    It is asked for with `need` by all of them, then had with `allocate`, and then used with `take`.
    """

    def __init__(self) -> None:
        self._needed: dict[torch.device, int] = {}
        self._buffers: dict[torch.device, Tensor] = {}

    def need(self, nbytes: int, device: torch.device) -> None:
        """Say how much a transfer uses."""
        self._needed[device] = max(self._needed.get(device, 0), nbytes)

    def allocate(self) -> None:
        """Allocate as much as the largest of them uses."""
        for device, nbytes in self._needed.items():
            self._buffers[device] = torch.empty(nbytes, dtype=torch.uint8, device=device)

    def take(self, nbytes: int, device: torch.device) -> Tensor:
        """Give memory that nobody else uses at present."""
        return self._buffers[device][:nbytes]


def staging_bytes(route: Route, sizes: Sequence[int]) -> int:
    """Give how much memory `gather_ragged_bytes` uses besides the pieces."""
    if route.dst is not None:
        return 0
    if choose_way(sizes, route.max_chunk_bytes) not in (Way.STEPS, Way.WHOLE):
        return 0
    return max(max(sizes), _step(route, sizes) * (len(sizes) + 1))


def gather_ragged_bytes(
    route: Route, pieces: Sequence[Tensor], sizes: Sequence[int], staging: Staging | None = None
) -> None:
    """Fill the pieces of all ranks. Collective: every rank of the group must call this.

    Args:
        route: Over whom and to whom.
        pieces: One 1-d uint8 buffer a rank, on the wire device; this rank's own is filled. Ranks that do not receive
            have only theirs.
        sizes: How many bytes of each rank travel; 0 for a rank whose bytes have already arrived.
        staging: Where there are `staging_bytes` to use; left out, they are allocated.
    """
    cut = [piece if piece.numel() == size else piece[:size] for piece, size in zip(pieces, sizes, strict=True)]
    if route.dst is not None:
        if sum(sizes):
            route.transport.gather(cut, route.dst, timeout=route.timeout, what=route.what)
        return
    way = choose_way(sizes, route.max_chunk_bytes)
    if way is Way.BROADCASTS:
        share_pieces(route, list(enumerate(cut)))
    elif way is not Way.NOTHING:
        whole = span_of(cut) if way is Way.WHOLE else None
        device = cut[route.transport.rank].device
        if staging is None:
            staging = Staging()
            staging.need(staging_bytes(route, sizes), device)
            staging.allocate()
        if whole is None:
            _gather_in_steps(route, cut, staging)
        else:
            own = cut[route.transport.rank]
            mine = staging.take(own.numel(), device).copy_(own)  # a backend may not read from where it writes to
            route.transport.all_gather(whole, mine, timeout=route.timeout, what=route.what)


def share_pieces(route: Route, pieces: Sequence[tuple[int, Tensor]]) -> None:
    """Broadcast every piece from its rank, several at a time. Collective: every rank of the group must call this.

    Args:
        route: Over whom.
        pieces: Pairs of a rank and a 1-d uint8 buffer, which only that rank has filled. Their order, ranks and sizes
            are the same everywhere.
    """
    for window in windows(pieces, route.max_chunk_bytes):
        route.transport.broadcasts(window, timeout=route.timeout, what=route.what)


def windows(pieces: Sequence[tuple[int, Tensor]], max_bytes: int) -> Iterator[list[tuple[int, Tensor]]]:
    """Cut pieces into chunks, and give as many at a time as hold `max_bytes`: the ranks take turns.

    Args:
        pieces: Pairs of a rank and a 1-d uint8 buffer.
        max_bytes: Bound of what is under way, as a backend may keep a copy of it.
    """
    step = max(1, max_bytes // 4)
    window: list[tuple[int, Tensor]] = []
    held = 0
    longest = max((piece.numel() for _, piece in pieces), default=0)
    for start in range(0, longest, step):
        for rank, piece in pieces:
            chunk = piece if piece.numel() <= step and not start else piece[start : start + step]
            if not chunk.numel():
                continue
            if held + chunk.numel() > max_bytes:
                yield window
                window, held = [], 0
            window.append((rank, chunk))
            held += chunk.numel()
    if window:
        yield window


def _step(route: Route, sizes: Sequence[int]) -> int:
    return min(max(sizes), max(1, route.max_chunk_bytes // (len(sizes) + 1)))


def _gather_in_steps(route: Route, pieces: Sequence[Tensor], staging: Staging) -> None:
    """Gather in equal steps: each rank sends its next bytes, or zeros when it has no more."""
    world_size, rank = len(pieces), route.transport.rank
    sizes = [piece.numel() for piece in pieces]
    longest, step = max(sizes), _step(route, sizes)
    taken = staging.take(step * (world_size + 1), pieces[rank].device)
    send, arrived = taken[:step], taken[step:]
    send.zero_()
    for start in range(0, longest, step):
        stop = min(start + step, longest)
        width = stop - start
        mine = pieces[rank][start:stop]
        if mine.numel() < width:
            send[: mine.numel()].copy_(mine)
            mine = send[:width]
        route.transport.all_gather(arrived[: width * world_size], mine, timeout=route.timeout, what=route.what)
        for peer, size in enumerate(sizes):
            here = min(stop, size) - start
            if peer != rank and here > 0:
                pieces[peer][start : start + here].copy_(arrived[peer * width : peer * width + here])
