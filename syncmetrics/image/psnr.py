"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import (
    accumulate_dtype,
    check_choice,
    check_int,
    check_number,
    check_same_shape,
    zero_count,
    zero_sum,
)
from syncmetrics.image._ranges import Range, clipped, width_of
from syncmetrics.metric import Metric

__all__ = ["PeakSignalNoiseRatio"]


class PeakSignalNoiseRatio(Metric):
    """Compare the square of the range of the data with the mean squared error, in decibels.

    The value is `10 * log(data_range**2 / mean squared error)`, with the logarithm to `base` (Huynh-Thu and Ghanbari,
    "Scope of validity of PSNR in image/video quality assessment", 2008). It is infinite without any error.

    Args:
        data_range: The width of the range of the data, or (lowest, highest), to which the images are cut first. None
            for that of all targets.
        base: The base of the logarithm.
        reduction: With `dim`, "elementwise_mean" or "sum" over the values, or "none" or None for all of them. Without
            `dim` there is one value.
        dim: The dimensions that the mean squared error is over, one or more, for a value of each of what remains:
            (1, 2, 3) for a value of each image (N, C, H, W). None for one mean squared error of everything. With the
            dimension of the samples among them, there is a value for each batch.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If one is out of range, `reduction` is none of these, or `dim` is given without `data_range`.

    Example:
        >>> import torch
        >>> from syncmetrics.image import PeakSignalNoiseRatio
        >>> metric = PeakSignalNoiseRatio(data_range=3.0)
        >>> metric.update(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor([[3.0, 2.0], [1.0, 0.0]]))
        >>> metric.compute()
        tensor(2.5527, dtype=torch.float64)
    """

    plot_lower_bound = 0.0
    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    sum_squared_error: Tensor
    total: Tensor
    min_target: Tensor
    max_target: Tensor
    score: Tensor
    scores: list[Tensor]

    def __init__(
        self,
        data_range: Range | None = None,
        base: float = 10.0,
        reduction: str | None = "elementwise_mean",
        dim: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        width = None if data_range is None else width_of(name, data_range)
        check_number(name, "base", base, above=0)
        if base == 1:
            raise ValueError(f"{name}: `base` must not be 1, which is the base of no logarithm. Pass 10.0.")
        check_choice(name, "reduction", reduction, ("elementwise_mean", "sum", "none", None))
        if dim is not None:
            for one in (dim,) if isinstance(dim, int) else dim:
                check_int(name, "dim", one)
            if data_range is None:
                raise ValueError(
                    f"{name}: `data_range` must be given with `dim`, but is None instead. Pass the width of the range."
                )
        self.data_range = data_range
        self.base = base
        self.reduction = reduction
        self.dim = dim if dim is None or isinstance(dim, int) else tuple(dim)
        self._width = width
        if dim is None:
            self.add_state("sum_squared_error", zero_sum(), dist_reduce_fx="sum")
        elif self._keeps_each:
            self.add_state("scores", [], dist_reduce_fx="cat")
        else:
            self.add_state("score", zero_sum(), dist_reduce_fx="sum")
        if dim is None or not self._keeps_each:
            self.add_state("total", zero_count(), dist_reduce_fx="sum")
        if data_range is None:
            self.add_state("min_target", zero_sum() + math.inf, dist_reduce_fx="min")
            self.add_state("max_target", zero_sum() - math.inf, dist_reduce_fx="max")

    @property
    def _keeps_each(self) -> bool:
        return self.dim is not None and self.reduction in ("none", None)

    @property
    def compute_group(self) -> Hashable | None:
        """Without `dim`, the same for every `base` and every width: only `compute` reads them."""
        if self.dim is None:
            is_cut, is_given = isinstance(self.data_range, tuple), self.data_range is not None
            return ("psnr", self.data_range if is_cut else None, is_given)
        return ("psnr by dim", self.data_range, self.base, self.dim, self._keeps_each)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add images.

        Args:
            preds: Real tensor of any dtype, (N, C, H, W) or any other shape.
            target: Real tensor of any dtype and the same shape.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ.
        """
        check_same_shape(type(self).__name__, preds, target)
        dtype = accumulate_dtype(preds.device)
        preds = clipped(preds.detach().to(dtype), self.data_range)
        target = clipped(target.detach().to(dtype), self.data_range)
        squares = (preds - target).square()
        if self.dim is not None:
            self._add_scores(squares)
            return
        self.sum_squared_error = self.sum_squared_error + squares.sum()
        self.total = self.total + squares.numel()
        if self.data_range is None and target.numel():
            low, high = torch.aminmax(target)
            self.min_target = torch.minimum(self.min_target, low)
            self.max_target = torch.maximum(self.max_target, high)

    def compute(self) -> Tensor:
        """Return the value in float64: 0-d, NaN without images; or all values with reduction "none" and `dim`."""
        if self.dim is None:
            width = self.max_target - self.min_target if self._width is None else self._width
            return self._decibels(self.sum_squared_error / self.total, width)
        if self._keeps_each:
            empty = torch.zeros(0, dtype=accumulate_dtype(self.device), device=self.device)
            return torch.cat([empty, *self.scores])
        return self.score.clone() if self.reduction == "sum" else self.score / self.total

    def _add_scores(self, squares: Tensor) -> None:
        """Add the values of what remains without `dim`."""
        assert self._width is not None
        dims = (self.dim,) if isinstance(self.dim, int) else self.dim
        scores = self._decibels(squares.mean(dim=dims or None), self._width).flatten()
        if self._keeps_each:
            self.scores.append(scores)
        else:
            self.score = self.score + scores.sum()
            self.total = self.total + scores.numel()

    def _decibels(self, error: Tensor, width: Tensor | float) -> Tensor:
        peak = 2 * (width.log() if isinstance(width, Tensor) else math.log(width))
        return (peak - error.log()) * (10 / math.log(self.base))
