"""The highest resident memory of this process."""

from __future__ import annotations

import contextlib
import gc
import resource
import sys
from pathlib import Path

__all__ = ["peak_bytes", "reset_peak", "resident_bytes"]

_STATUS = Path("/proc/self/status")


def _field(name: str) -> int | None:
    if not _STATUS.exists():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None


def reset_peak() -> None:
    """Let the peak be what is resident now, where the system can; elsewhere it is that of the whole process."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def resident_bytes() -> int:
    """Give what is resident now."""
    now = _field("VmRSS")
    return peak_bytes() if now is None else now


def peak_bytes() -> int:
    """Give the peak since `reset_peak`, or of the whole process."""
    peak = _field("VmHWM")
    if peak is not None:
        return peak
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage if sys.platform == "darwin" else usage * 1024
