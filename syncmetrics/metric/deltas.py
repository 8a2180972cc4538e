"""What `merge_state` adds to a metric: the states of another one, for each of its nodes."""

from __future__ import annotations

from syncmetrics.errors import StateError
from syncmetrics.metric.module import StatefulModule
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.merge import own_copy
from syncmetrics.states.spec import States, check_value
from syncmetrics.sync import Merged, absorb

__all__ = ["add_states"]


def add_states(metric: StatefulModule, incoming_state: StatefulModule | States) -> None:
    """Add what another metric has accumulated to one that is ready for a batch, and to all that share its states.

    Args:
        metric: The metric.
        incoming_state: Another one of the same class; or states, which then count as one update of the metric itself.

    Raises:
        StateError: It has other states, or is synced; nothing is changed.
    """
    nodes, deltas = metric._nodes(), _deltas_of(metric, incoming_state)
    with no_graph():
        absorb((node, node.holders[0][1], delta, {}) for node, delta in zip(nodes, deltas, strict=False))


def _deltas_of(metric: StatefulModule, incoming_state: StatefulModule | States) -> list[Merged]:
    """Give copies of what another metric has accumulated, for each node of this one."""
    other, specs = incoming_state, metric._holder.specs
    if isinstance(other, StatefulModule):
        theirs = other._nodes()
        shapes = [[(node.path, list(node.specs)) for node in found] for found in (metric._nodes(), theirs)]
        if type(other) is not type(metric) or shapes[0] != shapes[1]:
            raise StateError(
                f"`{metric._label}` cannot merge a `{other._label}`; give a metric of the same class and settings."
            )
        if any(not node.is_local for node in theirs):
            raise StateError(f"`{other._label}` is synced, so it cannot be merged; call unsync() first.")
        return [Merged(own_copy(node.store.states), node.store.update_count) for node in theirs]
    if set(other) != set(specs):
        raise StateError(f"`{metric._label}` has the states {sorted(specs)}, but was given {sorted(other)}.")
    for name, value in other.items():
        try:
            check_value(value)
        except TypeError as error:
            raise StateError(f"`{metric._label}` cannot merge this: state `{name}` {error}") from None
    return [Merged(own_copy(other), 1)]
