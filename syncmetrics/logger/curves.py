"""Pictures of what was logged: curves over the epochs, and matrices. They take matplotlib, and leave pyplot alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from syncmetrics.logger.records import Record
from syncmetrics.optional import load
from syncmetrics.plotting import INK, draw_matrix

__all__ = ["draw_history", "matrix_image", "panels_of"]

_COLORS = ("#1f5fa8", "#d9730d", "#2b8a57", "#b0336b", "#6d55b5", "#8a6a1f", "#3a9db0", "#707070")
_STYLES = ("-", "--", ":", "-.")
_MOST_COLUMNS = 3
_MATRIX_SIZE = 4.2  # inches


def panels_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Put names that end alike, "train/loss" and "val/loss", into one panel."""
    panels: dict[str, list[str]] = {}
    for name in names:
        panels.setdefault(name.rpartition("/")[2], []).append(name)
    return panels


def draw_history(
    history: Sequence[Record],
    path: Path,
    *,
    title: str | None = None,
    panels: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Draw the scalars of all epochs and the matrices of the last one into a file.

    Args:
        history: Records of epochs.
        path: The file; its ending says the format. Its folder is made.
        title: Stands above the picture.
        panels: Which values go into one panel, by its title; left out, see `panels_of`.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: There is no record, or a panel names a value that no record has.
    """
    if not history:
        raise ValueError("there is no epoch to draw yet; call `end_epoch` first.")
    names = list(dict.fromkeys(name for record in history for name in record.scalars))
    chosen = panels_of(names) if panels is None else panels
    unknown = sorted({name for members in chosen.values() for name in members} - set(names))
    if unknown:
        raise ValueError(f"`panels` must name values that were logged, {names}, but names {unknown}.")
    matrices = {name: values for name, values in history[-1].arrays.items() if values.dim() == 2}
    figure, places = _grid(len(chosen) + len(matrices), title)
    for axes, (head, members) in zip(places, chosen.items(), strict=False):
        _draw_curves(axes, head, {name: _points(history, name) for name in members})
    for axes, (name, values) in zip(places[len(chosen) :], matrices.items(), strict=True):
        draw_matrix(axes, name, values)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def matrix_image(name: str, values: Tensor) -> Tensor:
    """Draw a matrix.

    Args:
        name: Stands above it.
        values: Of shape `(rows, columns)`.

    Returns:
        The picture, uint8 of shape `(height, width, 3)`.

    Raises:
        ImportError: matplotlib is not installed.
    """
    agg = load("matplotlib.backends.backend_agg", needed_by="a picture of a matrix", install="matplotlib")
    figure, (axes,) = _grid(1, None)
    canvas = agg.FigureCanvasAgg(figure)
    draw_matrix(axes, name, values)
    canvas.draw()
    width, height = canvas.get_width_height()
    pixels = torch.frombuffer(bytearray(canvas.buffer_rgba()), dtype=torch.uint8)
    return pixels.reshape(height, width, 4)[:, :, :3].contiguous()


def _grid(count: int, title: str | None) -> tuple[Any, list[Any]]:
    figure_module = load("matplotlib.figure", needed_by="a picture", install="matplotlib")
    columns = min(count, _MOST_COLUMNS)
    rows = -(-count // max(columns, 1))
    size = (_MATRIX_SIZE + 0.4) * max(columns, 1), _MATRIX_SIZE * max(rows, 1)
    figure = figure_module.Figure(figsize=size, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    if title is not None:
        figure.suptitle(title, color=INK, fontsize=13)
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(count)]


def _points(history: Sequence[Record], name: str) -> tuple[list[int], list[float]]:
    pairs = [(r.epoch, r.scalars[name]) for r in history if name in r.scalars]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def _draw_curves(axes: Any, title: str, curves: Mapping[str, tuple[list[int], list[float]]]) -> None:
    ending = f"/{title}"
    for index, (name, (epochs, values)) in enumerate(curves.items()):
        # Curves may lie upon each other: the later ones are broken and thinner, so that the earlier ones show.
        style = _STYLES[index % len(_STYLES)]
        axes.plot(
            epochs,
            values,
            style,
            color=_COLORS[index % len(_COLORS)],
            linewidth=2.2 if index == 0 else 1.8,
            marker="o",
            markersize=4 if len(epochs) <= 40 else 0,
            label=name.removesuffix(ending),
        )
    only = next(iter(curves)) if len(curves) == 1 else ""
    axes.set_title(only if only.endswith(ending) else title, color=INK, fontsize=11, loc="left")
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.grid(color="#d8d8d8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
