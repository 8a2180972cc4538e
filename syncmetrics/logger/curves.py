"""Pictures of what was logged: curves over the epochs, and matrices. They take matplotlib, and leave pyplot alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from syncmetrics.logger.records import Record
from syncmetrics.optional import load
from syncmetrics.plotting import Panel, draw_lines, draw_matrix, paint

__all__ = ["draw_history", "matrix_image", "panels_of"]

_SIZE = (4.9, 4.2)  # of a panel, in inches


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
    drawn = [Panel(_SIZE, _lines(history, head, members)) for head, members in chosen.items()]
    drawn += [Panel(_SIZE, _matrix(name, values)) for name, values in matrices.items()]
    figure, _ = paint(drawn, None, needed_by="a picture", heading=title)
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
    figure, _ = paint([Panel(_SIZE, _matrix(name, values))], None, needed_by="a picture of a matrix")
    canvas = agg.FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    pixels = torch.frombuffer(bytearray(canvas.buffer_rgba()), dtype=torch.uint8)
    return pixels.reshape(height, width, 4)[:, :, :3].contiguous()


def _points(history: Sequence[Record], name: str) -> tuple[list[int], list[float]]:
    pairs = [(r.epoch, r.scalars[name]) for r in history if name in r.scalars]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]


def _lines(history: Sequence[Record], title: str, names: Sequence[str]) -> Callable[[Any, bool], None]:
    ending = f"/{title}"
    head = names[0] if len(names) == 1 and names[0].endswith(ending) else title
    points = {name.removesuffix(ending): _points(history, name) for name in names}

    def draw(axes: Any, is_ours: bool) -> None:
        draw_lines(axes, head, points, x_name="epoch", is_ours=is_ours)

    return draw


def _matrix(name: str, values: Tensor) -> Callable[[Any, bool], None]:
    return lambda axes, _: draw_matrix(axes, name, values)
