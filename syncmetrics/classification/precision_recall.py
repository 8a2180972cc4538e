"""Precision and recall: what share of the predictions is right, and what share of the targets is found."""

from __future__ import annotations

from typing import ClassVar

from syncmetrics.classification.readings import (
    PRECISION,
    RECALL,
    BinaryReading,
    MulticlassReading,
    MultilabelReading,
    of_task,
)

__all__ = [
    "BinaryPrecision",
    "BinaryRecall",
    "MulticlassPrecision",
    "MulticlassRecall",
    "MultilabelPrecision",
    "MultilabelRecall",
    "Precision",
    "Recall",
]


class BinaryPrecision(BinaryReading):
    """Share of the positive predictions that are right: `tp / (tp + fp)`.

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
        >>> from syncmetrics import BinaryPrecision
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinaryPrecision()
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.5000)
    """

    _ratio = PRECISION


class MulticlassPrecision(MulticlassReading):
    """Share of the positive predictions that are right: `tp / (tp + fp)`.

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
        >>> from syncmetrics import MulticlassPrecision
        >>> preds, target = torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1])
        >>> metric = MulticlassPrecision(num_classes=3)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.6667)
    """

    _ratio = PRECISION


class MultilabelPrecision(MultilabelReading):
    """Share of the positive predictions that are right: `tp / (tp + fp)`.

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
        >>> from syncmetrics import MultilabelPrecision
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [0, 1]])
        >>> metric = MultilabelPrecision(num_labels=2)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.7500)
    """

    _ratio = PRECISION


class Precision(of_task):
    """Precision by task: `BinaryPrecision`, `MulticlassPrecision` or `MultilabelPrecision`.

    The default average is `"micro"` here, as torchmetrics has it.

    Example:
        >>> import torch
        >>> from syncmetrics import Precision
        >>> metric = Precision(task="multiclass", num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor(0.6000)
    """

    _classes: ClassVar = {
        "binary": BinaryPrecision,
        "multiclass": MulticlassPrecision,
        "multilabel": MultilabelPrecision,
    }
    _defaults: ClassVar = {"average": "micro"}


class BinaryRecall(BinaryReading):
    """Share of the positives that are found: `tp / (tp + fn)`.

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
        >>> from syncmetrics import BinaryRecall
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinaryRecall()
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.5000)
    """

    _ratio = RECALL


class MulticlassRecall(MulticlassReading):
    """Share of the positives that are found: `tp / (tp + fn)`.

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
        >>> from syncmetrics import MulticlassRecall
        >>> preds, target = torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1])
        >>> metric = MulticlassRecall(num_classes=3)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.6667)
    """

    _ratio = RECALL


class MultilabelRecall(MultilabelReading):
    """Share of the positives that are found: `tp / (tp + fn)`.

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
        >>> from syncmetrics import MultilabelRecall
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [0, 1]])
        >>> metric = MultilabelRecall(num_labels=2)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(1.)
    """

    _ratio = RECALL


class Recall(of_task):
    """Recall by task: `BinaryRecall`, `MulticlassRecall` or `MultilabelRecall`.

    The default average is `"micro"` here, as torchmetrics has it.

    Example:
        >>> import torch
        >>> from syncmetrics import Recall
        >>> metric = Recall(task="multiclass", num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor(0.6000)
    """

    _classes: ClassVar = {"binary": BinaryRecall, "multiclass": MulticlassRecall, "multilabel": MultilabelRecall}
    _defaults: ClassVar = {"average": "micro"}
