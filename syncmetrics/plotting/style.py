"""What all pictures have in common: where they are drawn, colours, titles, legends and the names of classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from syncmetrics.optional import load

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

__all__ = [
    "INK",
    "Panel",
    "add_legend",
    "as_plain_text",
    "color_of",
    "frame",
    "legend_width",
    "named",
    "paint",
    "points_of_axes",
    "set_title",
    "shown",
    "style_of",
]

INK = "#303030"
_COLORS = ("#1f5fa8", "#d9730d", "#2b8a57", "#b0336b", "#6d55b5", "#8a6a1f", "#3a9db0", "#707070")
_STYLES = ("-", "--", ":", "-.")
_MOST_COLUMNS = 3
_IN_LEGEND_COLUMN = 20
_MOST_INSIDE = 4  # names in a legend that stands between the lines


@dataclass(frozen=True, slots=True)
class Panel:
    """What goes into one pair of axes.

    Attributes:
        size: Width and height in inches that it would like to have.
        draw: Draws it. It is told whether the axes are ours, with room for a legend beside them.
    """

    size: tuple[float, float]
    draw: Callable[[Axes, bool], None]


def paint(panels: Sequence[Panel], ax: Any, *, needed_by: str, heading: str | None = None) -> tuple[Figure, Any]:
    """Draw panels into axes that were given, or into a new figure.

    Args:
        panels: What to draw.
        ax: Axes; for several panels a sequence or an array of as many. None for a new figure.
        needed_by: Who asks, for the error text.
        heading: Stands above a new figure.

    Returns:
        The figure, which belongs to no window, and its axes: an array of them for several panels.

    Raises:
        ImportError: matplotlib is missing.
        TypeError: `ax` is something else.
        ValueError: `ax` has another number of axes.
    """
    figures = load("matplotlib.figure", needed_by=needed_by, install="matplotlib")
    if ax is None:
        columns = min(len(panels), _MOST_COLUMNS)
        rows = math.ceil(len(panels) / columns)
        width, height = (max(panel.size[side] for panel in panels) for side in (0, 1))
        figure = figures.Figure(figsize=(width * columns, height * rows), layout="constrained", facecolor="white")
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
        if heading is not None:
            figure.suptitle(heading, color=INK, fontsize=13)
        places = [figure.add_subplot(rows, columns, index + 1) for index in range(len(panels))]
    else:
        places = _given(ax, len(panels), needed_by)
        figure = places[0].figure
    for place, panel in zip(places, panels, strict=True):
        panel.draw(place, ax is None)
    if len(places) == 1:
        return figure, places[0]
    return figure, load("numpy", needed_by=needed_by, install="numpy").array(places, dtype=object)


def _given(ax: Any, count: int, needed_by: str) -> list[Axes]:
    kind = load("matplotlib.axes", needed_by=needed_by, install="matplotlib").Axes
    given = [ax] if isinstance(ax, kind) else list(getattr(ax, "flat", ax)) if hasattr(ax, "__iter__") else [ax]
    if not given or not all(isinstance(one, kind) for one in given):
        raise TypeError(
            f"{needed_by}: `ax` must be Axes of matplotlib, or a sequence of them, but is a {type(ax).__name__}"
            " instead."
        )
    if len(given) != count:
        raise ValueError(
            f"{needed_by}: there {'is 1 panel' if count == 1 else f'are {count} panels'} to draw, but `ax` has"
            f" {len(given)} axes; leave `ax` out, or give as many."
        )
    return given


def named(labels: Sequence[str] | None, count: int, metric: str, each: str = "") -> list[str]:
    """Give the names of classes: those that the user gave, or numbers.

    Args:
        labels: What the user gave.
        count: How many classes there are.
        metric: Name for the error text.
        each: In front of each number.

    Raises:
        TypeError: The labels are no sequence.
        ValueError: They are more or fewer.
    """
    if labels is None:
        return [f"{each} {index}".strip() for index in range(count)]
    if isinstance(labels, str) or not hasattr(labels, "__len__"):
        raise TypeError(f"{metric}: `labels` must be a sequence of names, but is a {type(labels).__name__} instead.")
    if len(labels) != count:
        raise ValueError(f"{metric}: `labels` must name {count} classes, but names {len(labels)}.")
    return [str(label) for label in labels]


def color_of(index: int, count: int) -> Any:
    """Give the colour of one of so many lines: easy to tell apart if they are few, a rainbow if they are many."""
    if count <= len(_COLORS):
        return _COLORS[index]
    return load("matplotlib", needed_by="a picture", install="matplotlib").colormaps["turbo"](
        0.05 + 0.9 * index / count
    )


def style_of(index: int) -> str:
    """Give the dashes of a line. Lines may lie upon each other: the later ones are broken, so that the first shows."""
    return _STYLES[index % len(_STYLES)]


def set_title(axes: Axes, title: str) -> None:
    """Write the title, smaller if it is long."""
    longest = max(map(len, title.split("\n")))
    axes.set_title(title, color=INK, fontsize=11 if longest <= 40 else 8.5, loc="left", parse_math=False)


def shown(name: str) -> str:
    """Give the name of a line as matplotlib shows it: it leaves those out that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name or "_"


def as_plain_text(texts: Iterable[Text]) -> None:
    """Have names shown as they are: what stands between two dollars is no formula."""
    for text in texts:
        text.set_parse_math(False)


def frame(axes: Axes, grid: Any = "both") -> None:
    """Draw the grid and the frame."""
    axes.grid(axis=grid, color="#d8d8d8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)


def add_legend(axes: Axes, *, is_ours: bool) -> None:
    """Name the lines beside the axes, or, if they are few and nothing makes room there, where they are not covered."""
    names = axes.get_legend_handles_labels()[1]
    count = len(names)
    columns = math.ceil(count / _IN_LEGEND_COLUMN)
    size = 9 if count <= 12 else 7.5 if columns == 1 else 6.5
    has_room = is_ours or axes.figure.get_layout_engine() is not None
    if not has_room and count > _MOST_INSIDE:
        place, size = axes.get_position(), min(size, 7.5)
        inches = columns * (0.45 + 0.0065 * size * max(map(len, names)))
        width = inches / axes.figure.bbox.width * axes.figure.dpi  # as a share of the figure
        axes.set_position((place.x0, place.y0, max(place.width - width, 0.45 * place.width), place.height))
        has_room = True
    if has_room:
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0.0,
            frameon=False,
            ncols=columns,
            columnspacing=1.2,
            fontsize=size,
            labelcolor=INK,
        )
    else:
        axes.legend(loc="best", frameon=True, framealpha=0.7, edgecolor="none", fontsize=8, labelcolor=INK)
    legend = axes.get_legend()
    as_plain_text([] if legend is None else legend.get_texts())


def legend_width(names: Sequence[str]) -> float:
    """Give about how many inches a legend beside the axes takes."""
    if len(names) < 2:
        return 0.0
    letter = 0.075 if len(names) <= 12 else 0.065 if len(names) <= _IN_LEGEND_COLUMN else 0.056
    return math.ceil(len(names) / _IN_LEGEND_COLUMN) * (0.6 + letter * max(map(len, names)))


def points_of_axes(axes: Axes) -> tuple[float, float]:
    """Give about how wide and high axes are, in points."""
    box = axes.get_window_extent()
    scale = 72 / axes.figure.dpi  # pixels to points
    return box.width * scale, box.height * scale
