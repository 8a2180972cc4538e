"""Accuracy, precision, recall and F1 score of many classes: one set of counts, four ways to read it.

All four, every `average` and the confusion matrix read the same counts, so that a collection keeps them once. The value
depends on the counts alone, and so on no order of samples.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from syncmetrics.classification.multiclass_counts import MulticlassCounts
from syncmetrics.classification.multiclass_scores import (
    F1,
    HIT_RATE,
    PRECISION,
    Scores,
    scores_of,
    scores_of_matrix,
)
from syncmetrics.family.checks import check_choice

__all__ = ["MulticlassAccuracy", "MulticlassF1Score", "MulticlassPrecision", "MulticlassRecall"]

Average = Literal["micro", "macro", "weighted", "none"] | None
_AVERAGES = ("micro", "macro", "weighted", "none", None)


class _MulticlassStatScores(MulticlassCounts):
    """Count true positives, false positives and false negatives per class; subclasses give the score.

    Args:
        num_classes: Number of classes, at least 2.
        top_k: A sample counts as right when its target is among the `top_k` highest scores (equal scores: the lower
            class first); otherwise the class of the highest score is the prediction. Needs scores, not labels, if > 1.
        average: How the classes become one number.

            - `"micro"`: the score of the counts summed over the classes
            - `"macro"`: mean over the classes that occur
            - `"weighted"`: mean weighted by the number of targets of each class
            - `"none"` or `None`: one score per class
        ignore_index: Target label of samples to leave out; may lie outside of 0..num_classes-1.
        validate_args: Whether to read the targets for a check before counting. Without it a wrong label still raises,
            with a shorter text.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2, `top_k` not in 1..num_classes, or an unknown `average`.
    """

    higher_is_better = True

    # Which row of `Scores` holds the score.
    _row: ClassVar[int]

    # With top_k > 1 a macro average takes the classes that have targets, not all that occur.
    _macro_needs_target: ClassVar[bool] = True

    def __init__(
        self,
        num_classes: int,
        top_k: int = 1,
        average: Average = "macro",
        *,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, top_k=top_k, ignore_index=ignore_index, validate_args=validate_args, **kwargs)
        check_choice(type(self).__name__, "average", average, _AVERAGES)
        self.average = average

    def compute(self) -> Tensor:
        """Return the score: 0-d, or (num_classes,) without average; 0 where the denominator is 0.

        Computed in float64 and rounded once to `torch.get_default_dtype()`.
        """
        scores: Scores = self._derive("scores", self._scores)
        if self.average == "micro":
            value = scores.micro[self._row]
        elif self.average == "macro":
            only_targets = self.top_k > 1 and self._macro_needs_target
            value = (scores.macro_of_targets if only_targets else scores.macro)[self._row]
        elif self.average == "weighted":
            value = scores.weighted[self._row]
        else:
            check_choice(type(self).__name__, "average", self.average, _AVERAGES)
            value = scores.per_class[self._row]
        return value

    def _scores(self) -> Scores:
        if self._keeps_matrix and self.confmat.device.type == "cpu":
            return scores_of_matrix(self.confmat)
        return scores_of(self._rows())


class MulticlassAccuracy(_MulticlassStatScores):
    """Share of the samples that are predicted right: `tp / (tp + fn)`.

    With `average="micro"` this is the share of all samples; with `"macro"`, the default, the balanced accuracy over the
    classes that occur.

    Args:
        num_classes: Number of classes, at least 2.
        top_k: A target among the `top_k` highest scores counts as right.
        average: `"micro"`, `"macro"`, `"weighted"`, `"none"` or `None`.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the targets for a check before counting.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2, `top_k` not in 1..num_classes, or an unknown `average`.
    """

    _row = HIT_RATE


class MulticlassPrecision(_MulticlassStatScores):
    """Share of the predictions of a class that are right: `tp / (tp + fp)`.

    Args:
        num_classes: Number of classes, at least 2.
        top_k: A target among the `top_k` highest scores counts as right.
        average: `"micro"`, `"macro"`, `"weighted"`, `"none"` or `None`.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the targets for a check before counting.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2, `top_k` not in 1..num_classes, or an unknown `average`.
    """

    _row = PRECISION


class MulticlassRecall(_MulticlassStatScores):
    """Share of the targets of a class that are found: `tp / (tp + fn)`.

    Args:
        num_classes: Number of classes, at least 2.
        top_k: A target among the `top_k` highest scores counts as right.
        average: `"micro"`, `"macro"`, `"weighted"`, `"none"` or `None`.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the targets for a check before counting.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2, `top_k` not in 1..num_classes, or an unknown `average`.
    """

    _row = HIT_RATE


class MulticlassF1Score(_MulticlassStatScores):
    """Harmonic mean of precision and recall: `2 * tp / (2 * tp + fp + fn)`.

    Args:
        num_classes: Number of classes, at least 2.
        top_k: A target among the `top_k` highest scores counts as right.
        average: `"micro"`, `"macro"`, `"weighted"`, `"none"` or `None`; `"macro"` is the mean over all classes that
            occur, for every `top_k`.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the targets for a check before counting.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2, `top_k` not in 1..num_classes, or an unknown `average`.
    """

    _macro_needs_target = False
    _row = F1
