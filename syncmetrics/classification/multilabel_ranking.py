"""How well scores rank the labels of a sample: coverage error, ranking loss, and average precision."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.classification._inputs import binary_labels
from syncmetrics.classification._thresholds import check_numbers, check_scores
from syncmetrics.classification.counts import LabelMetric
from syncmetrics.family.checks import accumulate_dtype, check_int, zero_count
from syncmetrics.family.exact import fractions_of, from_parts, in_parts
from syncmetrics.family.offenders import reads_data

__all__ = ["MultilabelCoverageError", "MultilabelRankingAveragePrecision", "MultilabelRankingLoss"]


class _Ranking(LabelMetric):
    """Average a number of each sample, rounded to a multiple of 2**-53 and summed in integers.

    Args:
        num_labels: Number of labels, at least 2.
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.
    """

    measure: Tensor  # whole parts, high and low parts of fractions
    total: Tensor

    def __init__(
        self, num_labels: int, ignore_index: int | None = None, validate_args: bool = True, **kwargs: Any
    ) -> None:
        check_int(type(self).__name__, "num_labels", num_labels, minimum=2)
        super().__init__(ignore_index=ignore_index, validate_args=validate_args, **kwargs)
        self.num_labels = num_labels
        self.add_state("measure", zero_count(3), dist_reduce_fx="sum")
        self.add_state("total", zero_count(), dist_reduce_fx="sum")

    @property
    def _num_labels(self) -> int:
        return 2

    @abstractmethod
    def _measures(self, scores: Tensor, is_relevant: Tensor, left_out: Tensor | None) -> Tensor:
        """Give a number of each sample, int64, or floats in [0, 1].

        Args:
            scores: Of shape (N, L); minus infinity for what is left out.
            is_relevant: Bool of shape (N, L); false for what is left out.
            left_out: Bool of shape (N, L), or None.
        """

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Float scores (N, L, ...) of any scale. N may be 0.
            target: Integer or bool labels of the same shape.

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: The shapes differ or do not fit `num_labels`, a label is neither 0 nor 1, or a score is NaN.
        """
        name = type(self).__name__
        check_scores(name, preds)
        if self.validate_args and reads_data(preds):
            check_numbers(name, preds, target, self.ignore_index)
        labels = binary_labels(name, preds.detach(), target, ignore_index=self.ignore_index)
        if preds.ndim < 2 or preds.shape[1] != self.num_labels:
            raise ValueError(
                f"{name}: `preds` and `target` must have the shape (N, {self.num_labels}, ...), but have"
                f" {tuple(preds.shape)} instead. Put the labels in dimension 1."
            )
        self._note(labels)
        scores, is_relevant, left_out = labels.preds, labels.target == 1, labels.left_out
        if left_out is not None:
            scores, is_relevant = scores.masked_fill(left_out, -torch.inf), is_relevant & ~left_out
            left_out = self._rows(left_out, preds)
        measures = self._measures(self._rows(scores, preds), self._rows(is_relevant, preds), left_out)
        if measures.is_floating_point():
            high, low = in_parts(fractions_of(measures))
            parts = (torch.zeros_like(high), high, low)
        else:
            parts = (measures, torch.zeros_like(measures), torch.zeros_like(measures))
        self.measure = self.measure + torch.stack(parts).sum(dim=1)
        self.total = self.total + measures.shape[0]

    def compute(self) -> Tensor:
        """Return the mean over samples, 0-d in float64; NaN without samples.

        Raises:
            ValueError: If labels were out of range.
        """
        self._tell_invalid()
        whole, high, low = self.measure.unbind()
        return (whole + from_parts(high, low, accumulate_dtype(self.device))) / self.total

    def _rows(self, flat: Tensor, preds: Tensor) -> Tensor:
        """Give what is flat in rows of labels."""
        if preds.ndim == 2:
            return flat.view(preds.shape)
        return flat.view(preds.shape).movedim(1, -1).reshape(-1, self.num_labels)


class MultilabelCoverageError(_Ranking):
    """Average how far one has to go down the ranked labels of a sample to have all true ones.

    (Tsoumakas, Katakis and Vlahavas, "Mining Multi-label Data", 2010.) Labels with equal scores are all gone through,
    and a sample without a true label counts 0.

    Args:
        num_labels: Number of labels, at least 2.
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_labels` < 2.

    Example:
        >>> import torch
        >>> from syncmetrics import MultilabelCoverageError
        >>> preds, target = torch.tensor([[0.75, 0.5, 1.0], [1.0, 0.2, 0.1]]), torch.tensor([[1, 0, 0], [0, 0, 1]])
        >>> metric = MultilabelCoverageError(num_labels=3)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(2.5000, dtype=torch.float64)
    """

    higher_is_better = False
    plot_lower_bound = 0.0

    @property
    def compute_group(self) -> Hashable | None:
        """One group for each setting."""
        return ("coverage error", self.num_labels, self.ignore_index, self.validate_args)

    def _measures(self, scores: Tensor, is_relevant: Tensor, left_out: Tensor | None) -> Tensor:
        least = scores.masked_fill(~is_relevant, torch.inf).amin(dim=1, keepdim=True)
        ahead = scores >= least
        return (ahead if left_out is None else ahead & ~left_out).sum(dim=1)


class MultilabelRankingLoss(_Ranking):
    """Average the part of the pairs of a true and a false label of which the false one is not below the true one.

    (Tsoumakas, Katakis and Vlahavas, "Mining Multi-label Data", 2010.) A sample with labels of one kind alone counts 0.

    Args:
        num_labels: Number of labels, at least 2.
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_labels` < 2.

    Example:
        >>> import torch
        >>> from syncmetrics import MultilabelRankingLoss
        >>> preds, target = torch.tensor([[0.75, 0.5, 1.0], [1.0, 0.2, 0.1]]), torch.tensor([[1, 0, 0], [0, 0, 1]])
        >>> metric = MultilabelRankingLoss(num_labels=3)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.7500, dtype=torch.float64)
    """

    higher_is_better = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    @property
    def compute_group(self) -> Hashable | None:
        """One group for each setting."""
        return ("ranking loss", self.num_labels, self.ignore_index, self.validate_args)

    def _measures(self, scores: Tensor, is_relevant: Tensor, left_out: Tensor | None) -> Tensor:
        is_false = ~is_relevant if left_out is None else ~(is_relevant | left_out)
        wrong = _at_or_above(scores, is_false).masked_fill(~is_relevant, 0).sum(dim=1)
        pairs = is_relevant.sum(dim=1) * is_false.sum(dim=1)
        return wrong.to(accumulate_dtype(scores.device)) / pairs.clamp(min=1)


class MultilabelRankingAveragePrecision(_Ranking):
    """Average, over true labels, the part of the labels at or above them that are true, and then over samples.

    (Tsoumakas, Katakis and Vlahavas, "Mining Multi-label Data", 2010.) A sample with labels of one kind alone counts 1.

    Args:
        num_labels: Number of labels, at least 2.
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_labels` < 2.

    Example:
        >>> import torch
        >>> from syncmetrics import MultilabelRankingAveragePrecision
        >>> preds, target = torch.tensor([[0.75, 0.5, 1.0], [1.0, 0.2, 0.1]]), torch.tensor([[1, 0, 0], [0, 0, 1]])
        >>> metric = MultilabelRankingAveragePrecision(num_labels=3)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.4167, dtype=torch.float64)
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    @property
    def compute_group(self) -> Hashable | None:
        """One group for each setting."""
        return ("ranking average precision", self.num_labels, self.ignore_index, self.validate_args)

    def _measures(self, scores: Tensor, is_relevant: Tensor, left_out: Tensor | None) -> Tensor:
        counted = torch.ones_like(is_relevant) if left_out is None else ~left_out
        ratio = _at_or_above(scores, is_relevant).to(accumulate_dtype(scores.device))
        ratio = (ratio / _at_or_above(scores, counted).clamp(min=1)).masked_fill(~is_relevant, 0)
        relevant = is_relevant.sum(dim=1)
        is_mixed = (relevant > 0) & (relevant < counted.sum(dim=1))
        return torch.where(is_mixed, ratio.sum(dim=1) / relevant.clamp(min=1), 1.0)


def _at_or_above(scores: Tensor, chosen: Tensor) -> Tensor:
    """Give, for each score, how many of the chosen scores of its row are not below it, int64 of shape (N, L)."""
    # What is not chosen is sorted to the front, where it is below everything.
    ordered = scores.masked_fill(~chosen, -torch.inf).sort(dim=1).values
    return scores.shape[1] - torch.searchsorted(ordered, scores.contiguous())
