"""Carry out a plan: bring the bytes of every rank to where they are needed, in bounded chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from syncmetrics.transport.base import Transport

__all__ = ["Route", "gather_ragged_bytes"]

#: Bound of the staging memory of one transfer.
MAX_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Route:
    """Over whom and to whom a sync sends.

    Attributes:
        transport: Over whom.
        dst: The rank that gets the result, or None for all.
        timeout: Seconds to wait for the other ranks.
        what: What to call the sync in a message.
        max_chunk_bytes: Bound of the staging memory.
    """

    transport: Transport
    dst: int | None = None
    timeout: float | None = None
    what: str = "a sync"
    max_chunk_bytes: int = MAX_CHUNK_BYTES

    @property
    def receives(self) -> bool:
        """Whether this rank gets the result."""
        return self.dst is None or self.dst == self.transport.rank


def gather_ragged_bytes(route: Route, pieces: Sequence[Tensor], sizes: Sequence[int]) -> None:
    """Fill the pieces of all ranks. Collective: every rank of the group must call this.

    Args:
        route: Over whom and to whom.
        pieces: One 1-d uint8 buffer a rank, on the wire device; this rank's own is filled. Ranks that do not receive
            have only theirs.
        sizes: How many bytes of each rank travel; 0 for a rank whose bytes have already arrived.
    """
    if sum(sizes) == 0:
        return
    if route.dst is not None:
        cut = [piece[:size] for piece, size in zip(pieces, sizes, strict=True)]
        route.transport.gather(cut, route.dst, timeout=route.timeout, what=route.what)
    elif len(sizes) * max(sizes) <= 2 * sum(sizes):
        _gather_padded(route, pieces, sizes)
    else:
        for rank, size in enumerate(sizes):
            if size:
                route.transport.broadcast(pieces[rank][:size], rank, timeout=route.timeout, what=route.what)


def _gather_padded(route: Route, pieces: Sequence[Tensor], sizes: Sequence[int]) -> None:
    """Gather in equal steps: each rank sends its next bytes, or zeros when it has no more."""
    world_size, rank = len(sizes), route.transport.rank
    longest = max(sizes)
    step = min(longest, max(1, route.max_chunk_bytes // world_size))
    device = pieces[rank].device
    send = torch.zeros(step, dtype=torch.uint8, device=device)
    arrived = torch.empty(step * world_size, dtype=torch.uint8, device=device)
    for start in range(0, longest, step):
        stop = min(start + step, longest)
        width = stop - start
        mine = pieces[rank][start : min(stop, sizes[rank])]
        send[: mine.numel()].copy_(mine)
        route.transport.all_gather(arrived[: width * world_size], send[:width], timeout=route.timeout, what=route.what)
        for peer, size in enumerate(sizes):
            here = min(stop, size) - start
            if peer != rank and here > 0:
                pieces[peer][start : start + here].copy_(arrived[peer * width : peer * width + here])
