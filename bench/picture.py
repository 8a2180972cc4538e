"""The picture: the headline rows as bars, and how the cost grows."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.report import best_of
from bench.units import amount, factor, tick
from bench.verdict import Result

__all__ = ["draw"]

_COLORS = {"ours": "#0b6e99", "peer": "#d9822b", "raw": "#9aa5ad"}
_NAMES = {"ours": "syncmetrics", "peer": "its peer", "raw": "by hand"}
_GAP = 0.26
_BARS = 24


def draw(path: Path, results: Sequence[Result], facts: Mapping[str, Any]) -> None:
    """Draw what was measured into a file."""
    timed = [r for r in results if r["unit"] == "s" and r["contenders"] and best_of(r, "ours")]
    shown = ([r for r in timed if r["headline"]] or timed)[:_BARS]
    height = max(6.4, 1.8 + 0.5 * len(shown))
    figure = Figure(figsize=(15, height), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.7, 1))
    _bars(figure.add_subplot(grid[:, 0]), shown)
    many = [r for r in timed if r["row"] == "many"]
    worlds = [r for r in timed if r["row"] == "worlds"]
    _curve(figure.add_subplot(grid[0, 1]), many, lambda r: r["params"]["metrics"], "metrics, 2 ranks")
    _curve(figure.add_subplot(grid[1, 1]), worlds, lambda r: r["world"], "ranks, 18 metrics")
    figure.suptitle(f"Medians; torch {facts['torch']}, {facts['backend']}, {facts['cores']} cores", fontsize=11)
    figure.savefig(path, dpi=110)


def _bars(axes: Axes, shown: Sequence[Result]) -> None:
    axes.set_title("time by row, with quartiles (shorter is better)", loc="left", fontsize=11)
    for index, result in enumerate(shown):
        present = [role for role in _COLORS if _spread(result, role) is not None]
        for place, role in enumerate(present):
            spread = _spread(result, role)
            assert spread is not None
            y = index + (place - (len(present) - 1) / 2) * _GAP
            axes.barh(y, spread["median"], height=_GAP * 0.92, color=_COLORS[role])
            axes.plot([spread["q1"], spread["q3"]], [y, y], color="#222222", linewidth=1)
            axes.text(spread["q3"] * 1.12, y, _beside(result, role, spread), va="center", fontsize=7.5)
    axes.set_xscale("log")
    axes.set_yticks(range(len(shown)), [_label(result) for result in shown], fontsize=8.5)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 9)  # room for the text behind the longest bar
    _seconds(axes.xaxis)
    _frame(axes, "x")
    patches = [Patch(color=color, label=_NAMES[role]) for role, color in _COLORS.items()]
    axes.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.025), ncol=3, fontsize=9)


def _label(result: Result) -> str:
    words = "\n".join(textwrap.wrap(f"{result['row']}: {result['label']}", 44))
    return words if result["world"] == 1 else f"{words}\n{result['world']} ranks"


def _beside(result: Result, role: str, spread: Mapping[str, float]) -> str:
    text = amount(spread["median"], "s")
    ratio = result["ratios"].get(role)
    if role == "peer" and ratio is not None:
        text += f"  ({factor(ratio['median'])} ours)"
    return text


def _spread(result: Result, role: str) -> Mapping[str, float] | None:
    contender = best_of(result, role)
    return None if contender is None else contender["spread"]


def _curve(axes: Axes, results: Sequence[Result], at: Any, name: str) -> None:
    axes.set_title(f"time of compute() by number of {name}", loc="left", fontsize=11)
    if not results:
        axes.text(0.5, 0.5, "not measured in this run", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    for role, color in _COLORS.items():
        points = [(at(r), _spread(r, role), best_of(r, role)) for r in results]
        kept = [(x, spread, best) for x, spread, best in points if spread is not None and best is not None]
        if not kept:
            continue
        x = [point[0] for point in kept]
        middle = [point[1]["median"] for point in kept]
        axes.plot(x, middle, marker="o", color=color, label=_NAMES[role])
        axes.fill_between(x, [p[1]["q1"] for p in kept], [p[1]["q3"] for p in kept], color=color, alpha=0.2, lw=0)
        for where, height, (_, _, best) in zip(x, middle, kept, strict=True):
            number = sum(best["calls"].values())
            axes.annotate(
                f"{number:,}", (where, height), xytext=(0, 6), textcoords="offset points", fontsize=8, ha="center"
            )
    axes.set_yscale("log")
    axes.set_xscale("log")
    ticks = sorted({at(r) for r in results})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.margins(y=0.15)
    axes.set_xlabel(f"{name.partition(',')[0]}   (beside the points: number of collectives)")
    _seconds(axes.yaxis)
    _frame(axes, "both")
    axes.legend(fontsize=9, loc="best")


def _seconds(axis: Any) -> None:
    axis.set_major_formatter(lambda value, _: tick(value))


def _frame(axes: Axes, grid: Any) -> None:
    axes.grid(axis=grid, color="#e3e6e8", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
