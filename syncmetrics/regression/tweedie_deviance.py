"""Deviance of the distributions of Tweedie: normal, Poisson, gamma, and what is between."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import (
    accumulate_dtype,
    check_bool,
    check_number,
    check_same_shape,
    zero_count,
    zero_sum,
)
from syncmetrics.family.exact import summed
from syncmetrics.family.offenders import raise_for_offenders, reads_data
from syncmetrics.metric import Metric
from syncmetrics.regression.errors import power as powered
from syncmetrics.states.exact_sum import exact_add

__all__ = ["TweedieDevianceScore"]


class TweedieDevianceScore(Metric):
    """Average the deviance of a Tweedie distribution (Jorgensen, "Exponential dispersion models", 1987).

    For a power of 0 that is the squared error; for 1, `2 (t log(t / p) + p - t)` of Poisson; for 2,
    `2 (log(p / t) + t / p - 1)` of the gamma distribution; for every other power x,
    `2 (max(t, 0)**(2 - x) / ((1 - x) (2 - x)) - t p**(1 - x) / (1 - x) + p**(2 - x) / (2 - x))`.

    Args:
        power: The power, at most 0 or at least 1. Predictions must be positive for every one but 0; targets must not be
            negative from 1 on, and must be positive from 2 on.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `power` is not a number, or `exact` is not a bool.
        ValueError: If `power` is between 0 and 1, for which there is no distribution.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import TweedieDevianceScore
        >>> metric = TweedieDevianceScore(power=2)
        >>> metric.update(torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 3.0, 4.0]))
        >>> metric.compute()
        tensor(1.2083, dtype=torch.float64)
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    plot_lower_bound = 0.0
    sum_deviance_score: Tensor
    num_observations: Tensor
    invalid: Tensor

    def __init__(self, power: float = 0.0, *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_number(name, "power", power)
        check_bool(name, "exact", exact)
        if 0 < power < 1:
            raise ValueError(
                f"{name}: `power` must not be between 0 and 1, where no distribution is, but is {power} instead. "
                "Pass 0 for the squared error, 1 for Poisson, or 2 for the gamma distribution."
            )
        self.power = power
        self.exact = exact
        self.add_state("sum_deviance_score", zero_sum(), dist_reduce_fx="exact_sum" if exact else "sum")
        self.add_state("num_observations", zero_count(), dist_reduce_fx="sum")
        self.add_state("invalid", zero_count(), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """One group per setting."""
        return ("tweedie", self.power, self.exact)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Real tensor of any dtype and shape.
            target: Real tensor of any dtype and the same shape.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ, or a number is not in the domain of the distribution (on a device other
                than a CPU, `compute` raises that).
        """
        check_same_shape(type(self).__name__, preds, target)
        dtype = accumulate_dtype(preds.device)
        preds, target = preds.detach().to(dtype).reshape(-1), target.detach().to(dtype).reshape(-1)
        outside = self._outside(preds, target)
        if outside is not None:
            if not reads_data(preds):
                self.invalid = self.invalid + outside.sum()
            elif number := int(outside.sum()):
                raise ValueError(self._domain(number))
        deviance = _deviance(preds, target, self.power)
        if outside is not None and not reads_data(preds):
            deviance = deviance.masked_fill(outside, 0.0)
        if self.exact:
            self.sum_deviance_score = exact_add(self.sum_deviance_score, deviance)
        else:
            self.sum_deviance_score = self.sum_deviance_score + deviance.sum()
        self.num_observations = self.num_observations + deviance.shape[0]

    def compute(self) -> Tensor:
        """Return the mean deviance, 0-d in float64; NaN without samples.

        Raises:
            ValueError: If numbers were not in the domain of the distribution.
        """
        raise_for_offenders(self, self.invalid, self._domain)
        total = summed(self, self.sum_deviance_score) if self.exact else self.sum_deviance_score
        return total / self.num_observations

    def _outside(self, preds: Tensor, target: Tensor) -> Tensor | None:
        """Say which samples are not in the domain; None where every one is."""
        if self.power == 0:
            return None
        if self.power < 0:
            return preds <= 0
        return (preds <= 0) | (target < 0 if self.power < 2 else target <= 0)

    def _domain(self, number: int) -> str:
        wanted = "" if self.power < 0 else " and targets must not be negative"
        if self.power >= 2:
            wanted = " and so must targets"
        return (
            f"{type(self).__name__}: predictions must be positive{wanted} for power={self.power}, but {number} of the "
            "samples are not so. Clamp the predictions, or pass power=0, which takes every number."
        )


def _deviance(p: Tensor, t: Tensor, power: float) -> Tensor:
    if power == 0:
        return (t - p).square()
    if power == 1:
        return 2 * (torch.xlogy(t, t / p) + p - t)
    if power == 2:
        return 2 * ((p / t).log() + t / p - 1)
    first = powered(t.clamp(min=0), 2 - power) / ((1 - power) * (2 - power))
    return 2 * (first - t * powered(p, 1 - power) / (1 - power) + powered(p, 2 - power) / (2 - power))
