"""Exact match: what share of the samples is right in all of its positions, or all of its labels."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from syncmetrics.classification._inputs import binary_labels, logit, multiclass_labels
from syncmetrics.classification._range import add_range, are_logits, widen
from syncmetrics.classification.counts import LabelMetric, MultidimAverage, check_threshold
from syncmetrics.classification.readings import of_task
from syncmetrics.family.checks import check_int, rounded, safe_divide, zero_count
from syncmetrics.states import RowBuffer, dim_zero_cat

__all__ = ["ExactMatch", "MulticlassExactMatch", "MultilabelExactMatch"]


class MulticlassExactMatch(LabelMetric):
    """Share of the samples whose positions are all predicted right.

    Positions with the target `ignore_index` are taken for right, as torchmetrics does.

    Args:
        num_classes: Number of classes, at least 2.
        multidim_average: `"global"`, or `"samplewise"` for a value, 0 or 1, of each sample.
        ignore_index: Target label of positions to leave out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassExactMatch
        >>> metric = MulticlassExactMatch(num_classes=3)
        >>> metric.update(torch.tensor([[0, 1], [2, 2]]), torch.tensor([[0, 1], [2, 1]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    correct: Any
    total: Tensor

    def __init__(
        self,
        num_classes: int,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            multidim_average=multidim_average, ignore_index=ignore_index, validate_args=validate_args, **kwargs
        )
        check_int(type(self).__name__, "num_classes", num_classes, minimum=2)
        self.num_classes = num_classes
        self.add_state("correct", *((RowBuffer(), "cat") if self._samplewise else (zero_count(), "sum")))
        self.add_state("total", zero_count(), dist_reduce_fx="sum")

    @property
    def _num_labels(self) -> int:
        return self.num_classes

    @property
    def compute_group(self) -> Hashable | None:
        """One group per set of arguments."""
        return ("multiclass_exact_match", self.num_classes, self.multidim_average, self.ignore_index)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count samples.

        Args:
            preds: Integer labels (N, ...), or float scores (N, C, ...), of at least one dimension of positions.
            target: Integer labels (N, ...).

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: Shapes do not fit, or a label is out of range.
        """
        name = type(self).__name__
        labels = multiclass_labels(name, preds, target, num_classes=self.num_classes, ignore_index=self.ignore_index)
        if target.ndim < 2:
            raise ValueError(
                f"{name}: `target` must have at least two dimensions, (N, ...), but has the shape"
                f" {tuple(target.shape)} instead. For one label a sample, take MulticlassAccuracy."
            )
        self._note(labels)
        is_right = labels.preds == labels.target
        is_right = is_right if labels.left_out is None else is_right | labels.left_out
        correct = is_right.view(target.shape[0], -1 if target.numel() else 0).all(1)
        if self._samplewise:
            self.correct.append(correct)
        else:
            self.correct = self.correct + correct.sum()
        self.total = self.total + target.shape[0]

    def compute(self) -> Tensor:
        """Return the share, 0-d; 0 without samples. With `"samplewise"`, 0 or 1 for each sample, (N,)."""
        self._tell_invalid()
        if self._samplewise:
            return dim_zero_cat(self.correct).to(torch.get_default_dtype())
        return rounded(safe_divide(self.correct, self.total))


class MultilabelExactMatch(LabelMetric):
    """Share of the samples whose labels are all predicted right.

    Labels with the target `ignore_index` are taken for right. Float predictions are probabilities or logits, as
    `MultilabelAccuracy` reads them.

    Args:
        num_labels: Number of labels, at least 2.
        threshold: Probability above which a label is predicted, in [0, 1].
        multidim_average: `"global"`, or `"samplewise"` for a value of each sample: the share of its positions whose
            labels are all right.
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MultilabelExactMatch
        >>> metric = MultilabelExactMatch(num_labels=2)
        >>> metric.update(torch.tensor([[0.9, 0.2], [0.7, 0.6]]), torch.tensor([[1, 0], [0, 1]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    correct: Any  # under both readings of scores: as logits, and as probabilities
    total: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(
        self,
        num_labels: int,
        threshold: float = 0.5,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            multidim_average=multidim_average, ignore_index=ignore_index, validate_args=validate_args, **kwargs
        )
        check_int(type(self).__name__, "num_labels", num_labels, minimum=2)
        check_threshold(type(self).__name__, threshold)
        self.num_labels = num_labels
        self.threshold = threshold
        self.add_state("correct", *((RowBuffer(), "cat") if self._samplewise else (zero_count(2), "sum")))
        self.add_state("total", zero_count(), dist_reduce_fx="sum")
        add_range(self)

    @property
    def _num_labels(self) -> int:
        return 2

    @property
    def compute_group(self) -> Hashable | None:
        """One group per set of arguments."""
        settings = (self.num_labels, self.threshold, self.multidim_average, self.ignore_index)
        return ("multilabel_exact_match", *settings)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count samples.

        Args:
            preds: Integer or bool labels, or float probabilities or logits, (N, num_labels, ...).
            target: Integer or bool labels of the same shape.

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: The shapes differ, or a label is neither 0 nor 1.
        """
        name = type(self).__name__
        labels = binary_labels(name, preds, target, ignore_index=self.ignore_index)
        if preds.ndim < 2 or preds.shape[1] != self.num_labels:
            raise ValueError(
                f"{name}: `preds` and `target` must have the shape (N, {self.num_labels}, ...), but have"
                f" {tuple(preds.shape)} instead. Put the labels in dimension 1."
            )
        if not preds.numel():
            return
        self._note(labels)
        scores = labels.preds
        if scores.is_floating_point():
            widen(self, scores, labels.left_out)
            predicted = torch.stack((scores > logit(self.threshold), scores > self.threshold))
        else:
            predicted = torch.stack((scores, scores)) > 0
        is_right = predicted == labels.target.bool()
        is_right = is_right if labels.left_out is None else is_right | labels.left_out
        correct = is_right.view(2, preds.shape[0], self.num_labels, -1).all(2)
        if self._samplewise:
            self.correct.append(correct.to(torch.float64 if preds.device.type != "mps" else torch.float32).mean(2).T)
        else:
            self.correct = self.correct + correct.sum((1, 2))
            self.total = self.total + correct[0].numel()

    def compute(self) -> Tensor:
        """Return the share, 0-d; 0 without samples. With `"samplewise"`, the share of each sample, (N,)."""
        self._tell_invalid()
        correct = dim_zero_cat(self.correct) if self._samplewise else self.correct
        if self._samplewise and not correct.numel():
            return torch.zeros(0, device=self.device)
        chosen = torch.where(are_logits(self), correct[..., 0], correct[..., 1])
        return rounded(chosen if self._samplewise else safe_divide(chosen, self.total))


class ExactMatch(of_task):
    """Exact match by task: `MulticlassExactMatch` or `MultilabelExactMatch`.

    Example:
        >>> import torch
        >>> from syncmetrics import ExactMatch
        >>> metric = ExactMatch(task="multilabel", num_labels=2)
        >>> metric.update(torch.tensor([[0.9, 0.2], [0.7, 0.6]]), torch.tensor([[1, 0], [0, 1]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    _classes: ClassVar = {"multiclass": MulticlassExactMatch, "multilabel": MultilabelExactMatch}
