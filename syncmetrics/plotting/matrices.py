"""Matrices: confusion matrices above all, and other tables of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from syncmetrics.plotting.look import numbers_of
from syncmetrics.plotting.style import INK, Panel, as_plain_text, named, points_of_axes, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_matrix", "matrix"]

_MOST_TEXT, _LEAST_TEXT = 9.0, 4.5  # points; what is smaller cannot be read
_WIDE = 0.62  # width of a letter, in its size


def matrix(
    values: Tensor,
    title: str,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    is_confusion: bool = True,
    add_text: bool = True,
    cmap: Any = None,
) -> Panel:
    """Draw a matrix.

    Args:
        values: Of shape `(rows, columns)`, as they are: of counts the shade says the share of the row.
        title: Stands above it, and names the metric in errors.
        rows: Names of the rows; left out, they are numbered.
        columns: Names of the columns.
        is_confusion: Whether a row is what is true, and a column what was predicted.
        add_text: Whether the numbers are written, where they can be read.
        cmap: Colours, as matplotlib takes them.
    """
    numbers = numbers_of(values, title)
    names = named(rows, len(numbers), title), named(columns, numbers.shape[1], title)

    def draw(axes: Axes, is_ours: bool) -> None:
        _draw(axes, values, numbers, title, names, is_confusion, add_text, cmap, is_ours)

    longest = [max(map(len, some), default=0) for some in names]
    cell = 0.5 if len(numbers) <= 10 else 0.32 if len(numbers) <= 30 else 0.22
    width, height = (min(max(3.2, cell * count), 16.0) for count in reversed(numbers.shape))
    if not is_confusion and longest[1] > 1:
        width, height = max(width, 0.75 * numbers.shape[1]), min(max(1.2, 0.3 * len(numbers)), 16.0)
    return Panel((width + 1.0 + min(0.07 * longest[0], 2.0), height + 1.1 + min(0.07 * longest[1], 2.0)), draw)


def draw_matrix(axes: Axes, title: str, values: Tensor, labels: Sequence[str] | None = None) -> None:
    """Draw a matrix of which nothing is known but its numbers and its name.

    One of counts that has as many rows as columns is taken for a confusion matrix, and one that has the name of it.
    """
    rows, columns = values.shape
    is_confusion = rows == columns and (_are_counts(values) or "confusion" in title.lower() or labels is not None)
    panel = matrix(values, title, rows=labels, columns=labels, is_confusion=is_confusion)
    panel.draw(axes, False)


def _are_counts(values: Tensor) -> bool:
    return not values.is_floating_point() and not values.is_complex() and bool((values >= 0).all())


def _draw(
    axes: Axes,
    values: Tensor,
    numbers: Tensor,
    title: str,
    names: tuple[list[str], list[str]],
    is_confusion: bool,
    add_text: bool,
    cmap: Any,
    is_ours: bool,
) -> None:
    are_counts = _are_counts(values)
    shades = numbers / numbers.sum(dim=1, keepdim=True).clamp(min=1) if are_counts else numbers
    finite = shades[shades.isfinite()]
    low, high = (0.0, 1.0) if finite.numel() == 0 else (float(finite.min()), float(finite.max()))
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    shown = axes.imshow(
        shades.tolist(),
        cmap="Blues" if cmap is None else cmap,
        vmin=low,
        vmax=high if high > low else low + 1,
        aspect="equal" if is_confusion else "auto",
    )
    size = 0.0
    if add_text:
        texts = [[_text(value, are_counts) for value in row] for row in numbers.tolist()]
        width, height = points_of_axes(axes)
        cell = min(width / max(numbers.shape[1], 1), height / max(len(numbers), 1))
        longest = max((len(text) for row in texts for text in row), default=1)
        size = min(_MOST_TEXT, 0.6 * cell, 0.92 * cell / (_WIDE * longest))
        if size >= _LEAST_TEXT:
            _write(axes, shown, shades.tolist(), texts, size)
    if size < _LEAST_TEXT and is_ours:
        bar = axes.figure.colorbar(shown, ax=axes, shrink=0.8)
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=INK, labelsize=8)
        bar.set_label("share of the row" if are_counts else "", color=INK)
    if are_counts and is_confusion and numbers.shape[0] == numbers.shape[1]:
        told = f"{int(numbers.diagonal().sum())} of {int(numbers.sum())} on the diagonal"
        title = f"{title}: {told}" if len(title) + len(told) <= 48 else f"{title}\n{told}"
    set_title(axes, title)
    _name(axes, names)
    if is_confusion:
        axes.set_ylabel("true", color=INK)
        axes.set_xlabel("predicted", color=INK)
    axes.spines[:].set_visible(False)


def _name(axes: Axes, names: tuple[list[str], list[str]]) -> None:
    """Write the names of rows and columns, upright where they would run into each other; some, if all are too many."""
    width, height = points_of_axes(axes)
    down, across = names
    for axis, some, room in ((axes.yaxis, down, height), (axes.xaxis, across, width)):
        step = max(1, math.ceil(len(some) * 1.1 * _LEAST_TEXT / max(room, 1)))
        places = range(0, len(some), step)
        each = room / max(len(places), 1)
        axis.set_ticks(list(places), labels=[_short(some[place]) for place in places])
        as_plain_text(axis.get_ticklabels())
        size = max(_LEAST_TEXT, min(_MOST_TEXT, 0.85 * each))
        axis.set_tick_params(colors=INK, length=0, labelsize=size)
        longest = max((len(_short(some[place])) for place in places), default=0)
        if axis is axes.xaxis and longest * _WIDE * size > 0.95 * each:
            for label in axes.get_xticklabels():
                label.set(rotation=90 if each < 2.2 * size else 40, rotation_mode="anchor", ha="right")
                label.set_verticalalignment("center" if each < 2.2 * size else "top")


def _short(name: str, most: int = 28) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _write(axes: Axes, shown: Any, shades: list[list[float]], texts: list[list[str]], size: float) -> None:
    """Write the numbers, dark on light cells and light on dark ones."""
    for row, (values, line) in enumerate(zip(shades, texts, strict=True)):
        for column, (value, text) in enumerate(zip(values, line, strict=True)):
            red, green, blue, _ = shown.cmap(float(shown.norm(value))) if math.isfinite(value) else (1, 1, 1, 1)
            is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.55  # luma as of ITU-R BT.601
            color = "white" if is_dark else "#9a9a9a" if text == "0" else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=size, color=color)


def _text(value: float, is_count: bool) -> str:
    if is_count or value == 0:
        return str(int(value))
    return f"{value:.2f}" if 0.005 <= abs(value) < 100 else f"{value:.2g}"
