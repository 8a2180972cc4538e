"""`sync_every`: which steps of a loop are synced."""

from __future__ import annotations

__all__ = ["is_due"]


def is_due(steps: int, sync_every: int | None) -> bool:
    """Say whether the step that makes it so many is synced."""
    return sync_every is None or steps % sync_every == 0
