"""Negative predictive value: what share of the negative predictions is right."""

from __future__ import annotations

from typing import ClassVar

from syncmetrics.classification.readings import (
    NEGATIVE_PREDICTIVE_VALUE,
    BinaryReading,
    MulticlassReading,
    MultilabelReading,
    of_task,
)

__all__ = [
    "BinaryNegativePredictiveValue",
    "MulticlassNegativePredictiveValue",
    "MultilabelNegativePredictiveValue",
    "NegativePredictiveValue",
]


class BinaryNegativePredictiveValue(BinaryReading):
    """Share of the negative predictions that are right: `tn / (tn + fn)`.

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
        >>> from syncmetrics import BinaryNegativePredictiveValue
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinaryNegativePredictiveValue()
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.5000)
    """

    _ratio = NEGATIVE_PREDICTIVE_VALUE


class MulticlassNegativePredictiveValue(MulticlassReading):
    """Share of the negative predictions that are right: `tn / (tn + fn)`.

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
        >>> from syncmetrics import MulticlassNegativePredictiveValue
        >>> preds, target = torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1])
        >>> metric = MulticlassNegativePredictiveValue(num_classes=3)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.8056)
    """

    _ratio = NEGATIVE_PREDICTIVE_VALUE


class MultilabelNegativePredictiveValue(MultilabelReading):
    """Share of the negative predictions that are right: `tn / (tn + fn)`.

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
        >>> from syncmetrics import MultilabelNegativePredictiveValue
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [0, 1]])
        >>> metric = MultilabelNegativePredictiveValue(num_labels=2)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(1.)
    """

    _ratio = NEGATIVE_PREDICTIVE_VALUE


class NegativePredictiveValue(of_task):
    """Negative predictive value by task.

    `BinaryNegativePredictiveValue`, `MulticlassNegativePredictiveValue` or `MultilabelNegativePredictiveValue`.

    The default average is `"micro"` here, as torchmetrics has it.

    Example:
        >>> import torch
        >>> from syncmetrics import NegativePredictiveValue
        >>> metric = NegativePredictiveValue(task="multiclass", num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor(0.8000)
    """

    _classes: ClassVar = {
        "binary": BinaryNegativePredictiveValue,
        "multiclass": MulticlassNegativePredictiveValue,
        "multilabel": MultilabelNegativePredictiveValue,
    }
    _defaults: ClassVar = {"average": "micro"}
