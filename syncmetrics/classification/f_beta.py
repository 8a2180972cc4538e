"""F-beta and F1 scores: precision and recall in one number."""

from __future__ import annotations

from typing import Any, ClassVar

from syncmetrics.classification.counts import MultidimAverage
from syncmetrics.classification.readings import (
    Average,
    BinaryReading,
    MulticlassReading,
    MultilabelReading,
    Ratio,
    f_beta,
    of_task,
)

__all__ = [
    "BinaryF1Score",
    "BinaryFBetaScore",
    "F1Score",
    "FBetaScore",
    "MulticlassF1Score",
    "MulticlassFBetaScore",
    "MultilabelF1Score",
    "MultilabelFBetaScore",
]


F1 = f_beta(1.0)


class BinaryFBetaScore(BinaryReading):
    """Harmonic mean of precision and recall, the recall weighed `beta**2` times.

    `(1 + beta**2) * tp / ((1 + beta**2) * tp + beta**2 * fn + fp)` (van Rijsbergen 1979, "Information Retrieval").

    Args:
        beta: How much more recall counts than precision, more than 0.
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
        >>> from syncmetrics import BinaryFBetaScore
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinaryFBetaScore(beta=2.0)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.5000)
    """

    def __init__(
        self,
        beta: float,
        threshold: float = 0.5,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        zero_division: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(threshold, multidim_average, ignore_index, validate_args, zero_division, **kwargs)
        self.beta = _checked(type(self).__name__, beta)

    def _score(self) -> Ratio:
        return f_beta(self.beta)


class BinaryF1Score(BinaryReading):
    """Harmonic mean of precision and recall: `2 * tp / (2 * tp + fp + fn)`.

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
        >>> from syncmetrics import BinaryF1Score
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinaryF1Score()
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.5000)
    """

    _ratio = F1


class MulticlassFBetaScore(MulticlassReading):
    """Harmonic mean of precision and recall, the recall weighed `beta**2` times.

    `(1 + beta**2) * tp / ((1 + beta**2) * tp + beta**2 * fn + fp)` (van Rijsbergen 1979, "Information Retrieval").

    Args:
        beta: How much more recall counts than precision, more than 0.
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
        >>> from syncmetrics import MulticlassFBetaScore
        >>> preds, target = torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1])
        >>> metric = MulticlassFBetaScore(beta=2.0, num_classes=3)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.6296)
    """

    def __init__(
        self,
        beta: float,
        num_classes: int,
        top_k: int = 1,
        average: Average = "macro",
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        zero_division: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_classes, top_k, average, multidim_average, ignore_index, validate_args, zero_division, **kwargs
        )
        self.beta = _checked(type(self).__name__, beta)

    def _score(self) -> Ratio:
        return f_beta(self.beta)


class MulticlassF1Score(MulticlassReading):
    """Harmonic mean of precision and recall: `2 * tp / (2 * tp + fp + fn)`.

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
        >>> from syncmetrics import MulticlassF1Score
        >>> preds, target = torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1])
        >>> metric = MulticlassF1Score(num_classes=3)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.6111)
    """

    _ratio = F1


class MultilabelFBetaScore(MultilabelReading):
    """Harmonic mean of precision and recall, the recall weighed `beta**2` times.

    `(1 + beta**2) * tp / ((1 + beta**2) * tp + beta**2 * fn + fp)` (van Rijsbergen 1979, "Information Retrieval").

    Args:
        beta: How much more recall counts than precision, more than 0.
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
        >>> from syncmetrics import MultilabelFBetaScore
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [0, 1]])
        >>> metric = MultilabelFBetaScore(beta=2.0, num_labels=2)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.9167)
    """

    def __init__(
        self,
        beta: float,
        num_labels: int,
        threshold: float = 0.5,
        average: Average = "macro",
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        zero_division: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            num_labels, threshold, average, multidim_average, ignore_index, validate_args, zero_division, **kwargs
        )
        self.beta = _checked(type(self).__name__, beta)

    def _score(self) -> Ratio:
        return f_beta(self.beta)


class MultilabelF1Score(MultilabelReading):
    """Harmonic mean of precision and recall: `2 * tp / (2 * tp + fp + fn)`.

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
        >>> from syncmetrics import MultilabelF1Score
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [0, 1]])
        >>> metric = MultilabelF1Score(num_labels=2)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor(0.8333)
    """

    _ratio = F1


class FBetaScore(of_task):
    """F-beta score by task: `BinaryFBetaScore`, `MulticlassFBetaScore` or `MultilabelFBetaScore`.

    The default average is `"micro"` here, as torchmetrics has it.

    Example:
        >>> import torch
        >>> from syncmetrics import FBetaScore
        >>> metric = FBetaScore(task="multiclass", num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor(0.6000)
    """

    _classes: ClassVar = {
        "binary": BinaryFBetaScore,
        "multiclass": MulticlassFBetaScore,
        "multilabel": MultilabelFBetaScore,
    }
    _defaults: ClassVar = {"average": "micro", "beta": 1.0}


class F1Score(of_task):
    """F1 score by task: `BinaryF1Score`, `MulticlassF1Score` or `MultilabelF1Score`.

    The default average is `"micro"` here, as torchmetrics has it.

    Example:
        >>> import torch
        >>> from syncmetrics import F1Score
        >>> metric = F1Score(task="multiclass", num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor(0.6000)
    """

    _classes: ClassVar = {"binary": BinaryF1Score, "multiclass": MulticlassF1Score, "multilabel": MultilabelF1Score}
    _defaults: ClassVar = {"average": "micro"}


def _checked(metric: str, beta: object) -> float:
    """Check `beta`.

    Raises:
        ValueError: It is no number above 0.
    """
    if isinstance(beta, bool) or not isinstance(beta, (int, float)) or not 0 < beta < float("inf"):
        raise ValueError(f"{metric}: `beta` must be a number above 0, but is {beta!r} instead. Pass e.g. 1.0.")
    return float(beta)
