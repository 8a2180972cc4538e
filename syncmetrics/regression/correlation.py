"""Correlations of predicted numbers with the true ones: Pearson's, and Lin's concordance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from syncmetrics.regression._moments import DIFFERENCE, PREDS, TARGET, MomentsMetric, warn_of

__all__ = ["ConcordanceCorrCoef", "PearsonCorrCoef"]


class PearsonCorrCoef(MomentsMetric):
    """Give the linear correlation of predictions with targets, `cov(preds, target) / (std(preds) std(target))`.

    (Pearson, "Note on regression and inheritance in the case of two parents", 1895.)

    Args:
        num_outputs: 1, or the number of columns that each get a value of their own.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `num_outputs` is not an int.
        ValueError: If `num_outputs` is smaller than 1.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import PearsonCorrCoef
        >>> metric = PearsonCorrCoef()
        >>> metric.update(torch.tensor([2.5, 0.0, 2.0, 8.0]), torch.tensor([3.0, -0.5, 2.0, 7.0]))
        >>> metric.compute()
        tensor(0.9849, dtype=torch.float64)
    """

    higher_is_better = None
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def __init__(self, num_outputs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_outputs, **kwargs)

    def compute(self) -> Tensor:
        """Return the value in float64, 0-d or (num_outputs,); NaN, with a warning, where one side is constant."""
        _, _, products = self._read()
        squares = products.diagonal(dim1=-2, dim2=-1)
        scale = squares[:, PREDS].sqrt() * squares[:, TARGET].sqrt()
        warn_of(self, "all of `preds` or of `target` are equal, so the value is NaN", scale == 0)
        value = torch.where(scale == 0, torch.nan, products[:, PREDS, TARGET] / scale).clamp(-1, 1)
        return value.squeeze(0)


class ConcordanceCorrCoef(MomentsMetric):
    """Give Lin's concordance, which is 1 only where predictions are equal to targets.

    It is `2 cov(preds, target) / (var(preds) + var(target) + (mean(preds) - mean(target))**2)`, with variances of N - 1
    degrees of freedom (Lin, "A concordance correlation coefficient to evaluate reproducibility", 1989).

    Args:
        num_outputs: 1, or the number of columns that each get a value of their own.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `num_outputs` is not an int.
        ValueError: If `num_outputs` is smaller than 1.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import ConcordanceCorrCoef
        >>> metric = ConcordanceCorrCoef()
        >>> metric.update(torch.tensor([2.5, 0.0, 2.0, 8.0]), torch.tensor([3.0, -0.5, 2.0, 7.0]))
        >>> metric.compute()
        tensor(0.9777, dtype=torch.float64)
    """

    higher_is_better = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def __init__(self, num_outputs: int = 1, **kwargs: Any) -> None:
        super().__init__(num_outputs, **kwargs)

    def compute(self) -> Tensor:
        """Return the value in float64, 0-d or (num_outputs,).

        It is NaN for a single sample, and where both sides are one and the same constant.
        """
        total, mean, products = self._read()
        squares = products.diagonal(dim1=-2, dim2=-1)
        apart = (total - 1) * mean[:, DIFFERENCE].square()
        value = 2 * products[:, PREDS, TARGET] / (squares[:, PREDS] + squares[:, TARGET] + apart)
        return value.squeeze(0)
