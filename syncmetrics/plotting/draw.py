"""Pictures of values that are no numbers: confusion matrices, curves, values of classes. It takes matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from syncmetrics.optional import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "draw_matrix", "draw_value"]

INK = "#303030"
_MOST_NUMBERS = 20  # in a matrix with more rows, numbers would not be readable


def draw_value(value: Any, *, title: str = "", labels: Sequence[str] | None = None) -> Figure:
    """Draw a value.

    Args:
        value: A matrix of shape `(n, n)`, rows the target and columns what was predicted; values of classes, of shape
            `(n,)`; or a curve: a tuple of its x and y, of shape `(points,)`, whose third item, thresholds, is left out.
        title: Above the picture.
        labels: Names of the classes.

    Returns:
        A `matplotlib.figure.Figure`, which belongs to no window.

    Raises:
        ImportError: matplotlib is missing.
        TypeError: The value is none of these.
    """
    matplotlib = load("matplotlib.figure", needed_by="a picture", install="matplotlib")
    figure: Figure = matplotlib.Figure(figsize=(5.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    if isinstance(value, (tuple, list)) and len(value) >= 2 and all(isinstance(item, Tensor) for item in value[:2]):
        _draw_curve(axes, *value[:2])
    elif isinstance(value, Tensor) and value.dim() == 2:
        draw_matrix(axes, title, value.detach(), labels)
    elif isinstance(value, Tensor) and value.dim() == 1:
        _draw_bars(axes, value.detach().cpu(), labels)
    else:
        given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise TypeError(f"`value` must be a matrix, values of classes, or a tuple of x and y, but is {given} instead.")
    if not axes.get_title(loc="left"):
        axes.set_title(title, color=INK, fontsize=11, loc="left")
    return figure


def draw_matrix(axes: Any, name: str, values: Tensor, labels: Sequence[str] | None = None) -> None:
    """Draw a matrix; the shade says the share of a number in its row, of counts, and otherwise its size."""
    numbers = values.detach().double().cpu()
    rows, columns = numbers.shape
    is_count = not values.is_floating_point() and bool((numbers >= 0).all())
    shades = numbers / numbers.sum(dim=1, keepdim=True).clamp(min=1) if is_count else numbers
    finite = shades[shades.isfinite()]
    low, high = (0.0, 1.0) if is_count or finite.numel() == 0 else (float(finite.min()), float(finite.max()))
    axes.imshow(shades.tolist(), cmap="Blues", vmin=low, vmax=high if high > low else low + 1)
    if max(rows, columns) <= _MOST_NUMBERS:
        for row in range(rows):
            for column in range(columns):
                _write_number(axes, row, column, float(numbers[row, column]), float(shades[row, column]), (low, high))
        axes.set_xticks(range(columns), labels=_names(labels, columns))
        axes.set_yticks(range(rows), labels=_names(labels, rows))
    title = name
    if is_count and rows == columns:
        title = f"{name}: {int(numbers.diagonal().sum())} of {int(numbers.sum())} on the diagonal"
    axes.set_title(title, color=INK, fontsize=11, loc="left")
    across, down = ("predicted", "target") if labels is not None or "confusion" in name.lower() else ("column", "row")
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(down, color=INK)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.spines[:].set_visible(False)


def _write_number(axes: Any, row: int, column: int, number: float, shade: float, limits: tuple[float, float]) -> None:
    if number == 0:
        return
    low, high = limits
    is_dark = math.isfinite(shade) and high > low and (shade - low) / (high - low) > 0.5
    text = str(int(number)) if number.is_integer() else f"{number:.2g}"
    axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if is_dark else INK)


def _draw_bars(axes: Axes, values: Tensor, labels: Sequence[str] | None) -> None:
    names = _names(labels, len(values))
    axes.bar(range(len(values)), values.double().numpy(), color="#4C78A8")
    if len(values) <= _MOST_NUMBERS:
        axes.set_xticks(range(len(values)), labels=names)
    axes.set(xlabel="class", ylabel="value")
    axes.grid(axis="y", alpha=0.3)


def _draw_curve(axes: Axes, x: Tensor, y: Tensor) -> None:
    pairs = zip(x, y, strict=True) if x.dim() == 2 else [(x, y)]
    for index, (xs, ys) in enumerate(pairs):
        axes.plot(xs.detach().cpu().double().numpy(), ys.detach().cpu().double().numpy(), label=f"class {index}")
    if x.dim() == 2:
        axes.legend()
    axes.grid(alpha=0.3)


def _names(labels: Sequence[str] | None, count: int) -> list[str]:
    if labels is None:
        return [str(index) for index in range(count)]
    if len(labels) != count:
        raise ValueError(f"`labels` must name {count} classes, but names {len(labels)}.")
    return list(labels)
