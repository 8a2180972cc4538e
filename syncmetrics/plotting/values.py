"""Numbers: one, one for each class, and how they change from step to step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from syncmetrics.plotting.look import Look
from syncmetrics.plotting.style import (
    INK,
    Panel,
    add_legend,
    as_plain_text,
    color_of,
    frame,
    legend_width,
    points_of_axes,
    set_title,
    shown,
    style_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["bars", "draw_lines", "lines"]

_MOST_MARKERS = 40  # of a line with more points only the line is drawn
_MOST_TEXT = 9.0  # points
_LEAST_TEXT = 4.5  # what is smaller cannot be read
_MOST_ROW = 70.0  # height of a bar, in points


def bars(
    groups: Mapping[str, Sequence[float]], names: Sequence[str], look: Look, texts: Sequence[str] | None = None
) -> Panel:
    """Draw a bar for each name, or as many as there are groups, with its number, within the bounds of the metric.

    Args:
        groups: Numbers by what they are of, for each of the names.
        names: Stand beside the bars.
        look: How they are drawn.
        texts: Written in place of the numbers of the only group.
    """
    count = sum(len(values) for values in groups.values())
    height = 1.15 + max(0.24 * count, 0.55 * min(count, 4))
    width = 4.6 + min(0.07 * max(map(len, names), default=0), 2.2)

    def draw(axes: Axes, is_ours: bool) -> None:
        _limit(axes, [value for values in groups.values() for value in values], look)
        high = points_of_axes(axes)[1]
        size, row_size = (min(_MOST_TEXT, 0.75 * high / max(number, 1)) for number in (count, len(names)))
        thick = 0.8 / len(groups)
        for index, (name, values) in enumerate(groups.items()):
            color = color_of(index, len(groups))
            places = [row + (index - (len(groups) - 1) / 2) * thick for row in range(len(values))]
            axes.barh(places, [_finite(v) for v in values], height=0.92 * thick, color=color, label=shown(name))
            if size >= _LEAST_TEXT:
                for row, (place, value) in enumerate(zip(places, values, strict=True)):
                    _write(axes, place, value, _text(value) if texts is None else texts[row], size)
        if names == [""]:
            axes.set_yticks([])
        elif row_size >= _LEAST_TEXT:
            axes.set_yticks(range(len(names)), labels=[_short(name) for name in names])
            as_plain_text(axes.get_yticklabels())
        spare = max(0.0, high / _MOST_ROW - len(names)) / 2
        axes.set_ylim(len(names) - 0.4 + spare, -0.6 - spare)  # the first class at the top
        if look.higher_is_better is not None:
            axes.set_xlabel("higher is better" if look.higher_is_better else "lower is better", fontsize=8.5)
        frame(axes, "x")
        axes.tick_params(axis="y", length=0, labelsize=max(row_size, _LEAST_TEXT))
        if len(groups) > 1:
            add_legend(axes, is_ours=is_ours)
        set_title(axes, look.title)

    return Panel((width + legend_width(list(groups)), height), draw)


def lines(values: Mapping[str, Sequence[float]], look: Look, x_name: str = "step") -> Panel:
    """Draw a line for each name over the steps, numbered from 0."""

    def draw(axes: Axes, is_ours: bool) -> None:
        points = {name: (list(range(len(ys))), list(ys)) for name, ys in values.items()}
        draw_lines(axes, look.title, points, x_name=x_name, is_ours=is_ours)
        low, high = axes.get_ylim()
        shown = [y for ys in values.values() for y in ys if math.isfinite(y)]
        # As close as the values allow, but no room for what cannot be.
        if look.low is not None and shown and min(shown) >= look.low:
            low = max(low, look.low - 0.02 * (high - look.low))
        if look.high is not None and shown and max(shown) <= look.high:
            high = min(high, look.high + 0.02 * (look.high - low))
        if high > low:
            axes.set_ylim(low, high)

    return Panel((5.2 + legend_width(list(values)), 3.9), draw)


def draw_lines(
    axes: Axes,
    title: str,
    points: Mapping[str, tuple[Sequence[int], Sequence[float]]],
    *,
    x_name: str,
    is_ours: bool,
) -> None:
    """Draw a line for each name.

    Args:
        axes: Where.
        title: Stands above.
        points: Of each line, x and y. What is not finite leaves a gap, and is told below the axis.
        x_name: Name of the axis.
        is_ours: Whether the figure is, so that there is room for a legend beside the axes.
    """
    missing = 0
    for index, (name, (x, y)) in enumerate(points.items()):
        missing += sum(not math.isfinite(value) for value in y)
        axes.plot(
            x,
            [_finite(value) for value in y],
            style_of(index),
            color=color_of(index, len(points)),
            linewidth=2.2 if index == 0 else 1.8,
            marker="o",
            markersize=4 if len(x) <= _MOST_MARKERS else 0,
            label=shown(name),
        )
    set_title(axes, title)
    told = f" ({missing} {'value is' if missing == 1 else 'values are'} not finite)" if missing else ""
    axes.set_xlabel(f"{x_name}{told}")
    axes.locator_params("x", integer=True, min_n_ticks=1)
    frame(axes)
    if len(points) > 1:
        add_legend(axes, is_ours=is_ours)


def _limit(axes: Axes, values: Sequence[float], look: Look) -> None:
    """Show all values, from zero on, and the bounds."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(0.0, *finite, 0.0), max(0.0, *finite, 0.0)
    room = 0.22 * (high - low)  # for numbers beside the bars
    left = look.low if look.low is not None and look.low <= low else low - (room if low < 0 else 0)
    right = look.high if look.high is not None and look.high >= high else high + (room if high > 0 else 0)
    axes.set_xlim(left, right if right > left else left + 1)
    if left < 0 < right:
        axes.axvline(0, color=INK, linewidth=0.8)


def _write(axes: Axes, place: float, value: float, text: str, size: float) -> None:
    """Write a number at the end of its bar: into the bar if it is long, else behind it."""
    left, right = axes.get_xlim()
    length = _finite(value) / (right - left)
    end, is_long = (0.0, False) if math.isnan(length) else (value, abs(length) >= 0.3)
    is_left = end < 0
    towards = 1 if is_left == is_long else -1  # away from the end, in the direction of the text
    axes.annotate(
        text,
        (end, place),
        xytext=(4 * towards, 0),
        textcoords="offset points",
        va="center",
        ha="left" if towards > 0 else "right",
        fontsize=size,
        color="white" if is_long else INK,
    )


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _text(value: float) -> str:
    if math.isfinite(value) and value == int(value) and abs(value) < 1e7:
        return str(int(value))
    return f"{value:.4g}"


def _short(name: str, most: int = 42) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
