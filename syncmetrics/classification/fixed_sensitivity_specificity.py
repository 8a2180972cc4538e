"""Sensitivity at a fixed specificity, and specificity at a fixed sensitivity."""

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
    "BinarySensitivityAtSpecificity",
    "BinarySpecificityAtSensitivity",
    "MulticlassSensitivityAtSpecificity",
    "MulticlassSpecificityAtSensitivity",
    "MultilabelSensitivityAtSpecificity",
    "MultilabelSpecificityAtSensitivity",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
]


class BinarySensitivityAtSpecificity(BinaryScores):
    """Highest sensitivity where specificity is at least `min_specificity`, and the threshold for it.

    Where there is none the value is 0.

    Args:
        min_specificity: How much there is to be, in [0, 1].
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
        >>> from syncmetrics import BinarySensitivityAtSpecificity
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinarySensitivityAtSpecificity(min_specificity=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor(1.), tensor(0.4000))
    """

    plot_kind = "value_at_threshold"

    def __init__(
        self,
        min_specificity: float,
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
        self.min_specificity = checked_least(type(self).__name__, "min_specificity", min_specificity)

    @property
    def question(self) -> Question:
        """The whole curve."""
        return (CURVE,)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the value and the threshold, 0-d each."""
        return best(self.points(), "sensitivity", self.min_specificity)


class MulticlassSensitivityAtSpecificity(MulticlassScores):
    """Highest sensitivity where specificity is at least `min_specificity`, and the threshold for it.

    Where there is none the value is 0.

    Args:
        num_classes: Number of classes, at least 2.
        min_specificity: How much there is to be, in [0, 1].
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
        >>> from syncmetrics import MulticlassSensitivityAtSpecificity
        >>> preds = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]])
        >>> target = torch.tensor([0, 1, 0, 2])
        >>> metric = MulticlassSensitivityAtSpecificity(num_classes=3, min_specificity=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor([1., 1., 1.]), tensor([0.3000, 0.6000, 0.6000]))
    """

    plot_kind = "value_at_threshold"

    def __init__(
        self,
        num_classes: int,
        min_specificity: float,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, thresholds, ignore_index, validate_args, **kwargs)
        self.min_specificity = checked_least(type(self).__name__, "min_specificity", min_specificity)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the values and the thresholds, one of each for every column."""
        found = [best(points, "sensitivity", self.min_specificity) for points in self._points()]
        return torch.stack([value for value, _ in found]), torch.stack([threshold for _, threshold in found])


class MultilabelSensitivityAtSpecificity(MultilabelScores):
    """Highest sensitivity where specificity is at least `min_specificity`, and the threshold for it.

    Where there is none the value is 0.

    Args:
        num_labels: Number of labels, at least 2.
        min_specificity: How much there is to be, in [0, 1].
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
        >>> from syncmetrics import MultilabelSensitivityAtSpecificity
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [1, 1]])
        >>> metric = MultilabelSensitivityAtSpecificity(num_labels=2, min_specificity=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor([0.5000, 1.0000]), tensor([0.9000, 0.6000]))
    """

    plot_kind = "value_at_threshold"

    def __init__(
        self,
        num_labels: int,
        min_specificity: float,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, thresholds, ignore_index, validate_args, **kwargs)
        self.min_specificity = checked_least(type(self).__name__, "min_specificity", min_specificity)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the values and the thresholds, one of each for every column."""
        found = [best(points, "sensitivity", self.min_specificity) for points in self._points()]
        return torch.stack([value for value, _ in found]), torch.stack([threshold for _, threshold in found])


class SensitivityAtSpecificity(of_task):
    """Highest sensitivity where another score is fixed, by task.

    `BinarySensitivityAtSpecificity`, `MulticlassSensitivityAtSpecificity` or `MultilabelSensitivityAtSpecificity`.

    Example:
        >>> import torch
        >>> from syncmetrics import SensitivityAtSpecificity
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = SensitivityAtSpecificity(task="binary", min_specificity=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor(1.), tensor(0.4000))
    """

    _classes: ClassVar = {
        "binary": BinarySensitivityAtSpecificity,
        "multiclass": MulticlassSensitivityAtSpecificity,
        "multilabel": MultilabelSensitivityAtSpecificity,
    }


class BinarySpecificityAtSensitivity(BinaryScores):
    """Highest specificity where sensitivity is at least `min_sensitivity`, and the threshold for it.

    Where there is none the value is 0.

    Args:
        min_sensitivity: How much there is to be, in [0, 1].
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
        >>> from syncmetrics import BinarySpecificityAtSensitivity
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = BinarySpecificityAtSensitivity(min_sensitivity=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor(1.), tensor(0.8000))
    """

    plot_kind = "value_at_threshold"

    def __init__(
        self,
        min_sensitivity: float,
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
        self.min_sensitivity = checked_least(type(self).__name__, "min_sensitivity", min_sensitivity)

    @property
    def question(self) -> Question:
        """The whole curve."""
        return (CURVE,)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the value and the threshold, 0-d each."""
        return best(self.points(), "specificity", self.min_sensitivity)


class MulticlassSpecificityAtSensitivity(MulticlassScores):
    """Highest specificity where sensitivity is at least `min_sensitivity`, and the threshold for it.

    Where there is none the value is 0.

    Args:
        num_classes: Number of classes, at least 2.
        min_sensitivity: How much there is to be, in [0, 1].
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
        >>> from syncmetrics import MulticlassSpecificityAtSensitivity
        >>> preds = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]])
        >>> target = torch.tensor([0, 1, 0, 2])
        >>> metric = MulticlassSpecificityAtSensitivity(num_classes=3, min_sensitivity=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor([1., 1., 1.]), tensor([0.7000, 0.6000, 0.6000]))
    """

    plot_kind = "value_at_threshold"

    def __init__(
        self,
        num_classes: int,
        min_sensitivity: float,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, thresholds, ignore_index, validate_args, **kwargs)
        self.min_sensitivity = checked_least(type(self).__name__, "min_sensitivity", min_sensitivity)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the values and the thresholds, one of each for every column."""
        found = [best(points, "specificity", self.min_sensitivity) for points in self._points()]
        return torch.stack([value for value, _ in found]), torch.stack([threshold for _, threshold in found])


class MultilabelSpecificityAtSensitivity(MultilabelScores):
    """Highest specificity where sensitivity is at least `min_sensitivity`, and the threshold for it.

    Where there is none the value is 0.

    Args:
        num_labels: Number of labels, at least 2.
        min_sensitivity: How much there is to be, in [0, 1].
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
        >>> from syncmetrics import MultilabelSpecificityAtSensitivity
        >>> preds, target = torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [1, 1]])
        >>> metric = MultilabelSpecificityAtSensitivity(num_labels=2, min_sensitivity=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor([1., 1.]), tensor([0.9000, 0.8000]))
    """

    plot_kind = "value_at_threshold"

    def __init__(
        self,
        num_labels: int,
        min_sensitivity: float,
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, thresholds, ignore_index, validate_args, **kwargs)
        self.min_sensitivity = checked_least(type(self).__name__, "min_sensitivity", min_sensitivity)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the values and the thresholds, one of each for every column."""
        found = [best(points, "specificity", self.min_sensitivity) for points in self._points()]
        return torch.stack([value for value, _ in found]), torch.stack([threshold for _, threshold in found])


class SpecificityAtSensitivity(of_task):
    """Highest specificity where another score is fixed, by task.

    `BinarySpecificityAtSensitivity`, `MulticlassSpecificityAtSensitivity` or `MultilabelSpecificityAtSensitivity`.

    Example:
        >>> import torch
        >>> from syncmetrics import SpecificityAtSensitivity
        >>> preds, target = torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1])
        >>> metric = SpecificityAtSensitivity(task="binary", min_sensitivity=0.5)
        >>> metric.update(preds, target)
        >>> metric.compute()
        (tensor(1.), tensor(0.8000))
    """

    _classes: ClassVar = {
        "binary": BinarySpecificityAtSensitivity,
        "multiclass": MulticlassSpecificityAtSensitivity,
        "multilabel": MultilabelSpecificityAtSensitivity,
    }
