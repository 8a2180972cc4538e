"""Show the states of all ranks when the user says so: `sync`, `unsync` and `sync_context`, for one and for many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from syncmetrics.errors import StateError
from syncmetrics.metric.members import Members
from syncmetrics.states.store import Mode
from syncmetrics.sync import Together, put_back, show_together
from syncmetrics.transport import resolve_transport

__all__ = ["SyncContext", "unsync"]


class SyncContext:
    """Show the states of all ranks inside a `with` block, or from `__enter__` on.

    Args:
        members: Whose states.
        dist_sync_fn: Must be None; torchmetrics takes a function here.
        process_group: Over which ranks; left out, each metric's own.
        should_sync: Whether to show them.
        should_unsync: Whether to show the local ones again behind the block.
        distributed_available: Asked whether to show them.

    Raises:
        StateError: They are shown already, or `dist_sync_fn` is given.
    """

    def __init__(
        self,
        members: Members,
        dist_sync_fn: None = None,
        process_group: Any = None,
        should_sync: bool = True,
        should_unsync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        if dist_sync_fn is not None:
            raise StateError(
                f"`{members.label}`: `dist_sync_fn` must be left out; give a transport of your own as `process_group`."
            )
        self._members = members
        self._group = process_group
        self._should_sync = should_sync and (distributed_available is None or bool(distributed_available()))
        self._should_unsync = should_unsync
        if self._should_sync:
            members.refuse_shown(members.nodes())

    def __enter__(self) -> None:
        if not self._should_sync:
            return
        together: Together = self._members.together()
        if self._group is not None:
            transport = resolve_transport(self._group)
            together = [(nodes, replace(route, transport=transport)) for nodes, route in together]
        self._members.refuse_shown(self._members.nodes())
        show_together(together, self._members.label)

    def __exit__(self, *error: object) -> None:
        if self._should_sync and self._should_unsync:
            try:
                self._put_back()
            except BaseException:  # an interrupt: it is no reason to go on showing them
                self._put_back()
                raise

    def _put_back(self) -> None:
        put_back([node for node in self._members.nodes() if not node.is_local])


def unsync(members: Members, should_unsync: bool = True) -> None:
    """Show the local states again. It does not communicate.

    Raises:
        StateError: They are shown already.
    """
    if not should_unsync:
        return
    nodes = members.nodes()
    if not any(holder.store.mode is Mode.SYNCED for node in nodes for _, holder in node.holders):
        raise StateError(f"`{members.label}` is not synced; call sync() first.")
    put_back(nodes)
