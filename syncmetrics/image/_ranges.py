"""The range of the data: a number, or the two ends."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from torch import Tensor

__all__ = ["Range", "check_number", "clipped", "width_of"]

Range = float | tuple[float, float]


def check_number(metric: str, argument: str, value: object, *, above: float) -> None:
    """Check that a constructor argument is a finite number above another.

    Raises:
        TypeError: It is no number.
        ValueError: It is too small or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{metric}: `{argument}` must be a number, but is {value!r} instead. Pass a float.")
    if not above < float(value) < math.inf:
        raise ValueError(
            f"{metric}: `{argument}` must be above {above:g} and finite, but is {value} instead. Pass a larger number."
        )


def width_of(metric: str, data_range: Any) -> float:
    """Check a range that is given, and give its width.

    Raises:
        TypeError: It is neither a number nor two.
        ValueError: It is empty.
    """
    if not isinstance(data_range, tuple):
        check_number(metric, "data_range", data_range, above=0)
        return float(data_range)
    if len(data_range) != 2:
        raise ValueError(
            f"{metric}: `data_range` must be a number or (lowest, highest), but is {data_range!r} instead. "
            "Pass (0.0, 1.0)."
        )
    low, high = data_range
    check_number(metric, "data_range[0]", low, above=-math.inf)
    check_number(metric, "data_range[1]", high, above=float(low))
    return float(high) - float(low)


def clipped(image: Tensor, data_range: Any) -> Tensor:
    """Cut an image to the two ends of a range, if it has two."""
    return image.clamp(*data_range) if isinstance(data_range, tuple) else image
