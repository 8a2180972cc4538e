"""Whether scores are probabilities or logits, which only all of them together say: the range that they lie in."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import zero_sum

__all__ = ["add_range", "are_logits", "widen"]


def add_range(metric: Any) -> None:
    """Add the states: the lowest and the highest of all scores that count."""
    metric.add_state("lowest", zero_sum() + math.inf, dist_reduce_fx="min")
    metric.add_state("highest", zero_sum() - math.inf, dist_reduce_fx="max")


def widen(metric: Any, scores: Tensor, left_out: Tensor | None) -> Tensor:
    """Take scores into the range.

    Args:
        metric: The metric that has the states.
        scores: At least one.
        left_out: Which do not count, of a shape that broadcasts to theirs; None if all do.

    Returns:
        The lowest of them, 0-d; NaN if one is NaN.
    """
    low, high = torch.aminmax(scores if left_out is None else scores.masked_fill(left_out, 0))
    metric.lowest = torch.minimum(metric.lowest, low)
    metric.highest = torch.maximum(metric.highest, high)
    return low


def are_logits(metric: Any) -> Tensor:
    """Say whether a score lies outside of [0, 1], or is NaN: then all of them are logits. Bool, 0-d."""
    inside: Tensor = (metric.lowest >= 0) & (metric.highest <= 1)
    return inside.logical_not()
