"""The one exchange of a sync: every rank sends a packet, and reads those of all ranks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from syncmetrics.errors import PacketError, SchemaMismatchError, StateError
from syncmetrics.sync.manifest import Manifest
from syncmetrics.sync.memory import Buffers, Known, Layout
from syncmetrics.sync.packet import (
    HEADER_BYTES,
    MAX_MANIFEST_BYTES,
    Header,
    Said,
    decode_header,
    decode_manifest,
    encode_header,
    encode_manifest,
    read_bytes,
    write_bytes,
)
from syncmetrics.sync.ragged import gather_ragged_bytes
from syncmetrics.sync.route import Route
from syncmetrics.sync.transfer import write_rows

__all__ = ["Arrived", "Packet", "exchange", "gather_texts", "pack"]


@dataclass(frozen=True, slots=True)
class Packet:
    """What this rank sends.

    Attributes:
        data: The packet.
        manifest: The whole manifest, encoded, of which the packet may have only the beginning.
    """

    data: Tensor
    manifest: bytes


@dataclass(frozen=True, slots=True)
class Arrived:
    """What all ranks sent.

    Attributes:
        headers: In rank order.
        manifests: In rank order.
        packets: Of shape `(world_size, packet size)`, uint8, on the CPU.
    """

    headers: tuple[Header, ...]
    manifests: tuple[Manifest, ...]
    packets: Tensor


def pack(
    manifest: Manifest,
    sources: Sequence[Sequence[Tensor]],
    buffers: Buffers,
    known: Known | None = None,
) -> Packet:
    """Fill a packet with the manifest, and with the states that fit.

    Args:
        manifest: What this rank says.
        sources: The tensors that make up each state.
        buffers: Where the packet is.
        known: What is known of this sync; its records are those of the manifest. None for a rank that brings no states.
    """
    size = buffers.packet.numel()
    body = encode_manifest(manifest, None if known is None else known.said)
    if len(body) > MAX_MANIFEST_BYTES:
        raise StateError(
            f"its states take {len(body)} bytes to describe, more than {MAX_MANIFEST_BYTES}; append fewer and larger"
            " tensors, or declare the lists with RowBuffer() in place of []."
        )
    header = Header(
        manifest.status, manifest.sequence, manifest.fingerprint, len(body), time.time_ns(), manifest.meaning
    )
    head = (encode_header(header) + body)[:size]
    buffers.outgoing[: len(head)] = head
    if known is not None:
        _fill(known.lay_out(len(body), buffers), sources)
    return Packet(buffers.packet, body)


def _fill(layout: Layout, sources: Sequence[Sequence[Tensor]]) -> None:
    """Copy the states that ride inside to their places."""
    places = layout.places
    found = [sources[index] for index in layout.states]
    if len(found) > 1 and all(len(tensors) == 1 for tensors in found):
        shaped = [
            t if t.shape == place.shape else t.view(place.shape) for (t,), place in zip(found, places, strict=True)
        ]
        torch._foreach_copy_(list(places), shaped)
        return
    for tensors, place in zip(found, places, strict=True):
        write_rows(tensors, place)


def exchange(route: Route, packet: Packet, buffers: Buffers, said: Said) -> Arrived:
    """Send a packet and receive all packets; and the rest of the manifests, if one was larger than a packet.

    Collective: every rank of the group must call this.

    Args:
        route: Over whom.
        packet: What this rank sends.
        buffers: Where the packets arrive.
        said: What was decoded before.

    Raises:
        SchemaMismatchError: A rank sent something else.
    """
    transport, size, packets = route.transport, packet.data.numel(), buffers.arrived
    device = transport.wire_device(["cpu"])
    on_cpu = device.type == "cpu"
    gathered = packets.view(-1) if on_cpu else torch.empty(packets.numel(), dtype=torch.uint8, device=device)
    local = packet.data if on_cpu else packet.data.to(device)
    transport.all_gather(gathered, local, timeout=route.timeout, what=route.what)
    if not on_cpu:
        packets.copy_(gathered.view_as(packets))
    headers, bodies, incoming = [], [], buffers.incoming
    for rank in range(transport.world_size):
        at = rank * size
        try:
            header = decode_header(incoming, at)
        except PacketError as error:
            raise SchemaMismatchError(f"rank {rank} did not send a packet in {route.what}: {error}") from error
        headers.append(header)
        at += HEADER_BYTES
        bodies.append(bytes(incoming[at : min(at + header.manifest_bytes, (rank + 1) * size)]))
    sizes = [h.manifest_bytes for h in headers]
    if any(HEADER_BYTES + n > size for n in sizes):
        bodies = _gather_sized(route, packet.manifest, sizes)
    manifests = []
    for rank, (header, body) in enumerate(zip(headers, bodies, strict=True)):
        try:
            manifests.append(decode_manifest(header, body, said))
        except PacketError as error:
            raise PacketError(f"rank {rank}: {error}") from error
    return Arrived(tuple(headers), tuple(manifests), packets)


def gather_texts(route: Route, mine: bytes) -> list[bytes]:
    """Gather a text of each rank. Collective: every rank of the group must call this."""
    size = write_bytes(len(mine).to_bytes(8, "little"))
    device = route.transport.wire_device(["cpu"])
    sizes = torch.empty(8 * route.transport.world_size, dtype=torch.uint8, device=device)
    route.transport.all_gather(sizes, size.to(device), timeout=route.timeout, what=route.what)
    found = [int.from_bytes(read_bytes(n), "little") for n in sizes.view(-1, 8)]
    for rank, claimed in enumerate(found):
        if claimed > MAX_MANIFEST_BYTES:
            limit = MAX_MANIFEST_BYTES
            raise PacketError(f"rank {rank} claims to send a text of {claimed} bytes, more than {limit}.")
    return _gather_sized(route, mine, found)


def _gather_sized(route: Route, mine: bytes, sizes: Sequence[int]) -> list[bytes]:
    device = route.transport.wire_device(["cpu"])
    pieces = [torch.empty(size, dtype=torch.uint8, device=device) for size in sizes]
    pieces[route.transport.rank].copy_(write_bytes(mine))
    gather_ragged_bytes(route.to_all(), pieces, sizes)
    return [read_bytes(piece) for piece in pieces]
