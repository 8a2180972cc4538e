"""Losses of scores, summed over samples: read as probabilities and as logits, until `compute` knows which they are."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from syncmetrics.classification._inputs import Labels, binary_labels, multiclass_targets
from syncmetrics.classification._range import add_range, are_logits, widen
from syncmetrics.classification._thresholds import check_scores, refuse_nan
from syncmetrics.classification.counts import LabelMetric
from syncmetrics.family.checks import accumulate_dtype, check_bool, check_int, zero_count, zero_sum
from syncmetrics.family.exact import summed
from syncmetrics.family.offenders import reads_data
from syncmetrics.states.exact_sum import exact_add

__all__ = ["BinaryLoss", "MulticlassLoss"]


class _Loss(LabelMetric):
    """Sum two losses of each sample: of its scores as they are, and as logits.

    Args:
        shape: Of a loss: () or (C,).
        exact: Whether to sum without rounding.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.
    """

    higher_is_better: bool | None = False
    losses: Tensor  # of scores as they are, and as logits
    total: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(
        self, shape: tuple[int, ...], *, exact: bool, ignore_index: int | None, validate_args: bool, **kwargs: Any
    ) -> None:
        super().__init__(ignore_index=ignore_index, validate_args=validate_args, **kwargs)
        check_bool(type(self).__name__, "exact", exact)
        self.exact = exact
        self.add_state("losses", zero_sum(2, *shape), dist_reduce_fx="exact_sum" if exact else "sum")
        self.add_state("total", zero_count(), dist_reduce_fx="sum")
        add_range(self)

    def _add(self, scores: Tensor, labels: Labels, losses: tuple[Tensor, Tensor]) -> None:
        """Add the losses of samples, each of shape (N,) or (N, C).

        Args:
            scores: Of shape (N,) or (N, C), as they were given.
            labels: Which samples count.
            losses: Of the scores as they are, and as logits.
        """
        left_out = labels.left_out
        both, count = torch.stack(losses, dim=1), scores.shape[0]
        self._note(labels)
        if not count:
            return
        low = widen(self, scores, labels.left_out_of(scores))
        if self.validate_args and reads_data(low):
            refuse_nan(type(self).__name__, low, scores)
        if left_out is not None:
            both = both.masked_fill(left_out.view(-1, *[1] * (both.ndim - 1)), 0)
        self.losses = exact_add(self.losses, both) if self.exact else self.losses + both.sum(dim=0)
        self.total = self.total + (count if left_out is None else (~left_out).sum())

    def _sum(self) -> Tensor:
        """Give the sum of the losses that are meant, float64.

        Raises:
            ValueError: If labels were out of range.
        """
        self._tell_invalid()
        sums = summed(self, self.losses) if self.exact else self.losses
        return torch.where(are_logits(self), sums[1], sums[0])

    def compute(self) -> Tensor:
        """Return the mean loss in float64; NaN without samples.

        Raises:
            ValueError: If labels were out of range.
        """
        return self._sum() / self.total


class BinaryLoss(_Loss):
    """Base class of losses of two classes.

    Args:
        exact: Whether to sum without rounding.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.
    """

    def __init__(self, *, exact: bool, ignore_index: int | None, validate_args: bool, **kwargs: Any) -> None:
        super().__init__((), exact=exact, ignore_index=ignore_index, validate_args=validate_args, **kwargs)

    @property
    def _num_labels(self) -> int:
        return 2

    @abstractmethod
    def _losses(self, scores: Tensor, target: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Give the losses of scores as they are, and as logits: float64 `scores` and int64 `target`, of shape (N,).

        The dtype is that in which scores were given.
        """

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Float scores (N, ...): probabilities, or logits if any of them, in all batches and on all ranks,
                lies outside of [0, 1]. N may be 0.
            target: Integer or bool labels of the same shape.

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: The shapes differ, a label is neither 0 nor 1, or a score is NaN.
        """
        name = type(self).__name__
        check_scores(name, preds)
        labels = binary_labels(name, preds.detach(), target, ignore_index=self.ignore_index)
        scores = labels.preds.to(accumulate_dtype(preds.device))
        self._add(scores, labels, self._losses(scores, labels.target, preds.dtype))


class MulticlassLoss(_Loss):
    """Base class of losses of many classes.

    Args:
        num_classes: Number of classes, at least 2.
        by_class: Whether there is a loss for each class.
        exact: Whether to sum without rounding.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        by_class: bool = False,
        exact: bool,
        ignore_index: int | None,
        validate_args: bool,
        **kwargs: Any,
    ) -> None:
        check_int(type(self).__name__, "num_classes", num_classes, minimum=2)
        shape = (num_classes,) if by_class else ()
        super().__init__(shape, exact=exact, ignore_index=ignore_index, validate_args=validate_args, **kwargs)
        self.num_classes = num_classes

    @property
    def _num_labels(self) -> int:
        return self.num_classes

    @abstractmethod
    def _losses(self, scores: Tensor, target: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Give the losses of scores as they are, and as logits: float64 `scores` (N, C), and int64 `target` (N,).

        The dtype is that in which scores were given.
        """

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Float scores (N, C, ...): probabilities, or logits if any of them, in all batches and on all ranks,
                lies outside of [0, 1]. N may be 0.
            target: Integer labels (N, ...).

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: Shapes do not fit, a label is out of range, or a score is NaN.
        """
        name = type(self).__name__
        check_scores(name, preds)
        scores, labels = multiclass_targets(
            name, preds.detach(), target, num_classes=self.num_classes, ignore_index=self.ignore_index
        )
        scores = scores.to(accumulate_dtype(preds.device))
        self._add(scores, labels, self._losses(scores, labels.target, preds.dtype))
