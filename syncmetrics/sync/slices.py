"""Reduce a large state in slices: each rank gets its slice of all ranks, reduces it in rank order, and sends it on.

Every element is reduced by one rank alone, with the operations and in the order of `reductions`. So all
ranks get the same bits: those of a rank that reduces everything by itself, but for the payload of a NaN.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from syncmetrics.states.reductions import Reduction
from syncmetrics.sync.packet import as_bytes, from_bytes
from syncmetrics.sync.ragged import share_pieces
from syncmetrics.sync.route import Route

__all__ = ["arriving_bytes", "cut_evenly", "reduce_in_slices"]

#: Bytes that go out at a time: what arrives stays in the cache until it is reduced.
STEP_BYTES = 8 << 20


def cut_evenly(start: int, stop: int, ranks: int) -> list[tuple[int, int]]:
    """Cut a range into one slice a rank, whose sizes differ by at most one."""
    size = stop - start
    return [(start + size * rank // ranks, start + size * (rank + 1) // ranks) for rank in range(ranks)]


def reduce_in_slices(
    route: Route, source: Tensor, reduction: Reduction, counts: Sequence[int], offset: Tensor | None
) -> Generator[None, None, Tensor]:
    """Reduce one state, which has the same shape and dtype on all ranks, element by element.

    Collective: every rank of the group must call this. It yields once, when it has its memory and has sent nothing yet.

    Args:
        route: Over whom and to whom.
        source: This rank's value, on the wire device. It is not edited.
        reduction: What to do with the values of all ranks.
        counts: Number of updates of each rank.
        offset: The default that a sum starts from, if that is not zero.

    Returns:
        The reduced value; on a rank that does not receive it, something else of its size.
    """
    transport = route.transport
    world_size, itemsize = transport.world_size, source.dtype.itemsize
    result = torch.empty_like(source, memory_format=torch.contiguous_format)
    sent, reduced = as_bytes(source), as_bytes(result)
    step = _step(route, itemsize)
    nbytes = arriving_bytes(route, source.numel(), itemsize)
    arrived = torch.empty(nbytes, dtype=torch.uint8, device=source.device)
    flat_offset = None if offset is None else _spread(offset, source)
    pieces = []
    yield
    for begin in range(0, source.numel(), step):
        slices = cut_evenly(begin, min(begin + step, source.numel()), world_size)
        first, last = slices[transport.rank]
        nbytes = (last - first) * itemsize
        transport.all_to_all(
            arrived[: nbytes * world_size],
            sent[slices[0][0] * itemsize : slices[-1][1] * itemsize],
            [nbytes] * world_size,
            [(b - a) * itemsize for a, b in slices],
            timeout=route.timeout,
            what=route.what,
        )
        values = [_typed(arrived[peer * nbytes : (peer + 1) * nbytes], source.dtype) for peer in range(world_size)]
        part = None if flat_offset is None else flat_offset[first:last]
        result.view(-1)[first:last].copy_(reduction.over_ranks(values, counts, part))
        pieces.append([reduced[a * itemsize : b * itemsize] for a, b in slices])
    if route.dst is None:
        share_pieces(route, [(rank, piece) for chunk in pieces for rank, piece in enumerate(chunk)])
    else:
        for chunk in pieces:
            transport.gather(chunk, route.dst, timeout=route.timeout, what=route.what)
    return result


def _step(route: Route, itemsize: int) -> int:
    """Give how many elements go out at a time."""
    return max(route.transport.world_size, min(STEP_BYTES, route.max_chunk_bytes // 2) // itemsize)


def arriving_bytes(route: Route, numel: int, itemsize: int) -> int:
    """Give how much memory the slices of all ranks take that arrive at a time."""
    world_size = route.transport.world_size
    return -(-min(_step(route, itemsize), numel) // world_size) * itemsize * world_size


def _typed(data: Tensor, dtype: torch.dtype) -> Tensor:
    return from_bytes(data, dtype, (data.numel() // dtype.itemsize,))


def _spread(offset: Tensor, like: Tensor) -> Tensor:
    return offset.to(like.device).expand(like.shape).reshape(-1)
