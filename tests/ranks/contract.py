"""What every transport must do. Called on every rank of a group; it imports no pytest, so that processes start soon."""

from __future__ import annotations

import torch
from torch import Tensor

from syncmetrics.transport import Transport

SIZES = (1, 7, 4096, 300_001)


def marked(rank: int, size: int, salt: int = 0) -> Tensor:
    """Give bytes that tell whose they are."""
    return ((torch.arange(size) * (2 * rank + 3) + 31 * rank + salt) % 251).to(torch.uint8)


def check_transport(transport: Transport, rank: int, world_size: int) -> None:
    assert isinstance(transport, Transport)
    assert (transport.rank, transport.world_size) == (rank, world_size)
    assert transport.name
    wire = transport.wire_device(["cpu"] * world_size)
    assert wire.type in ("cpu", "cuda" if torch.cuda.is_available() else "cpu")
    assert wire == transport.wire_device(["cpu"] * world_size)
    for timeout in (None, 30.0):
        check_all_gather(transport, timeout)
        check_broadcast(transport, timeout)
        check_broadcasts(transport, timeout)
        check_gather(transport, timeout)
        check_all_to_all(transport, timeout)
        check_sum(transport, timeout)


def check_all_gather(transport: Transport, timeout: float | None) -> None:
    world_size = transport.world_size
    for size in SIZES:
        mine = marked(transport.rank, size)
        out = torch.full((world_size * size,), 255, dtype=torch.uint8)
        transport.all_gather(out, mine, timeout=timeout)
        assert torch.equal(out, torch.cat([marked(rank, size) for rank in range(world_size)]))
        assert torch.equal(mine, marked(transport.rank, size))
        # What arrives in front of what is filled, however much the others fill, and however much there was before.
        for shift in range(world_size):
            filled = [size * ((rank + shift) % world_size) // world_size for rank in range(world_size)]
            mine = marked(transport.rank, size, salt=shift)
            transport.all_gather(out, mine, filled=filled[transport.rank], timeout=timeout)
            for rank, row in enumerate(out.view(world_size, size)):
                assert torch.equal(row[: filled[rank]], marked(rank, size, salt=shift)[: filled[rank]])
            assert torch.equal(mine, marked(transport.rank, size, salt=shift))


def check_broadcast(transport: Transport, timeout: float | None) -> None:
    for size in SIZES:
        for src in range(transport.world_size):
            buffer = marked(transport.rank, size, salt=src)
            transport.broadcast(buffer, src, timeout=timeout)
            assert torch.equal(buffer, marked(src, size, salt=src))


def check_broadcasts(transport: Transport, timeout: float | None) -> None:
    ranks = range(transport.world_size)
    sizes = [(src, 1 + (7 * src + 100_000 * turn) % 300_001) for turn in range(3) for src in reversed(ranks)]
    whole = torch.full((sum(size for _, size in sizes),), 255, dtype=torch.uint8)
    buffers = list(zip([src for src, _ in sizes], whole.split([size for _, size in sizes]), strict=True))
    for turn, (src, buffer) in enumerate(buffers):
        if src == transport.rank:
            buffer.copy_(marked(src, buffer.numel(), salt=turn))
    transport.broadcasts(buffers, timeout=timeout)
    for turn, (src, buffer) in enumerate(buffers):
        assert torch.equal(buffer, marked(src, buffer.numel(), salt=turn))
    transport.broadcasts([], timeout=timeout)


def check_gather(transport: Transport, timeout: float | None) -> None:
    me, world_size = transport.rank, transport.world_size
    for dst in range(world_size):
        for sizes in (
            [(5 * rank + dst) % 4 for rank in range(world_size)],  # some are 0
            [100_000 * (rank != dst) + 3 for rank in range(world_size)],
            [0] * world_size,
            [9 if rank == world_size - 1 else 0 for rank in range(world_size)],
        ):
            whole = torch.full((sum(sizes) if me == dst else sizes[me],), 255, dtype=torch.uint8)
            if me == dst:
                pieces = list(whole.split(sizes))  # views at odd offsets
            else:
                pieces = [whole if rank == me else whole[:0] for rank in range(world_size)]
            pieces[me].copy_(marked(me, sizes[me], salt=dst))
            transport.gather(pieces, dst, timeout=timeout)
            for rank in range(world_size) if me == dst else [me]:
                assert torch.equal(pieces[rank], marked(rank, sizes[rank], salt=dst)), (dst, sizes, rank)


def check_all_to_all(transport: Transport, timeout: float | None) -> None:
    me, ranks = transport.rank, range(transport.world_size)
    for size_of in (
        lambda src, dst: (3 * src + 5 * dst) % 4,  # some are 0
        lambda src, dst: 0,
        lambda src, dst: 5 if src == ranks[-1] else 0,
        lambda src, dst: 300_001 if dst == 0 else 0,
        lambda src, dst: 100_000 * (src + dst) + 3,
    ):
        sizes = [[size_of(src, dst) for dst in ranks] for src in ranks]
        local = torch.cat([marked(me, sizes[me][dst], salt=dst) for dst in ranks])
        sent = local.clone()
        out = torch.full((sum(sizes[src][me] for src in ranks),), 255, dtype=torch.uint8)
        transport.all_to_all(out, local, [sizes[src][me] for src in ranks], sizes[me], timeout=timeout)
        assert torch.equal(out, torch.cat([marked(src, sizes[src][me], salt=me) for src in ranks])), sizes
        assert torch.equal(local, sent)


def check_sum(transport: Transport, timeout: float | None) -> None:
    world_size, big = transport.world_size, 1 << 62
    for size in (1, 70_000):
        buffer = torch.arange(size) + transport.rank * (1 << 40)
        transport.all_reduce_sum(buffer, timeout=timeout)
        assert torch.equal(buffer, torch.arange(size) * world_size + sum(range(world_size)) * (1 << 40))
    buffer = torch.tensor([big, -big])
    transport.all_reduce_sum(buffer, timeout=timeout)
    wrapped = (world_size * big + (1 << 63)) % (1 << 64) - (1 << 63)  # as int64 does everywhere
    assert buffer[0].item() == wrapped
