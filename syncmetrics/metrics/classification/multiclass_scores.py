"""All scores and all their averages out of one set of counts, at once: a score more costs next to nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from syncmetrics.metrics._common import rounded, safe_divide

__all__ = ["F1", "HIT_RATE", "PRECISION", "Scores", "scores_of"]

#: Rows: `tp / (tp + fn)`, which is accuracy and recall; `tp / (tp + fp)`; `2 tp / (2 tp + fp + fn)`.
HIT_RATE, PRECISION, F1 = range(3)


@dataclass(frozen=True, slots=True)
class Scores:
    """Three scores in every average; 0 where one would divide by 0. They are of `torch.get_default_dtype()`.

    Attributes:
        per_class: Of each class, of shape `(num_classes,)`.
        micro: Of the counts summed over the classes, 0-d, as all that follow.
        macro: Mean over the classes that occur.
        macro_of_targets: Mean over the classes that have targets.
        weighted: Mean weighted by the number of targets of each class.
    """

    per_class: tuple[Tensor, ...]
    micro: tuple[Tensor, ...]
    macro: tuple[Tensor, ...]
    macro_of_targets: tuple[Tensor, ...]
    weighted: tuple[Tensor, ...]


def scores_of(rows: Tensor) -> Scores:
    """Compute all scores, in the accumulate dtype of the device, and round each once.

    Args:
        rows: True positives, false positives and false negatives, int64 of shape `(3, num_classes)`.
    """
    classes = rows.shape[1]
    # The totals stand behind the classes, so that a micro average is one more class.
    tp, fp, fn = torch.cat((rows, rows.sum(1, keepdim=True)), 1).unbind()
    targets, predicted = tp + fn, tp + fp
    both = targets + predicted
    scores = safe_divide(torch.stack((tp, tp, tp + tp)), torch.stack((targets, predicted, both)))
    found = torch.stack((both > 0, targets > 0)).to(targets.dtype)
    weights = torch.cat((found, targets.unsqueeze(0)))[:, :classes].to(scores.dtype)
    # If nothing is weighed the weighted sum is 0, and may be divided by anything.
    averages = weights.mv(scores[0, :classes]), weights.mv(scores[1, :classes]), weights.mv(scores[2, :classes])
    means = rounded(torch.stack(averages, 1) / weights.sum(1, keepdim=True).clamp_(min=1))
    table = rounded(scores)
    macro, macro_of_targets, weighted = (mean.unbind() for mean in means.unbind())
    return Scores(table[:, :classes].unbind(), table[:, classes].unbind(), macro, macro_of_targets, weighted)
