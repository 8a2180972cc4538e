"""Errors of predicted numbers: mean squared and mean absolute error."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import check_bool, check_int, check_same_shape, zero_count, zero_sum
from syncmetrics.metric import Metric

__all__ = ["MeanAbsoluteError", "MeanSquaredError"]


class _MeanError(Metric):
    """Count the samples and check the shapes; the subclasses sum their error.

    Args:
        num_outputs: 1, or the number of columns that each get a mean of their own.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `num_outputs` is not an int.
        ValueError: If `num_outputs` is smaller than 1.
    """

    plot_lower_bound = 0.0
    plot_legend_name = "Output"
    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    total: Tensor

    def __init__(self, num_outputs: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_int(type(self).__name__, "num_outputs", num_outputs, minimum=1)
        self.num_outputs = num_outputs
        self.add_state("total", zero_count(), dist_reduce_fx="sum")

    def _difference(self, preds: Tensor, target: Tensor, dtype: torch.dtype) -> Tensor:
        """Return `preds - target` in `dtype`, of shape (N,), or (N, num_outputs) for more than one output.

        Both are converted before they are subtracted, so neither unsigned nor half precision inputs lose anything.
        """
        name = type(self).__name__
        check_same_shape(name, preds, target)
        if self.num_outputs > 1 and (preds.ndim != 2 or preds.shape[1] != self.num_outputs):
            raise ValueError(
                f"{name}: `preds` and `target` must have the shape (N, {self.num_outputs}), but have "
                f"{tuple(preds.shape)} instead. Reshape them, or pass num_outputs=1 to average over everything."
            )
        difference = preds.to(dtype) - target.to(dtype)
        return difference if self.num_outputs > 1 else difference.reshape(-1)


class MeanSquaredError(_MeanError):
    """Average the squared differences, `sum((preds - target)**2) / N`, or the root of it.

    Args:
        squared: Whether to return the mean squared error; if False, its square root (RMSE).
        num_outputs: 1 (all elements are samples), or the number of columns that each get a mean of their own.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `squared` is not a bool or `num_outputs` is not an int.
        ValueError: If `num_outputs` is smaller than 1.
    """

    sum_squared_error: Tensor

    def __init__(self, squared: bool = True, num_outputs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_outputs, **kwargs)
        check_bool(type(self).__name__, "squared", squared)
        self.squared = squared
        shape = (num_outputs,) if num_outputs > 1 else ()
        self.add_state("sum_squared_error", zero_sum(*shape), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for every `squared`: only `compute` reads it."""
        return ("mean_squared_error", self.num_outputs)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Real tensor of any dtype, (N, ...), or (N, num_outputs) for more than one output.
            target: Real tensor of any dtype and the same shape.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ or do not fit `num_outputs`.
        """
        difference = self._difference(preds, target, self.sum_squared_error.dtype)
        self.sum_squared_error = self.sum_squared_error + difference.square().sum(dim=0)
        self.total = self.total + difference.shape[0]

    def compute(self) -> Tensor:
        """Return the error in float64, 0-d or (num_outputs,); NaN without samples."""
        mean = self.sum_squared_error / self.total
        return mean if self.squared else mean.sqrt()


class MeanAbsoluteError(_MeanError):
    """Average the absolute differences, `sum(|preds - target|) / N`.

    Args:
        num_outputs: 1 (all elements are samples), or the number of columns that each get a mean of their own.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `num_outputs` is not an int.
        ValueError: If `num_outputs` is smaller than 1.
    """

    sum_abs_error: Tensor

    def __init__(self, num_outputs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_outputs, **kwargs)
        shape = (num_outputs,) if num_outputs > 1 else ()
        self.add_state("sum_abs_error", zero_sum(*shape), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """One group per `num_outputs`."""
        return ("mean_absolute_error", self.num_outputs)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Real tensor of any dtype, (N, ...), or (N, num_outputs) for more than one output.
            target: Real tensor of any dtype and the same shape.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ or do not fit `num_outputs`.
        """
        difference = self._difference(preds, target, self.sum_abs_error.dtype)
        self.sum_abs_error = self.sum_abs_error + difference.abs().sum(dim=0)
        self.total = self.total + difference.shape[0]

    def compute(self) -> Tensor:
        """Return the error in float64, 0-d or (num_outputs,); NaN without samples."""
        return self.sum_abs_error / self.total
