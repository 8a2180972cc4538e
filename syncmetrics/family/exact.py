"""Sums of fractions that do not depend on the order of the terms: each is rounded once, and integers are summed."""

from __future__ import annotations

import torch
from torch import Tensor

from syncmetrics.metric import Metric
from syncmetrics.states.exact_sum import exact_value, nearly
from syncmetrics.states.store import Mode

__all__ = [
    "FRACTION_BITS",
    "fractions_of",
    "from_parts",
    "in_parts",
    "inner_product",
    "join_parts",
    "mean_by_group",
    "sum_of_products",
    "summed",
    "unit_ratios",
]

#: A fraction in [0, 1] is kept as a multiple of 2 ** -53.
FRACTION_BITS = 53
_LOW = 27


def unit_ratios(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide integers, 0 <= numerator <= denominator and denominator > 0, each quotient rounded once.

    Returns:
        Int64 multiples of 2 ** -53, on the CPU if the device has no float64.
    """
    if numerator.device.type == "mps":
        numerator, denominator = numerator.cpu(), denominator.cpu()
    return numerator.double().div_(denominator).mul_(2.0**FRACTION_BITS).round_().long()


def fractions_of(values: Tensor) -> Tensor:
    """Round floats in [0, 1] to multiples of 2 ** -53, once.

    Returns:
        Int64 of the same shape.
    """
    return (values * 2.0**FRACTION_BITS).round().long()


def in_parts(fractions: Tensor) -> tuple[Tensor, Tensor]:
    """Give high and low parts of fractions, each of which adds up in int64: `high * 2 ** 27 + low` is the fraction."""
    return fractions >> _LOW, fractions & ((1 << _LOW) - 1)


def from_parts(high: Tensor, low: Tensor, dtype: torch.dtype) -> Tensor:
    """Give the sums, as floats, of which these are the parts."""
    return high.to(dtype) * 2.0 ** (_LOW - FRACTION_BITS) + low.to(dtype) * 2.0**-FRACTION_BITS


def sum_of_products(counts: Tensor, fractions: Tensor) -> tuple[int, int]:
    """Sum counts times fractions, exactly, as long as the counts add up to less than 2 ** 36.

    Args:
        counts: Int64, at least 0.
        fractions: Int64 in 0..2**53.

    Returns:
        The high and the low part of the sum, each of which adds up over ranks; `high * 2 ** 27 + low` is the sum.
    """
    counts = counts.to(fractions.device)
    high, low = in_parts(fractions)
    return int((counts * high).sum()), int((counts * low).sum())


def join_parts(high: int, low: int) -> int:
    """Give the sum of which `sum_of_products` gave the parts."""
    return (high << _LOW) + low


def inner_product(a: Tensor, b: Tensor) -> int:
    """Sum products of int64 numbers of less than 2 ** 31 in magnitude each, exactly."""
    product = a * b
    high, low = product >> 32, product & 0xFFFFFFFF
    return (int(high.sum()) << 32) + int(low.sum())


def mean_by_group(fractions: Tensor, group: Tensor, counts: Tensor) -> Tensor:
    """Average fractions by group, each average rounded down once.

    Args:
        fractions: Int64 in 0..2**53 of shape (N,).
        group: Which group each is of, int64 of shape (N,).
        counts: How many each group has, int64 of shape (G,), less than 2**35.

    Returns:
        Int64 in 0..2**53 of shape (G,); 0 for a group without any.
    """
    group, counts = group.to(fractions.device), counts.to(fractions.device)
    high, low = (torch.zeros_like(counts).index_add_(0, group, part) for part in in_parts(fractions))
    by = counts.clamp(min=1)
    rest = (high % by << _LOW) + low
    return (high // by << _LOW) + rest // by


def summed(metric: Metric, total: Tensor) -> Tensor:
    """Give the value of an exact sum; in a step on an accelerator, for which nobody waits, the float64 near it."""
    if not total.is_cpu and metric._holder.store.mode is Mode.STEP:
        return nearly(total)
    return exact_value(total)
