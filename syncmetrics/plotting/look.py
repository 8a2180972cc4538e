"""What a metric says of how it is drawn, and values as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from syncmetrics.metric import Metric

__all__ = ["Look", "Options", "look_of", "numbers_of", "what_is"]


@dataclass(frozen=True, slots=True)
class Look:
    """How the values of one metric are drawn.

    Attributes:
        title: Stands above the picture, and names the metric in errors.
        kind: Which drawing it is, see `Metric.plot_kind`.
        low: The least value there can be, if it is known.
        high: The greatest.
        each: What there are several of: "class" or "label".
        higher_is_better: Whether it is, if that is known.
    """

    title: str
    kind: str | None = None
    low: float | None = None
    high: float | None = None
    each: str = "class"
    higher_is_better: bool | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose: see `Metric.plot`."""

    labels: Sequence[str] | None = None
    add_text: bool = True
    cmap: Any = None
    score: Any = None


def look_of(metric: Metric, title: str | None = None) -> Look:
    """Read what a metric says of how it is drawn.

    Args:
        metric: The metric.
        title: What to call it; left out, the name of its class.
    """
    return Look(
        title=title or metric.plot_name or type(metric).__name__,
        kind=metric.plot_kind,
        low=metric.plot_lower_bound,
        high=metric.plot_upper_bound,
        each=(metric.plot_legend_name or "class").lower(),
        higher_is_better=metric.higher_is_better,
    )


def numbers_of(value: Any, metric: str) -> Tensor:
    """Give a value as float64 on the CPU, in its own shape.

    Raises:
        TypeError: It has none.
    """
    if isinstance(value, (bool, int, float)) or (hasattr(value, "__array__") and not isinstance(value, Tensor)):
        try:
            value = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"{metric}: {what_is(value)} cannot be drawn; give numbers, or tensors of them.") from None
    if not isinstance(value, Tensor) or value.is_complex():
        raise TypeError(f"{metric}: {what_is(value)} cannot be drawn; give numbers, or tensors of them.")
    return value.detach().cpu().double()


def what_is(value: Any) -> str:
    """Say what a value is, for an error."""
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor of shape {tuple(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {', '.join(sorted({type(item).__name__ for item in value})) or 'nothing'}"
    return f"a {type(value).__name__}"
