"""Precision at a fixed recall, and recall at a fixed precision."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from syncmetrics.classification._columns import MulticlassScores, MultilabelScores
from syncmetrics.classification._curve import best, checked_least
from syncmetrics.classification._scores import CURVE, BinaryScores
from syncmetrics.classification._thresholds import Thresholds
from syncmetrics.classification.readings import of_task
from syncmetrics.shuffle import SHUFFLE_ABOVE, Question

__all__ = [
    "BinaryPrecisionAtFixedRecall",
    "BinaryRecallAtFixedPrecision",
    "MulticlassPrecisionAtFixedRecall",
    "MulticlassRecallAtFixedPrecision",
    "MultilabelPrecisionAtFixedRecall",
    "MultilabelRecallAtFixedPrecision",
    "PrecisionAtFixedRecall",
    "RecallAtFixedPrecision",
]


class BinaryPrecisionAtFixedRecall(BinaryScores):
    """Highest precision where recall is at least `min_recall`, and the threshold for it.

    Where there is none the value is 0.

    Args:
        min_recall: How much there is to be, in [0, 1].
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
        >>> from syncmetrics import BinaryPrecisionAtFixedRecall
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinaryPrecisionAtFixedRecall(min_recall=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor(1.), tensor(0.8000))
    """

    plot_kind = "value_at_threshold"

    def __init__(
        self,
        min_recall: float,
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
        self.min_recall = checked_least(type(self).__name__, "min_recall", min_recall)

    @property
    def question(self) -> Question:
        """The whole curve."""
        return (CURVE,)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the value and the threshold, 0-d each."""
        return best(self.points(), "precision", self.min_recall)


class MulticlassPrecisionAtFixedRecall(MulticlassScores):
    """Highest precision where recall is at least `min_recall`, and the threshold for it.

    Where there is none the value is 0.

    Args:
        num_classes: Number of classes, at least 2.
        min_recall: How much there is to be, in [0, 1].
        thresholds: None to keep all scores, which is exact; or how many thresholds there are, evenly from 0 to 1, or
            the thresholds themselves: then counts are kept, of a size that does not grow.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check before they are kept.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassPrecisionAtFixedRecall
        >>> preds = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]])
        >>> target = torch.tensor([0, 1, 0, 2])
        >>> metric = MulticlassPrecisionAtFixedRecall(num_classes=3, min_recall=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor([1., 1., 1.]), tensor([0.3000, 0.6000, 0.6000]))
    """

    plot_kind = "value_at_threshold"

    def __init__(
        self,
        num_classes: int,
        min_recall: float,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, thresholds, ignore_index, validate_args, **kwargs)
        self.min_recall = checked_least(type(self).__name__, "min_recall", min_recall)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the values and the thresholds, one of each for every column."""
        found = [best(points, "precision", self.min_recall) for points in self._points()]
        return torch.stack([value for value, _ in found]), torch.stack([threshold for _, threshold in found])


class MultilabelPrecisionAtFixedRecall(MultilabelScores):
    """Highest precision where recall is at least `min_recall`, and the threshold for it.

    Where there is none the value is 0.

    Args:
        num_labels: Number of labels, at least 2.
        min_recall: How much there is to be, in [0, 1].
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
        >>> from syncmetrics import MultilabelPrecisionAtFixedRecall
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [1, 1]])
        >>> metric = MultilabelPrecisionAtFixedRecall(num_labels=2, min_recall=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor([1., 1.]), tensor([0.9000, 0.6000]))
    """

    plot_kind = "value_at_threshold"

    def __init__(
        self,
        num_labels: int,
        min_recall: float,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, thresholds, ignore_index, validate_args, **kwargs)
        self.min_recall = checked_least(type(self).__name__, "min_recall", min_recall)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the values and the thresholds, one of each for every column."""
        found = [best(points, "precision", self.min_recall) for points in self._points()]
        return torch.stack([value for value, _ in found]), torch.stack([threshold for _, threshold in found])


class PrecisionAtFixedRecall(of_task):
    """Highest precision where another score is fixed, by task.

    `BinaryPrecisionAtFixedRecall`, `MulticlassPrecisionAtFixedRecall` or `MultilabelPrecisionAtFixedRecall`.

    Example:
        >>> import torch
        >>> from syncmetrics import PrecisionAtFixedRecall
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = PrecisionAtFixedRecall(task="binary", min_recall=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor(1.), tensor(0.8000))
    """

    _classes: ClassVar = {
        "binary": BinaryPrecisionAtFixedRecall,
        "multiclass": MulticlassPrecisionAtFixedRecall,
        "multilabel": MultilabelPrecisionAtFixedRecall,
    }


class BinaryRecallAtFixedPrecision(BinaryScores):
    """Highest recall where precision is at least `min_precision`, and the threshold for it.

    Where there is none the value is 0.

    Args:
        min_precision: How much there is to be, in [0, 1].
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
        >>> from syncmetrics import BinaryRecallAtFixedPrecision
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinaryRecallAtFixedPrecision(min_precision=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor(1.), tensor(0.4000))
    """

    plot_kind = "value_at_threshold"

    def __init__(
        self,
        min_precision: float,
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
        self.min_precision = checked_least(type(self).__name__, "min_precision", min_precision)

    @property
    def question(self) -> Question:
        """The whole curve."""
        return (CURVE,)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the value and the threshold, 0-d each."""
        return best(self.points(), "recall", self.min_precision)


class MulticlassRecallAtFixedPrecision(MulticlassScores):
    """Highest recall where precision is at least `min_precision`, and the threshold for it.

    Where there is none the value is 0.

    Args:
        num_classes: Number of classes, at least 2.
        min_precision: How much there is to be, in [0, 1].
        thresholds: None to keep all scores, which is exact; or how many thresholds there are, evenly from 0 to 1, or
            the thresholds themselves: then counts are kept, of a size that does not grow.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check before they are kept.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassRecallAtFixedPrecision
        >>> preds = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]])
        >>> target = torch.tensor([0, 1, 0, 2])
        >>> metric = MulticlassRecallAtFixedPrecision(num_classes=3, min_precision=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor([1., 1., 1.]), tensor([0.3000, 0.6000, 0.6000]))
    """

    plot_kind = "value_at_threshold"

    def __init__(
        self,
        num_classes: int,
        min_precision: float,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, thresholds, ignore_index, validate_args, **kwargs)
        self.min_precision = checked_least(type(self).__name__, "min_precision", min_precision)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the values and the thresholds, one of each for every column."""
        found = [best(points, "recall", self.min_precision) for points in self._points()]
        return torch.stack([value for value, _ in found]), torch.stack([threshold for _, threshold in found])


class MultilabelRecallAtFixedPrecision(MultilabelScores):
    """Highest recall where precision is at least `min_precision`, and the threshold for it.

    Where there is none the value is 0.

    Args:
        num_labels: Number of labels, at least 2.
        min_precision: How much there is to be, in [0, 1].
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
        >>> from syncmetrics import MultilabelRecallAtFixedPrecision
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [1, 1]])
        >>> metric = MultilabelRecallAtFixedPrecision(num_labels=2, min_precision=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor([1., 1.]), tensor([0.1000, 0.6000]))
    """

    plot_kind = "value_at_threshold"

    def __init__(
        self,
        num_labels: int,
        min_precision: float,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, thresholds, ignore_index, validate_args, **kwargs)
        self.min_precision = checked_least(type(self).__name__, "min_precision", min_precision)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the values and the thresholds, one of each for every column."""
        found = [best(points, "recall", self.min_precision) for points in self._points()]
        return torch.stack([value for value, _ in found]), torch.stack([threshold for _, threshold in found])


class RecallAtFixedPrecision(of_task):
    """Highest recall where another score is fixed, by task.

    `BinaryRecallAtFixedPrecision`, `MulticlassRecallAtFixedPrecision` or `MultilabelRecallAtFixedPrecision`.

    Example:
        >>> import torch
        >>> from syncmetrics import RecallAtFixedPrecision
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = RecallAtFixedPrecision(task="binary", min_precision=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor(1.), tensor(0.4000))
    """

    _classes: ClassVar = {
        "binary": BinaryRecallAtFixedPrecision,
        "multiclass": MulticlassRecallAtFixedPrecision,
        "multilabel": MultilabelRecallAtFixedPrecision,
    }
