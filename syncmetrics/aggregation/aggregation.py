"""Sum, mean, minimum, maximum and concatenation of a stream of values, with one rule for NaN."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from syncmetrics.family.checks import accumulate_dtype, check_tensor, zero_sum
from syncmetrics.metric import Metric
from syncmetrics.states.rows import RowBuffer, dim_zero_cat

__all__ = ["CatMetric", "MaxMetric", "MeanMetric", "MinMetric", "SumMetric"]

NanStrategy = Literal["error", "warn", "ignore", "disable"] | float
_NAN_STRATEGIES = ("error", "warn", "ignore", "disable")


class _Aggregator(Metric):
    """Turn what the user passes into tensors and decide about NaN; the subclasses keep the state.

    Args:
        nan_strategy: What a NaN does.

            - `"error"`: raises `RuntimeError`, the state stays as it was
            - `"warn"`: is left out, with a warning
            - `"ignore"`: is left out
            - `"disable"`: is not looked for, and so propagates
            - a number: is replaced with that number
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: If `nan_strategy` is none of these.
    """

    is_differentiable = False
    full_state_update = False
    _rebinds = True

    def __init__(self, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        is_number = isinstance(nan_strategy, (int, float)) and not isinstance(nan_strategy, bool)
        if not is_number and nan_strategy not in _NAN_STRATEGIES:
            raise ValueError(
                f"{type(self).__name__}: `nan_strategy` must be one of {_NAN_STRATEGIES} or a number, but is "
                f"{nan_strategy!r} instead. Pass 'warn' to leave NaN out with a warning."
            )
        self.nan_strategy = nan_strategy

    def _as_tensor(self, value: object, argument: str) -> Tensor:
        """Return `value` as a tensor; numbers and sequences of them come in the accumulate dtype."""
        if not isinstance(value, Tensor):
            return torch.as_tensor(value, dtype=accumulate_dtype(self.device), device=self.device)
        check_tensor(type(self).__name__, argument, value)
        return value

    def _may_hold_nan(self, reduced: Tensor) -> bool:
        """Say whether NaN is to be looked for: a sum, minimum or maximum of values with NaN is NaN itself."""
        return self.nan_strategy != "disable" and math.isnan(reduced.item())

    def _found(self, nan: Tensor) -> bool:
        """Say whether the mask `nan` holds a NaN, and raise or warn where the strategy asks for it.

        Raises:
            RuntimeError: If there is one and the strategy is `"error"`.
        """
        if not bool(nan.any()):
            return False
        name = type(self).__name__
        if self.nan_strategy == "error":
            raise RuntimeError(
                f"{name}: values must not be NaN with nan_strategy='error', but {int(nan.sum())} of {nan.numel()} are "
                "NaN instead. Pass nan_strategy='ignore' to leave them out."
            )
        if self.nan_strategy == "warn":
            message = f"{name}: NaN values were left out. Pass nan_strategy='ignore' to do so without this warning."
            warnings.warn(message, UserWarning, stacklevel=2)
        return True

    def _without_nan(self, value: Tensor) -> Tensor:
        """Return `value` after the NaN strategy: unchanged, flat with NaN left out, or with NaN replaced."""
        if self.nan_strategy == "disable" or not value.is_floating_point():
            return value
        nan = torch.isnan(value)
        if not self._found(nan):
            return value
        if isinstance(self.nan_strategy, str):
            return value[~nan]
        return torch.nan_to_num(value, nan=self.nan_strategy, posinf=float("inf"), neginf=float("-inf"))


class SumMetric(_Aggregator):
    """Sum all values.

    The sum is kept in float64 (float32 on a device without it), whatever the dtype of the values.

    Args:
        nan_strategy: `"error"`, `"warn"`, `"ignore"`, `"disable"` or a number to put in place of NaN.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: If `nan_strategy` is none of these.
    """

    sum_value: Tensor

    def __init__(self, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        self.add_state("sum_value", zero_sum(), dist_reduce_fx="sum")

    def update(self, value: Tensor | float) -> None:
        """Add values to the sum.

        Args:
            value: A number or a real tensor of any shape and dtype, also an empty one.

        Raises:
            TypeError: If the tensor is complex.
            RuntimeError: If a value is NaN and `nan_strategy="error"`.
        """
        values, dtype = self._as_tensor(value, "value"), self.sum_value.dtype
        total = values.sum(dtype=dtype)
        if self._may_hold_nan(total):
            total = self._without_nan(values).sum(dtype=dtype)
        self.sum_value = self.sum_value + total

    def compute(self) -> Tensor:
        """Return the sum, a 0-d float64 tensor; 0 without values."""
        return self.sum_value


class MeanMetric(_Aggregator):
    """Average all values, weighted where the user gives weights: `sum(weight * value) / sum(weight)`.

    A NaN in a value or in its weight concerns the pair: both are left out, or, where `nan_strategy` is a number, the
    value becomes that number and its weight 1.

    Args:
        nan_strategy: `"error"`, `"warn"`, `"ignore"`, `"disable"` or a number to put in place of NaN.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: If `nan_strategy` is none of these.
    """

    mean_value: Tensor
    weight: Tensor

    def __init__(self, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        self.add_state("mean_value", zero_sum(), dist_reduce_fx="sum")
        self.add_state("weight", zero_sum(), dist_reduce_fx="sum")

    def update(self, value: Tensor | float, weight: Tensor | float = 1.0) -> None:
        """Add values to the mean.

        Args:
            value: A number or a real tensor of any shape and dtype, also an empty one.
            weight: A number or a real tensor that broadcasts to the shape of `value`.

        Raises:
            TypeError: If a tensor is complex.
            ValueError: If `weight` does not broadcast to the shape of `value`.
            RuntimeError: If a value or a weight is NaN and `nan_strategy="error"`.
        """
        values = self._as_tensor(value, "value").to(self.mean_value.dtype)
        weights = None if _is_one(weight) else self._as_weights(weight, values)
        total, total_weight = _weighted_sums(values, weights)
        if self._may_hold_nan(total):
            weights = torch.ones_like(values) if weights is None else weights
            total, total_weight = _weighted_sums(*self._pairs_without_nan(values, weights))
        self.mean_value, self.weight = self.mean_value + total, self.weight + total_weight

    def compute(self) -> Tensor:
        """Return the mean, a 0-d float64 tensor; NaN without values, as there is no mean of nothing."""
        return self.mean_value / self.weight

    def _as_weights(self, weight: object, values: Tensor) -> Tensor:
        """Return `weight` with the dtype and the shape of `values`, which are never broadcast themselves."""
        weights = self._as_tensor(weight, "weight").to(values.dtype)
        try:
            return weights.expand(values.shape)
        except RuntimeError:
            raise ValueError(
                f"{type(self).__name__}: `weight` must broadcast to the shape of `value`, {tuple(values.shape)}, but "
                f"has {tuple(weights.shape)} instead. Pass one weight per value, or add dimensions of size 1."
            ) from None

    def _pairs_without_nan(self, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return both tensors after the NaN strategy, applied to pairs."""
        nan = torch.isnan(values) | torch.isnan(weights)
        if not self._found(nan):
            return values, weights
        if isinstance(self.nan_strategy, str):
            return values[~nan], weights[~nan]
        return values.masked_fill(nan, self.nan_strategy), weights.masked_fill(nan, 1.0)


class MinMetric(_Aggregator):
    """Keep the smallest value.

    Args:
        nan_strategy: `"error"`, `"warn"`, `"ignore"`, `"disable"` or a number to put in place of NaN.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: If `nan_strategy` is none of these.
    """

    min_value: Tensor

    def __init__(self, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        self.add_state("min_value", zero_sum() + float("inf"), dist_reduce_fx="min")

    def update(self, value: Tensor | float) -> None:
        """Take values into the minimum.

        Args:
            value: A number or a real tensor of any shape and dtype, also an empty one.

        Raises:
            TypeError: If the tensor is complex.
            RuntimeError: If a value is NaN and `nan_strategy="error"`.
        """
        values = self._as_tensor(value, "value")
        if values.numel() and self._may_hold_nan(values.amin()):
            values = self._without_nan(values)
        if values.numel():
            self.min_value = torch.minimum(self.min_value, values.amin().to(self.min_value.dtype))

    def compute(self) -> Tensor:
        """Return the minimum, a 0-d float64 tensor; infinity without values."""
        return self.min_value


class MaxMetric(_Aggregator):
    """Keep the largest value.

    Args:
        nan_strategy: `"error"`, `"warn"`, `"ignore"`, `"disable"` or a number to put in place of NaN.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: If `nan_strategy` is none of these.
    """

    max_value: Tensor

    def __init__(self, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        self.add_state("max_value", zero_sum() - float("inf"), dist_reduce_fx="max")

    def update(self, value: Tensor | float) -> None:
        """Take values into the maximum.

        Args:
            value: A number or a real tensor of any shape and dtype, also an empty one.

        Raises:
            TypeError: If the tensor is complex.
            RuntimeError: If a value is NaN and `nan_strategy="error"`.
        """
        values = self._as_tensor(value, "value")
        if values.numel() and self._may_hold_nan(values.amax()):
            values = self._without_nan(values)
        if values.numel():
            self.max_value = torch.maximum(self.max_value, values.amax().to(self.max_value.dtype))

    def compute(self) -> Tensor:
        """Return the maximum, a 0-d float64 tensor; minus infinity without values."""
        return self.max_value


class CatMetric(_Aggregator):
    """Concatenate all values along the first dimension.

    Values keep their dtype; different ones promote in `compute`. Where NaN is left out, the whole row (the entry
    along the first dimension) that holds it goes.

    Args:
        nan_strategy: `"error"`, `"warn"`, `"ignore"`, `"disable"` or a number to put in place of NaN.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: If `nan_strategy` is none of these.
    """

    plot_legend_name = "Value"
    value: list[Tensor]

    def __init__(self, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        self.add_state("value", RowBuffer(), dist_reduce_fx="cat")

    def update(self, value: Tensor | float) -> None:
        """Append values; a copy is kept, so the caller may reuse the tensor.

        Args:
            value: A number or a real tensor; all tensors agree in all dimensions but the first.

        Raises:
            TypeError: If the tensor is complex.
            RuntimeError: If a value is NaN and `nan_strategy="error"`.
        """
        if not isinstance(value, Tensor):
            value = torch.as_tensor(value, device=self.device)
        rows = self._as_tensor(value, "value").detach()
        rows = rows.reshape(1) if rows.ndim == 0 else rows
        rows = self._rows_without_nan(rows) if rows.is_floating_point() else rows
        if rows.numel():
            self.value.append(rows)

    def compute(self) -> Tensor:
        """Return all values as one tensor; an empty 1-d tensor without values."""
        return dim_zero_cat(self.value)

    def _rows_without_nan(self, rows: Tensor) -> Tensor:
        """Return `rows` after the NaN strategy, applied to the entries along the first dimension."""
        if self.nan_strategy == "disable" or not isinstance(self.nan_strategy, str):
            return self._without_nan(rows)
        nan = torch.isnan(rows).flatten(1).any(dim=1) if rows.ndim > 1 else torch.isnan(rows)
        return rows[~nan] if self._found(nan) else rows


def _is_one(weight: object) -> bool:
    """Say whether `weight` is the number one, which needs no product; a tensor is not read for that."""
    return isinstance(weight, (int, float)) and weight == 1


def _weighted_sums(values: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor | int]:
    """Return `sum(weights * values)` and `sum(weights)`; no weights are weights of one."""
    if weights is None:
        return values.sum(), values.numel()
    return (values * weights).sum(), weights.sum()
