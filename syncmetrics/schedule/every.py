"""`sync_every`: which steps of a loop are synced."""

from __future__ import annotations

__all__ = ["SteppingMetric", "check_period", "is_due"]


def check_period(sync_every: int | None) -> int | None:
    """Check a number of steps; None is left to `dist_sync_on_step`.

    Raises:
        ValueError: It is no positive integer.
    """
    if sync_every is None:
        return None
    if type(sync_every) is not int or sync_every < 1:  # a bool is no number of steps
        raise ValueError(f"`sync_every` must be a positive integer or None, but is {sync_every!r} instead.")
    return sync_every


def is_due(steps: int, sync_every: int | None) -> bool:
    """Say whether the step that makes it so many is synced."""
    return sync_every is None or steps % sync_every == 0


class SteppingMetric:
    """Counts the steps of one metric."""

    dist_sync_on_step: bool
    sync_every: int | None = None
    _steps: int = 0

    def _count_step(self) -> bool:
        """Count a call of `forward` since the last reset, and say whether its value is that of all ranks.

        A call that raises counts too, so that ranks that take every step of a loop count alike.
        """
        if self.sync_every is None:
            return self.dist_sync_on_step
        self._steps += 1
        return self.dist_sync_on_step and is_due(self._steps, self.sync_every)
