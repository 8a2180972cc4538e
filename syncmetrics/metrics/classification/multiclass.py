"""Accuracy, precision, recall and F1 score of many classes: one set of counts, four ways to read it.

All four, every `average` and the confusion matrix read the same counts, so that a collection keeps them once. The value
depends on the counts alone, and so on no order of samples.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from syncmetrics.metrics._common import accumulate_dtype, check_choice, rounded, safe_divide
from syncmetrics.metrics.classification.multiclass_counts import MulticlassCounts

__all__ = ["MulticlassAccuracy", "MulticlassF1Score", "MulticlassPrecision", "MulticlassRecall"]

Average = Literal["micro", "macro", "weighted", "none"] | None


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

    # With top_k > 1 a macro average takes the classes that have targets, not all that occur.
    _macro_needs_target: ClassVar[bool] = True

    # Names what `_score` computes: scores with one formula are computed once for all metrics that share the counts.
    _formula: ClassVar[str]

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
        check_choice(type(self).__name__, "average", average, ("micro", "macro", "weighted", "none", None))
        self.average = average

    def compute(self) -> Tensor:
        """Return the score: 0-d, or (num_classes,) without average; 0 where the denominator is 0.

        Computed in float64 and rounded once to `torch.get_default_dtype()`.
        """
        derive = self._store.derive
        rows = derive("rows to divide", _rows_to_divide, self._rows())
        if self.average == "micro":
            return rounded(derive(f"micro {self._formula}", self._score, *derive("totals", _totals, rows)))
        score: Tensor = derive(self._formula, self._score, *derive("three rows", torch.unbind, rows))
        if self.average == "macro":
            only_targets = self.top_k > 1 and self._macro_needs_target
            weights, total = derive(f"occur {only_targets}", _occur, rows, only_targets)
        elif self.average == "weighted":
            weights, total = derive("targets", _targets, rows)
        else:
            return rounded(score)
        return rounded(weights.dot(score) / total)

    @abstractmethod
    def _score(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        """Return the score of counts, elementwise, in float64."""


def _rows_to_divide(rows: Tensor) -> Tensor:
    """Give counts in the dtype of ratios, if it holds every count: so they are converted once, and not in every sum."""
    return rows.to(torch.float64) if accumulate_dtype(rows.device) is torch.float64 else rows


def _totals(rows: Tensor) -> tuple[Tensor, ...]:
    return rows.sum(1).unbind()


def _occur(rows: Tensor, only_targets: bool) -> tuple[Tensor, Tensor]:
    """Give 1 for the classes that have targets, or that occur at all, and 0 for the others; and how many they are."""
    present = rows[0] + rows[2] if only_targets else rows.sum(0)
    return _with_total((present > 0).to(accumulate_dtype(rows.device)))


def _targets(rows: Tensor) -> tuple[Tensor, Tensor]:
    return _with_total((rows[0] + rows[2]).to(accumulate_dtype(rows.device)))


def _with_total(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Give weights and what to divide by: 1 if all of them are 0, for the weighted sum is 0 then."""
    return weights, weights.sum().clamp_(min=1)


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

    _formula = "tp / (tp + fn)"

    def _score(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return safe_divide(tp, tp + fn)


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

    _formula = "tp / (tp + fp)"

    def _score(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return safe_divide(tp, tp + fp)


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

    _formula = "tp / (tp + fn)"

    def _score(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return safe_divide(tp, tp + fn)


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
    _formula = "2 tp / (2 tp + fp + fn)"

    def _score(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return safe_divide(2 * tp, 2 * tp + fp + fn)
