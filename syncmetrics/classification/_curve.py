"""Curves in counts: positives and negatives at or above each score, and what is read off them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from syncmetrics.family.checks import accumulate_dtype, rounded
from syncmetrics.family.exact import fractions_of, from_parts, in_parts

__all__ = [
    "LEFT_OUT",
    "Points",
    "area_of",
    "areas",
    "average_precision_of",
    "average_precisions",
    "averaged_columns",
    "averaged_precision_recall",
    "averaged_roc",
    "best",
    "checked_least",
    "equal_error_rate",
    "histogram_points",
    "points_by_sample",
    "points_of",
    "precision_recall",
    "roc",
]

#: Code of a sample that does not count, beside 0 and 1.
LEFT_OUT = 2


@dataclass(frozen=True, slots=True)
class Points:
    """Samples at or above each of some thresholds, from the highest down.

    Attributes:
        fp: False positives, int64 of shape `(P,)`.
        tp: True positives, likewise.
        thresholds: Of shape `(P,)`.
        negatives: All negatives, int64, 0-d.
        positives: All positives, likewise.
        is_exact: Whether the thresholds are the scores themselves; else they were given.
    """

    fp: Tensor
    tp: Tensor
    thresholds: Tensor
    negatives: Tensor
    positives: Tensor
    is_exact: bool


def points_of(scores: Tensor, codes: Tensor) -> Points:
    """Give the points at all different scores.

    Args:
        scores: Floats of shape `(N,)`.
        codes: 0, 1, or `LEFT_OUT`, of shape `(N,)`.
    """
    kept = codes < LEFT_OUT
    scores, codes = scores[kept], codes[kept]
    scores, order = scores.sort(descending=True)
    tp = (codes[order] == 1).cumsum(0)
    is_last = torch.cat((scores[1:] != scores[:-1], scores.new_ones(min(1, len(scores)), dtype=torch.bool)))
    last = is_last.nonzero().squeeze(1)
    tp, thresholds = tp[last], scores[last]
    fp = last + 1 - tp
    nothing = tp.new_zeros(())
    return Points(fp, tp, thresholds, fp[-1] if len(fp) else nothing, tp[-1] if len(tp) else nothing, True)


def points_by_sample(scores: Tensor, codes: Tensor) -> Points:
    """Give a point for each sample, many of which may be one: it waits for no device.

    Args:
        scores: Floats of shape `(N,)`.
        codes: 0, 1, or `LEFT_OUT`, of shape `(N,)`.
    """
    found = _at_or_above(scores.unsqueeze(1), codes.unsqueeze(1))
    totals = found.is_negative.sum(), found.is_positive.sum()
    return Points(found.fp[:, 0], found.tp[:, 0], scores.sort(descending=True).values, *totals, True)


def histogram_points(counts: Tensor, thresholds: Tensor) -> Points:
    """Give the points at given thresholds.

    Args:
        counts: How many scores lie between two thresholds, int64 of shape `(T + 1, 2)`: below the lowest first;
            negatives and positives.
        thresholds: Ascending, of shape `(T,)`.
    """
    above = counts.flip(0).cumsum(0)
    total = above[-1]
    return Points(above[:-1, 0], above[:-1, 1], thresholds.flip(0), total[0], total[1], False)


def roc(points: Points) -> tuple[Tensor, Tensor, Tensor]:
    """Give false positive rates, true positive rates and thresholds, from the highest threshold down.

    Of exact points there is one more in front, above all scores, whose threshold is 1. Rates of nothing are 0.
    """
    fp, tp, thresholds = points.fp, points.tp, points.thresholds
    if points.is_exact:
        fp, tp = (torch.cat((value.new_zeros(1), value)) for value in (fp, tp))
        thresholds = torch.cat((thresholds.new_ones(1), thresholds))
    return _rate(fp, points.negatives), _rate(tp, points.positives), thresholds


def averaged_roc(x: list[Tensor], y: list[Tensor], thresholds: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Average true positive rates at all false positive rates that some curve has."""
    grid = torch.cat(x).sort().values
    means = torch.stack([_interpolated(grid, *pair) for pair in zip(x, y, strict=True)]).mean(dim=0)
    return grid, means, torch.cat(thresholds).sort(descending=True).values


def averaged_precision_recall(
    precisions: list[Tensor], recalls: list[Tensor], thresholds: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Average precisions at all recalls that some curve has."""
    grid = torch.cat(recalls).sort().values
    curves = [_interpolated(grid, x.flip(0), y.flip(0)) for y, x in zip(precisions, recalls, strict=True)]
    return torch.stack(curves).mean(dim=0).flip(0), grid.flip(0), torch.cat(thresholds).sort().values


def _interpolated(grid: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Give the height of a curve over ascending `x`; at a step, that of its end."""
    low = (torch.searchsorted(x, grid, right=True) - 1).clamp(min=0)
    high = (low + 1).clamp(max=len(x) - 1)
    width = x[high] - x[low]
    part = torch.where(width > 0, (grid - x[low]) / width, 0)
    return y[low] + part * (y[high] - y[low])


def precision_recall(points: Points) -> tuple[Tensor, Tensor, Tensor]:
    """Give precisions, recalls and thresholds, from the lowest threshold up, and at the end the point (1, 0).

    Without positives the recall of exact points is 1, as that of scikit-learn, and NaN at given thresholds, as that of
    torchmetrics; so is the precision at a threshold above all scores.
    """
    precision, recall = _precision_recall(points)
    end = precision.new_ones(1)
    return (
        rounded(torch.cat((precision.flip(0), end))),
        rounded(torch.cat((recall.flip(0), end - 1))),
        points.thresholds.flip(0),
    )


def _precision_recall(points: Points) -> tuple[Tensor, Tensor]:
    wide = accumulate_dtype(points.tp.device)
    tp = points.tp.to(wide)
    recall = tp / points.positives
    if points.is_exact:
        recall = torch.where(points.positives > 0, recall, 1.0)
    return tp / (points.tp + points.fp), recall


def equal_error_rate(points: Points) -> Tensor:
    """Give the mean of both error rates where they are nearest to each other."""
    false, true, _ = roc(points)
    missed = 1 - true
    place = (false - missed).abs().argmin()
    return (torch.take(false, place) + torch.take(missed, place)) / 2


def best(points: Points, kind: str, least: float) -> tuple[Tensor, Tensor]:
    """Give the best value of one thing where another is at least so much, and the threshold for it.

    Args:
        points: The curve.
        kind: `"precision"`, `"recall"`, `"sensitivity"` or `"specificity"`: what is wanted.
        least: How much recall, precision, specificity or sensitivity, in this order, there is to be.

    Returns:
        The value, 0 if there is none; and the threshold. Where nothing qualifies it is NaN for precision and recall,
        and 1e6 for the others, as torchmetrics has it.
    """
    if kind in ("precision", "recall"):
        precision, recall, thresholds = precision_recall(points)
        wanted, bounded = (precision, recall) if kind == "precision" else (recall, precision)
        wanted, bounded = wanted[: len(thresholds)], bounded[: len(thresholds)]
        nothing = float("nan")
    else:
        false, true, thresholds = roc(points)
        wanted, bounded = (true, 1 - false) if kind == "sensitivity" else (1 - false, true)
        nothing = 1e6
    qualifies = bounded >= least
    value = torch.where(qualifies, wanted, -1.0)
    found = value.max() if len(value) else value.new_full((), -1.0)
    if kind in ("precision", "recall"):
        # Among equal ones the most of the other, and then the highest threshold.
        among = torch.where(value == found, bounded, -1.0)
        ties = among == (among.max() if len(among) else 0)
        threshold = torch.where(ties, thresholds, -torch.inf).max() if len(value) else thresholds.new_zeros(())
        has_any = found > 0
    else:
        threshold = torch.take(thresholds, value.argmax()) if len(value) else thresholds.new_zeros(())
        has_any = found >= 0
    return found.clamp(min=0), torch.where(has_any, threshold, nothing)


def areas(scores: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Give the area under the ROC curve of each column, in integers: no order of the samples changes it.

    It waits for no device: nothing has a size that depends on the values.

    Args:
        scores: Floats of shape `(N, K)`.
        codes: 0, 1, or `LEFT_OUT`, of shape `(N, K)`.

    Returns:
        The areas, NaN where a column has only one kind, and the numbers of positives, of shape `(K,)`.
    """
    found = _at_or_above(scores, codes)
    negatives, positives = found.is_negative.sum(0), found.is_positive.sum(0)
    twice = (found.is_negative * (found.tp_above + found.tp)).sum(0)
    return twice.to(accumulate_dtype(scores.device)) / (2 * positives * negatives), positives


def average_precisions(scores: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Give the average precision of each column: precisions rounded once to multiples of 2**-53, summed as integers.

    Args:
        scores: Floats of shape `(N, K)`.
        codes: 0, 1, or `LEFT_OUT`, of shape `(N, K)`.

    Returns:
        The averages, NaN where a column has no positive, and the numbers of positives, of shape `(K,)`.
    """
    found = _at_or_above(scores, codes)
    positives = found.is_positive.sum(0)
    wide = accumulate_dtype(scores.device)
    ratio = found.tp.to(wide) / (found.tp + found.fp).clamp(min=1)
    if wide is torch.float32:
        return (ratio * found.is_positive).sum(0) / positives, positives
    # In two halves: the sum of 2**36 fractions still fits.
    high, low = (part.sum(0) for part in in_parts(fractions_of(ratio) * found.is_positive))
    carry, low = in_parts(low)
    return from_parts(high + carry, low, wide) / positives, positives


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Samples by column, from the highest score down: int64 of shape `(N, K)`."""

    is_positive: Tensor
    is_negative: Tensor
    tp: Tensor  # positives at or above the score of the sample
    fp: Tensor
    tp_above: Tensor  # positives above it


def _at_or_above(scores: Tensor, codes: Tensor) -> _Sorted:
    scores, order = scores.sort(0, descending=True)
    codes = codes.gather(0, order)
    is_positive, is_negative = (codes == 1).long(), (codes == 0).long()
    tp, fp = is_positive.cumsum(0), is_negative.cumsum(0)
    count = scores.shape[0]
    places = torch.arange(count, device=scores.device).unsqueeze(1).expand(scores.shape)
    differs = scores[1:] != scores[:-1]
    edge = differs.new_ones(min(count, 1), *differs.shape[1:])
    is_first, is_last = torch.cat((edge, differs)), torch.cat((differs, edge))
    first = torch.where(is_first, places, 0).cummax(0).values if count else places
    last = torch.where(is_last, places, count).flip(0).cummin(0).values.flip(0) if count else places
    return _Sorted(
        is_positive, is_negative, tp.gather(0, last), fp.gather(0, last), (tp - is_positive).gather(0, first)
    )


def area_of(points: Points, max_fpr: float | None = None) -> Tensor:
    """Give the area under a curve at given thresholds, from (0, 0) to (1, 1); NaN where only one kind is there.

    Args:
        points: The curve.
        max_fpr: If given, the area up to that rate, standardized as of McClish 1989, eq. (1).
    """
    wide = accumulate_dtype(points.fp.device)
    ends = points.fp.new_zeros(1), points.tp.new_zeros(1)
    x = torch.cat((ends[0], points.fp, points.negatives.view(1))).to(wide) / points.negatives
    y = torch.cat((ends[1], points.tp, points.positives.view(1))).to(wide) / points.positives
    if max_fpr is None or max_fpr == 1:
        return torch.trapezoid(y, x)
    left, right = x[:-1].clamp(max=max_fpr), x[1:].clamp(max=max_fpr)
    slope = y.diff() / x.diff().clamp(min=torch.finfo(wide).tiny)
    # A piece that is upright adds nothing, whatever its height.
    low, high = y[:-1] + slope * (left - x[:-1]), y[:-1] + slope * (right - x[:-1])
    area = torch.where(right > left, (right - left) * (low + high) / 2, 0.0).sum()
    area = torch.where(points.positives * points.negatives > 0, area, torch.nan)
    smallest = max_fpr**2 / 2
    return 0.5 * (1 + (area - smallest) / (max_fpr - smallest))


def average_precision_of(points: Points) -> Tensor:
    """Give the average precision at given thresholds; NaN without positives."""
    wide = accumulate_dtype(points.fp.device)
    precision = points.tp.to(wide) / (points.tp + points.fp).clamp(min=1)
    gained = torch.cat((points.tp[:1], points.tp.diff()))
    return (gained * precision).sum() / points.positives


def averaged_columns(values: Tensor, weights: Tensor, average: str | None) -> Tensor:
    """Give one value of all columns, of those that have one: NaN is left out."""
    if average == "none" or average is None:
        return rounded(values)
    weights = torch.where(values.isnan(), 0, weights if average == "weighted" else 1).to(values.dtype)
    return rounded((values.nan_to_num(0.0) * weights).sum() / weights.sum())


def _rate(counts: Tensor, total: Tensor) -> Tensor:
    return rounded(counts.to(accumulate_dtype(counts.device)) / total.clamp(min=1))


def checked_least(metric: str, argument: str, value: object) -> float:
    """Check how much of something there is to be.

    Raises:
        ValueError: It is no number in [0, 1].
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{metric}: `{argument}` must be in [0, 1], but is {value!r} instead. Pass e.g. 0.5.")
    return float(value)
