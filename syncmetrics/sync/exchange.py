"""The one exchange of a sync: every rank sends a packet, and reads those of all ranks."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from syncmetrics.errors import Mark, PacketError, SchemaMismatchError, StateError, mark, said_by
from syncmetrics.sync.alike import counts_if_alike, entered_of
from syncmetrics.sync.check import peer_error
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

_TEXT = struct.Struct("<8sq")
_TEXT_MAGIC = b"synctxt\x00"
_VOTE = struct.Struct("<8s?iq")
_VOTE_MAGIC = b"syncvot\x00"

_Result = TypeVar("_Result")

__all__ = ["Arrived", "Packet", "attempt", "exchange", "gather_texts", "pack", "vote"]


@dataclass(frozen=True, slots=True)
class Packet:
    """What this rank sends.

    Attributes:
        data: The packet.
        manifest: The whole manifest, encoded, of which the packet may have only the beginning.
        filled: How many of its first bytes say something.
    """

    data: Tensor
    manifest: bytes
    filled: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """What all ranks sent.

    Attributes:
        headers: In rank order.
        manifests: In rank order.
        packets: Of shape `(world_size, packet size)`, uint8, on the CPU.
        incoming: The memory of `packets`.
        counts: For each metric the number of updates of all ranks, if all say the same as this one and nothing more is
            decoded: then there are neither headers nor manifests.
        told: As in a `Tally`, then.
    """

    headers: tuple[Header, ...]
    manifests: tuple[Manifest, ...]
    packets: Tensor
    incoming: memoryview
    counts: list[int] | None = None
    told: Tensor | Sequence[Sequence[int]] = ()

    @property
    def entered(self) -> list[int]:
        """When the ranks came, in nanoseconds of their own clocks."""
        if self.counts is None:
            return [header.entered for header in self.headers]
        return entered_of(self.packets, self.incoming)

    @property
    def apart(self) -> float:
        """How many seconds the first rank came before the last one, as far as their clocks can tell."""
        times = self.entered
        return (max(times) - min(times)) / 1e9


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
    filled = len(head)
    if known is not None:
        layout = known.lay_out(len(body), buffers)
        _fill(layout, sources)
        filled = max(filled, layout.end)
    return Packet(buffers.packet, body, filled)


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


def exchange(
    route: Route, packet: Packet, buffers: Buffers, said: Said, parts: tuple[int, int] | None = None
) -> Arrived:
    """Send a packet and receive all packets; and the rest of the manifests, if one was larger than a packet.

    Collective: every rank of the group must call this.

    Args:
        route: Over whom.
        packet: What this rank sends.
        buffers: Where the packets arrive.
        said: What was decoded before.
        parts: How many metrics take part, and how many different numbers of samples this rank tells of them, if nothing
            needs to be decoded where all ranks say the same.

    Raises:
        SchemaMismatchError: A rank sent something else.
    """
    size = packet.data.numel()
    packets = _gather_packets(route, buffers, packet.filled)
    if parts is not None:
        alike = counts_if_alike(packets, packet.data, buffers.incoming, buffers.outgoing, len(packet.manifest), *parts)
        if alike is not None:
            return Arrived((), (), packets, buffers.incoming, *alike)
    headers, bodies, incoming = [], [], buffers.incoming
    for rank in range(route.transport.world_size):
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
    return Arrived(tuple(headers), tuple(manifests), packets, incoming)


def _gather_packets(route: Route, buffers: Buffers, filled: int) -> Tensor:
    """Gather the packets of all ranks, of which this one has filled the first bytes.

    Whatever the ranks say to each other has this size, so no two things ever meet that differ in size.
    """
    packets, transport = buffers.arrived, route.transport
    transport.all_gather(packets.view(-1), buffers.packet, filled=filled, timeout=route.timeout, what=route.what)
    return packets


def gather_texts(route: Route, mine: bytes, buffers: Buffers) -> list[bytes]:
    """Gather a text of each rank, in pieces. Collective: every rank of the group must call this.

    Args:
        route: Over whom.
        mine: The text of this rank.
        buffers: Where the pieces are; nothing else may be in them.

    Raises:
        PacketError: A rank sent something else.
    """
    size = buffers.packet.numel() - _TEXT.size
    texts = [bytearray() for _ in range(route.transport.world_size)]
    longest = 1
    sent = 0
    while sent < longest:
        head = _TEXT.pack(_TEXT_MAGIC, len(mine)) + mine[sent : sent + size]
        buffers.outgoing[: len(head)] = head
        _gather_packets(route, buffers, len(head))
        for rank, text in enumerate(texts):
            at = rank * buffers.packet.numel()
            magic, claimed = _TEXT.unpack_from(buffers.incoming, at)
            if magic != _TEXT_MAGIC or not 0 <= claimed <= MAX_MANIFEST_BYTES:
                raise PacketError(
                    f"rank {rank} did not send a text in {route.what}, or claims to send one of {claimed} bytes, more"
                    f" than {MAX_MANIFEST_BYTES}."
                )
            longest = max(longest, claimed)
            at += _TEXT.size
            text += buffers.incoming[at : at + min(size, max(0, claimed - sent))]
        sent += size
    return [bytes(text) for text in texts]


def attempt(call: Callable[[], _Result]) -> tuple[_Result | None, Exception | None]:
    """Give what a call gives, or what it raises: the other ranks have to hear of it first, by `vote`."""
    try:
        return call(), None
    except Exception as error:
        return None, error


def vote(route: Route, label: str, error: Exception | None, buffers: Buffers) -> float:
    """Agree on whether all ranks can go on. Collective: every rank of the group must call this.

    Args:
        route: Over whom.
        label: What is synced.
        error: Why this rank cannot, if so.
        buffers: Where the votes are; nothing else may be in them.

    Returns:
        How many seconds the first rank came before the last one.

    Raises:
        PeerError: Some rank cannot.
        Exception: What this rank raised, if all ranks say the same.
        SchemaMismatchError: A rank sent something else.
    """
    text = b"" if error is None else said_by(error).encode("utf-8", "backslashreplace")
    text = text[: buffers.packet.numel() - _VOTE.size]
    head = _VOTE.pack(_VOTE_MAGIC, error is None, len(text), time.time_ns()) + text
    buffers.outgoing[: len(head)] = head
    _gather_packets(route, buffers, len(head))
    failures: dict[int, str] = {}
    times: list[int] = []
    for rank in range(route.transport.world_size):
        at = rank * buffers.packet.numel()
        magic, is_ready, length, when = _VOTE.unpack_from(buffers.incoming, at)
        if magic != _VOTE_MAGIC:
            raise SchemaMismatchError(f"rank {rank} did not say in {route.what} whether it can go on.")
        times.append(when)
        if not is_ready:
            at += _VOTE.size
            failures[rank] = bytes(buffers.incoming[at : at + length]).decode("utf-8", "replace")
    if error is not None and len(failures) == len(times) and len(set(failures.values())) == 1:
        mark(error, Mark.AGREED)
        raise error  # it is the same everywhere, and no rank's fault
    if failures:
        raise peer_error(label, failures, route.transport.world_size) from error
    return (max(times) - min(times)) / 1e9


def _gather_sized(route: Route, mine: bytes, sizes: Sequence[int]) -> list[bytes]:
    device = route.transport.wire_device(["cpu"])
    pieces = [torch.empty(size, dtype=torch.uint8, device=device) for size in sizes]
    pieces[route.transport.rank].copy_(write_bytes(mine))
    gather_ragged_bytes(route.to_all(), pieces, sizes)
    return [read_bytes(piece) for piece in pieces]
