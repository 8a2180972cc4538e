"""Accuracy, precision, recall and F1 score of many classes: one set of counts, four ways to read it.

Every update adds true positives, false positives and false negatives per class, the same for all four and for every
`average`, so that a collection keeps them once. The value depends on the counts alone, and so on no order of samples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from syncmetrics.metric import Metric
from syncmetrics.metrics._common import check_bool, check_choice, check_int, rounded, safe_divide, zero_count
from syncmetrics.metrics.classification._inputs import count_keys, multiclass_inputs

__all__ = ["MulticlassAccuracy", "MulticlassF1Score", "MulticlassPrecision", "MulticlassRecall"]

Average = Literal["micro", "macro", "weighted", "none"] | None


class _MulticlassStatScores(Metric):
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
    is_differentiable = False
    tp: Tensor
    fp: Tensor
    fn: Tensor

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
        super().__init__(**kwargs)
        name = type(self).__name__
        check_int(name, "num_classes", num_classes, minimum=2)
        check_int(name, "top_k", top_k, minimum=1)
        if top_k > num_classes:
            raise ValueError(
                f"{name}: `top_k` must be at most `num_classes`, {num_classes}, but is {top_k} instead. "
                "Pass a smaller one."
            )
        check_choice(name, "average", average, ("micro", "macro", "weighted", "none", None))
        if ignore_index is not None:
            check_int(name, "ignore_index", ignore_index)
        check_bool(name, "validate_args", validate_args)
        self.num_classes = num_classes
        self.top_k = top_k
        self.average = average
        self.ignore_index = ignore_index
        self.validate_args = validate_args
        for state in ("tp", "fp", "fn"):
            self.add_state(state, zero_count(num_classes), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for all four metrics and every `average`: they count the same."""
        if type(self).update is not _MulticlassStatScores.update:
            return None
        return ("multiclass_stat_scores", self.num_classes, self.top_k, self.ignore_index, self.validate_args)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count samples.

        Args:
            preds: Integer labels (N, ...), or float scores (probabilities or logits) (N, C, ...). N may be 0.
            target: Integer labels (N, ...).

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: Shapes do not fit, or a label is out of range.
        """
        name = type(self).__name__
        preds, target = multiclass_inputs(
            name,
            preds,
            target,
            num_classes=self.num_classes,
            ignore_index=self.ignore_index,
            validate_args=self.validate_args,
            top_k=self.top_k,
        )
        # One pass counts hits and misses of each target: the key is twice the target, plus one for a hit.
        keys = torch.add(preds == target, target, alpha=2)
        fn, tp = count_keys(name, keys, 2 * self.num_classes).view(self.num_classes, 2).unbind(1)
        fp = count_keys(name, preds, self.num_classes) - tp
        self.tp, self.fp, self.fn = self.tp + tp, self.fp + fp, self.fn + fn

    def compute(self) -> Tensor:
        """Return the score: 0-d, or (num_classes,) without average; 0 where the denominator is 0.

        Computed in float64 and rounded once to `torch.get_default_dtype()`.
        """
        tp, fp, fn = self.tp, self.fp, self.fn
        if self.average == "micro":
            return rounded(self._score(tp.sum(), fp.sum(), fn.sum()))
        score = self._score(tp, fp, fn)
        if self.average == "macro":
            occurs = tp + fn if self.top_k > 1 and self._macro_needs_target else tp + fp + fn
            weights = (occurs > 0).to(score.dtype)
        elif self.average == "weighted":
            weights = (tp + fn).to(score.dtype)
        else:
            return rounded(score)
        return rounded(safe_divide((weights * score).sum(), weights.sum()))

    @abstractmethod
    def _score(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        """Return the score of int64 counts, elementwise, in float64."""


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

    def _score(self, tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
        return safe_divide(2 * tp, 2 * tp + fp + fn)
