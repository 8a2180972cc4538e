"""Jaccard index: intersection over union."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from syncmetrics.classification.counts import Stats
from syncmetrics.classification.readings import (
    JACCARD,
    Average,
    BinaryReading,
    MulticlassReading,
    MultilabelReading,
    Ratio,
    of_task,
)

__all__ = ["BinaryJaccardIndex", "JaccardIndex", "MulticlassJaccardIndex", "MultilabelJaccardIndex"]


class BinaryJaccardIndex(BinaryReading):
    """Intersection over union of predictions and targets: `tp / (tp + fp + fn)` (Jaccard 1901).

    Args:
        threshold: Probability above which a sample is predicted as 1, in [0, 1].
        ignore_index: Target label of samples to leave out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        zero_division: The value where it would be 0 divided by 0: 0, 1 or NaN (which averages leave out).
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryJaccardIndex
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinaryJaccardIndex()
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.3333)
    """

    _ratio = JACCARD

    def __init__(
        self,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        validate_args: bool = True,
        zero_division: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(threshold, "global", ignore_index, validate_args, zero_division, **kwargs)


class MulticlassJaccardIndex(MulticlassReading):
    """Intersection over union of predictions and targets: `tp / (tp + fp + fn)` (Jaccard 1901).

    Args:
        num_classes: Number of classes, at least 2.
        average: `"micro"` (of the summed counts), `"macro"` (mean over the classes that occur), `"weighted"` (by the
            number of targets), `"none"` or `None` (one value per class).
        ignore_index: Target label of samples to leave out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        zero_division: The value where it would be 0 divided by 0: 0, 1 or NaN (which averages leave out).
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassJaccardIndex
        >>> preds, target = torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1])
        >>> metric = MulticlassJaccardIndex(num_classes=3)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.4444)
    """

    _ratio = JACCARD

    def __init__(
        self,
        num_classes: int,
        average: Average = "macro",
        ignore_index: int | None = None,
        validate_args: bool = True,
        zero_division: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, 1, average, "global", ignore_index, validate_args, zero_division, **kwargs)

    def _macro_weights(self, ratio: Ratio, stats: Stats) -> Tensor:
        """Leave the ignored class out, too, which has no targets but may be predicted."""
        weights = super()._macro_weights(ratio, stats)
        ignored = self.ignore_index
        if ignored is None or not 0 <= ignored < self.num_classes:
            return weights
        return weights & (torch.arange(self.num_classes, device=weights.device) != ignored)

    def _stats(self) -> Stats:
        stats = super()._stats()
        ignored = self.ignore_index
        if self.average != "micro" or ignored is None or not 0 <= ignored < self.num_classes:
            return stats
        kept = torch.arange(self.num_classes, device=stats.tp.device) != ignored
        return Stats(stats.tp * kept, stats.fp * kept, stats.tn * kept, stats.fn * kept)


class MultilabelJaccardIndex(MultilabelReading):
    """Intersection over union of predictions and targets: `tp / (tp + fp + fn)` (Jaccard 1901).

    Args:
        num_labels: Number of labels, at least 2.
        threshold: Probability above which a label is predicted, in [0, 1].
        average: `"micro"` (of the summed counts), `"macro"` (mean over the labels), `"weighted"` (by the number of
            targets), `"none"` or `None` (one value per label).
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        zero_division: The value where it would be 0 divided by 0: 0, 1 or NaN (which averages leave out).
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MultilabelJaccardIndex
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [0, 1]])
        >>> metric = MultilabelJaccardIndex(num_labels=2)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.7500)
    """

    _ratio = JACCARD

    def __init__(
        self,
        num_labels: int,
        threshold: float = 0.5,
        average: Average = "macro",
        ignore_index: int | None = None,
        validate_args: bool = True,
        zero_division: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, threshold, average, "global", ignore_index, validate_args, zero_division, **kwargs)


class JaccardIndex(of_task):
    """Jaccard index by task: `BinaryJaccardIndex`, `MulticlassJaccardIndex` or `MultilabelJaccardIndex`.

    Example:
        >>> import torch
        >>> from syncmetrics import JaccardIndex
        >>> metric = JaccardIndex(task="multiclass", num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor(0.4444)
    """

    _classes: ClassVar = {
        "binary": BinaryJaccardIndex,
        "multiclass": MulticlassJaccardIndex,
        "multilabel": MultilabelJaccardIndex,
    }
