"""Hamming distance: what share is predicted wrong."""

from __future__ import annotations

from typing import ClassVar

from syncmetrics.classification.readings import (
    CLASS_HAMMING,
    HAMMING,
    BinaryReading,
    MulticlassReading,
    MultilabelReading,
    of_task,
)

__all__ = ["BinaryHammingDistance", "HammingDistance", "MulticlassHammingDistance", "MultilabelHammingDistance"]


class BinaryHammingDistance(BinaryReading):
    """Share of the samples that are predicted wrong: `1 - (tp + tn) / (tp + tn + fp + fn)`.

    Args:
        threshold: Probability above which a sample is predicted as 1, in [0, 1].
        multidim_average: `"global"`, or `"samplewise"` for a value of each sample along the first dimension.
        ignore_index: Target label of samples to leave out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        zero_division: The value where it would be 0 divided by 0: 0, 1 or NaN (which averages leave out).
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryHammingDistance
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinaryHammingDistance()
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = False
    _ratio = HAMMING


class MulticlassHammingDistance(MulticlassReading):
    """Share of the samples that are predicted wrong: `1 - tp / (tp + fn)`.

    Args:
        num_classes: Number of classes, at least 2.
        top_k: A target among the `top_k` highest scores counts as predicted; it takes scores if it is more than 1.
        average: `"micro"` (of the summed counts), `"macro"` (mean over the classes that occur), `"weighted"` (by the
            number of targets), `"none"` or `None` (one value per class).
        multidim_average: `"global"`, or `"samplewise"` for a value of each sample along the first dimension.
        ignore_index: Target label of samples to leave out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        zero_division: The value where it would be 0 divided by 0: 0, 1 or NaN (which averages leave out).
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassHammingDistance
        >>> preds, target = torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1])
        >>> metric = MulticlassHammingDistance(num_classes=3)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.3333)
    """

    higher_is_better = False
    _ratio = CLASS_HAMMING


class MultilabelHammingDistance(MultilabelReading):
    """Share of the labels that are predicted wrong: `1 - (tp + tn) / (tp + tn + fp + fn)`.

    Args:
        num_labels: Number of labels, at least 2.
        threshold: Probability above which a label is predicted, in [0, 1].
        average: `"micro"` (of the summed counts), `"macro"` (mean over the labels), `"weighted"` (by the number of
            targets), `"none"` or `None` (one value per label).
        multidim_average: `"global"`, or `"samplewise"` for a value of each sample along the first dimension.
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        zero_division: The value where it would be 0 divided by 0: 0, 1 or NaN (which averages leave out).
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MultilabelHammingDistance
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [0, 1]])
        >>> metric = MultilabelHammingDistance(num_labels=2)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.1667)
    """

    higher_is_better = False
    _ratio = HAMMING


class HammingDistance(of_task):
    """Hamming distance by task: `BinaryHammingDistance`, `MulticlassHammingDistance` or `MultilabelHammingDistance`.

    The default average is `"micro"` here, as torchmetrics has it.

    Example:
        >>> import torch
        >>> from syncmetrics import HammingDistance
        >>> metric = HammingDistance(task="multiclass", num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor(0.4000)
    """

    _classes: ClassVar = {
        "binary": BinaryHammingDistance,
        "multiclass": MulticlassHammingDistance,
        "multilabel": MultilabelHammingDistance,
    }
    _defaults: ClassVar = {"average": "micro"}
