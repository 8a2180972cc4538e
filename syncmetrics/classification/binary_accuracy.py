"""Accuracy of two classes."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.classification._inputs import binary_inputs, count_keys
from syncmetrics.family.checks import check_bool, check_int, rounded, safe_divide, zero_count
from syncmetrics.metric import Metric

__all__ = ["BinaryAccuracy"]


class BinaryAccuracy(Metric):
    """Share of the samples that are predicted right: `(tp + tn) / (tp + tn + fp + fn)`.

    Integer or bool predictions are labels. Float predictions are probabilities, unless any of them, in all batches and
    on all ranks, lies outside of [0, 1] (or is NaN): then all of them are logits. A batch alone cannot tell, so both
    readings are counted, and `compute` chooses; the value does not depend on how the data came in batches. The
    prediction is 1 where the probability is above `threshold`, or the logit above `log(threshold / (1 - threshold))`.

    Args:
        threshold: Probability above which a sample is predicted as 1, in [0, 1].
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the targets for a check before counting. Without it a wrong label still raises,
            with a shorter text.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `threshold` is not in [0, 1].
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    counts: Tensor  # by target, prediction if scores are logits, prediction if scores are probabilities
    has_logits: Tensor  # 1 once a score lay outside of [0, 1]

    def __init__(
        self,
        threshold: float = 0.5,
        *,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
            raise TypeError(f"{name}: `threshold` must be a float, but is {threshold!r} instead. Pass one in [0, 1].")
        if not 0 <= threshold <= 1:
            raise ValueError(
                f"{name}: `threshold` must be a probability in [0, 1], but is {threshold} instead. "
                "For logits, too, pass the probability."
            )
        if ignore_index is not None:
            check_int(name, "ignore_index", ignore_index)
        check_bool(name, "validate_args", validate_args)
        self.threshold = threshold
        self.ignore_index = ignore_index
        self.validate_args = validate_args
        self.add_state("counts", zero_count(2, 2, 2), dist_reduce_fx="sum")
        self.add_state("has_logits", zero_count(), dist_reduce_fx="max")

    @property
    def compute_group(self) -> Hashable | None:
        """One group per set of arguments."""
        return ("binary_stat_scores", self.threshold, self.ignore_index, self.validate_args)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count samples.

        Args:
            preds: Integer or bool labels, or float probabilities or logits, (N, ...). N may be 0.
            target: Integer or bool labels (N, ...).

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: The shapes differ, or a label is neither 0 nor 1.
        """
        name = type(self).__name__
        preds, target = binary_inputs(
            name, preds, target, ignore_index=self.ignore_index, validate_args=self.validate_args
        )
        if preds.numel() == 0:
            return
        if preds.is_floating_point():
            low, high = torch.aminmax(preds)
            # Written so that a NaN, which aminmax passes on, sets it: it must not hide a logit of the same batch.
            outside = ~((low >= 0) & (high <= 1))
            self.has_logits = torch.maximum(self.has_logits, outside.to(self.has_logits.dtype))
            keys = torch.add(preds > self.threshold, target, alpha=4)
            keys = torch.add(keys, preds > _logit(self.threshold), alpha=2)
        else:
            keys = torch.add(preds * 3, target, alpha=4)
        self.counts = self.counts + count_keys(name, keys, 8).view(2, 2, 2)

    def compute(self) -> Tensor:
        """Return the accuracy, 0-d; 0 without samples.

        Computed in float64 and rounded once to `torch.get_default_dtype()`.
        """
        table = torch.where(self.has_logits > 0, self.counts.sum(dim=2), self.counts.sum(dim=1))
        return rounded(safe_divide(table.diagonal().sum(), table.sum()))


def _logit(probability: float) -> float:
    """Return the logit whose sigmoid is `probability`; minus or plus infinity at 0 and 1."""
    if probability in (0, 1):
        return math.inf if probability else -math.inf
    return math.log(probability) - math.log1p(-probability)
