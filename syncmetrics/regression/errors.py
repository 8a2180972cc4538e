"""Errors of predicted numbers, summed over samples: squared, absolute, relative, logarithmic and of any power."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from syncmetrics.family.checks import (
    accumulate_dtype,
    check_bool,
    check_int,
    check_number,
    check_same_shape,
    zero_count,
    zero_sum,
)
from syncmetrics.family.exact import summed
from syncmetrics.metric import Metric
from syncmetrics.states.exact_sum import exact_add

__all__ = [
    "LogCoshError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogError",
    "MinkowskiDistance",
    "SymmetricMeanAbsolutePercentageError",
    "WeightedMeanAbsolutePercentageError",
    "difference",
    "power",
]

#: What a relative error is divided by at least, so that a target of zero does not make it infinite.
_EPSILON = 1.17e-06


class _Sums(Metric):
    """Keep sums of floats over all samples, one for each output.

    Args:
        num_outputs: 1, or the number of columns that each get a value of their own.
        exact: Whether to sum without rounding.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `num_outputs` is not an int, or `exact` is not a bool.
        ValueError: If `num_outputs` is smaller than 1.
    """

    plot_lower_bound = 0.0
    plot_legend_name = "Output"
    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    #: Names of the sums, which are torchmetrics' own, so that its state dicts load.
    _sums: ClassVar[tuple[str, ...]]

    def __init__(self, num_outputs: int = 1, *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_int(name, "num_outputs", num_outputs, minimum=1)
        check_bool(name, "exact", exact)
        self.num_outputs = num_outputs
        self.exact = exact
        shape = (num_outputs,) if num_outputs > 1 else ()
        for one in self._sums:
            self.add_state(one, zero_sum(*shape), dist_reduce_fx="exact_sum" if exact else "sum")

    def _samples(self, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Give both of shape (N,), or (N, num_outputs) for more than one output; `preds` in the dtype of the sums.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ or do not fit `num_outputs`.
        """
        name = type(self).__name__
        check_same_shape(name, preds, target)
        preds, target = preds.detach().to(accumulate_dtype(preds.device)), target.detach()
        if self.num_outputs == 1:
            return preds.reshape(-1), target.reshape(-1)
        if preds.ndim != 2 or preds.shape[1] != self.num_outputs:
            raise ValueError(
                f"{name}: `preds` and `target` must have the shape (N, {self.num_outputs}), but have "
                f"{tuple(preds.shape)} instead. Reshape them, or pass num_outputs=1 to average over everything."
            )
        return preds, target

    def _plus(self, total: Tensor, errors: Tensor) -> Tensor:
        """Give a sum with the errors of more samples, of shape (N,) or (N, num_outputs)."""
        return exact_add(total, errors) if self.exact else total + errors.sum(dim=0)

    def _sum(self, total: Tensor) -> Tensor:
        """Give the value of a sum, float64."""
        return summed(self, total) if self.exact else total


class _MeanError(_Sums):
    """Average what `_errors` gives for each sample."""

    total: Tensor

    def __init__(self, num_outputs: int = 1, *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(num_outputs, exact=exact, **kwargs)
        self.add_state("total", zero_count(), dist_reduce_fx="sum")

    @abstractmethod
    def _errors(self, preds: Tensor, target: Tensor) -> Tensor:
        """Give the error of each sample; `preds` is in the dtype of the sums, `target` in any."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Real tensor of any dtype, (N, ...), or (N, num_outputs) for more than one output.
            target: Real tensor of any dtype and the same shape.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ or do not fit `num_outputs`.
        """
        errors = self._errors(*self._samples(preds, target))
        name = self._sums[0]
        setattr(self, name, self._plus(getattr(self, name), errors))
        self.total = self.total + errors.shape[0]

    def compute(self) -> Tensor:
        """Return the mean error in float64, 0-d or (num_outputs,); NaN without samples."""
        return self._sum(getattr(self, self._sums[0])) / self.total


class MeanSquaredError(_MeanError):
    """Average the squared differences, `sum((preds - target)**2) / N`, or give the root of it (RMSE).

    Args:
        squared: Whether to return the mean squared error; if False, its square root.
        num_outputs: 1 (all elements are samples), or the number of columns that each get a mean of their own.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `squared` or `exact` is not a bool or `num_outputs` is not an int.
        ValueError: If `num_outputs` is smaller than 1.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import MeanSquaredError
        >>> metric = MeanSquaredError()
        >>> metric.update(torch.tensor([2.5, 0.0, 2.0, 8.0]), torch.tensor([3.0, -0.5, 2.0, 7.0]))
        >>> metric.compute()
        tensor(0.3750, dtype=torch.float64)
    """

    _sums = ("sum_squared_error",)

    def __init__(self, squared: bool = True, num_outputs: int = 1, *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(num_outputs, exact=exact, **kwargs)
        check_bool(type(self).__name__, "squared", squared)
        self.squared = squared

    @property
    def compute_group(self) -> Hashable | None:
        """The same for every `squared`: only `compute` reads it."""
        return ("mean squared error", self.num_outputs, self.exact)

    def _errors(self, preds: Tensor, target: Tensor) -> Tensor:
        return difference(preds, target).square()

    def compute(self) -> Tensor:
        """Return the error in float64, 0-d or (num_outputs,); NaN without samples."""
        mean = super().compute()
        return mean if self.squared else mean.sqrt()


class MeanAbsoluteError(_MeanError):
    """Average the absolute differences, `sum(|preds - target|) / N`.

    Args:
        num_outputs: 1 (all elements are samples), or the number of columns that each get a mean of their own.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `num_outputs` is not an int, or `exact` is not a bool.
        ValueError: If `num_outputs` is smaller than 1.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import MeanAbsoluteError
        >>> metric = MeanAbsoluteError()
        >>> metric.update(torch.tensor([2.5, 0.0, 2.0, 8.0]), torch.tensor([3.0, -0.5, 2.0, 7.0]))
        >>> metric.compute()
        tensor(0.5000, dtype=torch.float64)
    """

    _sums = ("sum_abs_error",)

    @property
    def compute_group(self) -> Hashable | None:
        """One group for each setting."""
        return ("mean absolute error", self.num_outputs, self.exact)

    def _errors(self, preds: Tensor, target: Tensor) -> Tensor:
        return difference(preds, target).abs()


class MeanAbsolutePercentageError(_MeanError):
    """Average the absolute differences in parts of the target, `sum(|preds - target| / |target|) / N`.

    It is a fraction, not per cent. A target of less than 1.17e-6 in magnitude counts as that much.

    Args:
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `exact` is not a bool.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import MeanAbsolutePercentageError
        >>> metric = MeanAbsolutePercentageError()
        >>> metric.update(torch.tensor([0.9, 15.0, 1.2e6]), torch.tensor([1.0, 10.0, 1e6]))
        >>> metric.compute()
        tensor(0.2667, dtype=torch.float64)
    """

    _sums = ("sum_abs_per_error",)

    def __init__(self, *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(exact=exact, **kwargs)

    def _errors(self, preds: Tensor, target: Tensor) -> Tensor:
        target = target.to(preds.dtype)
        return (preds - target).abs() / target.abs().clamp(min=_EPSILON)


class SymmetricMeanAbsolutePercentageError(_MeanError):
    """Average the absolute differences in parts of the mean magnitude of both.

    That is `sum(2 |preds - target| / (|target| + |preds|)) / N`, and between 0 and 2 (Armstrong, "Long-Range
    Forecasting", 1985, p. 348). A sum of less than 1.17e-6 counts as
    that much.

    Args:
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `exact` is not a bool.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import SymmetricMeanAbsolutePercentageError
        >>> metric = SymmetricMeanAbsolutePercentageError()
        >>> metric.update(torch.tensor([0.9, 15.0, 1.2e6]), torch.tensor([1.0, 10.0, 1e6]))
        >>> metric.compute()
        tensor(0.2290, dtype=torch.float64)
    """

    _sums = ("sum_abs_per_error",)

    def __init__(self, *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(exact=exact, **kwargs)

    def _errors(self, preds: Tensor, target: Tensor) -> Tensor:
        target = target.to(preds.dtype)
        return 2 * (preds - target).abs() / (target.abs() + preds.abs()).clamp(min=_EPSILON)


class WeightedMeanAbsolutePercentageError(_Sums):
    """Give the sum of absolute differences in parts of the sum of targets, `sum(|preds - target|) / sum(|target|)`.

    A large target weighs more than a small one, and a single target of zero does no harm. A sum of targets of less
    than 1.17e-6 counts as that much.

    Args:
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `exact` is not a bool.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import WeightedMeanAbsolutePercentageError
        >>> metric = WeightedMeanAbsolutePercentageError()
        >>> metric.update(torch.tensor([0.9, 15.0, 110.0]), torch.tensor([1.0, 10.0, 100.0]))
        >>> metric.compute()
        tensor(0.1360, dtype=torch.float64)
    """

    _sums = ("sum_abs_error", "sum_scale")
    sum_abs_error: Tensor
    sum_scale: Tensor

    def __init__(self, *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(exact=exact, **kwargs)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Real tensor of any dtype, (N, ...).
            target: Real tensor of any dtype and the same shape.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ.
        """
        preds, target = self._samples(preds, target)
        target = target.to(preds.dtype)
        self.sum_abs_error = self._plus(self.sum_abs_error, (preds - target).abs())
        self.sum_scale = self._plus(self.sum_scale, target.abs())

    def compute(self) -> Tensor:
        """Return the error, 0-d in float64; 0 without samples."""
        return self._sum(self.sum_abs_error) / self._sum(self.sum_scale).clamp(min=_EPSILON)


class MeanSquaredLogError(_MeanError):
    """Average the squared differences of logarithms, `sum((log(1 + preds) - log(1 + target))**2) / N`.

    It is meant for numbers that are not negative; one of less than -1 has no logarithm and makes the value NaN.

    Args:
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `exact` is not a bool.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import MeanSquaredLogError
        >>> metric = MeanSquaredLogError()
        >>> metric.update(torch.tensor([0.9, 15.0, 110.0]), torch.tensor([1.0, 10.0, 100.0]))
        >>> metric.compute()
        tensor(0.0506, dtype=torch.float64)
    """

    _sums = ("sum_squared_log_error",)

    def __init__(self, *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(exact=exact, **kwargs)

    def _errors(self, preds: Tensor, target: Tensor) -> Tensor:
        return (preds.log1p() - target.to(preds.dtype).log1p()).square()


class LogCoshError(_MeanError):
    """Average the logarithm of the hyperbolic cosine of the differences, `sum(log(cosh(preds - target))) / N`.

    For small differences that is half of the square, for large ones the magnitude less log(2). It neither
    overflows where `cosh` does, nor loses what is small.

    Args:
        num_outputs: 1 (all elements are samples), or the number of columns that each get a mean of their own.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `num_outputs` is not an int, or `exact` is not a bool.
        ValueError: If `num_outputs` is smaller than 1.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import LogCoshError
        >>> metric = LogCoshError()
        >>> metric.update(torch.tensor([3.0, 5.0, 2.5, 7.0]), torch.tensor([2.5, 5.0, 4.0, 8.0]))
        >>> metric.compute()
        tensor(0.3523, dtype=torch.float64)
    """

    _sums = ("sum_log_cosh_error",)

    def _errors(self, preds: Tensor, target: Tensor) -> Tensor:
        # cosh(d) - 1 is (exp(d) - 1) (1 - exp(-d)) / 2, of which nothing small is lost, and neither is it by log1p.
        # Beyond 700 it would overflow, and is linear.
        distance = difference(preds, target).abs()
        bounded = distance.clamp(max=700.0)
        return (bounded.expm1() * (-bounded).expm1() / -2).log1p() + (distance - bounded)


class MinkowskiDistance(_Sums):
    """Give the distance of predictions and targets, `sum(|preds - target|**p) ** (1 / p)`, over all samples.

    Args:
        p: The power, at least 1: 1 for the sum of absolute differences, 2 for the Euclidean distance.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `p` is not a number, or `exact` is not a bool.
        ValueError: If `p` is smaller than 1.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import MinkowskiDistance
        >>> metric = MinkowskiDistance(p=3)
        >>> metric.update(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 2.0, 5.0]))
        >>> metric.compute()
        tensor(2., dtype=torch.float64)
    """

    _sums = ("minkowski_dist_sum",)
    minkowski_dist_sum: Tensor

    def __init__(self, p: float, *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(exact=exact, **kwargs)
        check_number(type(self).__name__, "p", p, minimum=1)
        self.p = p

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Real tensor of any dtype, (N, ...).
            target: Real tensor of any dtype and the same shape.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ.
        """
        powers = power(difference(*self._samples(preds, target)).abs(), self.p)
        self.minkowski_dist_sum = self._plus(self.minkowski_dist_sum, powers)

    def compute(self) -> Tensor:
        """Return the distance, 0-d in float64; 0 without samples."""
        return self._sum(self.minkowski_dist_sum).pow(1 / self.p)


def difference(preds: Tensor, target: Tensor) -> Tensor:
    """Give `preds - target` in the dtype of `preds`, a float one; the target loses nothing before it is subtracted."""
    return preds - (target.to(preds.dtype) if target.dtype is torch.bool else target)


def power(values: Tensor, exponent: float) -> Tensor:
    """Give a power of numbers that are not negative, the same to the bit wherever in a tensor they stand.

    `torch.pow` is not: on a CPU it takes the last few elements of a tensor by another function than the others.
    """
    if exponent in (0, 0.5, 1, 2, 3, -0.5, -1, -2):  # no functions, but products
        return values.pow(exponent)
    return (values.log() * exponent).exp()
