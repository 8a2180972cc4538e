"""What correlations and explained variances are read from: counts, means and sums of products about the means."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import accumulate_dtype, check_int, check_same_shape, zero_sum
from syncmetrics.metric import Metric
from syncmetrics.regression.errors import difference
from syncmetrics.states.spec import States
from syncmetrics.states.store import Mode

__all__ = ["DIFFERENCE", "PREDS", "TARGET", "MomentsMetric"]

#: Places of the predictions, the targets and their differences in the states.
PREDS, TARGET, DIFFERENCE = range(3)
_EPSILON = 2.0**-52


class MomentsMetric(Metric):
    """Keep the moments of predictions, of targets and of their differences up to the second, for each output.

    Products are those of deviations from the mean, so that nothing is lost where the mean is large beside them. Two
    sets of moments are merged by the formulas of Chan, Golub and LeVeque ("Updating formulae and a pairwise algorithm
    for computing sample variances", 1979). The differences have moments of their own: those of close predictions cannot
    be had from the others.

    Args:
        num_outputs: How many columns there must be; None for as many as the samples have.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `num_outputs` is not an int.
        ValueError: If `num_outputs` is smaller than 1.
    """

    is_differentiable = False
    full_state_update = False
    _rebinds = True
    total: Tensor
    mean: Tensor
    products: Tensor

    def __init__(self, num_outputs: int | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_outputs is not None:
            check_int(type(self).__name__, "num_outputs", num_outputs, minimum=1)
        self.num_outputs = num_outputs
        self.add_state("total", zero_sum(), dist_reduce_fx="sum")
        self.add_state("mean", zero_sum(0, 3), dist_reduce_fx=None)
        self.add_state("products", zero_sum(0, 3, 3), dist_reduce_fx=None)

    @property
    def compute_group(self) -> Hashable | None:
        """The same for all that read moments; how many outputs are expected is checked in `compute`, too."""
        return "moments"

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Real tensor of any dtype, of shape (N,), or (N, num_outputs).
            target: Real tensor of any dtype and the same shape.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ, or do not fit the number of outputs.
        """
        name = type(self).__name__
        check_same_shape(name, preds, target)
        if preds.ndim not in (1, 2):
            raise ValueError(
                f"{name}: `preds` and `target` must have the shape (N,) or (N, num_outputs), but have "
                f"{tuple(preds.shape)} instead. Flatten them for one value of all elements."
            )
        preds = preds.detach().to(accumulate_dtype(preds.device))
        target = target.detach()
        if preds.ndim == 1:
            preds, target = preds.unsqueeze(1), target.unsqueeze(1)
        count, outputs = preds.shape
        self._check_outputs(outputs)
        if count == 0:
            return
        samples = torch.stack([preds, target.to(preds.dtype), difference(preds, target)]).permute(2, 0, 1)
        # Deviations are from the mean so far: near enough for that of all, so that little cancels below.
        before = self.mean if self.mean.shape[0] else samples.mean(dim=2)
        deviations = samples - before.unsqueeze(2)
        products = self.products if self.products.shape[0] else deviations.new_zeros(())
        beyond = deviations.sum(dim=2)
        self.total = self.total + count
        self.mean = torch.addcdiv(before, beyond, self.total)
        products = torch.baddbmm(products, deviations, deviations.mT)
        self.products = torch.addcdiv(products, beyond.unsqueeze(2) * beyond.unsqueeze(1), self.total, value=-1)

    def merge_states(self, a: States, b: States) -> States:
        """Merge two sets of moments."""
        (count, mean, products), (more, other, others) = _tensors(a), _tensors(b)
        if mean.shape[0] == 0 or other.shape[0] == 0:
            return {**a} if other.shape[0] == 0 else {**b}
        total = count + more
        weight = more / total
        apart = other - mean
        products = (products + others).addcmul(apart.unsqueeze(-1) * apart.unsqueeze(-2), count * weight)
        return {"total": total, "mean": mean.addcmul(apart, weight), "products": products}

    def _check_outputs(self, outputs: int) -> None:
        """Check the number of columns against what was said, and what was given before.

        Raises:
            ValueError: It is another.
        """
        before = self.mean.shape[0]
        wanted = self.num_outputs if self.num_outputs is not None else before or outputs
        if outputs != wanted or before not in (0, outputs):
            said = f"num_outputs={wanted}" if self.num_outputs is not None else f"earlier samples had {wanted} columns"
            raise ValueError(
                f"{type(self).__name__}: `preds` and `target` must have {before or wanted} columns ({said}), but have "
                f"{outputs} instead. Pass samples of that many outputs, or construct it with num_outputs={outputs}."
            )

    def _read(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give the count, the means of shape (O, 3), and the sums of products of shape (O, 3, 3), inside `compute`.

        The sum of squares of a side that is constant is set to zero: rounding leaves something of it. Without samples
        everything is NaN.
        """
        outputs = self.mean.shape[0]
        if outputs == 0:
            warn_of(self, "no sample was given, so the value is NaN")
            nan = torch.full((self.num_outputs or 1, 3, 3), torch.nan, dtype=self.mean.dtype, device=self.device)
            return self.total, nan[..., 0], nan
        self._check_outputs(outputs)
        rounding = self.total * (4 * _EPSILON * self.mean).square()
        squares = self.products.diagonal(dim1=-2, dim2=-1)
        is_constant = squares <= rounding
        return (
            self.total,
            self.mean,
            self.products.masked_fill(is_constant.unsqueeze(-1) & is_constant.unsqueeze(-2), 0),
        )


def warn_of(metric: Metric, what: str, where: Tensor | None = None) -> None:
    """Warn, unless that would wait for a device in a step.

    Args:
        metric: The metric that computes its value.
        what: What is wrong.
        where: A bool tensor: warn if one is true.
    """
    if where is not None:
        if not where.is_cpu and metric._holder.store.mode is Mode.STEP:
            return
        if not bool(where.any()):
            return
    warnings.warn(f"{type(metric).__name__}: {what}.", UserWarning, stacklevel=3)


def _tensors(states: States) -> list[Tensor]:
    return [states[name] for name in ("total", "mean", "products")]  # type: ignore[misc]
