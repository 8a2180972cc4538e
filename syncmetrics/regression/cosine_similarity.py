"""Cosine similarity of predicted vectors with the true ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import accumulate_dtype, check_same_shape
from syncmetrics.regression._each import EachMetric

__all__ = ["CosineSimilarity"]


class CosineSimilarity(EachMetric):
    """Give the cosine of the angle between each prediction and its target, `preds . target / (|preds| |target|)`.

    A vector of zeros has no direction: its similarity is NaN.

    Args:
        reduction: "sum" or "mean" over the samples, or "none" or None for all values.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `exact` is not a bool.
        ValueError: If `reduction` is none of these.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import CosineSimilarity
        >>> metric = CosineSimilarity(reduction="mean")
        >>> preds, target = torch.tensor([[1.0, 2.0], [1.0, 0.0]]), torch.tensor([[2.0, 4.0], [1.0, 1.0]])
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.8536, dtype=torch.float64)
    """

    higher_is_better = True

    def __init__(self, reduction: str | None = "sum", *, exact: bool = False, **kwargs: Any) -> None:
        super().__init__(reduction, exact=exact, **kwargs)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Real tensor of any dtype and of shape (N, D).
            target: Real tensor of any dtype and the same shape.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ, or are not (N, D).
        """
        check_same_shape(type(self).__name__, preds, target)
        self._check_rows("preds", preds)
        dtype = accumulate_dtype(preds.device)
        preds, target = preds.detach().to(dtype), target.detach().to(dtype)
        norms = torch.linalg.vector_norm(preds, dim=1) * torch.linalg.vector_norm(target, dim=1)
        self._add(torch.linalg.vecdot(preds, target) / norms)
