"""Show the states of all ranks, or of one batch, in place of the local ones, and put those back whatever happens.

This is the last step of the protocol, for any number of metrics at once. It sees metrics as nodes: something that
brings a part, shows a result, and puts back what it had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, TypeVar

from syncmetrics.states.autograd import no_graph
from syncmetrics.errors import SyncError
from syncmetrics.states.store import Mode, States, StateSpec, Store, fresh_states, grow, merge_delta, own_copy
from syncmetrics.sync import Merged, Part, Route, report_failure, sync_parts

__all__ = [
    "Node",
    "Syncable",
    "Together",
    "absorb",
    "by_route",
    "copied",
    "put_back",
    "show_synced",
    "show_together",
    "stepping",
    "synced",
    "unique_nodes",
]


_Any = TypeVar("_Any", bound="Syncable")
_Thing = TypeVar("_Thing")

#: Nodes, and the route that they are synced over.
Together: TypeAlias = "Sequence[tuple[Sequence[Syncable], Route]]"


class Syncable(Protocol):
    """A node of any kind: a metric of ours, or one that an adapter handles."""

    @property
    def path(self) -> str:
        """Name of the metric inside what is synced together."""
        ...

    def local_part(self) -> Part:
        """Give what this process brings to a sync."""
        ...

    def opening_part(self, route: Route) -> Part:
        """Give what this process brings to a sync whose result every rank shows at once."""
        ...

    def show(self, result: Merged) -> None:
        """Show the states of all ranks."""
        ...

    def put_back(self) -> None:
        """Show the local states again, if others are shown."""
        ...

    def leave_epoch(self) -> None:
        """Remember that the states were exchanged."""
        ...


@dataclass(frozen=True, slots=True)
class Node:
    """One metric's store in whatever is synced together.

    Attributes:
        path: Name of the metric inside it.
        store: Where its states live.
        specs: What they are.
        merge: Its own `merge_states`, if it has one.
    """

    path: str
    store: Store
    specs: Mapping[str, StateSpec]
    merge: Callable[[States, States], States] | None = None

    @property
    def can_merge(self) -> bool:
        """Whether the states of a batch can be merged into the running ones."""
        return self.merge is not None or all(
            spec.is_list or spec.reduction.over_time is not None for spec in self.specs.values()
        )

    def part(self, states: States, update_count: int) -> Part:
        """Give what this node brings to a sync."""
        return Part(self.path, self.specs, states, update_count, self.store.device, self.merge, self.store.fresh)

    def local_part(self) -> Part:
        """Give what this process brings to a sync."""
        return self.part(*self.store.local)

    def opening_part(self, route: Route) -> Part:
        """Give what this process brings to a sync over `route` whose result all its ranks show at once."""
        return self.local_part()

    def show(self, result: Merged) -> None:
        """Show the states of all ranks."""
        self.store.show(result.states, result.update_count, Mode.SYNCED)

    def show_copy(self) -> None:
        """Show copies of the local states."""
        states, update_count = self.store.local
        self.store.show(own_copy(states), update_count, Mode.COPY)

    def put_back(self) -> None:
        """Show the local states again."""
        self.store.put_back()

    def leave_epoch(self) -> None:
        """Remember that the states were exchanged."""
        self.store.fresh = False

    def reset(self) -> None:
        """Give every state its default."""
        self.store.reset(fresh_states(self.specs, self.store.device))


def by_route(pairs: Iterable[tuple[Route, _Thing]]) -> list[tuple[list[_Thing], Route]]:
    """Put together what goes over one transport with one timeout, in the order given."""
    routes: list[tuple[list[_Thing], Route]] = []
    for route, thing in pairs:
        for things, other in routes:
            if other.transport is route.transport and other.timeout == route.timeout:
                things.append(thing)
                break
        else:
            routes.append(([thing], route))
    return routes


def unique_nodes(nodes: Sequence[_Any]) -> list[_Any]:
    """Leave out nodes whose store another node already has: shared states are synced once."""
    seen: set[int] = set()
    unique = []
    for node in nodes:
        key = id(node.store) if isinstance(node, Node) else id(node)
        if key not in seen:
            seen.add(key)
            unique.append(node)
    return unique


def show_synced(nodes: Sequence[Syncable], route: Route, label: str) -> None:
    """Merge the states of all ranks and show them. Collective: every rank of the group must call this."""
    parts = _parts(nodes, route, label)
    try:
        merged = sync_parts(parts, route, label=label)
    except SyncError:  # no rank is past it
        raise
    except Exception:  # the states were exchanged: this rank alone, or all of them, could not reduce them
        for node in nodes:
            node.leave_epoch()
        raise
    assert merged is not None, "a session is shown on every rank"
    try:
        for node, result in zip(nodes, merged, strict=True):
            node.show(result)
            node.leave_epoch()
    except BaseException:  # an interrupt between two of them
        put_back(nodes)
        raise


def _parts(nodes: Sequence[Syncable], route: Route, label: str) -> list[Part]:
    try:
        return [node.opening_part(route) for node in nodes]
    except Exception as error:  # an adapter could not read a metric of this rank: the others must hear of it
        report_failure(error, route, label=label)
        raise


def put_back(nodes: Sequence[Syncable]) -> None:
    """Show the local states again."""
    for node in nodes:
        node.put_back()


def show_together(together: Together, label: str) -> None:
    """Show the states of all ranks in all of these nodes, or in none. Collective, as `show_synced`."""
    try:
        for nodes, route in together:
            show_synced(nodes, route, label)
    except BaseException:
        for nodes, _ in together:
            put_back(nodes)
        raise


class synced:  # noqa: N801 - it is used as a function
    """Show the states of all ranks inside a `with` block. Collective: every rank of the group must enter it.

    Args:
        together: Nodes, and over which route: one sync for each.
        label: What to call the syncs in an error.
    """

    __slots__ = ("_label", "_together")

    def __init__(self, together: Together, label: str) -> None:
        self._together = together
        self._label = label

    def __enter__(self) -> None:
        show_together(self._together, self._label)

    def __exit__(self, *error: object) -> None:
        for nodes, _ in self._together:
            put_back(nodes)


@contextmanager
def copied(nodes: Sequence[Node]) -> Iterator[None]:
    """Show copies of the local states, so that `compute` can edit what it sees. It does not communicate."""
    try:
        for node in nodes:
            node.show_copy()
        yield
    finally:
        put_back(nodes)


@contextmanager
def stepping(nodes: Sequence[Node], merge: bool = True) -> Iterator[Callable[[Sequence[Node], Route, str], None]]:
    """Show fresh states for one batch, and merge them at the end; if anything was raised they are dropped.

    Args:
        nodes: Whose states.
        merge: Whether to merge at the end, or to drop them in any case.

    Yields:
        A function that replaces what some of the nodes show by what all ranks brought in this step. It is collective.
    """
    merged_deltas: dict[int, Merged] = {}

    def sync_step(chosen: Sequence[Node], route: Route, label: str) -> None:
        label = f"{label}, one step"
        results = sync_parts(
            [replace(n.part(n.store.states, n.store.update_count), fresh=True) for n in chosen], route, label=label
        )
        assert results is not None, "a step is synced to every rank"
        for node, result in zip(chosen, results, strict=True):
            store = node.store
            merged_deltas[id(store)] = Merged(store.states, store.update_count)
            store.states, store.update_count = result.states, result.update_count

    try:
        for node in nodes:
            node.store.show(fresh_states(node.specs, node.store.device), 0, Mode.STEP)
        yield sync_step
        deltas = [merged_deltas.get(id(n.store), Merged(n.store.states, n.store.update_count)) for n in nodes]
    finally:
        put_back(nodes)
    if merge:
        absorb(nodes, deltas)


def absorb(nodes: Sequence[Node], deltas: Sequence[Merged]) -> None:
    """Merge what came later into local states, at a cost that does not grow with them: of all nodes, or of none."""
    with no_graph():
        pairs = [(node, delta) for node, delta in zip(nodes, deltas, strict=True) if delta.update_count > 0]
        merged = [_merge(node, delta) for node, delta in pairs]
        for (node, delta), states in zip(pairs, merged, strict=True):
            store = node.store
            if node.merge is None:
                states = grow(node.specs, store.states, delta.states, states)
            store.grow(states, store.update_count + delta.update_count)


def _merge(node: Node, delta: Merged) -> States:
    store = node.store
    if node.merge is None:
        return merge_delta(node.specs, store.states, delta.states, (store.update_count, delta.update_count))
    return node.merge(store.states, delta.states) if store.update_count > 0 else delta.states
