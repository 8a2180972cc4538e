"""For metrics that are written by hand: hand over states, or a tensor, and get those of all ranks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.states.merge import own_copy
from syncmetrics.states.reductions import ReduceFx
from syncmetrics.states.spec import State, States, check_value, declare_state, spec_of_value
from syncmetrics.sync import Part, Route, report_failure, sync_parts
from syncmetrics.transport import WORLD, Transport, is_absent, resolve_transport

__all__ = ["gather_ragged", "sync_states"]


def sync_states(
    states: Mapping[str, State],
    reductions: Mapping[str, ReduceFx],
    *,
    process_group: Any = WORLD,
    dst: int | None = None,
    timeout: float | None = None,
    update_count: int = 1,
) -> States:
    """Reduce the states of a hand-written metric over ranks.

    Collective: every rank of the group must call this.

    Args:
        states: Tensors, or lists of tensors or of plain data, by name. They are left as they are.
        reductions: For each of them "sum", "exact_sum", "mean", "min", "max", "cat", None or a callable, as for
            `Metric.add_state`.
        process_group: Over which ranks; all of them if left out.
        dst: The rank in the group that receives the result; every rank if left out.
        timeout: Seconds to wait for the other ranks.
        update_count: How much was accumulated, which weighs a "mean": number of batches or of samples; 0 for a rank
            without data.

    Returns:
        New states with the same names, which share nothing with those handed over; an empty dict on ranks other than
        `dst`, and on those that take no part. A list is the list of one process: the same elements, in rank order.

    Raises:
        StateError: A reduction is missing, or cannot work for its state.
        SyncError: The sync did not come to its end.
    """
    if set(states) != set(reductions):
        raise StateError(f"`reductions` must name the states {sorted(states)}, but names {sorted(reductions)} instead.")
    if is_absent(process_group):
        return {}
    transport = resolve_transport(process_group)
    _check_dst(dst, transport)
    route = Route(transport, dst, timeout)
    try:
        specs = {name: spec_of_value(name, value, reductions[name]) for name, value in states.items()}
    except StateError as error:  # it may lie in the values of this rank alone
        report_failure(error, route, label="sync_states")
        raise
    tensors = (value[0] if isinstance(value, list) and value else value for value in states.values())
    device = next((value.device for value in tensors if isinstance(value, Tensor)), torch.device("cpu"))
    part = Part("", specs, dict(states), update_count, device)
    merged = sync_parts([part], route, label="sync_states")
    if merged is None:
        return {}
    alone = transport.world_size == 1  # then the elements of lists are those that were handed over
    return own_copy(merged[0].states, elements=True) if alone else merged[0].states


def _check_dst(dst: int | None, transport: Transport) -> None:
    if dst is not None and not 0 <= dst < transport.world_size:
        raise ValueError(f"`dst` must be a rank in the group, 0 to {transport.world_size - 1}, but is {dst} instead.")


def gather_ragged(
    tensor: Tensor, *, process_group: Any = WORLD, dst: int | None = None, timeout: float | None = None
) -> list[Tensor]:
    """Gather one tensor of each rank, whatever their shapes and dtypes.

    Collective: every rank of the group must call this.

    Args:
        tensor: Of any shape, dtype and device; they may differ between ranks in all of these.
        process_group: Over which ranks; all of them if left out.
        dst: The rank in the group that receives them; every rank if left out.
        timeout: Seconds to wait for the other ranks.

    Returns:
        The tensors in rank order, on the device of this rank's; an empty list on ranks other than `dst`, and on
        those that take no part. They carry no gradient.

    Raises:
        TypeError: `tensor` is no dense tensor.
        SyncError: The gather did not come to its end.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"`tensor` must be a torch.Tensor, but is a {type(tensor).__name__} instead.")
    if is_absent(process_group):
        return []
    transport = resolve_transport(process_group)
    _check_dst(dst, transport)
    route = Route(transport, dst, timeout)
    try:
        check_value(tensor)
    except TypeError as error:
        wrong = TypeError(f"`tensor` {error}")
        report_failure(wrong, route, label="gather_ragged")
        raise wrong from None
    part = Part("", {"tensor": declare_state("tensor", [], None)}, {"tensor": [tensor]}, 1, tensor.device)
    merged = sync_parts([part], route, label="gather_ragged")
    if merged is None:
        return []
    gathered = merged[0].states["tensor"]
    assert isinstance(gathered, list)
    return gathered if transport.world_size > 1 else [tensor.detach().clone()]
