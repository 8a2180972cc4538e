"""Every error the package raises by itself, as one tree.

::

    SyncmetricsError
    ├── StateError (ValueError)            a state was declared, set or used in a way that cannot work
    └── SyncError (RuntimeError)           a sync did not come to its end; local states are as they were
        ├── SchemaMismatchError            the ranks disagree on what is synced
        ├── ReplicaMismatchError           ranks that were to see the same data hold different states
        ├── PeerError        .failures     a rank said that it failed: {rank: message}
        ├── SyncRefusedError               refused before it began; no other rank knows of it
        ├── SyncTimeoutError .missing      ranks that did not come in time
        ├── PeerLostError    .missing      ranks whose process or connection is gone
        └── PacketError                    bytes that no rank of this protocol version wrote

`StateError` and the plain `TypeError`/`ValueError` are local: they are raised before anything is sent.
Every `SyncError` but `PacketError` is raised with the same text on every rank that is there to raise it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping

__all__ = [
    "PacketError",
    "PeerError",
    "PeerLostError",
    "ReplicaMismatchError",
    "SchemaMismatchError",
    "StateError",
    "SyncError",
    "SyncRefusedError",
    "SyncTimeoutError",
    "SyncmetricsError",
]


class SyncmetricsError(Exception):
    """Root of all errors of this package."""


class StateError(SyncmetricsError, ValueError):
    """A state was declared, set or used in a way that cannot work."""


class SyncError(SyncmetricsError, RuntimeError):
    """A sync did not come to its end. The local states are what they were before it."""


class SchemaMismatchError(SyncError):
    """The ranks entered one sync with different metrics, states, reductions, shapes or sequence numbers."""


class ReplicaMismatchError(SyncError):
    """Ranks that were said to see the same data hold different states: see `over(..., check_replicas=True)`."""


class PeerError(SyncError):
    """At least one rank could not take part and said why.

    Attributes:
        failures: What each failed rank said, by rank in the group.
    """

    def __init__(self, message: str, failures: Mapping[int, str]) -> None:
        super().__init__(message)
        self.failures = dict(failures)

    def __reduce__(self) -> tuple[type[PeerError], tuple[str, dict[int, str]]]:
        return type(self), (str(self), self.failures)


class _MissingRanksError(SyncError):
    def __init__(self, message: str, missing: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)

    def __reduce__(self) -> tuple[type[_MissingRanksError], tuple[str, tuple[int, ...]]]:
        return type(self), (str(self), self.missing)


class SyncRefusedError(SyncError):
    """A sync was refused before it began: another one is under way here. The other ranks know nothing of it."""


class SyncTimeoutError(_MissingRanksError):
    """Some ranks did not enter the sync in time.

    Attributes:
        missing: Those ranks (in the group), as far as they are known.
    """


class PeerLostError(_MissingRanksError):
    """The process of some rank, or the connection to it, is gone.

    Attributes:
        missing: Those ranks (in the group), as far as they are known.
    """


class PacketError(SyncError):
    """Bytes received are not a packet of this protocol version."""


class Mark(enum.Enum):
    """What the ranks know of an error, of any class, that is on its way through the layers of this package."""

    TOLD = "told"  #: the ranks that were in the same episode know
    AGREED = "agreed"  #: all ranks know, and go on together: nobody has left the others midway
    REPORTED = "reported"  #: `share_errors` has told it, or need not
    AFTERWARDS = "afterwards"  #: all ranks had the states of all when it was raised: the sync counts as done


_MARKS = "_marks_of_syncmetrics"


def mark(error: BaseException, what: Mark) -> None:
    """Write down what the ranks know of an error, with the error itself."""
    setattr(error, _MARKS, {*getattr(error, _MARKS, ()), what})


def is_marked(error: BaseException, what: Mark) -> bool:
    """Say whether this was written down."""
    return what in getattr(error, _MARKS, ())


def said_by(error: BaseException) -> str:
    """Give type and text of an error, whatever it does when it is asked for its text."""
    try:
        text = str(error)
    except Exception as another:
        text = f"its text cannot be given, for its `__str__` raises {type(another).__name__}"
    return f"{type(error).__name__}: {text}"
