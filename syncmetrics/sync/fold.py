"""Make one state of the states of all ranks, in rank order, with torch operations alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.reductions import cat_rows
from syncmetrics.states import State, States, own_copy
from syncmetrics.sync.manifest import Entry, Part

__all__ = ["fold_state", "fold_whole"]


def fold_state(entry: Entry, values: Sequence[State], counts: Sequence[int]) -> State:
    """Reduce one state over ranks.

    Args:
        entry: The state.
        values: Its value on each rank that takes part, in rank order.
        counts: Number of updates of each of these ranks.

    Raises:
        StateError: The result cannot be held.
    """
    reduction = entry.spec.reduction
    if any(isinstance(value, list) for value in values) or (entry.spec.is_list and not values):
        flat: list[Any] = [item for value in values for item in (value if isinstance(value, list) else [value])]
        return flat if reduction.fx is None else reduction.fx(flat)
    tensors = [value for value in values if isinstance(value, Tensor)]
    if reduction.name == "cat":
        rows = cat_rows(tensors)
        return [rows] if entry.spec.is_list else rows
    try:
        return reduction.over_ranks(tensors, counts, entry.spec.offset)
    except StateError as error:
        raise StateError(f"state `{entry.path}`: {error}") from None


def fold_whole(part: Part, per_rank: Sequence[States], counts: Sequence[int]) -> States:
    """Fold whole states with the metric's own `merge_states`, leaving out the ranks that have no updates."""
    assert part.merge is not None
    touched = [states for states, count in zip(per_rank, counts, strict=True) if count > 0]
    return functools.reduce(part.merge, touched) if touched else own_copy(part.states)
