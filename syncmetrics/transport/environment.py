"""What the environment of a process turns off."""

from __future__ import annotations

import os

__all__ = ["is_on"]

_OFF = ("0", "false", "no", "off")


def is_on(variable: str) -> bool:
    """Whether something is wanted that is on unless a variable of the environment says 0, false, no or off."""
    return os.environ.get(variable, "1").strip().lower() not in _OFF
