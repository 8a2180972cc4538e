"""What `merge_state` adds to a metric: the states of another one, for each of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from syncmetrics.errors import StateError
from syncmetrics.metric.module import StatefulModule
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.merge import own_copy
from syncmetrics.states.spec import States, check_value
from syncmetrics.sync import Merged, Node, absorb

__all__ = ["add_states"]


def add_states(metric: StatefulModule, incoming_state: StatefulModule | States) -> None:
    """Add what another metric has accumulated to one that is ready for a batch, and to all that share its states.

    Args:
        metric: The metric.
        incoming_state: Another one of the same class; or states, which then count as one update of the metric itself.

    Raises:
        StateError: It has other states, or is synced; nothing is changed.
    """
    nodes = metric._nodes()
    if any(not node.can_merge and not node.specs for node in nodes):
        raise StateError(
            f"`{metric._label}` has a metric of another library inside, which only its own `merge_state` can merge."
        )
    theirs = incoming_state._nodes() if isinstance(incoming_state, StatefulModule) else []
    if any(len(node.stores) > 1 for node in (*nodes, *theirs)):  # in a collection inside, metrics that went apart
        for node in nodes:
            for _, holder in node.holders:
                holder.leave()
        nodes, theirs = _each(nodes), _each(theirs)
    deltas = _deltas_of(metric, incoming_state, nodes, theirs)
    with no_graph():
        absorb((node, node.holders[0][1], delta, {}) for node, delta in zip(nodes, deltas, strict=False))


def _each(nodes: Sequence[Node]) -> list[Node]:
    """Give a node for each metric."""
    return [replace(node, path=name, holders=((name, holder),)) for node in nodes for name, holder in node.holders]


def _deltas_of(
    metric: StatefulModule, incoming_state: StatefulModule | States, nodes: Sequence[Node], theirs: Sequence[Node]
) -> list[Merged]:
    """Give copies of what another metric has accumulated, for each node of this one."""
    other, specs = incoming_state, metric._holder.specs
    if isinstance(other, StatefulModule):
        shapes = [[(node.path, list(node.specs)) for node in found] for found in (nodes, theirs)]
        if type(other) is not type(metric) or shapes[0] != shapes[1]:
            raise StateError(
                f"`{metric._label}` cannot merge a `{other._label}`; give a metric of the same class and settings."
            )
        if any(not node.is_local for node in theirs):
            raise StateError(f"`{other._label}` is synced, so it cannot be merged; call unsync() first.")
        return [
            Merged(own_copy(node.store.states), node.store.update_count, samples=node.store.samples) for node in theirs
        ]
    if set(other) != set(specs):
        raise StateError(f"`{metric._label}` has the states {sorted(specs)}, but was given {sorted(other)}.")
    for name, value in other.items():
        try:
            check_value(value)
        except TypeError as error:
            raise StateError(f"`{metric._label}` cannot merge this: state `{name}` {error}") from None
    return [Merged(own_copy(other), 1)]
