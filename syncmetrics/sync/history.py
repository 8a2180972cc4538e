"""What this rank did lately in each group: kept for the message of the next error, and for nothing else."""

from __future__ import annotations

import weakref
from collections import deque

from syncmetrics.transport.base import Transport

__all__ = ["note", "notes"]

_KEPT = 3
_histories: weakref.WeakKeyDictionary[Transport, deque[str]] = weakref.WeakKeyDictionary()


def note(transport: Transport, what: str) -> None:
    """Remember what was done."""
    history = _histories.get(transport)
    if history is None:
        history = _histories[transport] = deque(maxlen=_KEPT)
    history.append(what)


def notes(transport: Transport) -> tuple[str, ...]:
    """Give what was done lately, the oldest first."""
    return tuple(_histories.get(transport, ()))
