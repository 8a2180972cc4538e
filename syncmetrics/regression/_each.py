"""A value of each sample, summed, averaged or kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import accumulate_dtype, check_bool, check_choice, zero_count, zero_sum
from syncmetrics.family.exact import summed
from syncmetrics.metric import Metric
from syncmetrics.states.exact_sum import exact_add

__all__ = ["EachMetric"]


class EachMetric(Metric):
    """Sum, average or keep the values of samples.

    Args:
        reduction: "sum" or "mean" over the samples, or "none" or None for all values.
        exact: Whether to sum without rounding.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `exact` is not a bool.
        ValueError: If `reduction` is none of these.
    """

    is_differentiable = False
    full_state_update = False
    _rebinds = True
    measures: Any
    total: Tensor

    def __init__(self, reduction: str | None, *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_choice(name, "reduction", reduction, ("mean", "sum", "none", None))
        check_bool(name, "exact", exact)
        self.reduction = reduction
        self.exact = exact
        if reduction in ("none", None):
            self.add_state("measures", [], dist_reduce_fx="cat")
        else:
            self.add_state("measures", zero_sum(), dist_reduce_fx="exact_sum" if exact else "sum")
            self.add_state("total", zero_count(), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """Return the sum or the mean, 0-d in float64, or all values of shape (N,) in the order of samples.

        The mean of no samples is NaN.
        """
        if self.reduction in ("none", None):
            empty = torch.zeros(0, dtype=accumulate_dtype(self.device), device=self.device)
            return torch.cat([empty, *self.measures])
        value = summed(self, self.measures) if self.exact else self.measures.clone()
        return value if self.reduction == "sum" else value / self.total

    def _add(self, values: Tensor) -> None:
        """Add the values of more samples, of shape (N,)."""
        if self.reduction in ("none", None):
            self.measures.append(values)
            return
        self.measures = exact_add(self.measures, values) if self.exact else self.measures + values.sum()
        self.total = self.total + values.shape[0]

    def _check_rows(self, argument: str, values: Tensor) -> None:
        """Check that each sample is a row.

        Raises:
            ValueError: It is not.
        """
        if values.ndim != 2:
            raise ValueError(
                f"{type(self).__name__}: `{argument}` must have the shape (N, D), a row for each sample, but has "
                f"{tuple(values.shape)} instead. Pass `{argument}.flatten(1)`, or `unsqueeze(0)` a single sample."
            )
