"""True and false positives and negatives themselves, and the number of targets."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from syncmetrics.classification.counts import BinaryCounts, MultidimAverage, MultilabelCounts, Stats
from syncmetrics.classification.multiclass_counts import MulticlassCounts
from syncmetrics.classification.readings import AVERAGES, Average, of_task
from syncmetrics.family.checks import accumulate_dtype, check_choice, rounded

__all__ = ["BinaryStatScores", "MulticlassStatScores", "MultilabelStatScores", "StatScores"]


class BinaryStatScores(BinaryCounts):
    """Count true positives, false positives, true negatives, false negatives, and the targets that are 1.

    Args:
        threshold: Probability above which a sample is predicted as 1, in [0, 1].
        multidim_average: `"global"`, or `"samplewise"` for a value of each sample along the first dimension.
        ignore_index: Target label of samples to leave out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryStatScores
        >>> metric = BinaryStatScores()
        >>> metric.update(torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1]))
        >>> metric.compute()
        tensor([1, 1, 1, 1, 2])
    """

    plot_kind = "counts"
    higher_is_better = None

    def __init__(
        self,
        threshold: float = 0.5,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            threshold,
            multidim_average=multidim_average,
            ignore_index=ignore_index,
            validate_args=validate_args,
            **kwargs,
        )

    def compute(self) -> Tensor:
        """Return `[tp, fp, tn, fn, tp + fn]`, int64 of shape (5,) or (N, 5)."""
        return _stacked(self._stats())


class MulticlassStatScores(MulticlassCounts):
    """Count, for each class, true and false positives and negatives, and the targets.

    Args:
        num_classes: Number of classes, at least 2.
        top_k: A target among the `top_k` highest scores counts as predicted; it takes scores if it is more than 1.
        average: `"micro"` (the sums over the classes), `"macro"` (their means), `"weighted"` (means weighted by the
            number of targets), `"none"` or `None` (for each class).
        multidim_average: `"global"`, or `"samplewise"` for a value of each sample along the first dimension.
        ignore_index: Target label of samples to leave out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassStatScores
        >>> metric = MulticlassStatScores(num_classes=3, average="micro")
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor([3, 2, 8, 2, 5])
    """

    plot_kind = "counts"
    plot_legend_name = "Class"
    higher_is_better = None

    def __init__(
        self,
        num_classes: int,
        top_k: int = 1,
        average: Average = "macro",
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes,
            top_k=top_k,
            multidim_average=multidim_average,
            ignore_index=ignore_index,
            validate_args=validate_args,
            **kwargs,
        )
        check_choice(type(self).__name__, "average", average, AVERAGES)
        self.average = average

    def compute(self) -> Tensor:
        """Return `[tp, fp, tn, fn, tp + fn]` in the last dimension, after the samples and the classes, if any.

        Counts are int64; means are computed in float64, and rounded once to `torch.get_default_dtype()`.
        """
        return _of_classes(self._stats(), self.average)


class MultilabelStatScores(MultilabelCounts):
    """Count, for each label, true and false positives and negatives, and the targets.

    Args:
        num_labels: Number of labels, at least 2.
        threshold: Probability above which a label is predicted, in [0, 1].
        average: `"micro"` (the sums over the labels), `"macro"` (their means), `"weighted"` (means weighted by the
            number of targets), `"none"` or `None` (for each label).
        multidim_average: `"global"`, or `"samplewise"` for a value of each sample along the first dimension.
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MultilabelStatScores
        >>> metric = MultilabelStatScores(num_labels=2, average=None)
        >>> metric.update(torch.tensor([[0.9, 0.2], [0.7, 0.6]]), torch.tensor([[1, 0], [0, 1]]))
        >>> metric.compute()
        tensor([[1, 1, 0, 0, 1],
                [1, 0, 1, 0, 1]])
    """

    plot_kind = "counts"
    plot_legend_name = "Label"
    higher_is_better = None

    def __init__(
        self,
        num_labels: int,
        threshold: float = 0.5,
        average: Average = "macro",
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_labels,
            threshold,
            multidim_average=multidim_average,
            ignore_index=ignore_index,
            validate_args=validate_args,
            **kwargs,
        )
        check_choice(type(self).__name__, "average", average, AVERAGES)
        self.average = average

    def compute(self) -> Tensor:
        """Return `[tp, fp, tn, fn, tp + fn]` in the last dimension, after the samples and the labels, if any.

        Counts are int64; means are computed in float64, and rounded once to `torch.get_default_dtype()`.
        """
        return _of_classes(self._stats(), self.average)


class StatScores(of_task):
    """Counts by task: `BinaryStatScores`, `MulticlassStatScores` or `MultilabelStatScores`.

    The default average is `"micro"` here, as torchmetrics has it.

    Example:
        >>> import torch
        >>> from syncmetrics import StatScores
        >>> metric = StatScores(task="multiclass", num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor([3, 2, 8, 2, 5])
    """

    _classes: ClassVar = {
        "binary": BinaryStatScores,
        "multiclass": MulticlassStatScores,
        "multilabel": MultilabelStatScores,
    }
    _defaults: ClassVar = {"average": "micro"}


def _stacked(stats: Stats) -> Tensor:
    return torch.stack((stats.tp, stats.fp, stats.tn, stats.fn, stats.tp + stats.fn), dim=-1)


def _of_classes(stats: Stats, average: Average) -> Tensor:
    counts = _stacked(stats)
    if average == "micro":
        return counts.sum(-2)
    if average is None or average == "none":
        return counts
    wide = counts.to(accumulate_dtype(counts.device))
    if average == "macro":
        return rounded(wide.mean(-2))
    weights = wide[..., 4:]
    return rounded((wide * weights).sum(-2) / weights.sum(-2).clamp(min=1))
