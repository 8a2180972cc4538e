"""What has to end before the next sync of a group can begin: work that a rank left to the background."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from syncmetrics.transport.base import Transport

__all__ = ["leave_pending", "settle"]

_pending: weakref.WeakKeyDictionary[Transport, Callable[[], None]] = weakref.WeakKeyDictionary()


def leave_pending(transport: Transport, wait: Callable[[], None]) -> None:
    """Have `wait` called before the next sync over `transport`. What it raises is raised there."""
    _pending[transport] = wait


def settle(transport: Transport) -> None:
    """Wait for what was left pending over `transport`, if anything was."""
    wait = _pending.pop(transport, None)
    if wait is not None:
        wait()
