"""A sync in which all ranks say the same: seen in a comparison of bytes, and folded in a few operations for all ranks.

What a rank says of itself differs from what the others say in three places: the numbers of its updates, the moment at
which it came, and the values of its states. The rest of the packets is the same in almost every sync, byte for byte.
Where it is, and every state is one that can be folded so, nothing is decoded and nothing is done rank by rank: the
packets stand in one tensor, and a state of all ranks is some of its columns.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.states.joined import JoinedRows
from syncmetrics.states.reductions import finish_sum
from syncmetrics.states.spec import State, States
from syncmetrics.sync.fold import Merged
from syncmetrics.sync.manifest import Form, Part, Record, Schema
from syncmetrics.sync.packet import HEADER_BYTES, payload_layout

__all__ = ["ENTERED", "FEW", "Columns", "columns_of", "counts_if_alike", "entered_of", "fold_columns"]

#: Where in a header the moment stands at which a rank came, in eight bytes. It is the last of the header's numbers.
ENTERED = HEADER_BYTES - 8
_COUNTS = HEADER_BYTES + 8
_MOMENT = struct.Struct("<q")
#: Up to so many ranks, Python reads what is short faster than torch.
FEW = 32

_SUMMED = (torch.int64, torch.float64, torch.float32)
_PICKED = (torch.int64, torch.int32, torch.uint8, torch.float64, torch.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Where the states lie in the packets of all ranks that say the same.

    Attributes:
        records: What each rank says of its states.
        offsets: Where each state begins in a packet.
        manifest_bytes: Size of the manifest in front of them.
        spans: For each dtype that is summed, the first and the last byte of all states of it.
    """

    records: tuple[Record, ...]
    offsets: tuple[int, ...]
    manifest_bytes: int
    spans: tuple[tuple[torch.dtype, int, int], ...]


def columns_of(schema: Schema, records: tuple[Record, ...], manifest_bytes: int, size: int) -> Columns | None:
    """Find out where the states lie, if all of them ride inside of a packet and can be folded for all ranks at once.

    Args:
        schema: What takes part.
        records: What this rank says of its states.
        manifest_bytes: Size of its manifest.
        size: Size of a packet.
    """
    offsets = payload_layout(records, manifest_bytes, size)
    spans: dict[torch.dtype, list[int]] = {}
    for entry, record, offset in zip(schema.entries, records, offsets, strict=True):
        reduction = entry.spec.reduction
        if offset is None or entry.merged_by is not None:
            return None
        if record.form is Form.DENSE and reduction.adds and record.dtype in _SUMMED:
            spans.setdefault(record.dtype, []).extend((offset, offset + record.nbytes))
        elif record.form is Form.DENSE and reduction.name in ("min", "max") and record.dtype in _PICKED:
            continue
        elif not (record.form is Form.ROWS and reduction.name == "cat"):
            return None
    found = tuple((dtype, min(ends), max(ends)) for dtype, ends in spans.items())
    return Columns(records, tuple(at for at in offsets if at is not None), manifest_bytes, found)


def counts_if_alike(
    packets: Tensor,
    mine: Tensor,
    incoming: memoryview,
    outgoing: memoryview,
    manifest_bytes: int,
    parts: int,
    runs: int = 1,
) -> tuple[list[int], Tensor | list[tuple[int, ...]]] | None:
    """Say whether all ranks say what this one says, and give the numbers of their updates and samples then.

    Args:
        packets: Of shape `(world_size, packet size)`.
        mine: That of this rank.
        incoming: The memory of `packets`.
        outgoing: The memory of `mine`.
        manifest_bytes: Size of its manifest, all of which is in the packet.
        parts: How many metrics take part.
        runs: How many different numbers of samples this rank tells of them.

    Returns:
        For each metric the number of updates of all ranks; and for each rank the numbers of updates of each metric,
        and of samples of each run. None if one says something else.
    """
    world_size, size = packets.shape
    behind = _COUNTS + 8 * (parts + runs)
    spans = ((0, ENTERED), (HEADER_BYTES, _COUNTS), (behind, HEADER_BYTES + manifest_bytes))
    if world_size > FEW:
        if not all(bool((packets[:, start:stop] == mine[start:stop]).all()) for start, stop in spans):
            return None
        numbers = packets[:, _COUNTS:behind].clone().view(torch.int64)
        counts = numbers[:, :parts]
        return None if parts and bool((counts < 0).any()) else (counts.sum(dim=0).tolist(), numbers)
    # A few comparisons in Python cost less than one operation of torch.
    places = range(0, world_size * size, size)
    for start, stop in spans:
        said = bytes(outgoing[start:stop])
        if any(bytes(incoming[at + start : at + stop]) != said for at in places):
            return None
    told = [struct.unpack_from(f"<{parts + runs}q", incoming, at + _COUNTS) for at in places]
    columns = list(zip(*told, strict=True))[:parts]
    if parts and min(map(min, columns)) < 0:
        return None
    return list(map(sum, columns)), told


def entered_of(packets: Tensor, incoming: memoryview) -> list[int]:
    """Give the moments at which the ranks came, in nanoseconds of their own clocks."""
    world_size, size = packets.shape
    if world_size <= FEW:
        return [_MOMENT.unpack_from(incoming, at + ENTERED)[0] for at in range(0, world_size * size, size)]
    entered: list[int] = packets[:, ENTERED:HEADER_BYTES].contiguous().view(torch.int64).view(-1).tolist()
    return entered


def fold_columns(
    parts: Sequence[Part], schema: Schema, columns: Columns, counts: Sequence[int], packets: Tensor
) -> list[Merged]:
    """Reduce all states over ranks, with the same bits as rank by rank.

    Args:
        parts: What this rank brought, sorted by path.
        schema: Which states take part.
        columns: Where they lie.
        counts: For each part the number of updates of all ranks.
        packets: Of shape `(world_size, packet size)`. No result is a view of it.

    Returns:
        One result for each part.

    Raises:
        StateError: A result cannot be held.
    """
    totals = {dtype: (start, _summed(_columns(packets, dtype, start, stop))) for dtype, start, stop in columns.spans}
    world_size = packets.shape[0]
    folded: list[States] = [{} for _ in parts]
    for entry, record, offset in zip(schema.entries, columns.records, columns.offsets, strict=True):
        part, reduction = parts[entry.part], entry.spec.reduction
        if reduction.adds:
            start, total = totals[record.dtype]
            first = (offset - start) // record.dtype.itemsize
            found = total[first : first + math.prod(record.shape)].view(record.shape)
            if entry.spec.offset is None:
                result = found.clone()
            else:
                try:
                    result = finish_sum(found, world_size, entry.spec.offset, record.dtype)
                except StateError as error:
                    raise StateError(f"state `{entry.path}`: {error}") from None
        elif record.form is Form.ROWS:
            rows = _columns(packets, record.dtype, offset, offset + record.nbytes)
            result = rows.reshape(world_size * record.shape[0], *record.shape[1:]).clone()
        else:
            values = _columns(packets, record.dtype, offset, offset + record.nbytes)
            result = _picked(values, reduction.name == "max").view(record.shape)
        if part.device.type != "cpu":
            result = result.to(part.device)
        value: State = result
        if entry.spec.is_list:
            runs = [(record.runs, record.dtype)]
            value = JoinedRows(result, runs, world_size) if record.runs else [result]
        folded[entry.part][entry.spec.name] = value
    return [
        Merged({name: folded[index][name] for name in part.specs}, counts[index]) for index, part in enumerate(parts)
    ]


def _columns(packets: Tensor, dtype: torch.dtype, start: int, stop: int) -> Tensor:
    """Give the values of all ranks between two bytes of their packets, of shape `(world_size, n)`."""
    return packets.view(dtype)[:, start // dtype.itemsize : stop // dtype.itemsize]


def _summed(values: Tensor) -> Tensor:
    """Add values of all ranks in rank order, floats in float64, and round each sum once."""
    if values.dtype is torch.int64:
        return values.sum(dim=0)
    total = values.to(torch.float64).cumsum(dim=0)[-1]
    is_zero = total == 0
    if bool(is_zero.any()):  # a sum that begins with 0, as that of cumsum does, loses the sign of zeros
        total = torch.where(is_zero & values.signbit().all(dim=0), -0.0, total)
    return total.to(values.dtype)


def _picked(values: Tensor, is_max: bool) -> Tensor:
    """Give the least or the greatest value of all ranks."""
    found = values.amax(dim=0) if is_max else values.amin(dim=0)
    if values.is_floating_point() and bool((found == 0).any()):  # which of 0.0 and -0.0 it is depends on the order
        pick = torch.maximum if is_max else torch.minimum
        found = values[0].clone()
        for value in values[1:]:
            found = pick(found, value)
    return found
