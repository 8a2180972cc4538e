"""How much of the targets is explained: R2, explained variance, and the relative squared error."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import check_bool, check_choice, check_int
from syncmetrics.regression._moments import DIFFERENCE, TARGET, MomentsMetric, warn_of

__all__ = ["ExplainedVariance", "R2Score", "RelativeSquaredError"]

_MULTIOUTPUT = ("raw_values", "uniform_average", "variance_weighted")


class _Explained(MomentsMetric):
    """Give the part of the variance of targets that is not left in an error, for each output, and average it.

    Args:
        multioutput: "raw_values" for a value of each output, "uniform_average" for their mean, or "variance_weighted"
            for their mean weighted with the variances of the targets.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: If `multioutput` is none of these.
    """

    higher_is_better = True
    plot_upper_bound = 1.0

    def __init__(self, multioutput: str = "uniform_average", **kwargs: Any) -> None:
        super().__init__(None, **kwargs)
        check_choice(type(self).__name__, "multioutput", multioutput, _MULTIOUTPUT)
        self.multioutput = multioutput

    def _averaged(self, left: Tensor, variance: Tensor) -> Tensor:
        """Average `1 - left / variance` over outputs.

        Where targets are constant, an output counts 1 if nothing is left and 0 else.
        """
        constant = torch.where(left == 0, 1.0, 0.0).to(left.dtype)
        values = torch.where(variance == 0, constant, 1 - left / variance)
        values = torch.where(variance.isnan() | (self.total < 2), torch.nan, values)
        if self.multioutput == "raw_values":
            return values.squeeze(0)
        if self.multioutput == "uniform_average":
            return values.mean()
        whole = variance.sum()
        weights = torch.where(whole == 0, torch.ones_like(variance), variance)
        return (values * weights).sum() / weights.sum()


class R2Score(_Explained):
    """Give the coefficient of determination, `1 - sum((target - preds)**2) / sum((target - mean(target))**2)`.

    1 is the best value, and 0 is that of the mean of all targets. Where targets are constant it is 1 if every
    prediction is right and else 0, as in scikit-learn.

    Args:
        adjusted: The number of regressors, for `1 - (1 - R2) (N - 1) / (N - adjusted - 1)`; 0 to adjust for none.
        multioutput: "raw_values" for a value of each output, "uniform_average" for their mean, or "variance_weighted"
            for their mean weighted with the variances of the targets.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `adjusted` is not an int.
        ValueError: If `adjusted` is negative, or `multioutput` is none of these.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import R2Score
        >>> metric = R2Score()
        >>> metric.update(torch.tensor([2.5, 0.0, 2.0, 8.0]), torch.tensor([3.0, -0.5, 2.0, 7.0]))
        >>> metric.compute()
        tensor(0.9486, dtype=torch.float64)
    """

    def __init__(self, adjusted: int = 0, multioutput: str = "uniform_average", **kwargs: Any) -> None:
        super().__init__(multioutput, **kwargs)
        check_int(type(self).__name__, "adjusted", adjusted, minimum=0)
        self.adjusted = adjusted

    def compute(self) -> Tensor:
        """Return the value in float64, 0-d or (num_outputs,); NaN, with a warning, for fewer than two samples.

        With as many regressors as samples nothing can be adjusted: the value is not, with a warning.
        """
        total, mean, products = self._read()
        squares = products.diagonal(dim1=-2, dim2=-1)
        left = squares[:, DIFFERENCE] + total * mean[:, DIFFERENCE].square()
        warn_of(self, "there are fewer than two samples, so the value is NaN", total == 1)
        value = self._averaged(left, squares[:, TARGET])
        if self.adjusted == 0:
            return value
        freedom = total - self.adjusted - 1
        warn_of(
            self,
            f"there are too few samples to adjust for {self.adjusted} regressors, so the value is not adjusted",
            (freedom <= 0) & (total > 1),
        )
        return torch.where(freedom > 0, 1 - (1 - value) * (total - 1) / freedom, value)


class ExplainedVariance(_Explained):
    """Give the part of the variance of targets that predictions explain, `1 - var(target - preds) / var(target)`.

    Unlike R2, it forgives a constant offset. Where targets are constant it is 1 if the differences are constant, too,
    and else 0, as in scikit-learn.

    Args:
        multioutput: "raw_values" for a value of each output, "uniform_average" for their mean, or "variance_weighted"
            for their mean weighted with the variances of the targets.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: If `multioutput` is none of these.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import ExplainedVariance
        >>> metric = ExplainedVariance()
        >>> metric.update(torch.tensor([2.5, 0.0, 2.0, 8.0]), torch.tensor([3.0, -0.5, 2.0, 7.0]))
        >>> metric.compute()
        tensor(0.9572, dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Return the value in float64, 0-d or (num_outputs,); NaN, with a warning, for fewer than two samples."""
        total, _, products = self._read()
        squares = products.diagonal(dim1=-2, dim2=-1)
        warn_of(self, "there are fewer than two samples, so the value is NaN", total == 1)
        return self._averaged(squares[:, DIFFERENCE], squares[:, TARGET])


class RelativeSquaredError(MomentsMetric):
    """Give the squared error in parts of that of the mean of all targets.

    That is `sum((target - preds)**2) / sum((target - mean(target))**2)`, which is `1 - R2`, averaged over outputs.
    Where targets are constant it is infinite, or NaN if every prediction is right.

    Args:
        num_outputs: The number of columns.
        squared: Whether to return this; if False, the square root of it.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `num_outputs` is not an int, or `squared` is not a bool.
        ValueError: If `num_outputs` is smaller than 1.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import RelativeSquaredError
        >>> metric = RelativeSquaredError()
        >>> metric.update(torch.tensor([2.5, 0.0, 2.0, 8.0]), torch.tensor([3.0, -0.5, 2.0, 7.0]))
        >>> metric.compute()
        tensor(0.0514, dtype=torch.float64)
    """

    higher_is_better = False
    plot_lower_bound = 0.0

    def __init__(self, num_outputs: int = 1, squared: bool = True, **kwargs: Any) -> None:
        super().__init__(num_outputs, **kwargs)
        check_bool(type(self).__name__, "squared", squared)
        self.squared = squared

    def compute(self) -> Tensor:
        """Return the error, 0-d in float64; NaN, with a warning, without samples."""
        total, mean, products = self._read()
        squares = products.diagonal(dim1=-2, dim2=-1)
        left = squares[:, DIFFERENCE] + total * mean[:, DIFFERENCE].square()
        value = left / squares[:, TARGET]
        return value.mean() if self.squared else value.sqrt().mean()
