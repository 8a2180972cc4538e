"""Pictures of values that are no numbers: confusion matrices, curves, values of classes. It takes matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_value"]

_MOST_NUMBERS = 20  # a matrix with more classes is drawn without its numbers


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
        ModuleNotFoundError: matplotlib is missing.
        TypeError: The value is none of these.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures take matplotlib: pip install 'syncmetrics[demo]'.", name=error.name
        ) from error
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    if isinstance(value, (tuple, list)) and len(value) >= 2 and all(isinstance(item, Tensor) for item in value[:2]):
        _draw_curve(axes, *value[:2])
    elif isinstance(value, Tensor) and value.dim() == 2:
        _draw_matrix(axes, value.detach().cpu(), labels)
    elif isinstance(value, Tensor) and value.dim() == 1:
        _draw_bars(axes, value.detach().cpu(), labels)
    else:
        given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise TypeError(f"`value` must be a matrix, values of classes, or a tuple of x and y, but is {given} instead.")
    axes.set_title(title)
    return figure


def _draw_matrix(axes: Axes, matrix: Tensor, labels: Sequence[str] | None) -> None:
    """Draw counts, or shares, as colours: of each row by itself, for the classes may be of very different size."""
    shares = matrix.double() / matrix.double().sum(dim=1, keepdim=True).clamp(min=1e-300)
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    rows, columns = matrix.shape
    if max(rows, columns) <= _MOST_NUMBERS:
        for row in range(rows):
            for column in range(columns):
                if matrix[row, column]:
                    color = "white" if shares[row, column] > 0.5 else "black"
                    number = matrix[row, column].item()
                    text = f"{number:.3g}" if matrix.is_floating_point() else str(number)
                    axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
        axes.set_xticks(range(columns), labels=_names(labels, columns))
        axes.set_yticks(range(rows), labels=_names(labels, rows))
    axes.set(xlabel="predicted", ylabel="target")


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
