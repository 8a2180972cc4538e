"""The range of the data: a number, or the two ends."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from syncmetrics.family.checks import check_number

__all__ = ["Range", "clipped", "width_of"]

Range = float | tuple[float, float]


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
