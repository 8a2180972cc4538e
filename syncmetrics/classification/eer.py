"""Equal error rate."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from syncmetrics.classification._columns import MulticlassScores, MultilabelScores
from syncmetrics.classification._curve import equal_error_rate
from syncmetrics.classification._scores import CURVE, BinaryScores
from syncmetrics.classification._thresholds import Thresholds
from syncmetrics.classification.readings import of_task
from syncmetrics.shuffle import SHUFFLE_ABOVE, Question

__all__ = ["EER", "BinaryEER", "MulticlassEER", "MultilabelEER"]


class BinaryEER(BinaryScores):
    """Error rate at the threshold where as many negatives are accepted as positives are missed.

    The mean of both rates where they are nearest.

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
        >>> from syncmetrics import BinaryEER
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinaryEER()
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = False

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

    def compute(self) -> Tensor:
        """Return the rate, 0-d in `torch.get_default_dtype()`."""
        return equal_error_rate(self.points())


class MulticlassEER(MulticlassScores):
    """Error rate at the threshold where as many negatives are accepted as positives are missed.

    The mean of both rates where they are nearest.

    Args:
        num_classes: Number of classes, at least 2.
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
        >>> from syncmetrics import MulticlassEER
        >>> preds = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]])
        >>> target = torch.tensor([0, 1, 0, 2])
        >>> metric = MulticlassEER(num_classes=3)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor([0., 0., 0.])
    """

    higher_is_better = False

    def __init__(
        self,
        num_classes: int,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, thresholds, ignore_index, validate_args, **kwargs)

    def compute(self) -> Tensor:
        """Return the rate of each column, in `torch.get_default_dtype()`."""
        return torch.stack([equal_error_rate(points) for points in self._points()])


class MultilabelEER(MultilabelScores):
    """Error rate at the threshold where as many negatives are accepted as positives are missed.

    The mean of both rates where they are nearest.

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
        >>> from syncmetrics import MultilabelEER
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [1, 1]])
        >>> metric = MultilabelEER(num_labels=2)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor([0.2500, 0.0000])
    """

    higher_is_better = False

    def __init__(
        self,
        num_labels: int,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, thresholds, ignore_index, validate_args, **kwargs)

    def compute(self) -> Tensor:
        """Return the rate of each column, in `torch.get_default_dtype()`."""
        return torch.stack([equal_error_rate(points) for points in self._points()])


class EER(of_task):
    """Equal error rate by task.

    `BinaryEER`, `MulticlassEER` or `MultilabelEER`.

    Example:
        >>> import torch
        >>> from syncmetrics import EER
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = EER(task="binary")
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.5000)
    """

    _classes: ClassVar = {"binary": BinaryEER, "multiclass": MulticlassEER, "multilabel": MultilabelEER}
