"""Two values of one set of states become one: what a process accumulated earlier, and what came later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.joined import JoinedRows
from syncmetrics.states.plain import copy_plain
from syncmetrics.states.rows import rows_like
from syncmetrics.states.spec import State, States, StateSpec

__all__ = ["copy_rows", "grow", "merge_delta", "merge_over_time", "own_copy"]


def own_copy(states: Mapping[str, State], *, elements: bool = False) -> States:
    """Copy tensors and lists, so that editing the copy does not reach the original.

    Args:
        states: What to copy.
        elements: Whether the tensors in lists are copied too; else the copies share them.
    """
    with no_graph():
        return {
            name: value.clone()
            if isinstance(value, Tensor)
            else _with_elements(value)
            if elements
            else copy_rows(value)
            for name, value in states.items()
        }


def copy_rows(rows: list[Any]) -> list[Any]:
    """Copy a list: the tensors in it are shared, and plain data is not."""
    if isinstance(rows, JoinedRows) or not rows or isinstance(rows[0], Tensor):
        return rows.copy()
    return copy_plain(rows)


def _with_elements(rows: list[Any]) -> list[Any]:
    if isinstance(rows, JoinedRows):
        return rows.with_rows(Tensor.clone)
    return [row.clone() for row in rows] if rows and isinstance(rows[0], Tensor) else copy_plain(rows)


def merge_over_time(specs: Mapping[str, StateSpec], a: States, b: States, counts: tuple[int, int]) -> States:
    """Merge the states `b` of later updates into `a`. Neither is edited, but the result may share tensors with both.

    Args:
        specs: The specs of all states.
        a: Earlier states.
        b: Later states.
        counts: Number of updates in `a` and in `b`.

    Raises:
        StateError: A state can only be kept (a tensor with dist_reduce_fx=None), or the values do not fit.
    """
    merged: States = {}
    for name, spec in specs.items():
        left, right = a[name], b[name]
        if isinstance(left, list) and isinstance(right, list):
            merged[name] = rows_like(left, left + right)
        elif isinstance(left, Tensor) and isinstance(right, Tensor):
            if spec.reduction.over_time is None:
                raise StateError(
                    f"state `{name}` is a tensor with dist_reduce_fx=None, of which two cannot become one;"
                    " override `merge_states(a, b)`."
                )
            if 0 in counts:  # no update has touched a default: there is nothing of it to merge
                merged[name] = left if counts[1] == 0 else right
            elif spec.reduction.same_shape and left.shape != right.shape:
                raise StateError(
                    f"state `{name}` has the shapes {tuple(left.shape)} and {tuple(right.shape)}, which"
                    f" {spec.reduction.name!r} cannot merge; their settings (num_classes, say) must be equal."
                )
            else:
                merged[name] = spec.reduction.over_time(left, right, counts, spec.offset)
        else:
            merged[name] = _merge_mixed(left, right)
    return merged


def merge_delta(specs: Mapping[str, StateSpec], running: States, delta: States, counts: tuple[int, int]) -> States:
    """Merge the tensors of `delta` into those of `running`, editing neither. Lists are left for `grow`.

    This is the part that can fail, so it is done for all metrics before the first of them is changed.
    """
    left = {n: spec for n, spec in specs.items() if not (isinstance(running[n], list) and isinstance(delta[n], list))}
    return merge_over_time(left, running, delta, counts) if left else {}


def grow(specs: Mapping[str, StateSpec], running: States, delta: States, merged: States) -> States:
    """Put what `merge_delta` gave together with the lists, at a cost that does not depend on how long these are.

    Args:
        specs: The specs of all states.
        running: The states that were merged into. Their lists are extended in place.
        delta: The states that were merged into them.
        merged: The merged tensors.
    """
    states: States = {}
    for name in specs:
        rows = running[name]
        if name not in merged and isinstance(rows, list):
            rows.extend(delta[name])
            states[name] = rows
        else:
            states[name] = merged[name]
    return states


def _merge_mixed(left: State, right: State) -> State:
    """Merge a list with a tensor: `compute` or a sync may have left one tensor where a list was declared."""
    both = [value if isinstance(value, list) else [value] for value in (left, right)]
    return both[0] + both[1]
