"""Metrics whose value is a curve, as far as drawing goes: `plot` takes its arguments as in torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from syncmetrics.metric import Metric

__all__ = ["CurveMetric"]


class CurveMetric(Metric):
    """A metric whose value is a curve."""

    def plot(  # type: ignore[override]  # in the order that torchmetrics has for curves
        self, curve: Any = None, score: Any = None, ax: Any = None, *, labels: Sequence[str] | None = None
    ) -> tuple[Any, Any]:
        """Draw the curve, or one for each class or label. It takes matplotlib.

        Collective if `curve` is None, as `compute`: every rank of the group must call this.

        Args:
            curve: What to draw: a curve that `compute` gave, or a list of such. Left out, `compute()` is.
            score: True to tell the area below each curve in the legend (of precision and recall that is the average
                precision); or what to tell in its place, one number for each line.
            ax: Axes to draw into; left out, those of a new figure.
            labels: Names of the classes.

        Returns:
            The figure and its axes, as for `Metric.plot`.

        Raises:
            ImportError: matplotlib is missing.
            TypeError: `curve` cannot be drawn, or an argument has the wrong type.
            ValueError: There is nothing to draw, or `labels` are more or fewer than the curves.
        """
        return super().plot(curve, ax, labels=labels, score=score)
