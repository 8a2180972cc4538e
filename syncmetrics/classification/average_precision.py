"""Average precision of two classes, the same to the bit for any order and any shards of the samples."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from syncmetrics.classification._columns import ColumnScores, MulticlassScores, MultilabelScores
from syncmetrics.classification._curve import average_precision_of, average_precisions, averaged_columns
from syncmetrics.classification._scores import PRECISION, BinaryScores
from syncmetrics.classification._thresholds import Thresholds
from syncmetrics.classification.readings import of_task
from syncmetrics.family.checks import check_choice, rounded
from syncmetrics.family.exact import FRACTION_BITS, join_parts
from syncmetrics.shuffle import SHUFFLE_ABOVE, Question

__all__ = ["AveragePrecision", "BinaryAveragePrecision", "MulticlassAveragePrecision", "MultilabelAveragePrecision"]


class BinaryAveragePrecision(BinaryScores):
    """Precision at each score, averaged over the positive samples: the area under the steps of precision and recall.

    `sum((recall[k] - recall[k-1]) * precision[k])` over the different scores from the highest down, without
    interpolation. The precision at a score is a quotient of two counts; it is rounded once, to a multiple of 2**-53,
    and the sum over the positives is one of integers: it does not depend on the order of the samples. It shares its
    samples with `BinaryAUROC` in a collection.

    Args:
        thresholds: None to keep all scores, which is exact; or how many thresholds there are, evenly from 0 to 1, or
            the thresholds themselves: then counts are kept, of a size that does not grow.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the inputs for a check before they are kept. Without it a wrong target label
            raises in `compute`.
        shuffle_above: From how many samples on, of all ranks together, each rank gets a share of them by score in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryAveragePrecision
        >>> metric = BinaryAveragePrecision()
        >>> metric.update(torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1]))
        >>> metric.compute()
        tensor(0.8333)
    """

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
        """The sum of precisions."""
        return (PRECISION,)

    def compute(self) -> Tensor:
        """Return the value, 0-d in `torch.get_default_dtype()`; 0, with a warning, if there is no positive sample.

        Raises:
            ValueError: A target label, unchecked by `update`, is neither 0 nor 1.
        """
        batch = self.batch()
        if self.thresholds is not None or batch is not None:
            value = average_precision_of(self.points()) if batch is None else average_precisions(*batch)[0][0]
            if value.is_cpu and bool(value.isnan()):
                name = type(self).__name__
                warnings.warn(f"{name}: no positive sample was given, so the value is returned as 0.", stacklevel=2)
            return rounded(value.nan_to_num(0.0))
        _, positives, high, low = self.answer()
        if positives == 0:
            name = type(self).__name__
            warnings.warn(f"{name}: no positive sample was given, so the value is returned as 0.", stacklevel=2)
            positives = 1
        ratio = join_parts(high, low) / (positives << FRACTION_BITS)
        return torch.tensor(ratio, dtype=torch.get_default_dtype(), device=self.device)


class MulticlassAveragePrecision(MulticlassScores):
    """Average precision of each class against all others, and their average.

    A class that has no samples has no value: it is NaN, and averages leave it out.

    Args:
        num_classes: Number of classes, at least 2.
        average: `"macro"` (mean over the classes that have a value), `"weighted"` (by the number of targets), `"none"`
            or `None` (one value per class).
        thresholds: As for `BinaryAveragePrecision`.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check before they are kept.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassAveragePrecision
        >>> preds = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]])
        >>> metric = MulticlassAveragePrecision(num_classes=3)
        >>> metric.update(preds, torch.tensor([0, 1, 0, 2]))
        >>> metric.compute()
        tensor(1.)
    """

    def __init__(
        self,
        num_classes: int,
        average: Literal["macro", "weighted", "none"] | None = "macro",
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, thresholds, ignore_index, validate_args, **kwargs)
        check_choice(type(self).__name__, "average", average, ("macro", "weighted", "none", None))
        self.average = average

    def compute(self) -> Tensor:
        """Return the value, 0-d, or (num_classes,) without average, in `torch.get_default_dtype()`."""
        return averaged_columns(*_of_columns(self), self.average)


class MultilabelAveragePrecision(MultilabelScores):
    """Average precision of each label, and their average.

    A label without positives has no value: it is NaN, and averages leave it out.

    Args:
        num_labels: Number of labels, at least 2.
        average: `"micro"` (all labels as one), `"macro"` (mean over the labels that have a value), `"weighted"` (by the
            number of targets), `"none"` or `None` (one value per label).
        thresholds: As for `BinaryAveragePrecision`.
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Whether to read the scores for a check before they are kept.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MultilabelAveragePrecision
        >>> metric = MultilabelAveragePrecision(num_labels=2)
        >>> metric.update(torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [1, 1]]))
        >>> metric.compute()
        tensor(0.9167)
    """

    def __init__(
        self,
        num_labels: int,
        average: Literal["micro", "macro", "weighted", "none"] | None = "macro",
        thresholds: Thresholds = None,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, thresholds, ignore_index, validate_args, **kwargs)
        check_choice(type(self).__name__, "average", average, ("micro", "macro", "weighted", "none", None))
        self.average = average

    def compute(self) -> Tensor:
        """Return the value, 0-d, or (num_labels,) without average, in `torch.get_default_dtype()`."""
        return averaged_columns(*_of_columns(self, as_one=self.average == "micro"), self.average)


class AveragePrecision(of_task):
    """Average precision by task.

    `BinaryAveragePrecision`, `MulticlassAveragePrecision` or `MultilabelAveragePrecision`.

    Example:
        >>> import torch
        >>> from syncmetrics import AveragePrecision
        >>> metric = AveragePrecision(task="binary")
        >>> metric.update(torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1]))
        >>> metric.compute()
        tensor(0.8333)
    """

    _classes: ClassVar = {
        "binary": BinaryAveragePrecision,
        "multiclass": MulticlassAveragePrecision,
        "multilabel": MultilabelAveragePrecision,
    }


def _of_columns(metric: ColumnScores, *, as_one: bool = False) -> tuple[Tensor, Tensor]:
    """Give the average precision of each column, and its number of positives."""
    if metric.thresholds is None:
        scores, codes = metric._rows()
        return average_precisions(*(v.reshape(-1, 1) if as_one else v for v in (scores, codes)))
    points = metric._points(as_one)
    return torch.stack([average_precision_of(one) for one in points]), torch.stack([one.positives for one in points])
