"""Carry out a plan: bring the bytes of every rank to where they are needed, in bounded chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from syncmetrics.sync.manifest import Form, Manifest
from syncmetrics.sync.packet import from_bytes
from syncmetrics.sync.plan import Direct, Reduced, Shared, SyncPlan
from syncmetrics.transport.base import Transport

__all__ = ["Route", "Values", "gather_ragged_bytes", "transfer", "write_rows"]

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

    def to_all(self) -> Route:
        """Give the same route, but to every rank."""
        return replace(self, dst=None)


#: For each state the bytes of all ranks as they came, or the one tensor that is already the result.
Values: TypeAlias = "list[list[Tensor] | Tensor]"


@dataclass(frozen=True, slots=True)
class _Cargo:
    """What a transfer reads: the plan, all manifests, and this rank's own tensors."""

    route: Route
    plan: SyncPlan
    manifests: Sequence[Manifest]
    sources: Sequence[Sequence[Tensor]]

    def wire_device(self, states: Sequence[int]) -> torch.device:
        return self.route.transport.wire_device([d for index in states for d in self.plan.devices[index]] or ["cpu"])


def transfer(
    route: Route,
    plan: SyncPlan,
    manifests: Sequence[Manifest],
    sources: Sequence[Sequence[Tensor]],
    packets: Tensor,
) -> Values:
    """Bring everything that did not ride inside the packets. Collective: every rank of the group must call this.

    Args:
        route: Over whom and to whom.
        plan: What to bring.
        manifests: What each rank holds.
        sources: The tensors that make up each state of this rank.
        packets: What arrived in the exchange, of shape `(world_size, packet size)`.
    """
    cargo = _Cargo(route, plan, manifests, sources)
    values: Values = []
    for state in plan.states:
        inside = []
        for rank, offset in enumerate(state.offsets):
            nbytes = manifests[rank].records[state.index].nbytes
            inside.append(packets[rank, :0] if offset is None else packets[rank, offset : offset + nbytes])
        values.append(inside)
    if plan.reduced is not None:
        _reduce_natively(cargo, plan.reduced, values)
    if plan.shared is not None:
        _transfer_shared(cargo, plan.shared, values)
    for direct in plan.direct:
        _transfer_direct(cargo, direct, values)
    return values


def _reduce_natively(cargo: _Cargo, reduced: Reduced, values: Values) -> None:
    device = cargo.wire_device(reduced.states)
    totals = [cargo.sources[i][0].to(device=device, dtype=torch.int64).reshape(-1) for i in reduced.states]
    flat = torch.cat(totals)
    cargo.route.transport.all_reduce_sum(flat, timeout=cargo.route.timeout, what=cargo.route.what)
    at = 0
    for index, shape, total in zip(reduced.states, reduced.shapes, totals, strict=True):
        values[index] = flat[at : at + total.numel()].view(shape)
        at += total.numel()


def _transfer_shared(cargo: _Cargo, shared: Shared, values: Values) -> None:
    route, rank = cargo.route, cargo.route.transport.rank
    device = cargo.wire_device(shared.states)
    pieces = [
        torch.zeros(size if route.receives or peer == rank else 0, dtype=torch.uint8, device=device)
        for peer, size in enumerate(shared.sizes)
    ]
    for index, offsets in zip(shared.states, shared.offsets, strict=True):
        record, offset = cargo.manifests[rank].records[index], offsets[rank]
        if offset is not None and record.nbytes:
            write_rows(cargo.sources[index], from_bytes(pieces[rank][offset:], record.dtype, record.shape))
    gather_ragged_bytes(route, pieces, shared.sizes)
    if not route.receives:
        return
    for index, offsets in zip(shared.states, shared.offsets, strict=True):
        found = values[index]
        assert isinstance(found, list)
        for peer, offset in enumerate(offsets):
            nbytes = cargo.manifests[peer].records[index].nbytes
            found[peer] = found[peer].to(device) if offset is None else pieces[peer][offset : offset + nbytes]


def _transfer_direct(cargo: _Cargo, direct: Direct, values: Values) -> None:
    """Bring one large state straight to where its result will stand."""
    route, rank, index = cargo.route, cargo.route.transport.rank, direct.state
    state, records = cargo.plan.states[index], [m.records[index] for m in cargo.manifests]
    are_rows = any(record.form is Form.ROWS for record in records)
    total = direct.total if route.receives else direct.sizes[rank]
    buffer = torch.empty(total, dtype=torch.uint8, device=cargo.wire_device([index]))
    found = values[index]
    assert isinstance(found, list)
    pieces, waiting = [], []
    for peer, (offset, nbytes) in enumerate(zip(direct.offsets, direct.sizes, strict=True)):
        start = offset if route.receives else 0
        piece = buffer[start : start + (nbytes if route.receives or peer == rank else 0)]
        record, inside = records[peer], state.offsets[peer] is not None
        dtype = state.dtype if are_rows else record.dtype
        if peer == rank and nbytes:
            write_rows(cargo.sources[index], piece.view(dtype).view(record.shape))
        elif inside and nbytes and route.receives:
            piece.view(dtype).view(record.shape).copy_(from_bytes(found[peer], record.dtype, record.shape))
        pieces.append(piece)
        waiting.append(0 if inside else nbytes)
    gather_ragged_bytes(route, pieces, waiting)
    if are_rows and route.receives:
        tail = next(records[r].shape[1:] for r in state.ranks)
        values[index] = buffer.view(state.dtype).view(-1, *tail)
    else:
        values[index] = pieces


def write_rows(sources: Sequence[Tensor], place: Tensor) -> None:
    """Write the tensors that make up a state into the place where it stands, one behind another."""
    if place.dim() == 0 or len(sources) == 1:
        place.copy_(sources[0].reshape(place.shape))
        return
    if all(s.dtype is place.dtype and s.device == place.device for s in sources):
        torch.cat(list(sources), out=place)
        return
    at = 0
    for source in sources:
        place[at : at + source.shape[0]].copy_(source)
        at += source.shape[0]


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
