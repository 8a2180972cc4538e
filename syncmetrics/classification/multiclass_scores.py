"""All scores and all their averages out of one set of counts, at once: a score more costs next to nothing.

They are written twice: with tensor operations, for many classes and for counts on an accelerator, which nobody is to
wait for; and in plain Python for a small matrix on the CPU, where thirty tensor operations cost several times as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import mul

import torch
from torch import Tensor

from syncmetrics.family.checks import rounded, safe_divide

__all__ = ["F1", "HIT_RATE", "PRECISION", "Scores", "scores_of", "scores_of_matrix"]

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

    def of(self, row: int, average: str | None, *, targets_only: bool) -> Tensor:
        """Give one score in one average; `targets_only` says which classes a macro average takes."""
        if average == "micro":
            return self.micro[row]
        if average == "macro":
            return (self.macro_of_targets if targets_only else self.macro)[row]
        return (self.weighted if average == "weighted" else self.per_class)[row]


def scores_of(rows: Tensor) -> Scores:
    """Compute all scores, in the accumulate dtype of the device, and round each once.

    Args:
        rows: True positives, false positives and false negatives, int64 of shape `(3, num_classes)`.
    """
    classes = rows.shape[1]
    # The totals stand behind the classes, so that a micro average is one more class.
    tp, fp, fn = torch.cat((rows, rows.sum(1, keepdim=True)), 1).unbind()
    targets, preds, twice = tp + fn, tp + fp, tp + tp
    mixed = torch.stack((tp, tp, twice, targets, preds, targets + preds))
    denominators = mixed[3:]
    scores = safe_divide(mixed[:3], denominators)
    table = scores[:, :classes]
    targets = denominators[:1, :classes]
    weights = torch.cat((denominators[:, :classes] > 0, targets)).to(scores.dtype)
    # If nothing is weighed the weighted sum is 0, and may be divided by anything.
    means = rounded(weights.mm(table.t()) / weights.sum(1, keepdim=True).clamp_(min=1))
    of_targets, _, of_all, weighted = (mean.unbind() for mean in means.unbind())
    table = rounded(scores)
    return Scores(table[:, :classes].unbind(), table[:, classes].unbind(), of_all, of_targets, weighted)


def scores_of_matrix(matrix: Tensor) -> Scores:
    """Compute all scores in float64, and round each once.

    Args:
        matrix: A small confusion matrix on the CPU, int64 of shape `(num_classes, num_classes)`.
    """
    rows = matrix.tolist()
    hits = [row[index] for index, row in enumerate(rows)]
    targets, preds = [*map(sum, rows)], [*map(sum, zip(*rows, strict=True))]
    both = [t + p for t, p in zip(targets, preds, strict=True)]
    total, classes = sum(targets), len(rows)
    per_class = [_ratios(hits, targets), _ratios(hits, preds), _ratios([2 * hit for hit in hits], both)]
    micro = sum(hits) / (total or 1)
    occurring = (classes - both.count(0)) or 1
    targeted = (classes - targets.count(0)) or 1
    averages = [micro] * 3
    averages += [sum(scores) / occurring for scores in per_class]
    # A class without targets has a hit rate of 0, and so it has the other two: it adds nothing.
    averages += [sum(scores) / targeted for scores in per_class]
    averages += [sum(map(mul, scores, targets)) / (total or 1) for scores in per_class]
    flat = [*averages, *per_class[0], *per_class[1], *per_class[2]]
    values = torch.tensor(flat, dtype=torch.get_default_dtype(), device=matrix.device)
    single, table = values[:12].unbind(), torch.split(values[12:], classes)
    return Scores(table, single[:3], single[3:6], single[6:9], single[9:])


def _ratios(numerators: list[int], denominators: list[int]) -> list[float]:
    return [n / d if d else 0.0 for n, d in zip(numerators, denominators, strict=True)]
