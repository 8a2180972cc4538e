"""Make one state of the states of all ranks, in rank order, with torch operations alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.states.joined import JoinedRows, Run
from syncmetrics.states.merge import own_copy
from syncmetrics.states.reductions import cat_rows, finish_sum, wide_dtype
from syncmetrics.states.samples import UNKNOWN
from syncmetrics.states.spec import State, States
from syncmetrics.sync.manifest import Entry, Form, Manifest, Part, Record, Schema, schema_of
from syncmetrics.sync.packet import decode_bundle, from_bytes
from syncmetrics.sync.plan import SyncPlan
from syncmetrics.sync.transfer import Values

__all__ = ["Merged", "fold", "fold_state", "fold_states"]


@dataclass(slots=True, eq=False)
class Merged:
    """The states of all ranks as one.

    Attributes:
        states: Fresh states; editing them reaches no local state.
        update_count: Number of updates of all ranks together.
        blocks: What several metrics have, each block of them by itself, if they share their states, but not on every
            rank; there is nothing else then.
        samples: Number of samples in the states, where they are to be merged into local ones.
    """

    states: States
    update_count: int
    blocks: tuple[tuple[tuple[str, ...], Merged], ...] = ()
    samples: int = UNKNOWN


def fold(
    parts: Sequence[Part],
    schema: Schema,
    plan: SyncPlan,
    manifests: Sequence[Manifest],
    values: Values,
    packets: Tensor,
    sums: Sequence[tuple[Sequence[int], Sequence[list[Tensor]]]] = (),
) -> list[Merged]:
    """Reduce all states over ranks.

    Args:
        parts: What this rank brought, sorted by path.
        schema: Which states take part.
        plan: How each becomes one.
        manifests: What each rank holds.
        values: What the transfer gave.
        packets: The buffer that small values are views of, and that no result may be a view of.
        sums: States that are added up as they are, and their values rank by rank.

    Returns:
        One result for each part.

    Raises:
        StateError: A result cannot be held.
    """
    counts = [[m.update_counts[part] for m in manifests] for part in range(len(parts))]
    totals = {
        index: total for states, values_of in sums for index, total in zip(states, _add_up(values_of), strict=True)
    }
    complete = {sliced.state for sliced in plan.sliced}
    folded: list[States] = [{} for _ in parts]
    apart: list[list[States]] = [[{} for _ in manifests] for _ in parts]
    for entry, state, found in zip(schema.entries, plan.states, values, strict=True):
        part, name = parts[entry.part], entry.spec.name
        if state.index in totals:
            total = totals[state.index]
            folded[entry.part][name] = total if part.device.type == "cpu" else total.to(part.device)
            continue
        records = [m.records[state.index] for m in manifests]
        if entry.merged_by is not None:
            assert isinstance(found, list), "what a metric merges itself comes apart"
            for rank, (record, data) in enumerate(zip(records, found, strict=True)):
                apart[entry.part][rank][name] = _deliver(_decode(record, data, packets), part.device, packets)
            continue
        if isinstance(found, Tensor) and state.index in complete:
            result: State = found
        elif isinstance(found, Tensor):
            result = _finish(entry, found, len(state.ranks), state.dtype)
        else:
            taking_part = [_decode(records[r], found[r], packets) for r in state.ranks]
            result = fold_state(entry, taking_part, [counts[entry.part][r] for r in state.ranks])
        if isinstance(result, Tensor) and entry.spec.is_list and entry.spec.reduction.name == "cat":
            result = _elements(result, records)
        folded[entry.part][name] = _deliver(result, part.device, packets)
    results = []
    for index, part in enumerate(parts):
        if part.merge is not None:
            folded[index] = _fold_whole(part, apart[index], counts[index])
        results.append(Merged({name: folded[index][name] for name in part.specs}, sum(counts[index])))
    return results


def fold_state(entry: Entry, values: Sequence[State], counts: Sequence[int]) -> State:
    """Reduce one state over ranks.

    Args:
        entry: The state.
        values: Its value on each rank that takes part, in rank order.
        counts: Number of updates of each of these ranks.

    Returns:
        The reduced value; of the rows of a `"cat"` state, whether a list or not, all in one tensor.

    Raises:
        StateError: The result cannot be held.
    """
    reduction = entry.spec.reduction
    if any(isinstance(value, list) for value in values) or (entry.spec.is_list and not values):
        lists = [value if isinstance(value, list) else [value] for value in values]
        if reduction.interleaved and len({len(items) for items in lists}) == 1:
            lists = [list(column) for column in zip(*lists, strict=True)]
        flat: list[Any] = [item for items in lists for item in items]
        return flat if reduction.fx is None else reduction.fx(flat)
    tensors = [value for value in values if isinstance(value, Tensor)]
    if reduction.name == "cat":
        return cat_rows(tensors)
    try:
        return reduction.over_ranks(tensors, counts, entry.spec.offset)
    except StateError as error:
        raise StateError(f"state `{entry.path}`: {error}") from None


def fold_states(part: Part, states_of: Sequence[States], counts: Sequence[int]) -> Merged:
    """Make one of the states that several ranks had, as a sync of these ranks does, but with lists as they are.

    Args:
        part: Says what is declared.
        states_of: The states of each rank, in rank order.
        counts: Number of updates of each rank.

    Raises:
        StateError: A tensor can only be kept (dist_reduce_fx=None), so that several cannot become one.
    """
    touched = [(states, count) for states, count in zip(states_of, counts, strict=True) if count > 0]
    if len(touched) <= 1:
        states, count = touched[0] if touched else (states_of[0], 0)
        return Merged(dict(states), count)
    total = sum(count for _, count in touched)
    if part.merge is not None:
        return Merged(functools.reduce(part.merge, [states for states, _ in touched]), total)
    folded: States = {}
    for entry in schema_of([part]).entries:
        name, spec = entry.spec.name, entry.spec
        values = [states[name] for states, _ in touched]
        if spec.is_list:
            folded[name] = [item for v in values for item in (v if isinstance(v, list) else [v])]
            continue
        if spec.reduction.over_time is None:
            raise StateError(
                f"state `{entry.path}` is a tensor with dist_reduce_fx=None, so those of {len(touched)} ranks cannot"
                " become one; override `merge_states(a, b)`, or go on with as many ranks."
            )
        if spec.reduction.same_shape:  # who has a default of another shape has only not been replaced yet
            shapes = {v.shape for v in values if isinstance(v, Tensor)}
            if len(shapes) > 1:
                raise StateError(f"state `{entry.path}` has the shapes {sorted(map(tuple, shapes))} on several ranks.")
        folded[name] = fold_state(entry, values, [count for _, count in touched])
    return Merged({name: folded[name] for name in part.specs}, total)


def _elements(rows: Tensor, records: Sequence[Record]) -> State:
    """Give the list of one process: the elements of all ranks, in rank order."""
    runs = [(r.runs or (Run(r.shape[0], 1),), r.dtype) for r in records if r.form is Form.ROWS]
    return JoinedRows(rows, runs) if any(r.runs for r in records) else [rows]


def _finish(entry: Entry, found: Tensor, count: int, dtype: torch.dtype) -> State:
    """Take over what the transfer has already made one: rows that stand together, or a sum of the backend."""
    if entry.spec.reduction.name == "cat":
        return found
    try:
        return finish_sum(found, count, entry.spec.offset, dtype)
    except StateError as error:
        raise StateError(f"state `{entry.path}`: {error}") from None


def _fold_whole(part: Part, per_rank: Sequence[States], counts: Sequence[int]) -> States:
    """Fold whole states with the metric's own `merge_states`, leaving out the ranks that have no updates."""
    assert part.merge is not None
    touched = [states for states, count in zip(per_rank, counts, strict=True) if count > 0]
    return functools.reduce(part.merge, touched) if touched else own_copy(part.states)


def _add_up(values_of: Sequence[list[Tensor]]) -> Sequence[Tensor]:
    """Add the values of many states of one dtype at once, in rank order, and round each sum once."""
    first, second, *others = values_of
    dtype = first[0].dtype
    wide = wide_dtype(dtype, first[0].device)
    if wide is dtype:
        totals = list(torch._foreach_add(first, second))
    else:
        totals = [value.to(wide) for value in first]
        torch._foreach_add_(totals, second)
    for values in others:
        torch._foreach_add_(totals, values)
    return totals if wide is dtype else [total.to(dtype) for total in totals]


def _decode(record: Record, data: Tensor, packets: Tensor) -> State:
    if record.form is Form.NOTHING:
        return []
    if record.form in (Form.BUNDLE, Form.PLAIN):
        return decode_bundle(record.form, data.clone() if _shares_memory(data, packets) else data)
    if data.dtype is record.dtype and data.shape == record.shape:
        return data
    return from_bytes(data, record.dtype, record.shape)


def _deliver(value: Any, device: torch.device, packets: Tensor) -> Any:
    """Bring a result to its device, and out of the buffer that it came in."""
    if isinstance(value, JoinedRows):
        return value.with_rows(lambda rows: _deliver(rows, device, packets))
    if isinstance(value, list):
        if not any(issubclass(kind, Tensor) for kind in set(map(type, value))):  # plain data, which is new already
            return value
        return [_deliver(item, device, packets) if isinstance(item, Tensor) else item for item in value]
    if not isinstance(value, Tensor):
        return value  # a custom reduction may give anything
    moved = value.to(device)
    return moved.clone() if _shares_memory(moved, packets) else moved


def _shares_memory(tensor: Tensor, packets: Tensor) -> bool:
    return tensor.untyped_storage().data_ptr() == packets.untyped_storage().data_ptr()
