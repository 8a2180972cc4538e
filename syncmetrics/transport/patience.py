"""How long a rank waits for the others, as the user and the environment say."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

__all__ = ["Patience", "check_seconds", "current_patience", "set_sync_timeout"]

_UNSET: Any = object()


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
