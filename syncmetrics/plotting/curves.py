"""Curves: ROC curves, precision-recall curves, and others of which only x and y are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from syncmetrics.plotting.look import Look, Options, numbers_of, what_is
from syncmetrics.plotting.style import (
    Panel,
    add_legend,
    color_of,
    frame,
    legend_width,
    named,
    set_title,
    shown,
    style_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CURVES", "Curve", "curves", "curves_of", "is_curve"]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of curve is drawn.

    Attributes:
        title: Name of such curves.
        x: Name of the axis.
        y: Likewise.
        flipped: Whether a value has y before x.
        is_step: Whether y stays what it is up to the next point.
        diagonal: What the diagonal is: that of chance, say; None to leave it out.
        has_points: Whether the points are few, and each is marked.
        is_square: Whether x and y are shares, from 0 to 1.
    """

    title: str
    x: str
    y: str
    flipped: bool = False
    is_step: bool = False
    diagonal: str | None = None
    has_points: bool = False
    is_square: bool = True


#: The kinds by what `Metric.plot_kind` says. Precision between two recalls is not what lies on the line between the
#: points, but lower (Davis and Goadrich 2006, "The Relationship Between Precision-Recall and ROC Curves"): hence steps,
#: as scikit-learn draws them, and the area below these is the average precision.
CURVES: Mapping[str | None, _Kind] = {
    "roc": _Kind("ROC curves", "false positive rate", "true positive rate", diagonal="chance"),
    "precision_recall": _Kind("precision-recall curves", "recall", "precision", flipped=True, is_step=True),
    "calibration": _Kind(
        "calibration curves", "mean confidence", "part that is right", diagonal="calibrated", has_points=True
    ),
    "precision_recall_at_k": _Kind("precision-recall curves", "recall", "precision", flipped=True, has_points=True),
    None: _Kind("curves", "x", "y", is_square=False),
}


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: its name, and where it goes, float64 of shape `(points,)`."""

    name: str
    x: Tensor
    y: Tensor


def is_curve(value: Any) -> bool:
    """Whether a value is x and y, each of shape `(points,)` or `(lines, points)`, and perhaps thresholds."""
    if not isinstance(value, (tuple, list)) or len(value) < 2:
        return False
    x, y = value[:2]
    return isinstance(x, Tensor) and isinstance(y, Tensor) and x.shape == y.shape and x.dim() in (1, 2)


def curves_of(value: Any, look: Look, options: Options, name: str | None = None) -> list[Curve]:
    """Read the lines of one value.

    Args:
        value: A tuple or list of x, y, and perhaps thresholds: tensors of shape `(points,)` or `(lines, points)`, or
            lists of tensors.
        look: How it is drawn.
        options: What the user chose: the names of the lines, and whether their areas are told.
        name: Of the only line, or in front of all.

    Raises:
        TypeError: It is something else.
        ValueError: There is no line, or x and y have different lengths; or labels do not fit.
    """
    kind, title = CURVES[look.kind], look.title
    if not isinstance(value, (tuple, list)) or len(value) < 2 or isinstance(value[0], (int, float)):
        raise TypeError(
            f"{title}: a curve must be a tuple of two or more tensors, as `compute` gives it, but is {what_is(value)}"
            " instead."
        )
    first, second = (_lines(part, title) for part in value[:2])
    xs, ys = (second, first) if kind.flipped else (first, second)
    if not xs or [x.shape for x in xs] != [y.shape for y in ys]:
        shapes = [[tuple(line.shape) for line in part] for part in (xs, ys)]
        raise ValueError(f"{title}: {kind.x} and {kind.y} must have the same lengths, but have {shapes}.")
    is_one = len(xs) == 1 and not isinstance(value[0], list)
    names = [""] if is_one else named(options.labels, len(xs), title, look.each)
    names = [" ".join(filter(None, (name, one))) for one in names]
    found = []
    for index, (one, x, y) in enumerate(zip(names, xs, ys, strict=True)):
        if kind.has_points:  # nothing is known of what has no sample
            x, y = x[~y.isnan()], y[~y.isnan()]
        area = _score(options.score, index, len(xs), x, y, look)
        told = "" if area is None else f"area {area:.3f}"
        found.append(Curve(f"{one} ({told})" if one and told else one or told, x, y))
    return found


def curves(found: list[Curve], look: Look) -> Panel:
    """Draw lines into one pair of axes."""
    kind = CURVES[look.kind]

    def draw(axes: Axes, is_ours: bool) -> None:
        if kind.diagonal is not None:
            axes.plot([0, 1], [0, 1], linestyle=(0, (2, 3)), color="#8a8a8a", linewidth=1.2, label=kind.diagonal)
        for index, curve in enumerate(found):
            axes.plot(
                curve.x.tolist(),
                curve.y.tolist(),
                style_of(index),
                color=color_of(index, len(found)),
                linewidth=2.0,
                marker="o" if len(curve.x) == 1 or kind.has_points else "",
                drawstyle="steps-post" if kind.is_step else "default",
                label=shown(curve.name),
            )
        axes.set(xlabel=kind.x, ylabel=kind.y)
        if kind.is_square:
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
        frame(axes)
        if any(curve.name for curve in found):
            add_legend(axes, is_ours=is_ours)
        set_title(axes, look.title)

    names = [curve.name for curve in found if curve.name]
    beside = legend_width([*names, kind.diagonal or ""]) if names else 0.0
    return Panel((4.7 + beside, 4.5), draw)


def _lines(part: Any, metric: str) -> list[Tensor]:
    if isinstance(part, (list, tuple)):
        return [numbers_of(line, metric).reshape(-1) for line in part]
    numbers = numbers_of(part, metric)
    if numbers.dim() not in (1, 2):
        raise TypeError(
            f"{metric}: a curve must be of shape (points,) or (lines, points), but is {what_is(part)} instead."
        )
    return list(numbers) if numbers.dim() == 2 else [numbers]


def _score(score: Any, index: int, count: int, x: Tensor, y: Tensor, look: Look) -> float | None:
    """Give the area to tell of one line: what the user gave, or that below what is drawn; None if it is not wanted."""
    if score is None or score is False:
        return None
    if score is not True:
        given = numbers_of(torch.stack(list(score)) if isinstance(score, (list, tuple)) else score, look.title)
        if given.numel() not in (1, count):
            raise ValueError(
                f"{look.title}: `score` must be True, or {count} numbers, but is {what_is(score)} instead."
            )
        return float(given.reshape(-1)[index if given.numel() == count else 0])
    if not CURVES[look.kind].is_step:
        zero, one = x.new_zeros(1), x.new_ones(1)
        if look.kind == "roc":  # it begins below and ends above all thresholds, given ones too
            x, y = torch.cat((zero, x, one)), torch.cat((zero, y, one))
        return float(torch.trapezoid(y, x).abs())
    widths = (x[:-1] - x[1:]).abs()
    return float(torch.where(widths == 0, 0.0, widths * y[:-1]).sum())
