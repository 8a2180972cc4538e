"""Show the states of all ranks in place of the local ones, and put those back whatever happens.

This is the last step of the protocol, for any number of metrics at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from syncmetrics.errors import Mark, is_marked
from syncmetrics.sync.engine import next_tag, report_failure, sync_parts
from syncmetrics.sync.fold import Merged
from syncmetrics.sync.manifest import Part
from syncmetrics.sync.node import Node, Syncable, Together
from syncmetrics.sync.route import Route

__all__ = ["copied", "leave_epoch", "note_try", "put_back", "show_together", "sync_nodes", "synced"]


def sync_nodes(
    nodes: Sequence[Syncable], route: Route, label: str, *, opening: bool = False, leaving: bool = True
) -> list[Merged] | None:
    """Merge the states of all ranks. Collective: every rank of the group must call this.

    Args:
        nodes: Whose states.
        route: Over whom and to whom.
        label: What to call the sync in an error.
        opening: Whether every rank shows the result at once, so that more may be sent while it does.
        leaving: Whether this is all, and the ranks have their value then. Else the caller says `leave_epoch`.

    Returns:
        One result for each node; None on ranks that are not to receive it.
    """
    try:
        parts: list[Part] = [node.opening_part(route) if opening else node.local_part() for node in nodes]
    except Exception as error:  # this rank has nothing to bring: the others must hear of it
        report_failure(error, route, label=label)
        raise
    note_try(nodes, route)
    try:
        merged = sync_parts(parts, route, label=label)
    except BaseException as error:
        if leaving and is_marked(error, Mark.AFTERWARDS):  # what came could not be reduced, here or on all ranks
            leave_epoch(nodes)
        raise
    if leaving:
        leave_epoch(nodes)
    return merged


def note_try(nodes: Sequence[Syncable], route: Route) -> None:
    """Remember that a sync begins: from here on others may have its value, whatever becomes of this rank."""
    if route.transport.world_size == 1:
        return
    tag = next_tag(route.transport)
    for node in nodes:
        node.note_try(tag)


def leave_epoch(nodes: Sequence[Syncable]) -> None:
    """Remember that the states were exchanged."""
    for node in nodes:
        node.leave_epoch()


def put_back(nodes: Sequence[Syncable]) -> None:
    """Show the local states again. An interrupt meanwhile is raised when all are shown."""
    done, interrupt = 0, None
    while True:
        try:
            for node in nodes[done:]:
                node.put_back()
                done += 1
            break
        except BaseException as error:
            if interrupt is not None:
                raise
            interrupt = error
    if interrupt is not None:
        raise interrupt


def show_together(together: Together, label: str) -> None:
    """Show the states of all ranks in all of these nodes, or in none. Collective, as `sync_nodes`."""
    shown: list[Syncable] = []
    try:
        for nodes, route in together:
            merged = sync_nodes(nodes, route, label, opening=True)
            assert merged is not None, "it is shown on every rank"
            for node, result in zip(nodes, merged, strict=True):
                shown.append(node)
                node.show(result, route)
    except BaseException:  # an interrupt between two of them, too
        put_back(shown)
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
    shown: list[Node] = []
    try:
        for node in nodes:
            shown.append(node)
            node.show_copy()
        yield
    finally:
        put_back(shown)
