"""Save what all ranks have accumulated, and go on with it on any number of ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from syncmetrics.checkpoint.saved import Held, Saved, decode, encode, pack_one, unpack_one
from syncmetrics.checkpoint.state_dict import compare, declared, fitted
from syncmetrics.errors import SchemaMismatchError, StateError
from syncmetrics.states.spec import State, States, StateSpec, declare_state
from syncmetrics.states.store import all_replaced
from syncmetrics.sync import (
    Host,
    Hosting,
    Part,
    Route,
    Syncable,
    host_of,
    report_failure,
    sync_parts,
    things_in,
    together_of,
)
from syncmetrics.sync.fold import fold_states
from syncmetrics.transport import resolve_transport
from syncmetrics.transport.local import OutsideTransport
from syncmetrics.transport.patience import check_seconds

__all__ = ["load_state", "save_state"]

_LABEL = "save_state"


def save_state(
    metrics: Any, *, dst: int | None = None, process_group: Any = None, timeout: float | None = None
) -> dict[str, Tensor]:
    """Give what all ranks have accumulated as one flat dict of tensors, to be saved with whatever saves tensors.

    Collective: every rank of the group must call this. It is one sync, whatever is given. What a metric shows at the
    moment does not matter: also inside of `sync_context()`, each rank's own states are saved.

    ::

        saved = save_state({"val": collection, "loss": loss})
        if rank == 0:
            torch.save(saved, "metrics.pt")

    Args:
        metrics: A metric, a collection, a `MetricLogger`, a metric of torchmetrics, or lists and dicts of them. Lists
            and dicts give the names under which `load_state` finds them again.
        dst: The only rank that gets the dict; the others get an empty one. Left out: all get it.
        process_group: Over which ranks. Left out: the one that the metrics have.
        timeout: Seconds to wait for the other ranks.

    Returns:
        Tensors on the CPU: a state of all ranks under `metric.state`, and under `syncmetrics` what these are.

    Raises:
        ValueError: The metrics have several process groups.
        StateError: A metric of another library shows the states of all ranks, or keeps more than its states.
        SchemaMismatchError: The ranks have other metrics, or other states in them.
        SyncError: The sync did not come to its end.
    """
    hosts = _hosts(metrics)
    transport = None if process_group is None else resolve_transport(process_group)
    together = together_of(hosts, transport, check_seconds("timeout", timeout), also_shown=True)
    transports = {id(route.transport) for _, route in together}
    if len(transports) > 1:
        raise ValueError(
            f"`save_state` takes metrics of one process group, but these have {len(transports)}; call it once for each."
        )
    if not together:
        raise ValueError("`save_state` needs a metric, but was given none.")
    if any(isinstance(route.transport, OutsideTransport) for _, route in together):
        raise StateError(
            "`save_state` gives what all ranks have, and this rank takes no part: it has no data, and was said to get"
            " no value. Call it on the others, or write over(..., outside='broadcast')."
        )
    nodes = [node for some, _ in together for node in some]
    route = Route(together[0][1].transport, dst, together[0][1].timeout)
    blobs = _gather(hosts, nodes, route)
    return {} if blobs is None else encode(_put_together([unpack_one(blob) for blob in blobs]))


def _hosts(metrics: Any) -> list[tuple[str, Hosting]]:
    """Find the metrics in what is given, under names that stand in a file: "val.loss", "0"."""
    found = things_in(metrics, "", lambda path, key, _: f"{path}.{key}" if path else str(key))
    return [(name, thing if isinstance(thing, Hosting) else host_of(thing)) for name, thing in found]


def _gather(hosts: Sequence[tuple[str, Hosting]], nodes: Sequence[Syncable], route: Route) -> list[Tensor] | None:
    """Give what each rank has. Collective: every rank of the group must call this."""
    try:
        held = [pair for node in nodes for pair in node.held()]
        mine = pack_one(held, {name: host._steps_taken() for name, host in hosts})
    except Exception as error:  # this rank has nothing to bring: the others must hear of it
        report_failure(error, route, label=_LABEL)
        raise
    spec = declare_state("saved", [], None)
    part = Part("", {"saved": spec}, {"saved": [mine]}, 1, torch.device("cpu"))
    merged = sync_parts([part], route, label=_LABEL)
    if merged is None:
        return None
    blobs = merged[0].states["saved"]
    assert isinstance(blobs, list)
    return blobs


def _put_together(ranks: Sequence[Saved]) -> Saved:
    """Make one of what each rank has."""
    first = ranks[0]
    shapes = [[(held.names, held.declared) for held in saved.held] for saved in ranks]
    for rank, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise SchemaMismatchError(
                f"the ranks disagree on what is saved: rank 0 has {_names(first.held)}, rank {rank} has"
                f" {_names(ranks[rank].held)}."
            )
    held = tuple(
        Held(
            one.names,
            one.declared,
            tuple(saved.held[index].update_counts[0] for saved in ranks),
            tuple(saved.held[index].states[0] for saved in ranks),
        )
        for index, one in enumerate(first.held)
    )
    steps = {name: [max(counts) for counts in zip(*of_ranks, strict=True)] for name, of_ranks in _steps(ranks).items()}
    return Saved(len(ranks), held, steps)


def _steps(ranks: Sequence[Saved]) -> dict[str, list[list[int]]]:
    return {name: [saved.steps[name] for saved in ranks] for name in ranks[0].steps}


def _names(held: Sequence[Held]) -> str:
    named = [(name or "metric", sorted(one.declared)) for one in held for name in one.names]
    return ", ".join(f"`{name}` with the states {states}" for name, states in named)


def load_state(metrics: Any, saved: Any, *, process_group: Any = None) -> None:
    """Go on from what `save_state` gave, on any number of ranks. It does not communicate.

    Every rank loads the same dict, and takes its share: ranks that follow each other, so that rows keep their order.
    Where there are fewer ranks than before, states become one as in a sync; where there are more, some begin with
    nothing. A metric that was not saved begins anew.

    ::

        load_state({"val": collection, "loss": loss}, torch.load("metrics.pt", weights_only=True))

    Args:
        metrics: What `save_state` was given: metrics of the same names.
        saved: What it gave.
        process_group: Over which ranks they are synced. Left out: the one that each metric has.

    Raises:
        StateError: It is something else, or does not fit: another state, another reduction, another shape. No metric
            is changed.
    """
    found = decode(saved)
    by_name = {name: held for held in found.held for name in held.names}
    transport = None if process_group is None else resolve_transport(process_group)
    hosts = _hosts(metrics)
    for name, host in hosts:
        if isinstance(host, Host):
            host._begin_as(found.steps.get(name, ()))
    takes: list[tuple[Syncable, tuple[str, ...], States, int]] = []
    left = set(by_name)
    for nodes, route in together_of(hosts, transport):
        rank, world = route.transport.rank, route.transport.world_size
        takes_part = not isinstance(route.transport, OutsideTransport)
        mine = range(rank * found.ranks // world, (rank + 1) * found.ranks // world) if takes_part else range(0)
        for node in nodes:
            for names, part in node.held():
                left -= set(names)
                for some, held in _by_source(names, by_name):
                    takes.append((node, some, *_share(node, part, some, held, mine)))
    if left:
        raise StateError(
            f"the saved state has metrics that are not here: {sorted(left)}; here are {sorted(_given(hosts))}."
        )
    steps = [(host, _steps_of(name, host, found.steps)) for name, host in hosts]
    with all_replaced(node.as_it_is() for node, *_ in takes):
        for node, names, states, count in takes:
            node.take(names, states, count)
        for host, taken in steps:
            host._go_on_from(taken)


def _steps_of(name: str, host: Hosting, saved: Mapping[str, list[int]]) -> list[int]:
    """Give from where a host counts on; from nothing if it was not saved."""
    now = host._steps_taken()
    steps = saved.get(name, [0] * len(now))
    if len(steps) != len(now):
        raise StateError(f"`{name or 'metric'}` was saved with {len(steps)} counts of steps, but has {len(now)} here.")
    return steps


def _given(hosts: Sequence[tuple[str, Hosting]]) -> list[str]:
    nodes = [node for path, host in hosts for node, _ in host._hosted(path)]
    return [name for node in nodes for names, _ in node.held() for name in names]


def _by_source(names: Sequence[str], by_name: dict[str, Held]) -> list[tuple[tuple[str, ...], Held | None]]:
    """Give which metrics take their states from where: those that share may have been saved apart."""
    found: dict[int, tuple[list[str], Held | None]] = {}
    for name in names:
        held = by_name.get(name)
        found.setdefault(id(held), ([], held))[0].append(name)
    return [(tuple(some), held) for some, held in found.values()]


def _share(node: Syncable, part: Part, names: Sequence[str], held: Held | None, mine: range) -> tuple[States, int]:
    """Give the states that this rank goes on with, and the number of updates in them."""
    if held is None:
        return node.anew(), 0
    where = names[0] or "metric"
    problem = compare(held.declared, declared(part.specs))
    if problem:
        raise StateError(f"`{where}` cannot be loaded: {problem}.")
    if not mine:
        return node.anew(), 0
    states_of = [
        {name: _fitted(where, spec, held.states[rank][name], part.device) for name, spec in part.specs.items()}
        for rank in mine
    ]
    merged = fold_states(part, states_of, [held.update_counts[rank] for rank in mine])
    return merged.states, merged.update_count


def _fitted(where: str, spec: StateSpec, value: State, device: torch.device) -> State:
    try:
        return fitted(value, spec, device, was_declared=True)
    except TypeError as error:
        raise StateError(f"state `{spec.name}` of `{where}` cannot be loaded: {error}") from None
