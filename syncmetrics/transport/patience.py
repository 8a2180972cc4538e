"""How long a rank waits for the others, and how the ranks that wait find out who has not come.

As long as all ranks come, none of this costs anything. A rank that has waited for a second writes its name into the
store of the process group. When the time is up, or a connection is lost, those that wait read the names of those that
do; the first to conclude writes down who is missing, and the others adopt that: the error is the same on every rank.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from syncmetrics.errors import PeerLostError, SyncError, SyncTimeoutError

__all__ = ["Patience", "RollCall", "Store", "Why", "check_seconds", "current_patience", "set_sync_timeout", "wait_for"]

#: Why a meeting failed.
Why: TypeAlias = Literal["lost", "timeout"]

#: A rank that has waited for so many seconds writes its name down.
FIRST_SECONDS = 1.0
#: From then on it looks so often whether another rank has concluded.
SLICE_SECONDS = 0.25
#: No wait is shorter: torch rounds less than a millisecond to no limit at all.
LEAST_SECONDS = 0.01
#: How many seconds those that wait leave to each other to write their names down. A lost connection is not seen by all
#: ranks at once; who does not see it writes its name down after `FIRST_SECONDS`, and must not be taken for lost.
ROLL_SECONDS: dict[Why, float] = {"lost": 2.5, "timeout": 1.0}

_UNSET: Any = object()
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Patience:
    """How long to wait.

    Attributes:
        timeout: Seconds until a sync fails; None leaves it to the process group.
        warn_after: Seconds until a warning names those who have not come.
    """

    timeout: float | None = None
    warn_after: float = 30.0


_patience: Patience | None = None


def set_sync_timeout(timeout: float | None = _UNSET, *, warn_after: float = _UNSET) -> None:
    """Set how long every sync of this process waits for the other ranks, unless its metric says otherwise.

    Before the first call, the environment variables `SYNCMETRICS_TIMEOUT` and `SYNCMETRICS_WARN_AFTER` hold.

    Args:
        timeout: Seconds until `SyncTimeoutError`; None leaves it to the process group (30 minutes on gloo unless set).
        warn_after: Seconds until a warning names the ranks that have not come.

    Raises:
        ValueError: A time is not positive.
    """
    global _patience
    now = current_patience()
    _patience = Patience(
        now.timeout if timeout is _UNSET else check_seconds("timeout", timeout),
        now.warn_after if warn_after is _UNSET else _required(check_seconds("warn_after", warn_after)),
    )


def current_patience() -> Patience:
    """Give what `set_sync_timeout` or the environment says.

    Raises:
        ValueError: The environment says no positive number of seconds.
    """
    global _patience
    if _patience is None:
        _patience = Patience(
            _from_environment("SYNCMETRICS_TIMEOUT", None),
            _required(_from_environment("SYNCMETRICS_WARN_AFTER", Patience.warn_after)),
        )
    return _patience


def check_seconds(name: str, seconds: float | None) -> float | None:
    """Check a time to wait; None is no limit.

    Raises:
        ValueError: It is not a positive number.
    """
    if seconds is not None and not seconds > 0:  # NaN is refused too
        raise ValueError(f"`{name}` must be a positive number of seconds, but is {seconds!r} instead.")
    return seconds


def _from_environment(name: str, default: float | None) -> float | None:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        return check_seconds(name, float(text))
    except ValueError:
        raise ValueError(f"`{name}` must be a positive number of seconds, but is {text!r} instead.") from None


def _required(seconds: float | None) -> float:
    if seconds is None:
        raise ValueError("`warn_after` must be a positive number of seconds, but is None instead.")
    return seconds


class Store(Protocol):
    """What is needed of a `torch.distributed.Store`."""

    def set(self, key: str, value: str, /) -> None:
        """Write."""

    def check(self, keys: list[str], /) -> bool:
        """Say whether all keys are there."""

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        """Write if nobody has, and give what is there then."""


class RollCall:
    """Who has come to one meeting.

    Args:
        open_store: Gives the place where the names are written; called when it is needed.
        key: What this meeting is called, the same on every rank.
        rank: Rank in the group.
        world_size: Number of ranks.
        meeting: What to call it in a message.
    """

    def __init__(self, open_store: Callable[[], Store], key: str, rank: int, world_size: int, meeting: str) -> None:
        self._open_store = open_store
        self._key = key
        self._rank = rank
        self._world_size = world_size
        self._meeting = meeting
        self._announced = False

    def announce(self) -> None:
        """Write this rank's name down."""
        if not self._announced:
            self._announced = True
            self._ask(lambda store: store.set(f"{self._key}/{self._rank}", "here"), None)

    def missing(self) -> tuple[int, ...]:
        """Read who has not written a name."""
        others = [r for r in range(self._world_size) if r != self._rank]
        return self._ask(lambda store: tuple(r for r in others if not store.check([f"{self._key}/{r}"])), ())

    def verdict(self, waited: float) -> SyncError | None:
        """Give the error that the rank concluded which was the first to do so; None if none has."""
        key = f"{self._key}/verdict"
        text = self._ask(lambda store: store.compare_set(key, "", "") if store.check([key]) else None, None)
        return None if text is None else self._error(text, waited)

    def conclude(self, why: Why, waited: float) -> SyncError:
        """Find out who is missing, as the others do, and give the error that says so.

        Those that wait leave each other a moment to write their names down.
        """
        self.announce()
        start = time.monotonic()
        missing = self.missing()
        while len(missing) > 1 and time.monotonic() - start < ROLL_SECONDS[why] and self.verdict(waited) is None:
            time.sleep(0.02)
            missing = self.missing()
        text = f"{why}:{','.join(map(str, missing))}"
        return self._error(
            self._ask(lambda store: store.compare_set(f"{self._key}/verdict", "", text), text.encode()), waited
        )

    def warn(self, waited: float) -> None:
        """Say whom this rank is waiting for."""
        missing = self.missing()
        who = f"{_ranks(missing)} to come" if missing else "the transfer to end"
        warnings.warn(f"rank {self._rank} has waited {waited:.0f} s in {self._meeting} for {who}.", stacklevel=2)

    def _ask(self, question: Callable[[Store], _Answer], otherwise: _Answer) -> _Answer:
        """Ask the store; if it is gone too, with the process that kept it, there is nobody to ask."""
        try:
            return question(self._open_store())
        except (RuntimeError, OSError):
            return otherwise

    def _error(self, text: bytes, waited: float) -> SyncError:
        why, _, ranks = text.decode().partition(":")
        missing = tuple(int(part) for part in ranks.split(",") if part and int(part) != self._rank)
        if why == "lost":
            who = f"{_ranks(missing)} did not answer" if missing else "no rank is missing, but a connection broke"
            return PeerLostError(f"a process or a connection was lost in {self._meeting}: {who}.", missing)
        who = f"{_ranks(missing)} did not come" if missing else "a rank did not come, or came too late,"
        return SyncTimeoutError(f"{who} to {self._meeting}; this rank waited {waited:.0f} s.", missing)


def wait_for(finished_within: Callable[[float], bool], roll: RollCall, patience: Patience) -> None:
    """Wait until something is done, as long as the patience lasts.

    Args:
        finished_within: Waits for it for at most so many seconds, and says whether it is done. It may raise.
        roll: Who has come.
        patience: How long to wait.

    Raises:
        SyncTimeoutError: The time is up, here or on another rank.
        PeerLostError: Another rank found that one is lost.
    """
    timeout, start = patience.timeout, time.monotonic()
    warned = False
    if finished_within(FIRST_SECONDS if timeout is None else max(min(FIRST_SECONDS, timeout), LEAST_SECONDS)):
        return
    while True:
        waited = time.monotonic() - start
        roll.announce()
        verdict = roll.verdict(waited)
        if verdict is not None:
            raise verdict
        if timeout is not None and waited >= timeout:
            raise roll.conclude("timeout", waited)
        if waited >= patience.warn_after and not warned:
            warned = True
            roll.warn(waited)
        pause = SLICE_SECONDS
        if timeout is not None:
            pause = min(pause, timeout - waited)
        if not warned:
            pause = min(pause, patience.warn_after - waited)
        if finished_within(max(pause, LEAST_SECONDS)):
            return


def _ranks(ranks: tuple[int, ...]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
