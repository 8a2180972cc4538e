"""Numbers as text."""

from __future__ import annotations

__all__ = ["amount", "factor", "tick"]

_STEPS: dict[str, tuple[tuple[float, str], ...]] = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "bytes": ((float(1 << 30), "GiB"), (float(1 << 20), "MiB"), (float(1 << 10), "KiB"), (1.0, "B")),
}


def amount(value: float | None, unit: str) -> str:
    """Write a time or a size with three digits, in the unit that suits it."""
    if value is None:
        return "-"
    size, name = _step(value, unit)
    return f"{_three(value / size)} {name}"


def tick(seconds: float) -> str:
    """Write a round time on an axis."""
    size, name = _step(seconds * 1.000001, "s")  # 0.001 is 1 ms, however it was computed
    return f"{seconds / size:g} {name}"


def factor(value: float | None) -> str:
    """Write a ratio."""
    return "-" if value is None else f"{_three(value)}x"


def _step(value: float, unit: str) -> tuple[float, str]:
    steps = _STEPS[unit]
    return next((step for step in steps if abs(value) >= step[0]), steps[-1])


def _three(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"
