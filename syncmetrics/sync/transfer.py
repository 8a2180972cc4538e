"""Carry out a plan: bring the bytes of every rank to where they are needed, in bounded chunks.

A transfer is made ready before anything is sent: all memory that it needs is had then, so that a rank that has not
enough can still say so. Each part of it is a generator, which yields when it is ready.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from syncmetrics.sync.manifest import Form, Manifest, Schema
from syncmetrics.sync.packet import as_bytes, from_bytes
from syncmetrics.sync.plan import Direct, Reduced, Shared, Sliced, SyncPlan
from syncmetrics.sync.ragged import Staging, gather_ragged_bytes, staging_bytes
from syncmetrics.sync.route import MAX_CHUNK_BYTES, Route
from syncmetrics.sync.slices import reduce_in_slices

__all__ = ["MAX_CHUNK_BYTES", "Route", "Transfer", "Values", "gather_ragged_bytes", "write_rows"]


#: For each state the bytes of all ranks as they came, or the one tensor that is already the result.
Values: TypeAlias = "list[list[Tensor] | Tensor]"


@dataclass(frozen=True, slots=True)
class _Cargo:
    """What a transfer reads: the plan, all manifests, and this rank's own tensors; and memory to pass on through."""

    route: Route
    plan: SyncPlan
    manifests: Sequence[Manifest]
    sources: Sequence[Sequence[Tensor]]
    staging: Staging = field(default_factory=Staging)

    def wire_device(self, states: Sequence[int]) -> torch.device:
        return self.route.transport.wire_device([d for index in states for d in self.plan.devices[index]] or ["cpu"])


class Transfer:
    """Everything that did not ride inside the packets, ready to be brought. To make it sends nothing.

    Args:
        route: Over whom and to whom.
        plan: What to bring.
        manifests: What each rank holds.
        sources: The tensors that make up each state of this rank.
        packets: What arrived in the exchange, of shape `(world_size, packet size)`.
        schema: How states are reduced that every rank reduces a slice of. A rank that has joined needs none: there is
            nothing of the kind then.

    Raises:
        RuntimeError: There is not enough memory for it.
    """

    def __init__(
        self,
        route: Route,
        plan: SyncPlan,
        manifests: Sequence[Manifest],
        sources: Sequence[Sequence[Tensor]],
        packets: Tensor,
        schema: Schema | None = None,
    ) -> None:
        cargo = _Cargo(route, plan, manifests, sources)
        self._values = values = _values_inside(plan, manifests, packets)
        self._steps: list[Generator[None, None, None]] = []
        if plan.reduced is not None:
            self._steps.append(_reduce_natively(cargo, plan.reduced, values))
        if plan.shared is not None:
            self._steps.append(_transfer_shared(cargo, plan.shared, values))
        self._steps += [_transfer_direct(cargo, direct, values) for direct in plan.direct]
        if plan.sliced:
            assert schema is not None, "every rank has all of what is reduced in slices"
            self._steps += [_reduce_slices(cargo, schema, sliced, values) for sliced in plan.sliced]
        for step in self._steps:
            next(step)
        cargo.staging.allocate()

    def carry_out(self) -> Values:
        """Bring it, and give the states of all ranks. Collective: every rank of the group must call this."""
        for step in self._steps:
            for _ in step:
                raise AssertionError("a transfer is ready once")
        return self._values


def _values_inside(plan: SyncPlan, manifests: Sequence[Manifest], packets: Tensor) -> Values:
    """Give the bytes of all ranks that rode inside."""
    values: Values = []
    nothing = packets[0, :0]
    for state in plan.states:
        inside = []
        for rank, offset in enumerate(state.offsets):
            nbytes = manifests[rank].records[state.index].nbytes
            inside.append(nothing if offset is None else packets[rank, offset : offset + nbytes])
        values.append(inside)
    return values


def _reduce_slices(cargo: _Cargo, schema: Schema, sliced: Sliced, values: Values) -> Generator[None, None, None]:
    entry, index = schema.entries[sliced.state], sliced.state
    source = cargo.sources[index][0].to(cargo.wire_device([index]))
    counts = [m.update_counts[entry.part] for m in cargo.manifests]
    reduction, offset = entry.spec.reduction, entry.spec.offset
    values[index] = yield from reduce_in_slices(cargo.route, source, reduction, counts, offset)


def _reduce_natively(cargo: _Cargo, reduced: Reduced, values: Values) -> Generator[None, None, None]:
    device = cargo.wire_device(reduced.states)
    sources = [cargo.sources[i][0] for i in reduced.states]
    flat = torch.empty(sum(source.numel() for source in sources), dtype=torch.int64, device=device)
    places = torch.split(flat, [source.numel() for source in sources])
    for source, place in zip(sources, places, strict=True):
        place.view(source.shape).copy_(source)
    yield
    cargo.route.transport.all_reduce_sum(flat, timeout=cargo.route.timeout, what=cargo.route.what)
    for index, shape, place in zip(reduced.states, reduced.shapes, places, strict=True):
        values[index] = place.view(shape)


def _transfer_shared(cargo: _Cargo, shared: Shared, values: Values) -> Generator[None, None, None]:
    route, rank = cargo.route, cargo.route.transport.rank
    device = cargo.wire_device(shared.states)
    here = [size if route.receives or peer == rank else 0 for peer, size in enumerate(shared.sizes)]
    pieces = torch.split(torch.empty(sum(here), dtype=torch.uint8, device=device), here)
    pieces[rank].zero_()  # what lies between the states is sent too
    for index, offsets in zip(shared.states, shared.offsets, strict=True):
        record, offset = cargo.manifests[rank].records[index], offsets[rank]
        if offset is not None and record.nbytes:
            write_rows(cargo.sources[index], from_bytes(pieces[rank][offset:], record.dtype, record.shape))
    cargo.staging.need(staging_bytes(route, shared.sizes), device)
    yield
    gather_ragged_bytes(route, pieces, shared.sizes, cargo.staging)
    if not route.receives:
        return
    for index, offsets in zip(shared.states, shared.offsets, strict=True):
        found = values[index]
        assert isinstance(found, list)
        for peer, offset in enumerate(offsets):
            nbytes = cargo.manifests[peer].records[index].nbytes
            found[peer] = found[peer].to(device) if offset is None else pieces[peer][offset : offset + nbytes]


def _transfer_direct(cargo: _Cargo, direct: Direct, values: Values) -> Generator[None, None, None]:
    """Bring one large state straight to where its result will stand."""
    route, rank, index = cargo.route, cargo.route.transport.rank, direct.state
    state, records = cargo.plan.states[index], [m.records[index] for m in cargo.manifests]
    are_rows = any(record.form is Form.ROWS for record in records)
    device = cargo.wire_device([index])
    dtype = state.dtype if are_rows else records[rank].dtype
    found = values[index]
    assert isinstance(found, list)
    if not route.receives:
        mine = _as_it_lies(cargo.sources[index], dtype, records[rank].shape if direct.sizes[rank] else (0,), device)
        pieces = [mine if peer == rank else mine[:0] for peer in range(len(records))]
        yield
        gather_ragged_bytes(route, pieces, direct.sizes)
        values[index] = pieces
        return
    buffer = torch.empty(direct.total, dtype=torch.uint8, device=device)
    pieces = [buffer[at : at + nbytes] for at, nbytes in zip(direct.offsets, direct.sizes, strict=True)]
    waiting = list(direct.sizes)
    if direct.sizes[rank]:
        write_rows(cargo.sources[index], pieces[rank].view(dtype).view(records[rank].shape))
    for peer, record in enumerate(records):
        if route.dst is None and state.offsets[peer] is not None:
            waiting[peer] = 0
            if peer != rank and direct.sizes[peer]:
                arrived = from_bytes(found[peer], record.dtype, record.shape)
                pieces[peer].view(state.dtype if are_rows else record.dtype).view(record.shape).copy_(arrived)
    cargo.staging.need(staging_bytes(route, waiting), device)
    yield
    gather_ragged_bytes(route, pieces, waiting, cargo.staging)
    if are_rows:
        tail = next(records[r].shape[1:] for r in state.ranks)
        values[index] = buffer.view(state.dtype).view(-1, *tail)
    else:
        values[index] = pieces


def _as_it_lies(sources: Sequence[Tensor], dtype: torch.dtype, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Give the bytes of a state to send from: its own memory, if it lies there in one piece."""
    if len(sources) == 1 and sources[0].dtype is dtype and sources[0].device == device:
        return as_bytes(sources[0])
    buffer = torch.empty(shape, dtype=dtype, device=device)
    if buffer.numel():
        write_rows(sources, buffer)
    return as_bytes(buffer)


def write_rows(sources: Sequence[Tensor], place: Tensor) -> None:
    """Write the tensors that make up a state into the place where it stands, one behind another."""
    if place.dim() == 0 or len(sources) == 1:
        source = sources[0]
        place.copy_(source if source.shape == place.shape else source.reshape(place.shape))
        return
    if all(s.dtype is place.dtype and s.device == place.device for s in sources):
        torch.cat(list(sources), out=place)
        return
    at = 0
    for source in sources:
        place[at : at + source.shape[0]].copy_(source)
        at += source.shape[0]
