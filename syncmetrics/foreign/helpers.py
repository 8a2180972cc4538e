"""Sync helpers for metrics that already exist: hand them states, or metrics, and get those of all ranks."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from syncmetrics.foreign.adapter import adapter_of, foreign_nodes
from syncmetrics.metric.collection import MetricCollection
from syncmetrics.errors import StateError
from syncmetrics.metric.metric import Metric
from syncmetrics.states.reductions import ReduceFx
from syncmetrics.sync.show import Syncable, Together, by_route, unique_nodes
from syncmetrics.sync.show import synced as show_all
from syncmetrics.states.store import State, States, check_value, declare_state, spec_of_value
from syncmetrics.sync import Part, Route, report_failure, sync_parts
from syncmetrics.transport import WORLD, Transport, resolve_transport


class _Own(enum.Enum):
    OWN = "own"

    def __repr__(self) -> str:
        return "each metric's own"


#: Each metric's own group. None would not do: torch hands it to ranks that are outside of a group.
OWN = _Own.OWN

__all__ = ["gather_ragged", "sync_and_compute", "sync_states", "synced"]


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
        reductions: For each of them "sum", "mean", "min", "max", "cat", None or a callable, as for `Metric.add_state`.
        process_group: Over which ranks; all of them if left out.
        dst: The rank in the group that receives the result; every rank if left out.
        timeout: Seconds to wait for the other ranks.
        update_count: How much was accumulated, which weighs a "mean": number of batches or of samples; 0 for a rank
            without data.

    Returns:
        New states with the same names; an empty dict on ranks other than `dst`.

    Raises:
        StateError: A reduction is missing, or cannot work for its state.
        SyncError: The sync did not come to its end.
    """
    if set(states) != set(reductions):
        raise StateError(f"`reductions` must name the states {sorted(states)}, but names {sorted(reductions)} instead.")
    transport = resolve_transport(process_group)
    _check_dst(dst, transport)
    route = Route(transport, dst, timeout)
    try:
        specs = {name: spec_of_value(name, value, reductions[name]) for name, value in states.items()}
    except StateError as error:  # it may lie in the values of this rank alone
        report_failure(error, route, label="sync_states")
        raise
    device = next(
        (
            x.device
            for value in states.values()
            for x in (value if isinstance(value, list) else [value])
            if isinstance(x, Tensor)
        ),
        None,
    )
    part = Part("", specs, dict(states), update_count, device or torch.device("cpu"))
    merged = sync_parts([part], route, label="sync_states")
    return {} if merged is None else merged[0].states


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
        The tensors in rank order, on the device of this rank's; an empty list on ranks other than `dst`. They carry no
        gradient.

    Raises:
        TypeError: `tensor` is no dense tensor.
        SyncError: The gather did not come to its end.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"`tensor` must be a torch.Tensor, but is a {type(tensor).__name__} instead.")
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


def synced(*metrics: Any, process_group: Any = OWN, timeout: float | None = None) -> AbstractContextManager[None]:
    """Show the states of all ranks in any number of metrics, by one sync.

    Inside the `with` block every `compute()` gives the value of all ranks and costs no communication. Afterwards the
    local states are what they were, whatever was raised. Collective: every rank of the group must enter this with the
    same metrics, in any order of the keys of a mapping.

    Args:
        *metrics: Metrics, collections, and lists, tuples and dicts of them.
        process_group: Over which ranks. Left out, each metric's own; those that have one in common are synced together.
        timeout: Seconds to wait for the other ranks; left out, each metric's own.

    Raises:
        TypeError: Something is no metric.
        StateError: A metric is synced already.
        SyncError: The sync did not come to its end.
    """
    return show_all(_by_transport(list(_routed_nodes(list(metrics), timeout)), process_group), "synced")


def sync_and_compute(metrics: Any, *, process_group: Any = OWN, timeout: float | None = None) -> Any:
    """Give the values of all metrics, by one sync.

    Collective: every rank of the group must call this.

    Args:
        metrics: A metric, a collection, or a list, tuple or dict of them.
        process_group: Over which ranks. Left out, each metric's own.
        timeout: Seconds to wait for the other ranks; left out, each metric's own.

    Returns:
        The values, in the structure that `metrics` has.
    """
    with synced(metrics, process_group=process_group, timeout=timeout):
        return _values(metrics)


def _values(metrics: Any) -> Any:
    if isinstance(metrics, (Metric, MetricCollection)):
        return metrics.compute()
    adapter = adapter_of(metrics)
    if adapter is not None:
        return adapter.compute(metrics)
    if isinstance(metrics, Mapping):
        return {key: _values(metric) for key, metric in metrics.items()}
    values = [_values(metric) for metric in metrics]
    return type(metrics)(*values) if hasattr(metrics, "_fields") else type(metrics)(values)


def _walk(path: str, metrics: Any) -> Iterator[tuple[str, Any]]:
    """Find the metrics in lists, dicts and collections, under names that are the same on every rank."""
    if isinstance(metrics, MetricCollection):
        for name in metrics._holders():
            yield f"{path}[{metrics._affixed(name)!r}]", metrics[name]
    elif isinstance(metrics, Metric) or adapter_of(metrics) is not None:
        yield path, metrics
    elif isinstance(metrics, Mapping):
        for key, metric in metrics.items():
            yield from _walk(f"{path}[{key!r}]", metric)
    elif isinstance(metrics, Sequence) and not isinstance(metrics, str):
        for index, metric in enumerate(metrics):
            yield from _walk(f"{path}[{index}]" if path or len(metrics) > 1 else "metric", metric)
    else:
        raise TypeError(
            "a Metric of syncmetrics, torchmetrics, torcheval or ignite was expected, but a"
            f" {type(metrics).__name__} was"
            " given; `register_adapter` makes a class of your own one of them."
        )


def _routed_nodes(metrics: list[Any], timeout: float | None) -> Iterator[tuple[Route, Syncable]]:
    """Give the nodes of all metrics, each once, with the route of each."""
    seen: set[int] = set()
    routes: dict[tuple[int, float | None], Route] = {}
    for path, metric in sorted(_walk("", metrics), key=lambda pair: pair[0]):  # the same order on every rank
        if not isinstance(metric, Metric):
            yield from _foreign_nodes_of(path, metric, timeout)
            continue
        core = metric._core
        if id(core._own_store) in seen and not core._modules:
            continue  # it shares all it has with one that was here before
        seen.add(id(core._own_store))
        key = id(metric._group), metric.sync_timeout
        route = routes.get(key)
        if route is None:
            route = metric._route()
            routes[key] = route = route if timeout is None else replace(route, timeout=timeout)
        for node in metric._nodes(path):
            if node.store.aside:
                raise StateError(f"`{path}` is synced already; call unsync() first.")
            yield route, node


def _foreign_nodes_of(path: str, metric: Any, timeout: float | None) -> Iterator[tuple[Route, Syncable]]:
    adapter = adapter_of(metric)
    assert adapter is not None
    for node, group in foreign_nodes(path, metric, adapter):
        yield Route(resolve_transport(group), timeout=timeout), node


def _by_transport(nodes: Sequence[tuple[Route, Syncable]], process_group: Any) -> Together:
    """Group nodes by whom they sync with, in an order that is the same on every rank."""
    pairs = sorted(nodes, key=lambda pair: pair[1].path)
    if process_group is not OWN:
        transport = resolve_transport(process_group)
        pairs = [(replace(route, transport=transport), node) for route, node in pairs]
    return [(unique_nodes(members), route) for members, route in by_route(pairs)]
