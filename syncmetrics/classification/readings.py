"""What is read off counts: ratios of true and false positives and negatives, and their averages over classes.

Each score is a `Ratio`; the three classes of a metric, for two classes, many classes and many labels, differ only in
what they count and in how classes are averaged.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from syncmetrics.classification.counts import BinaryCounts, MultidimAverage, MultilabelCounts, Stats
from syncmetrics.classification.multiclass_counts import MulticlassCounts
from syncmetrics.classification.multiclass_scores import Scores, scores_of, scores_of_matrix
from syncmetrics.family.checks import accumulate_dtype, check_choice, rounded
from syncmetrics.metric import Metric

__all__ = [
    "ACCURACY",
    "AVERAGES",
    "CLASS_ACCURACY",
    "CLASS_HAMMING",
    "HAMMING",
    "JACCARD",
    "NEGATIVE_PREDICTIVE_VALUE",
    "PRECISION",
    "RECALL",
    "SPECIFICITY",
    "Average",
    "BinaryReading",
    "MulticlassReading",
    "MultilabelReading",
    "Ratio",
    "f_beta",
    "of_task",
]

Average = Literal["micro", "macro", "weighted", "none"] | None
AVERAGES = ("micro", "macro", "weighted", "none", None)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A score: one sum of counts divided by another.

    Attributes:
        numerator: Of true positives, false positives, true negatives and false negatives.
        denominator: Likewise.
        from_one: Whether the score is one minus the ratio.
        needs_target: Whether, where a target among several predictions counts, a macro average takes the classes that
            have targets, and not all that occur.
        row: Which row of `multiclass_scores.Scores` is this score, if one is.
    """

    numerator: Callable[[Stats], Tensor]
    denominator: Callable[[Stats], Tensor]
    from_one: bool = False
    needs_target: bool = False
    row: int | None = None

    def of(self, stats: Stats, zero_division: float = 0.0) -> Tensor:
        """Give the score of counts, not yet rounded; `zero_division` where both are 0."""
        below = self.denominator(stats)
        dtype = accumulate_dtype(below.device)
        score = self.numerator(stats).to(dtype) / below.to(dtype)
        return (1 - score if self.from_one else score).masked_fill(below == 0, _at_zero(self, zero_division))


def _at_zero(ratio: Ratio, zero_division: float) -> float:
    return 1.0 - zero_division if ratio.from_one else zero_division


def _tp(s: Stats) -> Tensor:
    return s.tp


def _tn(s: Stats) -> Tensor:
    return s.tn


def _right(s: Stats) -> Tensor:
    return s.tp + s.tn


def _all(s: Stats) -> Tensor:
    return s.tp + s.fp + s.tn + s.fn


CLASS_ACCURACY = Ratio(_tp, lambda s: s.tp + s.fn, needs_target=True, row=0)
ACCURACY = Ratio(_right, _all)
PRECISION = Ratio(_tp, lambda s: s.tp + s.fp, needs_target=True, row=1)
RECALL = CLASS_ACCURACY
SPECIFICITY = Ratio(_tn, lambda s: s.tn + s.fp)
NEGATIVE_PREDICTIVE_VALUE = Ratio(_tn, lambda s: s.tn + s.fn, needs_target=True)
HAMMING = Ratio(_right, _all, from_one=True)
CLASS_HAMMING = Ratio(_tp, lambda s: s.tp + s.fn, from_one=True)
JACCARD = Ratio(_tp, lambda s: s.tp + s.fp + s.fn)


def f_beta(beta: float) -> Ratio:
    """Give the score whose denominator weighs recall `beta` times as much as precision."""
    square = beta * beta
    whole = int(square) if float(square).is_integer() and square < 2**20 else square
    return Ratio(
        lambda s: (1 + whole) * s.tp,
        lambda s: (1 + whole) * s.tp + whole * s.fn + s.fp,
        row=2 if whole == 1 else None,
    )


class BinaryReading(BinaryCounts):
    """A score of two classes.

    Args:
        threshold: Probability above which a sample is predicted as 1, in [0, 1].
        multidim_average: `"global"`, or `"samplewise"` for a value of each sample along the first dimension.
        ignore_index: Target label of samples to leave out.
        validate_args: As for `LabelMetric`.
        zero_division: The score where it would be 0 divided by 0.
        **kwargs: Arguments of `Metric`.
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    _ratio: ClassVar[Ratio]

    def __init__(
        self,
        threshold: float = 0.5,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        zero_division: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            threshold,
            multidim_average=multidim_average,
            ignore_index=ignore_index,
            validate_args=validate_args,
            **kwargs,
        )
        self.zero_division = check_zero_division(type(self).__name__, zero_division)

    def _score(self) -> Ratio:
        return self._ratio

    def compute(self) -> Tensor:
        """Return the score: 0-d, or (N,) of samples. In float64, rounded once to `torch.get_default_dtype()`."""
        return rounded(self._score().of(self._stats(), self.zero_division))


class MultilabelReading(MultilabelCounts):
    """A score of many labels.

    Args:
        num_labels: Number of labels, at least 2.
        threshold: Probability above which a label is predicted, in [0, 1].
        average: `"micro"`, `"macro"`, `"weighted"` (by the number of targets), `"none"` or `None`.
        multidim_average: As for `BinaryReading`.
        ignore_index: Likewise.
        validate_args: Likewise.
        zero_division: Likewise.
        **kwargs: Arguments of `Metric`.
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    plot_legend_name = "Label"
    _ratio: ClassVar[Ratio]

    def __init__(
        self,
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
            num_labels,
            threshold,
            multidim_average=multidim_average,
            ignore_index=ignore_index,
            validate_args=validate_args,
            **kwargs,
        )
        check_choice(type(self).__name__, "average", average, AVERAGES)
        self.average = average
        self.zero_division = check_zero_division(type(self).__name__, zero_division)

    def _score(self) -> Ratio:
        return self._ratio

    def compute(self) -> Tensor:
        """Return the score: 0-d, (num_labels,) without average; samples come first: (N,) or (N, num_labels).

        In float64, rounded once to `torch.get_default_dtype()`.
        """
        stats = self._stats()
        return rounded(averaged(self._score(), stats, self.average, self.zero_division, torch.ones_like(stats.tp)))


class MulticlassReading(MulticlassCounts):
    """A score of many classes.

    Args:
        num_classes: Number of classes, at least 2.
        top_k: A sample counts as right when its target is among the `top_k` highest scores (equal scores: the lower
            class first); otherwise the class of the highest score is the prediction. Needs scores, not labels, if > 1.
        average: How the classes become one number.

            - `"micro"`: the score of the counts summed over the classes
            - `"macro"`: mean over the classes that occur
            - `"weighted"`: mean weighted by the number of targets of each class
            - `"none"` or `None`: one score per class
        multidim_average: `"global"`, or `"samplewise"` for a value of each sample along the first dimension.
        ignore_index: Target label of samples to leave out; may lie outside of 0..num_classes-1.
        validate_args: As for `LabelMetric`.
        zero_division: The score where it would be 0 divided by 0.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2, `top_k` not in 1..num_classes, or an unknown `average`.
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    plot_legend_name = "Class"
    _ratio: ClassVar[Ratio]

    def __init__(
        self,
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
            num_classes,
            top_k=top_k,
            multidim_average=multidim_average,
            ignore_index=ignore_index,
            validate_args=validate_args,
            **kwargs,
        )
        check_choice(type(self).__name__, "average", average, AVERAGES)
        self.average = average
        self.zero_division = check_zero_division(type(self).__name__, zero_division)

    def _score(self) -> Ratio:
        return self._ratio

    def compute(self) -> Tensor:
        """Return the score: 0-d, (num_classes,) without average; samples come first: (N,) or (N, num_classes).

        In float64, rounded once to `torch.get_default_dtype()`.
        """
        if self.average not in AVERAGES:
            check_choice(type(self).__name__, "average", self.average, AVERAGES)
        ratio = self._score()
        if ratio.row is not None and self.zero_division == 0 and not self._samplewise:
            scores: Scores = self._derive("scores", self._usual_scores)
            return scores.of(ratio.row, self.average, targets_only=ratio.needs_target and self.top_k > 1)
        stats = self._stats()
        return rounded(averaged(ratio, stats, self.average, self.zero_division, self._macro_weights(ratio, stats)))

    def _macro_weights(self, ratio: Ratio, stats: Stats) -> Tensor:
        """Say which classes a macro average takes."""
        if ratio.needs_target and self.top_k > 1:
            return stats.tp + stats.fn > 0
        return stats.tp + stats.fp + stats.fn > 0

    def _usual_scores(self) -> Scores:
        self._tell_invalid()
        if self._keeps_matrix and self.confmat.is_cpu:
            return scores_of_matrix(self.confmat)
        return scores_of(self._rows())


def averaged(ratio: Ratio, stats: Stats, average: Average, zero_division: float, weights: Tensor) -> Tensor:
    """Give one score of many classes, or all of them.

    Args:
        ratio: The score.
        stats: Of shape `(C,)` or `(N, C)`.
        average: How they become one.
        zero_division: The score where it would be 0 divided by 0.
        weights: Of the classes in a macro average, of the shape of the counts.
    """
    if average == "micro":
        return ratio.of(stats.over_classes(), zero_division)
    scores = ratio.of(stats, zero_division)
    if average == "none" or average is None:
        return scores
    weights = (stats.tp + stats.fn if average == "weighted" else weights).to(scores.dtype)
    # A score that is NaN by `zero_division` is weighed by nothing. If nothing is weighed the sum is 0 in any case.
    weights = weights.masked_fill(scores.isnan(), 0)
    return (weights * scores.nan_to_num(0.0)).sum(-1) / weights.sum(-1).clamp(min=1)


def check_zero_division(metric: str, value: object) -> float:
    """Check what a score of nothing is to be.

    Raises:
        ValueError: It is neither a number in [0, 1] nor NaN.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 <= value <= 1 or value != value):
        raise ValueError(f"{metric}: `zero_division` must be 0, 1 or NaN, but is {value!r} instead. Pass one of these.")
    return value


class of_task:  # noqa: N801 - it is what `Accuracy` and the like are made of
    """One of three classes, chosen by `task="binary"`, `"multiclass"` or `"multilabel"`, as torchmetrics has it.

    What the chosen class does not take (`threshold` for many classes, say) is left out where torchmetrics does so.
    """

    _classes: ClassVar[dict[str, type[Metric]]]
    _defaults: ClassVar[dict[str, Any]] = {}

    def __new__(cls, task: Literal["binary", "multiclass", "multilabel"], *args: Any, **kwargs: Any) -> Any:
        """Make the metric of a task."""
        check_choice(cls.__name__, "task", task, tuple(cls._classes))
        if args:
            raise TypeError(
                f"{cls.__name__}: pass everything but `task` by name, {cls.__name__}({task!r}, threshold=...)."
            )
        chosen = cls._classes[task]
        taken = inspect.signature(chosen).parameters
        given = {**cls._defaults, **kwargs}
        return chosen(**{n: v for n, v in given.items() if n in taken or (n in kwargs and n not in _OF_TASKS)})


#: What one of the three takes, and another does not.
_OF_TASKS = frozenset({"average", "multidim_average", "num_classes", "num_labels", "threshold", "top_k"})
