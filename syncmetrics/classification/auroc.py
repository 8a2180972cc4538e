"""Area under the receiver operating characteristic curve of two classes, exact."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from syncmetrics.classification._columns import ColumnScores, MulticlassScores, MultilabelScores
from syncmetrics.classification._curve import area_of, areas, averaged_columns
from syncmetrics.classification._scores import AREA, PARTIAL_AREA, BinaryScores
from syncmetrics.classification._thresholds import Thresholds
from syncmetrics.classification.readings import of_task
from syncmetrics.family.checks import check_choice, rounded
from syncmetrics.shuffle import SHUFFLE_ABOVE, Question

__all__ = ["AUROC", "BinaryAUROC", "MulticlassAUROC", "MultilabelAUROC"]


class BinaryAUROC(BinaryScores):
    """Probability that a positive sample scores higher than a negative one, equal scores counting half.

    All scores are kept as they are: any increasing function of them, the sigmoid too, gives the same area. Twice the
    area times the numbers of positives and negatives is an integer (Mann and Whitney 1947, "On a test of whether one
    of two random variables is stochastically larger than the other"); it is summed in int64 and divided once, so the
    value is exact and does not depend on the order of the samples.

    Args:
        max_fpr: If given, the partial area over false positive rates in [0, max_fpr], standardized to 0.5 for chance
            and 1 for perfect (McClish 1989, "Analyzing a portion of the ROC curve").
        thresholds: None to keep all scores, which is exact; or how many thresholds there are, evenly from 0 to 1, or
            the thresholds themselves: then counts are kept, of a size that does not grow. The curve runs from (0, 0) to
            (1, 1) in any case, where torchmetrics ends it at the outer thresholds.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the inputs for a check before they are kept. Without it a wrong target label
            raises in `compute`.
        shuffle_above: From how many samples on, of all ranks together, each rank gets a share of them by score in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `max_fpr` is not in (0, 1].

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryAUROC
        >>> metric = BinaryAUROC()
        >>> metric.update(torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1]))
        >>> metric.compute()
        tensor(0.7500)
    """

    def __init__(
        self,
        max_fpr: float | None = None,
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
        name = type(self).__name__
        if max_fpr is not None and (isinstance(max_fpr, bool) or not isinstance(max_fpr, (int, float))):
            raise TypeError(f"{name}: `max_fpr` must be a float or None, but is {max_fpr!r} instead. Pass e.g. 0.1.")
        if max_fpr is not None and not 0 < max_fpr <= 1:
            raise ValueError(f"{name}: `max_fpr` must be in (0, 1], but is {max_fpr} instead. Pass e.g. 0.1.")
        self.max_fpr = max_fpr

    @property
    def question(self) -> Question:
        """The area, or the part of it up to `max_fpr`."""
        return (AREA,) if self.max_fpr is None or self.max_fpr == 1 else (PARTIAL_AREA, float(self.max_fpr))

    def compute(self) -> Tensor:
        """Return the area, 0-d in `torch.get_default_dtype()`; 0, with a warning, if a class has no sample.

        Raises:
            ValueError: A target label, unchecked by `update`, is neither 0 nor 1.
        """
        if self.thresholds is not None:
            return self._without_nan(area_of(self.points(), self.max_fpr))
        batch = self.batch()
        if batch is not None and self.max_fpr is None:
            return self._without_nan(areas(*batch)[0][0])
        if batch is not None:
            return self._without_nan(area_of(self.points(), self.max_fpr))
        negatives, positives, twice_area, *ends = self.answer()
        if positives == 0 or negatives == 0:
            missing = "positive" if positives == 0 else "negative"
            name = type(self).__name__
            warnings.warn(f"{name}: no {missing} sample was given, so the area is returned as 0.", stacklevel=2)
            area = 0.0
        elif ends:
            assert self.max_fpr is not None, "only a limit has points around it"
            area = _standardized_partial_area(negatives, positives, twice_area, ends[0], ends[1], self.max_fpr)
        else:
            area = twice_area / (2 * positives * negatives)
        return torch.tensor(area, dtype=torch.get_default_dtype(), device=self.device)

    def _without_nan(self, area: Tensor) -> Tensor:
        """Give 0 where a class has no sample, and say so on the CPU."""
        if area.is_cpu and bool(area.isnan()):
            name = type(self).__name__
            warnings.warn(f"{name}: a class has no sample, so the area is returned as 0.", stacklevel=3)
        return rounded(area.nan_to_num(0.0))


class MulticlassAUROC(MulticlassScores):
    """Area under the ROC curve of each class against all others, and their average.

    Exact areas are quotients of integers, as those of `BinaryAUROC`. A class that has no samples, or all of them, has
    no area: it is NaN, and averages leave it out, where torchmetrics counts it as 0.

    Args:
        num_classes: Number of classes, at least 2.
        average: `"macro"` (mean over the classes that have an area), `"weighted"` (by the number of targets), `"none"`
            or `None` (one area per class).
        thresholds: As for `BinaryAUROC`.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check before they are kept.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassAUROC
        >>> preds = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]])
        >>> metric = MulticlassAUROC(num_classes=3)
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
        """Return the area, 0-d, or (num_classes,) without average, in `torch.get_default_dtype()`."""
        return averaged_columns(*column_areas(self), self.average)


class MultilabelAUROC(MultilabelScores):
    """Area under the ROC curve of each label, and their average.

    A label that has only positives, or only negatives, has no area, as in `MulticlassAUROC`.

    Args:
        num_labels: Number of labels, at least 2.
        average: `"micro"` (all labels as one), `"macro"` (mean over the labels that have an area), `"weighted"` (by the
            number of targets), `"none"` or `None` (one area per label).
        thresholds: As for `BinaryAUROC`.
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Whether to read the scores for a check before they are kept.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MultilabelAUROC
        >>> metric = MultilabelAUROC(num_labels=2)
        >>> metric.update(torch.tensor([[0.9, 0.2], [0.7, 0.6], [0.1, 0.8]]), torch.tensor([[1, 0], [0, 1], [1, 1]]))
        >>> metric.compute()
        tensor(0.7500)
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
        """Return the area, 0-d, or (num_labels,) without average, in `torch.get_default_dtype()`."""
        return averaged_columns(*column_areas(self, as_one=self.average == "micro"), self.average)


class AUROC(of_task):
    """Area under the ROC curve by task: `BinaryAUROC`, `MulticlassAUROC` or `MultilabelAUROC`.

    Example:
        >>> import torch
        >>> from syncmetrics import AUROC
        >>> metric = AUROC(task="binary")
        >>> metric.update(torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1]))
        >>> metric.compute()
        tensor(0.7500)
    """

    _classes: ClassVar = {"binary": BinaryAUROC, "multiclass": MulticlassAUROC, "multilabel": MultilabelAUROC}


def column_areas(metric: ColumnScores, *, as_one: bool = False) -> tuple[Tensor, Tensor]:
    """Give the area of each column, and its number of positives."""
    if metric.thresholds is None:
        scores, codes = metric._rows()
        return areas(scores.reshape(-1, 1), codes.reshape(-1, 1)) if as_one else areas(scores, codes)
    points = metric._points(as_one)
    return torch.stack([area_of(one) for one in points]), torch.stack([one.positives for one in points])


def _standardized_partial_area(
    negatives: int,
    positives: int,
    twice_area_within: int,
    within: list[int],
    beyond: list[int] | None,
    max_fpr: float,
) -> float:
    """Return the area up to `max_fpr`, standardized as of McClish 1989, eq. (1): `(1 + (A - min) / (max - min)) / 2`.

    The curve is exact up to its last point before the limit; only the piece from there to the limit is interpolated.

    Args:
        negatives: Number of negative samples.
        positives: Number of positive samples.
        twice_area_within: Twice the area up to the last point before the limit, in counts.
        within: False and true positives at that point.
        beyond: Those at the next point, if there is one.
        max_fpr: The limit.
    """
    limit = max_fpr * negatives
    twice_area = float(twice_area_within)
    if beyond is not None:
        (x0, y0), (x1, y1) = within, beyond
        height = (limit - x0) * (y1 - y0) / (x1 - x0)
        twice_area += (limit - x0) * (2 * y0 + height)
    area = twice_area / (2 * positives * negatives)
    smallest, largest = max_fpr**2 / 2, max_fpr
    return 0.5 * (1 + (area - smallest) / (largest - smallest))
