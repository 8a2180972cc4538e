"""Sum and mean of the last updates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from syncmetrics.aggregation.aggregation import Aggregator, NanStrategy
from syncmetrics.family.checks import check_int, zero_count, zero_sum

__all__ = ["RunningMean", "RunningSum"]


class _Running(Aggregator):
    """Base class: a row for each of the last updates, the latest one last, which add up over ranks by their age."""

    # What a batch brings takes the place of the oldest update, so it cannot be merged.
    full_state_update = True

    def __init__(self, window: int, nan_strategy: NanStrategy, **kwargs: Any) -> None:
        super().__init__(nan_strategy, **kwargs)
        check_int(type(self).__name__, "window", window, minimum=1)
        self.window = window
        self.add_state("sums", zero_sum(window), dist_reduce_fx="sum")
        self.add_state("invalid", zero_count(), dist_reduce_fx="sum")


class RunningSum(_Running):
    """Sum the values of the last `window` updates.

    Each rank keeps its own last `window` updates, and the value is that of those of all ranks together. `forward` gives
    the value of its batch alone.

    Args:
        window: How many updates count.
        nan_strategy: `"error"`, `"warn"`, `"ignore"`, `"disable"` or a number to put in place of NaN. On a device other
            than a CPU, `compute` raises or warns, also of NaN in updates that count no more.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `window` is no int.
        ValueError: If `window` is less than 1, or `nan_strategy` is none of these.

    Example:
        >>> from syncmetrics.aggregation import RunningSum
        >>> metric = RunningSum(window=2)
        >>> for value in (1.0, 2.0, 3.0):
        ...     metric.update(value)
        >>> metric.compute()
        tensor(5., dtype=torch.float64)
    """

    sums: Tensor

    def __init__(self, window: int = 5, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(window, nan_strategy, **kwargs)

    def update(self, value: Tensor | float) -> None:
        """Add values, and leave out the oldest update.

        Args:
            value: A number or a real tensor of any shape and dtype, also an empty one.

        Raises:
            TypeError: If the tensor is complex.
            RuntimeError: If a value is NaN and `nan_strategy="error"`.
        """
        _, total = self._values_to_sum(value, self.sums.dtype)
        self.sums = _moved_on(self.sums, total)

    def compute(self) -> Tensor:
        """Return the sum, a 0-d float64 tensor; 0 without values."""
        self._tell_counted_nan()
        return self.sums.sum()


class RunningMean(_Running):
    """Average the values of the last `window` updates, weighted where the user gives weights.

    Each rank keeps its own last `window` updates, and the value is that of those of all ranks together. `forward` gives
    the value of its batch alone.

    Args:
        window: How many updates count.
        nan_strategy: `"error"`, `"warn"`, `"ignore"`, `"disable"` or a number to put in place of NaN. On a device other
            than a CPU, `compute` raises or warns, also of NaN in updates that count no more.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `window` is no int.
        ValueError: If `window` is less than 1, or `nan_strategy` is none of these.

    Example:
        >>> from syncmetrics.aggregation import RunningMean
        >>> metric = RunningMean(window=2)
        >>> for value in (1.0, 2.0, 3.0):
        ...     metric.update(value)
        >>> metric.compute()
        tensor(2.5000, dtype=torch.float64)
    """

    sums: Tensor
    weights: Tensor

    def __init__(self, window: int = 5, nan_strategy: NanStrategy = "warn", **kwargs: Any) -> None:
        super().__init__(window, nan_strategy, **kwargs)
        self.add_state("weights", zero_sum(window), dist_reduce_fx="sum")

    def update(self, value: Tensor | float, weight: Tensor | float = 1.0) -> None:
        """Add values, and leave out the oldest update.

        Args:
            value: A number or a real tensor of any shape and dtype, also an empty one.
            weight: A number or a real tensor that broadcasts to the shape of `value`.

        Raises:
            TypeError: If a tensor is complex.
            ValueError: If `weight` does not broadcast to the shape of `value`.
            RuntimeError: If a value or a weight is NaN and `nan_strategy="error"`.
        """
        _, _, total, total_weight = self._products_to_sum(value, weight, self.sums.dtype)
        self.sums, self.weights = _moved_on(self.sums, total), _moved_on(self.weights, total_weight)

    def compute(self) -> Tensor:
        """Return the mean, a 0-d float64 tensor; NaN without values."""
        self._tell_counted_nan()
        return self.sums.sum() / self.weights.sum()


def _moved_on(rows: Tensor, latest: Tensor | int) -> Tensor:
    """Give the rows without the oldest one, and with the latest one."""
    row = latest.view(1) if isinstance(latest, Tensor) else rows.new_full((1,), latest)
    return torch.cat((rows[1:], row))
