"""Kullback-Leibler divergence of distributions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import accumulate_dtype, check_bool, check_tensor
from syncmetrics.regression._each import EachMetric

__all__ = ["KLDivergence"]


class KLDivergence(EachMetric):
    """Give the divergence of each distribution `p` from `q`, `sum(p log(p / q))`, in nats.

    (Kullback and Leibler, "On information and sufficiency", 1951.) Rows are divided by their sums first, unless they
    are logarithms. It is infinite where `q` is zero and `p` is not.

    Args:
        log_prob: Whether `p` and `q` are logarithms of probabilities, which are taken as they are.
        reduction: "mean" or "sum" over the samples, or "none" or None for all values.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `log_prob` or `exact` is not a bool.
        ValueError: If `reduction` is none of these.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import KLDivergence
        >>> metric = KLDivergence()
        >>> metric.update(torch.tensor([[0.36, 0.48, 0.16]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]]))
        >>> metric.compute()
        tensor(0.0853, dtype=torch.float64)
    """

    higher_is_better = False
    plot_lower_bound = 0.0

    def __init__(
        self, log_prob: bool = False, reduction: str | None = "mean", *, exact: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(reduction, exact=exact, **kwargs)
        check_bool(type(self).__name__, "log_prob", log_prob)
        self.log_prob = log_prob

    def update(self, p: Tensor, q: Tensor) -> None:
        """Add samples.

        Args:
            p: Real tensor of any dtype and of shape (N, D), a distribution in each row.
            q: Real tensor of any dtype and the same shape.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ, or are not (N, D).
        """
        name = type(self).__name__
        check_tensor(name, "p", p)
        check_tensor(name, "q", q)
        self._check_rows("p", p)
        if p.shape != q.shape:
            raise ValueError(
                f"{name}: `q` must have the shape of `p`, {tuple(p.shape)}, but has {tuple(q.shape)} instead. "
                "Pass a distribution for each of the others."
            )
        dtype = accumulate_dtype(p.device)
        p, q = p.detach().to(dtype), q.detach().to(dtype)
        if self.log_prob:
            self._add((p.exp() * (p - q)).sum(dim=1))
            return
        p, q = p / p.sum(dim=1, keepdim=True), q / q.sum(dim=1, keepdim=True)
        self._add(torch.xlogy(p, p / q).sum(dim=1))
