"""Specificity: what share of the negatives is seen as such."""

from __future__ import annotations

from typing import ClassVar

from syncmetrics.classification.readings import (
    SPECIFICITY,
    BinaryReading,
    MulticlassReading,
    MultilabelReading,
    of_task,
)

__all__ = ["BinarySpecificity", "MulticlassSpecificity", "MultilabelSpecificity", "Specificity"]


class BinarySpecificity(BinaryReading):
    """Share of the negatives that are predicted negative: `tn / (tn + fp)`.

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
        >>> from syncmetrics import BinarySpecificity
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinarySpecificity()
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.5000)
    """

    _ratio = SPECIFICITY


class MulticlassSpecificity(MulticlassReading):
    """Share of the negatives that are predicted negative: `tn / (tn + fp)`.

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
        >>> from syncmetrics import MulticlassSpecificity
        >>> preds, target = torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1])
        >>> metric = MulticlassSpecificity(num_classes=3)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.8056)
    """

    _ratio = SPECIFICITY


class MultilabelSpecificity(MultilabelReading):
    """Share of the negatives that are predicted negative: `tn / (tn + fp)`.

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
        >>> from syncmetrics import MultilabelSpecificity
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [0, 1]])
        >>> metric = MultilabelSpecificity(num_labels=2)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.7500)
    """

    _ratio = SPECIFICITY


class Specificity(of_task):
    """Specificity by task: `BinarySpecificity`, `MulticlassSpecificity` or `MultilabelSpecificity`.

    The default average is `"micro"` here, as torchmetrics has it.

    Example:
        >>> import torch
        >>> from syncmetrics import Specificity
        >>> metric = Specificity(task="multiclass", num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor(0.8000)
    """

    _classes: ClassVar = {
        "binary": BinarySpecificity,
        "multiclass": MulticlassSpecificity,
        "multilabel": MultilabelSpecificity,
    }
    _defaults: ClassVar = {"average": "micro"}
