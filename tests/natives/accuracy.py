"""How far values are from the truth in float64, ours and those of torchmetrics, for inputs of four dtypes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.natives import ROWS
from tests.natives.native import Native, Samples, generator, leaves, take
from tests.natives.regression import far
from tests.natives.text import perplexity

__all__ = ["DTYPES", "Errors", "errors_of", "judged", "page"]

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_COUNT, _BATCH = 480, 40
#: A value that is rounded once to float32, or summed in float64, is as right as it can be.
_ROUNDED = {torch.float32: 1.2e-7, torch.float64: 2e-12}


def _tokens(n: int, gen: torch.Generator) -> Samples:
    return 6 * torch.randn(n, 8, 500, generator=gen), torch.randint(0, 500, (n, 8), generator=gen)


def _large(n: int, gen: torch.Generator) -> Samples:
    return (1000 + torch.rand(n, 300, generator=gen),)


def _of(name: str) -> Callable[..., Any]:
    return next(row.truth for row in ROWS if row.name == name and row.truth is not None and not row.options)


def _hard() -> list[tuple[str, Native]]:
    """Rows of data that users have, and that a sum in the dtype of the data does not survive."""
    spread = ("R2Score", "ExplainedVariance", "PearsonCorrCoef", "ConcordanceCorrCoef", "RelativeSquaredError")
    return [
        *((f"{name} of numbers around 10,000", Native(name, far, truth=_of(name))) for name in spread),
        ("Perplexity of 500 tokens", Native("Perplexity", _tokens, truth=perplexity, digits=1e-6)),
        ("SumMetric of numbers around 1,000", Native("SumMetric", _large, truth=lambda x: math.fsum(x.flatten()))),
        ("MeanMetric of numbers around 1,000", Native("MeanMetric", _large, truth=lambda x: float(x.mean()))),
    ]


def judged() -> list[tuple[str, Native]]:
    """Give all rows that have a truth and a peer, each with a name."""
    return [*((row.call, row) for row in ROWS if row.truth is not None and row.peer), *_hard()]


@dataclass(frozen=True, slots=True)
class Errors:
    """Largest errors of a metric for one dtype of inputs, in parts of the largest value.

    Attributes:
        ours: Of ours.
        theirs: Of torchmetrics; None where it raises.
        bound: What ours may have in any case.
        told: Name of the error that torchmetrics raises.
    """

    ours: float
    theirs: float | None
    bound: float
    told: str = ""


def errors_of(row: Native, dtype: torch.dtype) -> Errors | None:
    """Measure both; None where the data has no truth."""
    assert row.truth is not None
    samples = _cast(row.draw(_COUNT, generator(11)), dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = row.truth(*_cast(samples, torch.float64), **row.update)
        if right is None:
            return None
        ours = _value(row.make(), row, samples)
        try:
            theirs = _distance(_value(row.make_peer(), row, samples), right)
        except (RuntimeError, ValueError, TypeError) as error:
            return Errors(_distance(ours, right), None, _bound(ours), type(error).__name__)
    return Errors(_distance(ours, right), theirs, _bound(ours))


def _cast(samples: Samples, dtype: torch.dtype) -> Samples:
    return tuple(v.to(dtype) if isinstance(v, Tensor) and v.is_floating_point() else v for v in samples)


def _value(metric: Any, row: Native, samples: Samples) -> list[Tensor]:
    for start in range(0, _COUNT, _BATCH):
        metric.update(*take(samples, range(start, start + _BATCH)), **row.update)
    return leaves(metric.compute())


def _bound(value: Sequence[Tensor]) -> float:
    return max(_ROUNDED.get(leaf.dtype, 0.0) for leaf in value)


def _distance(value: Sequence[Tensor], right: Any) -> float:
    wanted = [right] if len(value) == 1 else right
    found = np.concatenate([leaf.double().numpy().reshape(-1) for leaf in value])
    true = np.concatenate([np.asarray(one, dtype=float).reshape(-1) for one in wanted])
    if found.shape != true.shape:
        return math.inf
    both_nan = np.isnan(found) & np.isnan(true)
    apart = np.where(both_nan, 0.0, np.abs(found - true))
    if np.isnan(apart).any():
        return math.inf
    return float(apart.max() / max(1e-300, float(np.nanmax(np.abs(true), initial=1e-3))))


_HEAD = """\
# How right the values are

To see what a value is worth when inputs are in half precision, look for the metric below. The truth is what
scikit-learn, scipy or a formula written out gives in float64, for the inputs as they are (rounded to their dtype
before). Each number is the largest error in parts of the largest value, ours first and that of torchmetrics {version}
after it, over {count} samples in batches of {batch}. Sums of ours are kept in float64, and values are rounded once: to
float32 where the value is a ratio of counts, which leaves 6e-8.

Metrics of labels and counts that are right to the last bit of float32 in both libraries for all dtypes are at the end.
This page is made by `scripts/metrics accuracy` on a CPU; that ours is never the larger is a test
(`tests/laws/test_accuracy.py`).
"""


def page() -> str:
    """Give the text of the page."""
    import torchmetrics

    lines, equal = [], []
    for name, row in judged():
        found = [errors_of(row, dtype) for dtype in DTYPES]
        if any(one is None for one in found):
            continue
        errors = [one for one in found if one is not None]
        if all(max(one.ours, one.theirs if one.theirs is not None else math.inf) <= one.bound for one in errors):
            equal.append(name)
        else:
            lines.append(f"| `{name}` | " + " | ".join(map(_cell, errors)) + " |")
    head = _HEAD.format(version=torchmetrics.__version__, count=_COUNT, batch=_BATCH)
    table = "\n".join(["| metric | float64 | float32 | float16 | bfloat16 |", "|---|---|---|---|---|", *lines])
    figures = f'<div class="figures" markdown>\n\n{table}\n\n</div>'
    return f"{head}\n{figures}\n\n## Right in both libraries\n\n" + "\n".join(f"- `{name}`" for name in equal) + "\n"


def _cell(errors: Errors) -> str:
    theirs = errors.told if errors.theirs is None else _number(errors.theirs)
    return f"{_number(errors.ours)}, {theirs}"


def _number(error: float) -> str:
    return "0" if error == 0 else "wrong" if math.isinf(error) else f"{error:.0e}"
