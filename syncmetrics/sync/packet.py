"""Manifest and states to bytes and back. Pure: nothing here communicates, and `decode(encode(x)) == x`.

A packet is what one rank sends in the one exchange of a sync::

    header (48 bytes) | manifest | padding to 16 | payload: the states that fit, each aligned to 16 | zeros

Which states lie inside follows from the manifest and the packet's size alone, so a receiver needs no table of contents.
A manifest is the numbers that change from sync to sync, in binary, and then what mostly stays, in JSON: whoever has
seen this half before need not read it again.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from syncmetrics.errors import PacketError
from syncmetrics.states.joined import SCALAR, Run
from syncmetrics.states.plain import decode_plain, encode_plain
from syncmetrics.sync.manifest import Form, Manifest, Record, Status
from syncmetrics.sync.tally import Runs

__all__ = [
    "ALIGNMENT",
    "HEADER_BYTES",
    "MAX_MANIFEST_BYTES",
    "Header",
    "Said",
    "align",
    "as_bytes",
    "decode_bundle",
    "decode_header",
    "decode_manifest",
    "encode_bundle",
    "encode_header",
    "encode_manifest",
    "encode_said",
    "from_bytes",
    "packet_size",
    "payload_layout",
    "payload_start",
    "read_bytes",
    "shared_bytes",
    "write_bytes",
]

PROTOCOL_VERSION = 6
ALIGNMENT = 16

_MAGIC = b"syncmet\x00"
_HEADER = struct.Struct("<8sHHIqqqq")
HEADER_BYTES = _HEADER.size
_BUNDLE = struct.Struct("<q")
_DTYPES = {str(d).removeprefix("torch."): d for d in vars(torch).values() if isinstance(d, torch.dtype)}
_NAMES = {d: str(d).removeprefix("torch.") for d in _DTYPES.values()}
_MAX_BYTES = 1 << 62
#: No manifest is larger: so much is allocated at most for what a rank claims to have to say.
MAX_MANIFEST_BYTES = 256 << 20
_STATUSES = {int(status): status for status in Status}
_COUNTS = struct.Struct("<II")


def packet_size(world_size: int) -> int:
    """Give the size of a packet, which follows from the world size alone: every rank knows it before a word is said.

    What arrives from all ranks together stays at or under 4 MiB up to 4,096 ranks.
    """
    return max(1 << 10, min((4 << 20) // world_size, 32 << 10)) // ALIGNMENT * ALIGNMENT


def align(offset: int) -> int:
    """Round up to the alignment that any dtype can be viewed at."""
    return (offset + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Header:
    """The fixed part of a packet.

    Attributes:
        status: How the rank enters the sync.
        sequence: Which sync of the group it takes this for.
        fingerprint: Of its schema.
        manifest_bytes: Size of the manifest; it goes on in another gather if it is larger than the packet.
        entered: When the rank sent it, in nanoseconds of its own clock; for a trace, and for nothing else.
        meaning: As in the manifest.
    """

    status: Status
    sequence: int
    fingerprint: int
    manifest_bytes: int
    entered: int = 0
    meaning: int = 0


def encode_header(header: Header) -> bytes:
    """Encode a header."""
    return _HEADER.pack(
        _MAGIC,
        PROTOCOL_VERSION,
        header.status,
        header.meaning,
        header.sequence,
        header.fingerprint,
        header.manifest_bytes,
        header.entered,
    )


def decode_header(data: bytes | memoryview, at: int = 0) -> Header:
    """Decode the header that begins at `at`.

    Raises:
        PacketError: It is not a header of this protocol version.
    """
    if len(data) - at < HEADER_BYTES:
        raise PacketError(f"a packet has {len(data) - at} bytes, fewer than its header of {HEADER_BYTES}.")
    magic, version, status, meaning, sequence, fingerprint, manifest_bytes, entered = _HEADER.unpack_from(data, at)
    if magic != _MAGIC:
        raise PacketError("these bytes are not a packet: another collective was met, or another program.")
    if version != PROTOCOL_VERSION:
        raise PacketError(
            f"the packet has protocol version {version}, this process {PROTOCOL_VERSION}: install one"
            " version everywhere."
        )
    if status not in _STATUSES:
        raise PacketError(f"the packet has the unknown status {status}.")
    if not 0 <= manifest_bytes <= MAX_MANIFEST_BYTES:
        raise PacketError(f"the packet's manifest has {manifest_bytes} bytes, but may have {MAX_MANIFEST_BYTES}.")
    return Header(_STATUSES[status], sequence, fingerprint, manifest_bytes, entered, meaning)


def encode_manifest(manifest: Manifest, said: bytes | None = None) -> bytes:
    """Encode all of a manifest but what the header has.

    Args:
        manifest: What to encode.
        said: What `encode_said` gave for it, if that is known.
    """
    said = encode_said(manifest) if said is None else said
    if manifest.status is not Status.OK:
        return said
    count, runs = len(manifest.update_counts), manifest.samples
    samples = [samples for samples, _ in runs]
    # Of a single run the length is known: it is what almost every sync has.
    lengths = [length for _, length in runs] if len(runs) > 1 else []
    numbers = (*manifest.update_counts, *samples, *lengths, *manifest.epochs)
    return _COUNTS.pack(count, len(runs)) + struct.pack(f"<{len(numbers)}q", *numbers) + said


def encode_said(manifest: Manifest) -> bytes:
    """Encode what a manifest says of a sync besides its numbers: mostly the same as the last time."""
    if manifest.status is Status.ERROR:
        body: list[Any] = [manifest.label, manifest.message]
    else:
        body = [manifest.label, [_fields_of(record) for record in manifest.records]]
        if manifest.message or manifest.caller:
            body += [manifest.message, manifest.caller]
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def _fields_of(record: Record) -> list[Any]:
    if record.form is Form.NOTHING:
        return [record.form.value]
    fields = [record.form.value, _NAMES[record.dtype], record.device, *record.shape]
    return [*fields, [part for run in record.runs for part in _fields_of_run(run)]] if record.runs else fields


def _fields_of_run(run: Run) -> list[Any]:
    return [run.rows, run.times] if run.dtype is None else [_NAMES[run.dtype], run.rows, run.times]


def decode_manifest(header: Header, data: bytes, known: Said | None = None) -> Manifest:
    """Decode a manifest.

    Args:
        header: What came before it.
        data: The manifest.
        known: What was decoded before, and can be taken again. What is new is added.

    Raises:
        PacketError: The bytes are something else.
    """
    try:
        counts, samples, epochs, said = _split(data) if header.status is Status.OK else ((), (), (), data)
        found = None if known is None else known.get(said)
        if found is None:
            found = _decode_said(header.status, said)
            if known is not None and header.status is Status.OK:
                known[said] = found
        label, records, message, caller = found
        return Manifest(
            header.status,
            header.sequence,
            header.fingerprint,
            label,
            counts,
            records,
            epochs,
            message,
            caller,
            header.meaning,
            samples,
        )
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, struct.error) as error:
        raise PacketError(f"a manifest cannot be decoded: {error}") from error


#: What was said in manifests: label, records, message and caller, by the bytes that said it.
Said: TypeAlias = "dict[bytes, tuple[str, tuple[Record, ...], str, str]]"


def _split(data: bytes) -> tuple[tuple[int, ...], Runs, tuple[int, ...], bytes]:
    count, runs = _COUNTS.unpack_from(data)
    if count > len(data) or runs > count:
        raise ValueError(f"{count} is not a number of metrics, or {runs} not one of different numbers of samples")
    several = runs if runs > 1 else 0
    numbers = struct.unpack_from(f"<{2 * count + runs + several}q", data, _COUNTS.size)
    counts, samples = numbers[:count], numbers[count : count + runs]
    lengths = numbers[count + runs : count + runs + several] or (count,) * runs
    epochs = numbers[count + runs + several :]
    if min((*counts, *epochs), default=0) < 0:
        raise ValueError("a negative number of updates, or epoch")
    if min(samples, default=0) < -1 or min(lengths, default=1) < 1 or (runs and sum(lengths) != count):
        raise ValueError("an impossible number of samples")
    return counts, tuple(zip(samples, lengths, strict=True)), epochs, data[_COUNTS.size + 8 * len(numbers) :]


def _decode_said(status: Status, data: bytes) -> tuple[str, tuple[Record, ...], str, str]:
    body = json.loads(data.decode("ascii"))
    if not isinstance(body, list) or not isinstance(body[0], str):
        raise ValueError("no label")
    if status is Status.JOINED:
        return body[0], (), "", ""
    label, rest, *more = body
    if status is Status.ERROR:
        return label, (), str(rest), ""
    message, caller = map(str, more) if more else ("", "")
    return label, tuple(_decode_record(record) for record in rest), message, caller


def _decode_record(fields: list[Any]) -> Record:
    form = Form(fields[0])
    if form is Form.NOTHING:
        return Record(form)
    _, dtype, device, *shape = fields
    if not isinstance(device, str):
        raise ValueError("no device")
    runs = _decode_runs(shape.pop()) if shape and isinstance(shape[-1], list) else ()
    record = Record(form, _DTYPES[dtype], tuple(_natural(size) for size in shape), device, runs)
    if runs and (form is not Form.ROWS or record.shape[:1] != (sum(abs(run.rows) * run.times for run in runs),)):
        raise ValueError("elements that are not the rows")
    if len(shape) > 64 or record.nbytes > _MAX_BYTES:
        raise ValueError("an impossible shape")
    if form is Form.ROWS and not shape:
        raise ValueError("rows without a shape")
    return record


def _decode_runs(fields: list[Any]) -> tuple[Run, ...]:
    runs, left = [], iter(fields)
    for first in left:
        dtype = _DTYPES[first] if isinstance(first, str) else None
        rows = first if dtype is None else next(left, None)
        is_scalar = type(rows) is int and rows == SCALAR
        runs.append(Run(SCALAR if is_scalar else _natural(rows), _natural(next(left, None)), dtype))
    return tuple(runs)


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0 or value > _MAX_BYTES:
        raise ValueError(f"{value!r} is not a size")
    return value


def payload_start(manifest_bytes: int) -> int:
    """Give the offset of the payload in a packet."""
    return align(HEADER_BYTES + manifest_bytes)


def payload_layout(records: Sequence[Record], manifest_bytes: int, size: int) -> tuple[int | None, ...]:
    """Decide which states ride inside a packet, and where: the small ones first, as many as there is room for.

    Args:
        records: What the manifest says of each state.
        manifest_bytes: Size of that manifest.
        size: Size of the packet.

    Returns:
        The offset of each state in the packet, or None for a state that waits.
    """
    offsets: list[int | None] = [None] * len(records)
    if HEADER_BYTES + manifest_bytes > size:
        return tuple(offsets)
    at = payload_start(manifest_bytes)
    for index in sorted(range(len(records)), key=lambda i: (records[i].nbytes, i)):
        nbytes = records[index].nbytes
        if at + nbytes > size and nbytes > 0:
            break
        offsets[index] = at
        at = align(at + nbytes)
    return tuple(offsets)


def as_bytes(tensor: Tensor) -> Tensor:
    """View a tensor as 1-d uint8; it is copied only if it is not contiguous."""
    if tensor.numel() == 0:  # its strides can be anything
        return torch.empty(0, dtype=torch.uint8, device=tensor.device)
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.as_strided(flat.shape, (1,)).view(torch.uint8)  # a single element may have any stride


def read_bytes(data: Tensor) -> bytes:
    """Copy 1-d uint8 data, on any device, out of torch. It needs no numpy, which torch can do without."""
    buffer = bytearray(data.numel())
    if buffer:
        torch.frombuffer(buffer, dtype=torch.uint8).copy_(data)
    return bytes(buffer)


def write_bytes(data: bytes) -> Tensor:
    """Copy bytes into a 1-d uint8 tensor on the CPU."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(0, dtype=torch.uint8)


def shared_bytes(count: int) -> tuple[memoryview, Tensor]:
    """Give the same zeroed memory twice: to Python, which reads and writes a head in it at no cost, and to torch."""
    memory = bytearray(count)
    return memoryview(memory), torch.frombuffer(memory, dtype=torch.uint8)


def from_bytes(data: Tensor, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """View 1-d uint8 data, aligned to 16, as a tensor.

    Raises:
        PacketError: There are too few bytes, or they do not lie where bytes of a state can.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    if data.numel() < nbytes:
        raise PacketError(f"a state of {nbytes} bytes has only {data.numel()}.")
    try:
        return data[:nbytes].view(dtype).view(tuple(shape))
    except RuntimeError as error:
        raise PacketError(f"a state cannot be read: {error}") from error


def encode_bundle(values: Sequence[Any]) -> Tensor:
    """Encode the elements of a list state, tensors or plain data, as 1-d uint8.

    Args:
        values: Tensors of any shapes and dtypes, or plain data; not both.

    Returns:
        Bytes on the device of the first tensor, on the CPU for plain data.
    """
    if not values or not isinstance(values[0], Tensor):
        return write_bytes(encode_plain(values))
    head = json.dumps([[_NAMES[t.dtype], *t.shape] for t in values], separators=(",", ":")).encode("ascii")
    start = align(_BUNDLE.size + len(head))
    prefix = bytearray(start)
    _BUNDLE.pack_into(prefix, 0, len(head))
    prefix[_BUNDLE.size : _BUNDLE.size + len(head)] = head
    device = values[0].device
    total = start + sum(align(t.numel() * t.dtype.itemsize) for t in values)
    out = torch.zeros(total, dtype=torch.uint8, device=device)
    out[:start].copy_(torch.frombuffer(prefix, dtype=torch.uint8))
    at = start
    for t in values:
        data = as_bytes(t)
        out[at : at + data.numel()].copy_(data)
        at = align(at + data.numel())
    return out


def decode_bundle(form: Form, data: Tensor) -> list[Any]:
    """Decode what `encode_bundle` wrote. Tensors are views of `data`.

    Raises:
        PacketError: The bytes are something else.
    """
    if form is Form.PLAIN:
        return decode_plain(read_bytes(data))
    if data.numel() < _BUNDLE.size:
        raise PacketError("a bundle has no head.")
    (length,) = _BUNDLE.unpack(read_bytes(data[: _BUNDLE.size]))
    if not 0 <= length <= data.numel() - _BUNDLE.size:
        raise PacketError("a bundle's head does not fit into it.")
    try:
        head = json.loads(read_bytes(data[_BUNDLE.size : _BUNDLE.size + length]).decode("ascii"))
        shapes = [(_DTYPES[dtype], [_natural(size) for size in shape]) for dtype, *shape in head]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PacketError(f"a bundle's head cannot be decoded: {error}") from error
    at = align(_BUNDLE.size + length)
    values = []
    for dtype, shape in shapes:
        value = from_bytes(data[at:], dtype, shape)
        values.append(value)
        at = align(at + math.prod(shape) * dtype.itemsize)
    return values
