"""Sum, mean, minimum, maximum and concatenation of a stream of values, with one rule for NaN.

On a CPU a NaN is dealt with at once. On another device, which nobody waits for, it is masked and counted, or kept as a
row, and `compute` says what `update` could not.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from syncmetrics.family.checks import accumulate_dtype, check_bool, check_tensor, zero_count, zero_sum
from syncmetrics.family.exact import summed
from syncmetrics.family.offenders import reads_data
from syncmetrics.metric import Metric
from syncmetrics.states.exact_sum import exact_add
from syncmetrics.states.rows import RowBuffer, dim_zero_cat
from syncmetrics.states.store import Mode

__all__ = ["Aggregator", "CatMetric", "MaxMetric", "MeanMetric", "MinMetric", "NanStrategy", "SumMetric", "as_tensor"]

NanStrategy = Literal["error", "warn", "ignore", "disable"] | float
_NAN_STRATEGIES = ("error", "warn", "ignore", "disable")


class Aggregator(Metric):
    """Turn what the user passes into tensors and decide about NaN; the subclasses keep the state.

    Args:
        nan_strategy: What a NaN does.

            - `"error"`: raises `RuntimeError`, the state stays as it was
            - `"warn"`: is left out, with a warning
            - `"ignore"`: is left out
            - `"disable"`: is not looked for, and so propagates
            - a number: is replaced with that number

            On a device other than a CPU it is left out at once, and `compute` raises or warns.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: If `nan_strategy` is none of these.
    """

    is_differentiable = False
    full_state_update = False
    _rebinds = True
    invalid: Tensor  # how many NaN nobody waited for; `CatMetric` has them among its rows

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
            return as_tensor(value, self.device, accumulate_dtype(self.device))
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
        self._tell_nan(f"{int(nan.sum())} of {nan.numel()}")
        return True

    def _tell_nan(self, number: str) -> None:
        """Raise or warn where the strategy asks for it.

        Raises:
            RuntimeError: The strategy is `"error"`.
        """
        name = type(self).__name__
        if self.nan_strategy == "error":
            raise RuntimeError(
                f"{name}: values must not be NaN with nan_strategy='error', but {number} are NaN instead."
                " Pass nan_strategy='ignore' to leave them out."
            )
        if self.nan_strategy == "warn":
            message = f"{name}: NaN values were left out. Pass nan_strategy='ignore' to do so without this warning."
            warnings.warn(message, UserWarning, stacklevel=2)

    def _tell_counted_nan(self) -> None:
        """Raise or warn, in `compute`, of NaN that nobody waited for; not in a step, which waits for nothing.

        Raises:
            RuntimeError: There were some and the strategy is `"error"`.
        """
        if self.nan_strategy in ("warn", "error") and self._holder.store.mode is not Mode.STEP:
            number = int(self.invalid)
            if number:
                self._tell_nan(f"{number} of them")

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

    def _with_nan_masked(self, value: Tensor, nothing: float) -> Tensor:
        """Return `value` after the NaN strategy, without a look at it: `nothing` stands where NaN is left out."""
        if self.nan_strategy == "disable" or not value.is_floating_point():
            return value
        nan = torch.isnan(value)
        self._count_nan(nan)
        strategy = self.nan_strategy
        return value.masked_fill(nan, nothing if isinstance(strategy, str) else strategy)

    def _count_nan(self, nan: Tensor) -> None:
        if self.nan_strategy in ("warn", "error"):
            self.invalid = self.invalid + nan.sum()

    def _values_to_sum(self, value: Tensor | float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return values after the NaN strategy, and their sum in `dtype`."""
        values = self._as_tensor(value, "value")
        if not reads_data(values):
            values = self._with_nan_masked(values, 0.0)
            return values, values.sum(dtype=dtype)
        total = values.sum(dtype=dtype)
        if self._may_hold_nan(total):
            values = self._without_nan(values)
            total = values.sum(dtype=dtype)
        return values, total

    def _products_to_sum(
        self, value: Tensor | float, weight: Tensor | float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor | int]:
        """Return products and weights in `dtype` after the NaN strategy, and the sums of both.

        No weights are weights of one: then there are None, and the sum of them is their number.
        """
        values = self._as_tensor(value, "value").to(dtype)
        weights = None if _is_one(weight) else self._as_weights(weight, values)
        if not reads_data(values):
            if self.nan_strategy != "disable":
                weights = torch.ones_like(values) if weights is None else weights
                nan = torch.isnan(values) | torch.isnan(weights)
                self._count_nan(nan)
                number, one = (0.0, 0.0) if isinstance(self.nan_strategy, str) else (self.nan_strategy, 1.0)
                values, weights = values.masked_fill(nan, number), weights.masked_fill(nan, one)
            return _weighted_sums(values, weights)
        found = _weighted_sums(values, weights)
        if self._may_hold_nan(found[2]):
            weights = torch.ones_like(values) if weights is None else weights
            found = _weighted_sums(*self._pairs_without_nan(values, weights))
        return found

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


class SumMetric(Aggregator):
    """Sum all values.

    The sum is kept in float64 (float32 on a device without it), whatever the dtype of the values.

    Args:
        nan_strategy: `"error"`, `"warn"`, `"ignore"`, `"disable"` or a number to put in place of NaN. On a device other
            than a CPU, `compute` raises or warns.
        exact: Whether to sum without rounding, so that the value is the true sum, rounded once: the same to the last
            bit however the values lie in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `exact` is not a bool.
        ValueError: If `nan_strategy` is none of these.

    Example:
        >>> import torch
        >>> from syncmetrics.aggregation import SumMetric
        >>> metric = SumMetric(exact=True)
        >>> metric.update(torch.tensor([1e30, 1.0, -1e30], dtype=torch.float64))
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """

    sum_value: Tensor

    def __init__(self, nan_strategy: NanStrategy = "warn", *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        check_bool(type(self).__name__, "exact", exact)
        self.exact = exact
        self.add_state("sum_value", zero_sum(), dist_reduce_fx="exact_sum" if exact else "sum")
        self.add_state("invalid", zero_count(), dist_reduce_fx="sum")

    def update(self, value: Tensor | float) -> None:
        """Add values to the sum.

        Args:
            value: A number or a real tensor of any shape and dtype, also an empty one.

        Raises:
            TypeError: If the tensor is complex.
            RuntimeError: If a value is NaN and `nan_strategy="error"`.
        """
        if self.exact:
            values, _ = self._values_to_sum(value, accumulate_dtype(self.device))
            self.sum_value = exact_add(self.sum_value, values)
        else:
            _, total = self._values_to_sum(value, self.sum_value.dtype)
            self.sum_value = self.sum_value + total

    def compute(self) -> Tensor:
        """Return the sum, a 0-d float64 tensor; 0 without values."""
        self._tell_counted_nan()
        return summed(self, self.sum_value) if self.exact else self.sum_value


class MeanMetric(Aggregator):
    """Average all values, weighted where the user gives weights: `sum(weight * value) / sum(weight)`.

    A NaN in a value or in its weight concerns the pair: both are left out, or, where `nan_strategy` is a number, the
    value becomes that number and its weight 1.

    Args:
        nan_strategy: `"error"`, `"warn"`, `"ignore"`, `"disable"` or a number to put in place of NaN. On a device other
            than a CPU, `compute` raises or warns.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the values lie in
            batches and on ranks. A product of a value and its weight is rounded once, in float64, which changes none of
            float32 or less; and so is the quotient of the sums. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `exact` is not a bool.
        ValueError: If `nan_strategy` is none of these.

    Example:
        >>> import torch
        >>> from syncmetrics.aggregation import MeanMetric
        >>> metric = MeanMetric()
        >>> metric.update(torch.tensor([1.0, 2.0]), weight=torch.tensor([3.0, 1.0]))
        >>> metric.compute()
        tensor(1.2500, dtype=torch.float64)
    """

    mean_value: Tensor
    weight: Tensor

    def __init__(self, nan_strategy: NanStrategy = "warn", *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        check_bool(type(self).__name__, "exact", exact)
        self.exact = exact
        self.add_state("mean_value", zero_sum(), dist_reduce_fx="exact_sum" if exact else "sum")
        self.add_state("weight", zero_sum(), dist_reduce_fx="exact_sum" if exact else "sum")
        self.add_state("invalid", zero_count(), dist_reduce_fx="sum")

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
        if self.exact:
            dtype = accumulate_dtype(self.device)
            products, weights, _, count = self._products_to_sum(value, weight, dtype)
            self.mean_value = exact_add(self.mean_value, products)
            if weights is None:
                weights = torch.full((), float(count), dtype=dtype, device=products.device)
            self.weight = exact_add(self.weight, weights)
        else:
            _, _, total, total_weight = self._products_to_sum(value, weight, self.mean_value.dtype)
            self.mean_value, self.weight = self.mean_value + total, self.weight + total_weight

    def compute(self) -> Tensor:
        """Return the mean, a 0-d float64 tensor; NaN without values, as there is no mean of nothing."""
        self._tell_counted_nan()
        if self.exact:
            return summed(self, self.mean_value) / summed(self, self.weight)
        return self.mean_value / self.weight


class MinMetric(Aggregator):
    """Keep the smallest value.

    Args:
        nan_strategy: `"error"`, `"warn"`, `"ignore"`, `"disable"` or a number to put in place of NaN. On a device other
            than a CPU, `compute` raises or warns.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: If `nan_strategy` is none of these.

    Example:
        >>> import torch
        >>> from syncmetrics.aggregation import MinMetric
        >>> metric = MinMetric()
        >>> metric.update(torch.tensor([2.0, 5.0]))
        >>> metric.compute()
        tensor(2., dtype=torch.float64)
    """

    min_value: Tensor

    def __init__(self, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        self.add_state("min_value", zero_sum() + float("inf"), dist_reduce_fx="min")
        self.add_state("invalid", zero_count(), dist_reduce_fx="sum")

    def update(self, value: Tensor | float) -> None:
        """Take values into the minimum.

        Args:
            value: A number or a real tensor of any shape and dtype, also an empty one.

        Raises:
            TypeError: If the tensor is complex.
            RuntimeError: If a value is NaN and `nan_strategy="error"`.
        """
        values = self._as_tensor(value, "value")
        if not reads_data(values):
            values = self._with_nan_masked(values, math.inf)
        elif values.numel() and self._may_hold_nan(values.amin()):
            values = self._without_nan(values)
        if values.numel():
            self.min_value = torch.minimum(self.min_value, values.amin().to(self.min_value.dtype))

    def compute(self) -> Tensor:
        """Return the minimum, a 0-d float64 tensor; infinity without values."""
        self._tell_counted_nan()
        return self.min_value


class MaxMetric(Aggregator):
    """Keep the largest value.

    Args:
        nan_strategy: `"error"`, `"warn"`, `"ignore"`, `"disable"` or a number to put in place of NaN. On a device other
            than a CPU, `compute` raises or warns.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: If `nan_strategy` is none of these.

    Example:
        >>> import torch
        >>> from syncmetrics.aggregation import MaxMetric
        >>> metric = MaxMetric()
        >>> metric.update(torch.tensor([2.0, 5.0]))
        >>> metric.compute()
        tensor(5., dtype=torch.float64)
    """

    max_value: Tensor

    def __init__(self, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        self.add_state("max_value", zero_sum() - float("inf"), dist_reduce_fx="max")
        self.add_state("invalid", zero_count(), dist_reduce_fx="sum")

    def update(self, value: Tensor | float) -> None:
        """Take values into the maximum.

        Args:
            value: A number or a real tensor of any shape and dtype, also an empty one.

        Raises:
            TypeError: If the tensor is complex.
            RuntimeError: If a value is NaN and `nan_strategy="error"`.
        """
        values = self._as_tensor(value, "value")
        if not reads_data(values):
            values = self._with_nan_masked(values, -math.inf)
        elif values.numel() and self._may_hold_nan(values.amax()):
            values = self._without_nan(values)
        if values.numel():
            self.max_value = torch.maximum(self.max_value, values.amax().to(self.max_value.dtype))

    def compute(self) -> Tensor:
        """Return the maximum, a 0-d float64 tensor; minus infinity without values."""
        self._tell_counted_nan()
        return self.max_value


class CatMetric(Aggregator):
    """Concatenate all values along the first dimension.

    Values keep their dtype; different ones promote in `compute`. Where NaN is left out, the whole row (the entry
    along the first dimension) that holds it goes.

    Args:
        nan_strategy: `"error"`, `"warn"`, `"ignore"`, `"disable"` or a number to put in place of NaN. On a device other
            than a CPU, it is `compute` that raises, warns and leaves out; the value of a step has all rows.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: If `nan_strategy` is none of these.

    Example:
        >>> import torch
        >>> from syncmetrics.aggregation import CatMetric
        >>> metric = CatMetric()
        >>> metric.update(torch.tensor([2.0, 5.0]))
        >>> metric.update(1.0)
        >>> metric.compute()
        tensor([2., 5., 1.])
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
            value = as_tensor(value, self.device)
        rows = self._as_tensor(value, "value").detach()
        rows = rows.reshape(1) if rows.ndim == 0 else rows
        if rows.is_floating_point() and (reads_data(rows) or not isinstance(self.nan_strategy, str)):
            rows = self._rows_without_nan(rows)
        if rows.numel():
            self.value.append(rows)

    def compute(self) -> Tensor:
        """Return all values as one tensor; an empty 1-d tensor without values."""
        rows = dim_zero_cat(self.value)
        if isinstance(self.nan_strategy, str) and rows.is_floating_point() and rows.numel():
            is_step = self._holder.store.mode is Mode.STEP and not reads_data(rows)
            return rows if is_step else self._rows_without_nan(rows)
        return rows

    def _rows_without_nan(self, rows: Tensor) -> Tensor:
        """Return `rows` after the NaN strategy, applied to the entries along the first dimension."""
        if self.nan_strategy == "disable":
            return rows
        if not isinstance(self.nan_strategy, str):
            return self._with_nan_masked(rows, 0.0)
        nan = torch.isnan(rows).flatten(1).any(dim=1) if rows.ndim > 1 else torch.isnan(rows)
        return rows[~nan] if self._found(nan) else rows


def _is_one(weight: object) -> bool:
    """Say whether `weight` is the number one, which needs no product; a tensor is not read for that."""
    return isinstance(weight, (int, float)) and weight == 1


def _weighted_sums(values: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor, Tensor | int]:
    """Return `weights * values`, the weights, and the sums of both; no weights are weights of one."""
    if weights is None:
        return values, None, values.sum(), values.numel()
    products = values * weights
    return products, weights, products.sum(), weights.sum()


def as_tensor(value: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return numbers as a tensor; one number without a copy from the CPU, which would wait for the device."""
    if device.type != "cpu" and isinstance(value, (int, float)):
        return torch.full((), value, dtype=dtype, device=device)
    return torch.as_tensor(value, dtype=dtype, device=device)
