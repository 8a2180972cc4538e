"""Describe, exchange, check, plan, transfer, fold: one sync from the local states to the merged ones.

The only state here is what one sync knows while it runs. Every decision is made by the pure modules beside this one.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from syncmetrics.errors import PacketError, PeerError, SchemaMismatchError
from syncmetrics.states import State, States, own_copy
from syncmetrics.sync.check import check_headers, check_manifests, describe_difference, encode_schema
from syncmetrics.sync.fold import fold_state, fold_whole
from syncmetrics.sync.manifest import Entry, Form, Manifest, Part, Record, Schema, Status, describe_state, schema_of
from syncmetrics.sync.packet import (
    HEADER_BYTES,
    Header,
    decode_bundle,
    decode_header,
    decode_manifest,
    encode_bundle,
    encode_header,
    encode_manifest,
    from_bytes,
    packet_size,
    payload_layout,
    read_bytes,
    write_bytes,
)
from syncmetrics.sync.plan import Direct, Reduced, Shared, SyncPlan, plan_sync
from syncmetrics.sync.transfer import Route, gather_ragged_bytes

__all__ = ["Merged", "sync_parts"]


@dataclass(frozen=True, slots=True)
class Merged:
    """The states of all ranks as one.

    Attributes:
        states: Fresh states; editing them reaches no local state.
        update_count: Number of updates of all ranks together.
    """

    states: States
    update_count: int


@torch.no_grad()
def sync_parts(parts: Sequence[Part], route: Route, *, label: str) -> list[Merged] | None:
    """Merge the states of all ranks. Collective: every rank of the group must call this.

    Args:
        parts: What this rank brings: the same paths, states and reductions on every rank, in any order.
        route: Over whom and to whom.
        label: What to call this sync in an error.

    Returns:
        One result for each part, in the order given; None on ranks that are not to receive it.

    Raises:
        SyncError: The sync did not come to its end. The local states are untouched.
    """
    with torch.inference_mode(False):
        if route.transport.world_size == 1:
            return [Merged(own_copy(part.states), part.update_count) for part in parts]
        order = sorted(range(len(parts)), key=lambda i: parts[i].path)
        merged = _Sync([parts[i] for i in order], route, label).run()
        if merged is None:
            return None
        by_part = dict(zip(order, merged, strict=True))
        return [by_part[i] for i in range(len(parts))]


class _Sync:
    """One sync while it runs.

    Args:
        parts: The parts, sorted by path.
        route: Over whom and to whom.
        label: What to call it.
    """

    def __init__(self, parts: Sequence[Part], route: Route, label: str) -> None:
        self.parts = parts
        self.label = label
        self.transport = route.transport
        self.sequence = route.transport.next_sequence()
        self.route = replace(route, what=f"sync {self.sequence} of `{label}`")
        self.rank = route.transport.rank
        self.world_size = route.transport.world_size
        self.schema: Schema = schema_of(parts)
        self.sources: list[list[Tensor]] = []
        self.arrived = torch.empty(0, dtype=torch.uint8)

    def run(self) -> list[Merged] | None:
        """Go through the steps of the protocol."""
        size = packet_size(self.world_size)
        mine, error = self._describe()
        headers, bodies = self._exchange(mine, size)
        if not check_headers(headers) and not any(h.status is Status.ERROR for h in headers):
            raise self._difference(headers)
        manifests = [decode_manifest(h, b) for h, b in zip(headers, bodies, strict=True)]
        try:
            check_manifests(self.label, self.schema, manifests)
        except PeerError as failure:
            raise failure from error
        self._check_lengths(manifests)
        plan = plan_sync(self.schema, manifests, [h.manifest_bytes for h in headers], size)
        values = self._transfer(plan, manifests, size)
        return self._fold(plan, manifests, values) if self.route.receives else None

    def _describe(self) -> tuple[Manifest, Exception | None]:
        """Say what this rank holds, or why it cannot say: the others must hear of it in either case."""
        records = []
        try:
            for entry in self.schema.entries:
                record, tensors = self._describe_entry(entry)
                records.append(record)
                self.sources.append(tensors)
            counts = tuple(part.update_count for part in self.parts)
            return Manifest(Status.OK, self.sequence, self.schema.fingerprint, self.label, counts, tuple(records)), None
        except Exception as error:  # it is raised on every rank, from this one
            last = traceback.extract_tb(error.__traceback__)[-1]
            message = f"{type(error).__name__}: {error} (in {last.name}, line {last.lineno})"
            return Manifest(Status.ERROR, self.sequence, self.schema.fingerprint, self.label, message=message), error

    def _describe_entry(self, entry: Entry) -> tuple[Record, list[Tensor]]:
        value = self.parts[entry.part].states[entry.spec.name]
        try:
            record, tensors = describe_state(entry.spec, value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"state `{entry.path}` {error}") from error
        if record.form in (Form.BUNDLE, Form.PLAIN):
            assert isinstance(value, list)
            tensors = [encode_bundle(tensors or value)]
            record = Record(record.form, torch.uint8, (tensors[0].numel(),), tensors[0].device.type)
        return record, tensors

    def _exchange(self, manifest: Manifest, size: int) -> tuple[list[Header], list[bytes]]:
        """Send the packet and receive all packets; and the rest of the manifests, if one was larger than a packet."""
        body = encode_manifest(manifest)
        header = Header(
            manifest.status, self.sequence, manifest.fingerprint, len(body), len(encode_schema(self.label, self.schema))
        )
        packet = self._fill_packet(encode_header(header), body, manifest, size)
        device = self.transport.wire_device(["cpu"])
        arrived = torch.empty(self.world_size * size, dtype=torch.uint8, device=device)
        self.transport.all_gather(arrived, packet.to(device), timeout=self.route.timeout, what=self.route.what)
        self.arrived = arrived.cpu().view(self.world_size, size)
        headers = []
        for rank in range(self.world_size):
            try:
                headers.append(decode_header(read_bytes(self.arrived[rank, :HEADER_BYTES])))
            except PacketError as error:
                raise SchemaMismatchError(
                    f"rank {rank} did not send a packet for the sync of `{self.label}`: {error}"
                ) from error
        if any(HEADER_BYTES + h.manifest_bytes > size for h in headers):
            return headers, self._gather_texts(body, [h.manifest_bytes for h in headers])
        return headers, [
            read_bytes(self.arrived[rank, HEADER_BYTES : HEADER_BYTES + h.manifest_bytes])
            for rank, h in enumerate(headers)
        ]

    def _fill_packet(self, header: bytes, body: bytes, manifest: Manifest, size: int) -> Tensor:
        packet = torch.zeros(size, dtype=torch.uint8)
        head = write_bytes(header + body)[:size]
        packet[: head.numel()].copy_(head)
        for index, offset in enumerate(payload_layout(manifest.records, len(body), size)):
            record = manifest.records[index]
            if offset is not None and record.nbytes:
                place = from_bytes(packet[offset:], record.dtype, record.shape)
                _write(self.sources[index], place)
        return packet

    def _difference(self, headers: Sequence[Header]) -> SchemaMismatchError:
        texts = self._gather_texts(encode_schema(self.label, self.schema), [h.schema_bytes for h in headers])
        return describe_difference(headers, texts)

    def _gather_texts(self, mine: bytes, sizes: Sequence[int]) -> list[bytes]:
        device = self.transport.wire_device(["cpu"])
        pieces = [torch.empty(size, dtype=torch.uint8, device=device) for size in sizes]
        pieces[self.rank].copy_(write_bytes(mine))
        everyone = replace(self.route, dst=None)
        gather_ragged_bytes(everyone, pieces, sizes)
        return [read_bytes(piece) for piece in pieces]

    def _check_lengths(self, manifests: Sequence[Manifest]) -> None:
        for rank, manifest in enumerate(manifests):
            if len(manifest.records) != len(self.schema.entries) or len(manifest.update_counts) != len(self.parts):
                raise PacketError(f"the manifest of rank {rank} does not fit its own fingerprint.")

    def _transfer(self, plan: SyncPlan, manifests: Sequence[Manifest], size: int) -> list[list[Tensor] | Tensor]:
        """Bring everything that did not ride inside the packets.

        Returns:
            For each state the tensors of all ranks as they came, or the one tensor that is already the result.
        """
        values: list[list[Tensor] | Tensor] = []
        for state in plan.states:
            inside = []
            for rank, offset in enumerate(state.offsets):
                record = manifests[rank].records[state.index]
                data = self.arrived[rank, :0] if offset is None else self.arrived[rank, offset : offset + record.nbytes]
                inside.append(data)
            values.append(inside)
        if plan.reduced is not None:
            self._reduce_natively(plan, plan.reduced, values)
        if plan.shared is not None:
            self._transfer_shared(plan, plan.shared, manifests, values)
        for direct in plan.direct:
            self._transfer_direct(plan, direct, manifests, values)
        return values

    def _reduce_natively(self, plan: SyncPlan, reduced: Reduced, values: list[list[Tensor] | Tensor]) -> None:
        device = self.transport.wire_device([d for i in reduced.states for d in plan.devices[i]])
        totals = [self.sources[i][0].to(device=device, dtype=torch.int64).reshape(-1) for i in reduced.states]
        flat = torch.cat(totals)
        self.transport.all_reduce_sum(flat, timeout=self.route.timeout, what=self.route.what)
        at = 0
        for index, shape, total in zip(reduced.states, reduced.shapes, totals, strict=True):
            values[index] = flat[at : at + total.numel()].view(shape)
            at += total.numel()

    def _transfer_shared(
        self, plan: SyncPlan, shared: Shared, manifests: Sequence[Manifest], values: list[list[Tensor] | Tensor]
    ) -> None:
        device = self.transport.wire_device([d for i in shared.states for d in plan.devices[i]])
        pieces = [
            torch.zeros(size if self.route.receives or rank == self.rank else 0, dtype=torch.uint8, device=device)
            for rank, size in enumerate(shared.sizes)
        ]
        mine = pieces[self.rank]
        for index, offsets in zip(shared.states, shared.offsets, strict=True):
            record, offset = manifests[self.rank].records[index], offsets[self.rank]
            if offset is not None and record.nbytes:
                _write(self.sources[index], from_bytes(mine[offset:], record.dtype, record.shape))
        gather_ragged_bytes(self.route, pieces, shared.sizes)
        if not self.route.receives:
            return
        for index, offsets in zip(shared.states, shared.offsets, strict=True):
            found = values[index]
            assert isinstance(found, list)
            for rank, offset in enumerate(offsets):
                nbytes = manifests[rank].records[index].nbytes
                found[rank] = found[rank].to(device) if offset is None else pieces[rank][offset : offset + nbytes]

    def _transfer_direct(
        self, plan: SyncPlan, direct: Direct, manifests: Sequence[Manifest], values: list[list[Tensor] | Tensor]
    ) -> None:
        index, state = direct.state, plan.states[direct.state]
        device = self.transport.wire_device(plan.devices[index])
        is_rows = any(m.records[index].form is Form.ROWS for m in manifests)
        total = direct.total if self.route.receives else direct.sizes[self.rank]
        buffer = torch.empty(total, dtype=torch.uint8, device=device)
        found = values[index]
        assert isinstance(found, list)
        pieces, waiting = [], []
        for rank, (offset, nbytes) in enumerate(zip(direct.offsets, direct.sizes, strict=True)):
            start = offset if self.route.receives else 0
            piece = buffer[start : start + (nbytes if self.route.receives or rank == self.rank else 0)]
            record = manifests[rank].records[index]
            dtype = state.dtype if is_rows else record.dtype
            inside = state.offsets[rank] is not None
            if rank == self.rank and nbytes:
                _write(self.sources[index], piece.view(dtype).view(record.shape))
            elif inside and nbytes and self.route.receives:
                piece.view(dtype).view(record.shape).copy_(from_bytes(found[rank], record.dtype, record.shape))
            pieces.append(piece)
            waiting.append(0 if inside else nbytes)
        gather_ragged_bytes(self.route, pieces, waiting)
        if is_rows and self.route.receives:
            tail = next(manifests[r].records[index].shape[1:] for r in state.ranks)
            values[index] = buffer.view(state.dtype).view(-1, *tail)
        else:
            values[index] = pieces

    def _fold(
        self, plan: SyncPlan, manifests: Sequence[Manifest], values: Sequence[list[Tensor] | Tensor]
    ) -> list[Merged]:
        counts = [[m.update_counts[part] for m in manifests] for part in range(len(self.parts))]
        folded: list[States] = [{} for _ in self.parts]
        whole: list[list[States]] = [[{} for _ in manifests] for _ in self.parts]
        for entry, state, found in zip(self.schema.entries, plan.states, values, strict=True):
            part = self.parts[entry.part]
            if entry.merged_by is not None:
                for rank, manifest in enumerate(manifests):
                    assert isinstance(found, list)
                    whole[entry.part][rank][entry.spec.name] = self._decode(
                        entry, manifest.records[state.index], found[rank]
                    )
                continue
            if isinstance(found, Tensor):
                result: State = [found] if entry.spec.is_list else found.to(state.dtype)
            else:
                taking_part = [self._decode(entry, manifests[r].records[state.index], found[r]) for r in state.ranks]
                result = fold_state(entry, taking_part, [counts[entry.part][r] for r in state.ranks])
            folded[entry.part][entry.spec.name] = _deliver(result, part.device, self.arrived)
        results = []
        for index, part in enumerate(self.parts):
            if part.merge is not None:
                per_rank = [{n: _deliver(v, part.device, self.arrived) for n, v in s.items()} for s in whole[index]]
                folded[index] = fold_whole(part, per_rank, counts[index])
            results.append(Merged({name: folded[index][name] for name in part.specs}, sum(counts[index])))
        return results

    def _decode(self, entry: Entry, record: Record, data: Tensor) -> State:
        if record.form is Form.NOTHING:
            return []
        if record.form in (Form.BUNDLE, Form.PLAIN):
            keep = (
                record.form is Form.PLAIN
                or data.untyped_storage().data_ptr() != self.arrived.untyped_storage().data_ptr()
            )
            return decode_bundle(record.form, data if keep else data.clone())
        value = from_bytes(data, record.dtype, record.shape)
        return [value] if record.form is Form.ROWS and entry.spec.is_list and entry.merged_by is not None else value


def _write(sources: Sequence[Tensor], place: Tensor) -> None:
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


def _deliver(value: State, device: torch.device, arrived: Tensor) -> State:
    """Bring a result to its device, and out of the buffer that it came in."""
    if isinstance(value, list):
        return [_deliver(item, device, arrived) if isinstance(item, Tensor) else item for item in value]
    moved = value.to(device)
    if moved.untyped_storage().data_ptr() == arrived.untyped_storage().data_ptr():
        return moved.clone()
    return moved
