"""Scores of many classes, or of many labels: one column for each, and a curve through each column."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.classification._curve import Points, histogram_points, points_by_sample, points_of
from syncmetrics.classification._inputs import binary_labels, multiclass_targets
from syncmetrics.classification._range import add_range, are_logits, widen
from syncmetrics.classification._thresholds import (
    Thresholds,
    check_scores,
    checked_thresholds,
    chosen,
    coded,
    count_between,
    refuse_nan,
    sigmoid_of,
    softmax_of,
    threshold_tensor,
)
from syncmetrics.family.checks import check_bool, check_int, zero_count
from syncmetrics.family.offenders import raise_for_offenders, reads_data
from syncmetrics.metric import Metric
from syncmetrics.states import RowBuffer, dim_zero_cat
from syncmetrics.states.store import Mode

__all__ = ["ColumnScores", "MulticlassScores", "MultilabelScores"]


class ColumnScores(Metric):
    """Base class of metrics of float scores in columns: all samples are kept, or counts at thresholds.

    Kept samples are gathered from all ranks; give `thresholds` where there are many.

    Args:
        columns: How many columns.
        thresholds: As for `BinaryScores`.
        ignore_index: Target label of what is left out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    higher_is_better: bool | None = True
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    preds: Any
    target: Any
    counts: Tensor  # below, between and above the thresholds: of scores as they are, and as logits
    lowest: Tensor  # of all scores
    highest: Tensor
    invalid: Tensor

    def __init__(
        self,
        columns: int,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        if ignore_index is not None:
            check_int(name, "ignore_index", ignore_index)
        check_bool(name, "validate_args", validate_args)
        self.thresholds = checked_thresholds(name, thresholds)
        self.ignore_index = ignore_index
        self.validate_args = validate_args
        if self.thresholds is None:
            self.add_state("preds", RowBuffer(), dist_reduce_fx="cat")
            self.add_state("target", RowBuffer(), dist_reduce_fx="cat")
        else:
            self.add_state("counts", zero_count(2, len(self.thresholds) + 1, columns, 2), dist_reduce_fx="sum")
        add_range(self)
        self.add_state("invalid", zero_count(), dist_reduce_fx="sum")
        self._columns = columns

    _columns: int

    @property
    def compute_group(self) -> Hashable | None:
        """The same for all metrics of the same samples: what else they are told is read by `compute` alone."""
        task = "multiclass" if isinstance(self, MulticlassScores) else "multilabel"
        return (task, "scores", self._columns, self.thresholds, self.ignore_index, self.validate_args)

    def _keep(self, scores: Tensor, target: Tensor, left_out: Tensor | None, invalid: Tensor | None) -> None:
        """Keep or count a batch.

        Args:
            scores: Of shape `(N, K)`.
            target: What is kept of the targets.
            left_out: Which scores do not count, of a shape that broadcasts to theirs; None if all do.
            invalid: How many labels were wrong.
        """
        if invalid is not None:
            self.invalid = self.invalid + invalid
        if not scores.numel():
            return
        low = widen(self, scores, left_out)
        if self.validate_args and reads_data(low):
            refuse_nan(type(self).__name__, low, scores)
        if self.thresholds is not None:
            self.counts = self.counts + count_between(scores, self._codes(target), self.thresholds, self._of_rows)
            return
        self.preds.append(scores.detach().clone(memory_format=torch.contiguous_format))
        self.target.append(target.clone())

    #: What makes probabilities of the logits of a row, if they belong together.
    _of_rows: Callable[[Tensor], Tensor] | None = None

    def _codes(self, target: Tensor) -> Tensor:
        """Give codes by column of what was kept of the targets."""
        return target.long()

    def _rows(self) -> tuple[Tensor, Tensor]:
        """Give all scores that were kept, as probabilities, and codes: of shape `(N, K)`."""
        raise_for_offenders(self, self.invalid)
        scores = dim_zero_cat(self.preds)
        if not scores.numel():
            empty = torch.zeros(0, self._columns, device=self.device)
            return empty, empty.long()
        if scores.dtype in (torch.float16, torch.bfloat16):
            scores = scores.float()
        return torch.where(are_logits(self), (self._of_rows or sigmoid_of)(scores), scores), self._codes(
            dim_zero_cat(self.target)
        )

    def _points(self, as_one: bool = False) -> list[Points]:
        """Give the curve of each column, or of all of them as one."""
        found: list[Points] = self._derive(("points", self.thresholds, as_one), self._new_points, as_one)
        return found

    def _new_points(self, as_one: bool) -> list[Points]:
        if self.thresholds is None:
            scores, codes = (value.reshape(-1, 1) if as_one else value for value in self._rows())
            waits = self.device.type == "cpu" or self._holder.store.mode is not Mode.STEP
            through = points_of if waits else points_by_sample
            return [through(scores[:, k], codes[:, k]) for k in range(scores.shape[1])]
        raise_for_offenders(self, self.invalid)
        counts, thresholds = chosen(self.counts, are_logits(self)), threshold_tensor(self)
        counts = counts.sum(1, keepdim=True) if as_one else counts
        return [histogram_points(counts[:, k], thresholds) for k in range(counts.shape[1])]


class MulticlassScores(ColumnScores):
    """Scores of many classes: column k against "is of class k".

    Args:
        num_classes: Number of classes, at least 2.
        thresholds: As for `BinaryScores`.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.
    """

    plot_legend_name = "Class"

    def __init__(
        self,
        num_classes: int,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        check_int(type(self).__name__, "num_classes", num_classes, minimum=2)
        super().__init__(num_classes, thresholds, ignore_index, validate_args, **kwargs)
        self.num_classes = num_classes

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Keep or count samples.

        Args:
            preds: Float scores (N, C, ...): probabilities, or logits (softmax is applied) if any of them, in all
                batches and on all ranks, lies outside of [0, 1]. N may be 0.
            target: Integer labels (N, ...).

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: Shapes do not fit, a label is out of range, or a score is NaN.
        """
        name = type(self).__name__
        check_scores(name, preds)
        scores, labels = multiclass_targets(
            name, preds, target, num_classes=self.num_classes, ignore_index=self.ignore_index
        )
        kept = labels.target if labels.left_out is None else labels.target.masked_fill(labels.left_out, -1)
        self._keep(scores, kept, labels.left_out_of(scores), labels.invalid)

    _of_rows = staticmethod(softmax_of)

    def _codes(self, target: Tensor) -> Tensor:
        classes = torch.arange(self._columns, device=target.device)
        column = target.unsqueeze(1)
        return coded((column == classes).long(), (column < 0).expand(-1, self._columns))


class MultilabelScores(ColumnScores):
    """Scores of many labels: column k against label k.

    Args:
        num_labels: Number of labels, at least 2.
        thresholds: As for `BinaryScores`.
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Whether to read the scores for a check.
        **kwargs: Arguments of `Metric`.
    """

    plot_legend_name = "Label"

    def __init__(
        self,
        num_labels: int,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        check_int(type(self).__name__, "num_labels", num_labels, minimum=2)
        super().__init__(num_labels, thresholds, ignore_index, validate_args, **kwargs)
        self.num_labels = num_labels

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Keep or count samples.

        Args:
            preds: Float scores (N, L, ...): probabilities, or logits if any of them, in all batches and on all ranks,
                lies outside of [0, 1]. N may be 0.
            target: Integer or bool labels of the same shape.

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: The shapes differ, a label is neither 0 nor 1, or a score is NaN.
        """
        name = type(self).__name__
        check_scores(name, preds)
        labels = binary_labels(name, preds, target, ignore_index=self.ignore_index)
        if preds.ndim < 2 or preds.shape[1] != self.num_labels:
            raise ValueError(
                f"{name}: `preds` and `target` must have the shape (N, {self.num_labels}, ...), but have"
                f" {tuple(preds.shape)} instead. Put the labels in dimension 1."
            )
        codes = coded(labels.target, labels.left_out).to(torch.uint8)
        scores, codes = self._in_rows(preds, preds), self._in_rows(codes, preds)
        left_out = None if labels.left_out is None else self._in_rows(labels.left_out, preds)
        self._keep(scores, codes, left_out, labels.invalid)

    def _in_rows(self, values: Tensor, preds: Tensor) -> Tensor:
        """Give what stands in the order of `preds` in rows, one column for each label."""
        values = values.view(preds.shape) if values.ndim == 1 else values
        return values if preds.ndim == 2 else values.movedim(1, -1).reshape(-1, self.num_labels)
