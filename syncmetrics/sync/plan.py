"""What has to be sent after the exchange. Pure: it follows from the manifests alone, so it is equal on all ranks.

A state whose bytes lie inside the packets of all ranks needs nothing more. Of the others, the small ones of all
metrics share one buffer; a large one, or rows that are left alone, have a transfer of their own, straight into the
place where the result will stand. Large integer sums go through the backend's own sum, which gives the same bits in
any order. Other large states that are reduced element by element go out in slices: each rank gets its slice of all
ranks, reduces it in rank order, and sends it on, which gives the bits that each rank would find by itself, for a
fraction of the bytes and of the memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from syncmetrics.states.reductions import promote
from syncmetrics.sync.check import participants
from syncmetrics.sync.manifest import Entry, Form, Manifest, Record, Schema
from syncmetrics.sync.packet import align, payload_layout

__all__ = ["Direct", "Reduced", "Shared", "Sliced", "StatePlan", "SyncPlan", "plan_sync"]

#: From this size on (on any rank, in bytes) a state gets a transfer of its own: one more collective costs less than
# one more copy.
DIRECT_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class StatePlan:
    """How one state becomes one.

    Attributes:
        index: Its place in the schema.
        offsets: Where it lies in each rank's packet; None where it does not ride inside.
        ranks: The ranks whose values are reduced, in order.
        dtype: What the values are promoted to.
    """

    index: int
    offsets: tuple[int | None, ...]
    ranks: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Shared:
    """One ragged transfer for the small states that did not fit.

    Attributes:
        offsets: `offsets[i][rank]` is where the state `states[i]` lies in that rank's buffer; None where it rode
            inside.
        states: Places in the schema.
        sizes: Size of each rank's buffer.
    """

    states: tuple[int, ...]
    offsets: tuple[tuple[int | None, ...], ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Direct:
    """One ragged transfer for one large state.

    Attributes:
        state: Its place in the schema.
        offsets: Where each rank's bytes begin in the one result buffer.
        sizes: How many bytes of each rank's stand there.
        total: Size of that buffer.
    """

    state: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Reduced:
    """One native sum for all large integer sums.

    Attributes:
        states: Places in the schema.
        shapes: Their shapes.
    """

    states: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Sliced:
    """One state that every rank reduces a slice of.

    Attributes:
        state: Its place in the schema.
        shape: Its shape on every rank.
    """

    state: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """All that happens after the check.

    Attributes:
        states: One plan for each state of the schema.
        reduced: The transfer of large integer sums, if there are any.
        shared: The transfer of small states, if there are any.
        direct: The transfers of large states.
        devices: For each state, the types of device that it lies on.
        sliced: The large states of which every rank reduces a slice.
    """

    states: tuple[StatePlan, ...]
    reduced: Reduced | None
    shared: Shared | None
    direct: tuple[Direct, ...]
    devices: tuple[tuple[str, ...], ...]
    sliced: tuple[Sliced, ...] = ()

    @property
    def is_inside(self) -> bool:
        """Whether everything rode inside the packets, so that nothing more is sent."""
        return self.reduced is None and self.shared is None and not self.direct and not self.sliced


def plan_sync(schema: Schema, manifests: Sequence[Manifest], manifest_bytes: Sequence[int], size: int) -> SyncPlan:
    """Decide on all transfers.

    Args:
        schema: What takes part.
        manifests: What each rank holds; they have passed the check.
        manifest_bytes: Size of each manifest, as encoded.
        size: Size of a packet.
    """
    layouts = [payload_layout(m.records, n, size) for m, n in zip(manifests, manifest_bytes, strict=True)]
    states, reduced, shared, direct, sliced = [], [], [], [], []
    for index, entry in enumerate(schema.entries):
        records = [m.records[index] for m in manifests]
        state = _plan_state(index, entry, manifests, tuple(layout[index] for layout in layouts))
        states.append(state)
        if all(offset is not None for offset in state.offsets):
            continue
        if max(r.nbytes for r in records) < DIRECT_BYTES:
            shared.append(index)
        elif _sums_natively(entry, state):
            reduced.append(index)
        elif _reduces_in_slices(entry, state, records):
            sliced.append(Sliced(index, records[0].shape))
        else:
            direct.append(_plan_direct(state, records))
    if len(shared) == 1:
        records = [m.records[shared[0]] for m in manifests]
        if _are_rows(records):  # nothing shares the buffer, which would be one more copy
            direct.append(_plan_direct(states[shared.pop()], records))
    return SyncPlan(
        tuple(states),
        Reduced(tuple(reduced), tuple(manifests[0].records[i].shape for i in reduced)) if reduced else None,
        _plan_shared([states[i] for i in shared], manifests) if shared else None,
        tuple(direct),
        tuple(
            tuple(m.records[i].device for m in manifests if m.records[i].form is not Form.NOTHING)
            for i in range(len(states))
        ),
        tuple(sliced),
    )


def _plan_state(index: int, entry: Entry, manifests: Sequence[Manifest], offsets: tuple[int | None, ...]) -> StatePlan:
    records = [m.records[index] for m in manifests]
    ranks = participants(entry, records, [m.update_counts[entry.part] for m in manifests])
    forms = (Form.ROWS,) if entry.merged_by is not None else (Form.DENSE, Form.ROWS)  # merged ones stay apart
    voting = [records[r].dtype for r in ranks if records[r].form in forms]
    dtype = promote(voting) if voting else records[0].dtype
    return StatePlan(index, offsets, ranks, dtype)


def _sums_natively(entry: Entry, state: StatePlan) -> bool:
    """Say whether the backend's sum keeps the promise: integers, of which every rank has all.

    A rank that has joined has none, and knows no reduction: the rest of the plan must not depend on either.
    """
    return (
        entry.spec.reduction.adds
        and not state.dtype.is_floating_point
        and not state.dtype.is_complex
        and _all_have_all(entry, state)
    )


def _reduces_in_slices(entry: Entry, state: StatePlan, records: Sequence[Record]) -> bool:
    """Say whether elements are reduced one by one, from tensors that every rank has, of one shape and dtype."""
    return (
        entry.spec.reduction.by_element
        and len({(record.form, record.shape, record.dtype) for record in records}) == 1
        and _all_have_all(entry, state)
    )


def _all_have_all(entry: Entry, state: StatePlan) -> bool:
    """Say whether all ranks take part, and have all that they bring still to send."""
    return (
        entry.merged_by is None
        and len(state.ranks) == len(state.offsets)
        and all(offset is None for offset in state.offsets)
    )


def _plan_shared(states: Sequence[StatePlan], manifests: Sequence[Manifest]) -> Shared:
    sizes = [0] * len(manifests)
    offsets = []
    for state in states:
        row: list[int | None] = []
        for rank, manifest in enumerate(manifests):
            if state.offsets[rank] is not None:
                row.append(None)
                continue
            row.append(sizes[rank])
            sizes[rank] = align(sizes[rank] + manifest.records[state.index].nbytes)
        offsets.append(tuple(row))
    return Shared(tuple(state.index for state in states), tuple(offsets), tuple(sizes))


def _are_rows(records: Sequence[Record]) -> bool:
    return any(record.form is Form.ROWS for record in records)


def _plan_direct(state: StatePlan, records: Sequence[Record]) -> Direct:
    """Rows stand one behind another, as in the result; other states are aligned, to be viewed one by one."""
    rows = _are_rows(records)
    offsets, sizes, at = [], [], 0
    for rank, record in enumerate(records):
        if rows:
            nbytes = math.prod(record.shape) * state.dtype.itemsize if rank in state.ranks else 0
        else:
            nbytes = record.nbytes
        offsets.append(at)
        sizes.append(nbytes)
        at = at + nbytes if rows else align(at + nbytes)
    return Direct(state.index, tuple(offsets), tuple(sizes), at)
