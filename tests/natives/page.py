"""The page that lists all metrics, made from the classes and the table of their samples."""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from typing import Any

from torch import Tensor

import syncmetrics
from syncmetrics import Metric
from tests.natives import ROWS
from tests.natives.native import Native, generator

__all__ = ["page"]

_ROOMS = {
    "classification": "Classification",
    "regression": "Regression",
    "retrieval": "Ranked lists",
    "text": "Text",
    "segmentation": "Masks",
    "image": "Images",
    "aggregation": "Values",
    "wrappers": "Around other metrics",
}
_SAMPLES = 40

_HEAD = """\
# All metrics

To find a metric, search this page for its name: names, arguments and defaults are those of torchmetrics where it has
the metric. Each is imported as `from syncmetrics import NAME`, or from the module of its family,
`syncmetrics.regression` say. The docstring of each has its arguments, its errors and an example; `AUROC(task="binary")`
and the like choose among `BinaryAUROC`, `MulticlassAUROC` and `MultilabelAUROC`.

- **States** are what a metric accumulates, and what a sync reduces over ranks. Metrics of one family with the same
  settings accumulate the same states: in a `MetricCollection` they are updated once and sent once.
- **Sent** is the size of these states on each rank, with the settings of the first example in the table of tests
  (`tests/natives`), and so is the memory that they take. "N" is the number of samples on the rank.
- **Exact**: "yes" means integers or kept samples, so that the value is the same to the last bit however the samples lie
  in batches and on ranks. "float64" means sums in float64, whose last bits depend on the order; "float64, or
  `exact=True`" can be summed without rounding. "yes, or binned" keeps all scores, or counts at `thresholds=`.
- **Also in** says which of torchmetrics and torcheval have a metric of that name.

What is not here (detection, audio, generative images) works as a metric of torchmetrics in our collection: see
[coming from torchmetrics](torchmetrics.md). This page is made by `scripts/metrics page`.
"""


def page() -> str:
    """Give the text of the page."""
    first: dict[str, Native] = {}
    for row in ROWS:
        first.setdefault(row.name, row)
    parts = [_HEAD]
    for room, title in _ROOMS.items():
        names = [name for name in syncmetrics._ROOMS[room] if _is_metric(getattr(syncmetrics, name))]
        lines = ["| metric | what it gives | states | sent | exact | also in |", "|---|---|---|---|---|---|"]
        lines += [_line(first[name]) for name in sorted(names) if name in first]
        others = sorted(set(syncmetrics._ROOMS[room]) - {name for name in names if name in first})
        told = f"\nBeside these: {', '.join(f'`{name}`' for name in others)}.\n" if others else ""
        parts.append(f"## {title}\n\n" + "\n".join(lines) + "\n" + told)
    return "\n".join(parts)


def _is_metric(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Metric)


def _line(row: Native) -> str:
    metric, cls = row.make(), getattr(syncmetrics, row.name)
    samples = row.draw(_SAMPLES, generator(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric.update(*samples, **row.update)
    cells = (f"`{row.name}`", _summary(cls), _states(metric), _sent(metric), _exact(metric, cls), _peers(row.name))
    return "| " + " | ".join(cells) + " |"


def _summary(cls: type) -> str:
    """Give the first paragraph of the docstring, which is a sentence or two."""
    text = inspect.getdoc(cls) or ""
    paragraphs = text.split("\n\n")
    found = " ".join(paragraphs[0].split())
    return found.replace("|", "\\|")


def _parts(metric: Any) -> list[Metric]:
    return [part for part in metric.modules() if isinstance(part, Metric)]


def _states(metric: Any) -> str:
    told = []
    for part in _parts(metric):
        for name, spec in part._holder.specs.items():
            reduction = "merged" if spec.reduction.name is None else str(spec.reduction.name)
            told.append(f"`{name}` {reduction}")
    return ", ".join(dict.fromkeys(told)) or "those inside"


def _sent(metric: Any) -> str:
    fixed, kept = 0, 0
    for part in _parts(metric):
        for name, spec in part._holder.specs.items():
            value = getattr(part, name)
            tensors = [value] if isinstance(value, Tensor) else [item for item in value if isinstance(item, Tensor)]
            size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            if spec.is_list:
                kept += size
            else:
                fixed += size
    each = f"{kept / _SAMPLES:.3g} B x N" if kept else ""
    return " + ".join(filter(None, (each, f"{fixed} B" if fixed else "")))


def _exact(metric: Any, cls: type) -> str:
    arguments = inspect.signature(cls).parameters
    specs = [spec for part in _parts(metric) for spec in part._holder.specs.values()]
    rounds = any(isinstance(s.default, Tensor) and s.default.is_floating_point() and s.reduction.adds for s in specs)
    rounds = rounds or any(s.reduction.name is None and isinstance(s.default, Tensor) for s in specs)
    if "exact" in arguments:
        return "float64, or `exact=True`"
    if "thresholds" in arguments:
        return "yes, or binned"
    if issubclass(cls, syncmetrics.wrappers.ClasswiseWrapper) or not specs:
        return "as inside"
    return "float64" if rounds else "yes"


def _peers(name: str) -> str:
    found = []
    for family in ("classification", "retrieval", "regression", "aggregation", "text", "segmentation", "image"):
        if hasattr(importlib.import_module(f"torchmetrics.{family}"), name):
            found.append("torchmetrics")
            break
    else:
        if hasattr(importlib.import_module("torchmetrics.wrappers"), name) or name == "CompositionalMetric":
            found.append("torchmetrics")
    plain = re.sub("Score$", "", name)
    theirs = importlib.import_module("torcheval.metrics")
    if any(hasattr(theirs, one) for one in (name, plain)):
        found.append("torcheval")
    return ", ".join(found)
