"""Precision-recall curve: precision against recall."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from syncmetrics.classification._columns import MulticlassScores, MultilabelScores
from syncmetrics.classification._curve import averaged_precision_recall, precision_recall
from syncmetrics.classification._plotted import CurveMetric
from syncmetrics.classification._scores import CURVE, BinaryScores
from syncmetrics.classification._thresholds import Thresholds
from syncmetrics.classification.readings import of_task
from syncmetrics.family.checks import check_choice
from syncmetrics.shuffle import SHUFFLE_ABOVE, Question

__all__ = [
    "BinaryPrecisionRecallCurve",
    "MulticlassPrecisionRecallCurve",
    "MultilabelPrecisionRecallCurve",
    "PrecisionRecallCurve",
]


class BinaryPrecisionRecallCurve(CurveMetric, BinaryScores):
    """Precision and recall at each threshold.

    At given thresholds the scores are probabilities, or logits if any lies outside of [0, 1].

    Args:
        thresholds: None to keep all scores, which is exact; or how many thresholds there are, evenly from 0 to 1, or
            the thresholds themselves: then counts are kept, of a size that does not grow.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check before they are kept.
        shuffle_above: From how many samples on, of all ranks together, each rank gets a share of them by score in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryPrecisionRecallCurve
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinaryPrecisionRecallCurve(thresholds=3)
        >>> metric.update(preds, target)
        >>> x, y, thresholds = metric.compute()
        >>> thresholds
        tensor([0.0000, 0.5000, 1.0000])
    """

    plot_kind = "precision_recall"

    def __init__(
        self,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        *,
        shuffle_above: int | None = SHUFFLE_ABOVE,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            thresholds=thresholds,
            ignore_index=ignore_index,
            validate_args=validate_args,
            shuffle_above=shuffle_above,
            **kwargs,
        )

    @property
    def question(self) -> Question:
        """The whole curve."""
        return (CURVE,)

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the curve, each part of shape `(points,)`.

        They are precisions and recalls, with the point (1, 0) at the end, and thresholds, from the lowest up.
        """
        return precision_recall(self.points())


class MulticlassPrecisionRecallCurve(CurveMetric, MulticlassScores):
    """Precision and recall at each threshold.

    At given thresholds the scores are probabilities, or logits if any lies outside of [0, 1].

    Args:
        num_classes: Number of classes, at least 2.
        thresholds: None to keep all scores, which is exact; or how many thresholds there are, evenly from 0 to 1, or
            the thresholds themselves: then counts are kept, of a size that does not grow.
        average: None for a curve of each class; "micro" for one curve of every score of every class; "macro" for the
            mean of precisions at equal recalls.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check before they are kept.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassPrecisionRecallCurve
        >>> preds = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]])
        >>> target = torch.tensor([0, 1, 0, 2])
        >>> metric = MulticlassPrecisionRecallCurve(num_classes=3, thresholds=3)
        >>> metric.update(preds, target)
        >>> [value.shape for value in metric.compute()]
        [torch.Size([3, 4]), torch.Size([3, 4]), torch.Size([3])]
    """

    plot_kind = "precision_recall"

    def __init__(
        self,
        num_classes: int,
        thresholds: Thresholds = None,
        average: str | None = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, thresholds, ignore_index, validate_args, **kwargs)
        check_choice(type(self).__name__, "average", average, (None, "micro", "macro"))
        self.average = average

    def compute(self) -> tuple[list[Tensor] | Tensor, list[Tensor] | Tensor, list[Tensor] | Tensor]:
        """Return precisions and recalls, with the point (1, 0) at the end, and thresholds, from the lowest up.

        Exact ones are lists, with one tensor for each column; at given thresholds they are of shape
        `(num_classes, points)`, and the thresholds of shape `(points,)`. With `average` each of the three is one
        tensor.
        """
        if self.average == "micro":
            return precision_recall(self._points(as_one=True)[0])
        x, y, thresholds = (list(part) for part in zip(*map(precision_recall, self._points()), strict=True))
        if self.average == "macro":
            return averaged_precision_recall(x, y, thresholds)
        if self.thresholds is None:
            return x, y, thresholds
        return torch.stack(x), torch.stack(y), thresholds[0]


class MultilabelPrecisionRecallCurve(CurveMetric, MultilabelScores):
    """Precision and recall at each threshold.

    At given thresholds the scores are probabilities, or logits if any lies outside of [0, 1].

    Args:
        num_labels: Number of labels, at least 2.
        thresholds: None to keep all scores, which is exact; or how many thresholds there are, evenly from 0 to 1, or
            the thresholds themselves: then counts are kept, of a size that does not grow.
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Whether to read the scores for a check before they are kept.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MultilabelPrecisionRecallCurve
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [1, 1]])
        >>> metric = MultilabelPrecisionRecallCurve(num_labels=2, thresholds=3)
        >>> metric.update(preds, target)
        >>> [value.shape for value in metric.compute()]
        [torch.Size([2, 4]), torch.Size([2, 4]), torch.Size([3])]
    """

    plot_kind = "precision_recall"

    def __init__(
        self,
        num_labels: int,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, thresholds, ignore_index, validate_args, **kwargs)

    def compute(self) -> tuple[list[Tensor] | Tensor, list[Tensor] | Tensor, list[Tensor] | Tensor]:
        """Return precisions and recalls, with the point (1, 0) at the end, and thresholds, from the lowest up.

        Exact ones are lists, with one tensor for each column; at given thresholds they are of shape
        `(num_labels, points)`, and the thresholds of shape `(points,)`.
        """
        x, y, thresholds = (list(part) for part in zip(*map(precision_recall, self._points()), strict=True))
        if self.thresholds is None:
            return x, y, thresholds
        return torch.stack(x), torch.stack(y), thresholds[0]


class PrecisionRecallCurve(of_task):
    """Precision-recall curve by task.

    `BinaryPrecisionRecallCurve`, `MulticlassPrecisionRecallCurve` or `MultilabelPrecisionRecallCurve`.

    Example:
        >>> import torch
        >>> from syncmetrics import PrecisionRecallCurve
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = PrecisionRecallCurve(task="binary")
        >>> metric.update(preds, target)
        >>> x, y, thresholds = metric.compute()
        >>> thresholds
        tensor([0.1000, 0.4000, 0.6000, 0.8000])
    """

    _classes: ClassVar = {
        "binary": BinaryPrecisionRecallCurve,
        "multiclass": MulticlassPrecisionRecallCurve,
        "multilabel": MultilabelPrecisionRecallCurve,
    }
