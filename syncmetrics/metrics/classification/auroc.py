"""Area under the receiver operating characteristic curve of two classes, exact."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.metric import Metric
from syncmetrics.metrics._common import check_bool, check_int, check_tensor
from syncmetrics.metrics.classification._inputs import binary_inputs
from syncmetrics.states import dim_zero_cat

__all__ = ["BinaryAUROC"]


class BinaryAUROC(Metric):
    """Probability that a positive sample scores higher than a negative one, equal scores counting half.

    All scores are kept as they are: any increasing function of them, the sigmoid too, gives the same area. Twice the
    area times the numbers of positives and negatives is an integer (Mann and Whitney 1947, "On a test of whether one
    of two random variables is stochastically larger than the other"); it is summed in int64 and divided once, so the
    value is exact and does not depend on the order of the samples.

    Args:
        max_fpr: If given, the partial area over false positive rates in [0, max_fpr], standardized to 0.5 for chance
            and 1 for perfect (McClish 1989, "Analyzing a portion of the ROC curve").
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the inputs for a check before they are kept. Without it a wrong target label
            raises in `compute`.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `max_fpr` is not in (0, 1].
    """

    higher_is_better = True
    is_differentiable = False
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(
        self,
        max_fpr: float | None = None,
        *,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        if max_fpr is not None and (isinstance(max_fpr, bool) or not isinstance(max_fpr, (int, float))):
            raise TypeError(f"{name}: `max_fpr` must be a float or None, but is {max_fpr!r} instead. Pass e.g. 0.1.")
        if max_fpr is not None and not 0 < max_fpr <= 1:
            raise ValueError(f"{name}: `max_fpr` must be in (0, 1], but is {max_fpr} instead. Pass e.g. 0.1.")
        if ignore_index is not None:
            check_int(name, "ignore_index", ignore_index)
        check_bool(name, "validate_args", validate_args)
        self.max_fpr = max_fpr
        self.ignore_index = ignore_index
        self.validate_args = validate_args
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for every `max_fpr`: only `compute` reads it."""
        if type(self).update is not BinaryAUROC.update:
            return None
        return ("binary_scores", self.ignore_index, self.validate_args)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Keep samples; copies are kept, so the caller may reuse the tensors.

        Args:
            preds: Float scores of any scale (N, ...); N may be 0. Their dtype is kept.
            target: Integer or bool labels (N, ...).

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: The shapes differ, a label is neither 0 nor 1, or a score is NaN.
        """
        name = type(self).__name__
        check_tensor(name, "preds", preds)
        if not preds.is_floating_point():
            raise TypeError(
                f"{name}: `preds` must hold float scores, but is {preds.dtype} instead. "
                "Convert it with `preds.float()`."
            )
        preds, target = binary_inputs(
            name, preds, target, ignore_index=self.ignore_index, validate_args=self.validate_args
        )
        if self.validate_args and bool(torch.isnan(preds).any()):
            raise ValueError(
                f"{name}: `preds` must not be NaN, as NaN has no rank, but {int(torch.isnan(preds).sum())} of "
                f"{preds.numel()} are instead. Leave them out, e.g. by `ignore_index` in `target`."
            )
        # Checked labels take one byte each; unchecked ones stay as they are, for compute to see a wrong one.
        dtype = torch.uint8 if self.validate_args else target.dtype
        self.preds.append(preds.detach().clone(memory_format=torch.contiguous_format))
        self.target.append(target.to(dtype, copy=True))

    def compute(self) -> Tensor:
        """Return the area, 0-d in `torch.get_default_dtype()`; 0, with a warning, if a class has no sample.

        Raises:
            ValueError: A target label, unchecked by `update`, is neither 0 nor 1.
        """
        scores, target = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        name = type(self).__name__
        if bool(((target != 0) & (target != 1)).any()):
            raise ValueError(f"{name}: labels in `target` must be 0 or 1, but others were given instead. Map them.")
        false_positives, true_positives = _roc_counts(scores, target == 1)
        negatives, positives = int(false_positives[-1]), int(true_positives[-1])
        if positives == 0 or negatives == 0:
            missing = "positive" if positives == 0 else "negative"
            warnings.warn(f"{name}: no {missing} sample was given, so the area is returned as 0.", stacklevel=2)
            area = 0.0
        elif self.max_fpr is None or self.max_fpr == 1:
            area = _twice_area(false_positives, true_positives) / (2 * positives * negatives)
        else:
            area = _standardized_partial_area(false_positives, true_positives, self.max_fpr)
        return torch.tensor(area, dtype=torch.get_default_dtype(), device=self.device)


def _roc_counts(scores: Tensor, is_positive: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ROC curve in counts.

    Args:
        scores: Float tensor of shape (N,).
        is_positive: Bool tensor of shape (N,).

    Returns:
        False and true positives at each different score, from the highest down, after a first point (0, 0); both int64
        of shape (K + 1,). All NaN count as one score above all others.
    """
    scores, order = scores.sort(descending=True)
    nan = scores.isnan()
    differs = (scores[1:] != scores[:-1]) & ~(nan[1:] & nan[:-1])
    is_last = torch.cat([differs, differs.new_ones(min(1, scores.shape[0]))])
    last = is_last.nonzero().squeeze(1)
    true_positives = is_positive[order].cumsum(0)[last]
    false_positives = last + 1 - true_positives
    start = true_positives.new_zeros(1)
    return torch.cat([start, false_positives]), torch.cat([start, true_positives])


def _twice_area(false_positives: Tensor, true_positives: Tensor) -> int:
    """Return twice the area under the curve of counts: trapezoids in int64, exact."""
    heights = true_positives[1:] + true_positives[:-1]
    return int((false_positives.diff() * heights).sum())


def _standardized_partial_area(false_positives: Tensor, true_positives: Tensor, max_fpr: float) -> float:
    """Return the area up to `max_fpr`, standardized as of McClish 1989, eq. (1): `(1 + (A - min) / (max - min)) / 2`.

    The curve is exact up to its last point before the limit; only the piece from there to the limit is interpolated.
    """
    negatives, positives = int(false_positives[-1]), int(true_positives[-1])
    limit = max_fpr * negatives
    stop = int(torch.searchsorted(false_positives, math.floor(limit), right=True))
    twice_area = float(_twice_area(false_positives[:stop], true_positives[:stop]))
    x0, y0 = int(false_positives[stop - 1]), int(true_positives[stop - 1])
    if stop < false_positives.shape[0]:
        x1, y1 = int(false_positives[stop]), int(true_positives[stop])
        height = (limit - x0) * (y1 - y0) / (x1 - x0)
        twice_area += (limit - x0) * (2 * y0 + height)
    area = twice_area / (2 * positives * negatives)
    smallest, largest = max_fpr**2 / 2, max_fpr
    return 0.5 * (1 + (area - smallest) / (largest - smallest))
