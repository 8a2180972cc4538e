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
        │                    .standings    where these stood meanwhile: {rank: Standing}
        ├── PeerLostError    .missing      ranks whose process or connection is gone
        │                    .standings    the same
        └── PacketError                    bytes that no rank of this protocol version wrote

`StateError` and the plain `TypeError`/`ValueError` are local: they are raised before anything is sent.
Every `SyncError` but `PacketError` is raised with the same text on every rank that is there to raise it.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = [
    "PacketError",
    "PeerError",
    "PeerLostError",
    "ReplicaMismatchError",
    "SchemaMismatchError",
    "StackLine",
    "Standing",
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


@dataclass(frozen=True, slots=True)
class StackLine:
    """One line of a stack.

    Attributes:
        file: Path of the file, as Python knows it on that rank; `<string>` and the like for code without a file.
        line: Number of the line.
        function: Name of the function.
        source: The line itself; empty where it cannot be read.
    """

    file: str
    line: int
    function: str
    source: str = ""

    def __str__(self) -> str:
        if self.source:
            return f"{_short(self.file)}:{self.line} `{self.source}`"
        return f"{_short(self.file)}:{self.line} in `{self.function}`"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a rank stood while others waited for it.

    Attributes:
        rank: Rank in the group.
        place: The innermost line of the user's own code; None if the rank did not answer.
        stack: The innermost lines of the stack, whoever wrote them, the innermost last.
        thread: Name of the thread that stands there; empty for the main thread.
        within: The sync that this thread is in, if it is in one: "sync 4 of `train` over group of global ranks [0, 2]".
        last_sync: The last sync over the group that came to its end there: "sync 17 of `val`"; empty if none has.
        silence: Why the rank did not answer, as far as it is known: "its process is stopped". Empty if it did.
        pid: Number of its process; 0 if it is not known.
        host: Name of the host on which that runs.

    Example:
        >>> from syncmetrics import StackLine, Standing
        >>> line = StackLine("train.py", 41, "main", "loss.backward()")
        >>> print(Standing(2, line, (line,), last_sync="sync 17 of `val`"))
        rank 2 stands in train.py:41 `loss.backward()`, its last sync was 17 of `val`
        >>> print(Standing(3, silence="its process is stopped", pid=4242, host="node7"))
        rank 3 does not answer (its process is stopped) [pid 4242 on node7]
    """

    rank: int
    place: StackLine | None = None
    stack: tuple[StackLine, ...] = ()
    thread: str = ""
    within: str = ""
    last_sync: str = ""
    silence: str = ""
    pid: int = 0
    host: str = ""

    def __str__(self) -> str:
        process = f" [pid {self.pid} on {self.host}]" if self.pid else ""
        if self.place is None:
            return f"rank {self.rank} does not answer" + (f" ({self.silence})" if self.silence else "") + process
        text = f"rank {self.rank} stands in {self.place}"
        below = self.stack[self.stack.index(self.place) + 1 :] if self.place in self.stack else self.stack
        if below and not self.within:
            # The innermost line of a library says more than the one of Python that it waits in.
            known = next((line for line in reversed(below) if _is_of_library(line.file)), below[-1])
            text += f" (which is in {_short(known.file)}:{known.line} `{known.function}`)"
        text += f" of thread `{self.thread}`" if self.thread else ""
        text += f", in {self.within}" if self.within else ""
        if self.last_sync:
            return f"{text}, its last sync was {self.last_sync.removeprefix('sync ')}{process}"
        return f"{text}, and has not synced over this group yet{process}"


_LIBRARIES = ("/site-packages/", "/dist-packages/", "\\site-packages\\")


def _is_of_library(file: str) -> bool:
    return any(folder in file for folder in _LIBRARIES)


def _short(file: str) -> str:
    """Give a path as a person would: from the working directory, or from where libraries are."""
    for folder in _LIBRARIES:
        _, found, rest = file.rpartition(folder)
        if found:
            return rest
    try:
        here = os.getcwd()
    except OSError:  # it was removed
        here = ""
    if here and file.startswith(here + os.sep):
        return file[len(here) + 1 :]
    return os.path.join(*file.split(os.sep)[-2:]) if os.path.basename(file) == "__init__.py" else os.path.basename(file)


class _MissingRanksError(SyncError):
    def __init__(self, message: str, missing: Iterable[int] = (), standings: Iterable[Standing] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)
        self.standings = {standing.rank: standing for standing in standings}

    def __reduce__(self) -> tuple[type[_MissingRanksError], tuple[str, tuple[int, ...], tuple[Standing, ...]]]:
        return type(self), (str(self), self.missing, tuple(self.standings.values()))


class SyncRefusedError(SyncError):
    """A sync was refused before it began: another one is under way here. The other ranks know nothing of it."""


class SyncTimeoutError(_MissingRanksError):
    """Some ranks did not enter the sync in time.

    Attributes:
        missing: Those ranks (in the group), as far as they are known.
        standings: Where those of them stood that were asked, by rank; see `Standing`.
    """


class PeerLostError(_MissingRanksError):
    """The process of some rank, or the connection to it, is gone.

    Attributes:
        missing: Those ranks (in the group), as far as they are known.
        standings: Where those of them stood that were asked, by rank; see `Standing`.
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
