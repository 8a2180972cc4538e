"""The one exchange of a sync: every rank sends a packet, and reads those of all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from syncmetrics.errors import PacketError, SchemaMismatchError
from syncmetrics.sync.manifest import Manifest
from syncmetrics.sync.packet import (
    HEADER_BYTES,
    Header,
    decode_header,
    decode_manifest,
    encode_header,
    encode_manifest,
    from_bytes,
    packet_size,
    payload_layout,
    read_bytes,
    write_bytes,
)
from syncmetrics.sync.transfer import Route, gather_ragged_bytes, write_rows

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


def pack(manifest: Manifest, sources: Sequence[Sequence[Tensor]], world_size: int) -> Packet:
    """Fill a packet with the manifest, and with the states that fit.

    Args:
        manifest: What this rank says.
        sources: The tensors that make up each state.
        world_size: Number of ranks.
    """
    size = packet_size(world_size)
    body = encode_manifest(manifest)
    header = Header(manifest.status, manifest.sequence, manifest.fingerprint, len(body))
    data = torch.zeros(size, dtype=torch.uint8)
    head = write_bytes(encode_header(header) + body)[:size]
    data[: head.numel()].copy_(head)
    for index, offset in enumerate(payload_layout(manifest.records, len(body), size)):
        record = manifest.records[index]
        if offset is not None and record.nbytes:
            write_rows(sources[index], from_bytes(data[offset:], record.dtype, record.shape))
    return Packet(data, body)


def exchange(route: Route, packet: Packet) -> Arrived:
    """Send a packet and receive all packets; and the rest of the manifests, if one was larger than a packet.

    Collective: every rank of the group must call this.

    Raises:
        SchemaMismatchError: A rank sent something else.
    """
    transport, size = route.transport, packet.data.numel()
    device = transport.wire_device(["cpu"])
    gathered = torch.empty(transport.world_size * size, dtype=torch.uint8, device=device)
    transport.all_gather(gathered, packet.data.to(device), timeout=route.timeout, what=route.what)
    packets = gathered.cpu().view(transport.world_size, size)
    headers = []
    for rank in range(transport.world_size):
        try:
            headers.append(decode_header(read_bytes(packets[rank, :HEADER_BYTES])))
        except PacketError as error:
            raise SchemaMismatchError(f"rank {rank} did not send a packet in {route.what}: {error}") from error
    sizes = [h.manifest_bytes for h in headers]
    if any(HEADER_BYTES + n > size for n in sizes):
        bodies = _gather_sized(route, packet.manifest, sizes)
    else:
        bodies = [read_bytes(row[HEADER_BYTES : HEADER_BYTES + n]) for row, n in zip(packets, sizes, strict=True)]
    manifests = tuple(decode_manifest(h, body) for h, body in zip(headers, bodies, strict=True))
    return Arrived(tuple(headers), manifests, packets)


def gather_texts(route: Route, mine: bytes) -> list[bytes]:
    """Gather a text of each rank. Collective: every rank of the group must call this."""
    size = write_bytes(len(mine).to_bytes(8, "little"))
    device = route.transport.wire_device(["cpu"])
    sizes = torch.empty(8 * route.transport.world_size, dtype=torch.uint8, device=device)
    route.transport.all_gather(sizes, size.to(device), timeout=route.timeout, what=route.what)
    return _gather_sized(route, mine, [int.from_bytes(read_bytes(n), "little") for n in sizes.view(-1, 8)])


def _gather_sized(route: Route, mine: bytes, sizes: Sequence[int]) -> list[bytes]:
    device = route.transport.wire_device(["cpu"])
    pieces = [torch.empty(size, dtype=torch.uint8, device=device) for size in sizes]
    pieces[route.transport.rank].copy_(write_bytes(mine))
    gather_ragged_bytes(route.to_all(), pieces, sizes)
    return [read_bytes(piece) for piece in pieces]
