"""Rows of the table: aggregates of a stream of values, against numpy and `math.fsum`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.natives.native import Native, Samples

__all__ = ["ROWS"]


def _values(n: int, generator: torch.Generator) -> Samples:
    return (torch.randn(n, generator=generator),)


def _tables(n: int, generator: torch.Generator) -> Samples:
    return (torch.randn(n, 3, generator=generator),)


def _integers(n: int, generator: torch.Generator) -> Samples:
    return (torch.randint(-9, 9, (n,), generator=generator),)


def _with_nan(n: int, generator: torch.Generator) -> Samples:
    values = torch.randn(n, generator=generator)
    return (values.masked_fill(torch.rand(n, generator=generator) > 0.7, math.nan),)


def _weighted(n: int, generator: torch.Generator) -> Samples:
    return torch.randn(n, generator=generator), torch.rand(n, generator=generator) + 0.1


def _weighted_with_nan(n: int, generator: torch.Generator) -> Samples:
    values, weights = _weighted(n, generator)
    return _with_nan(n, generator)[0], weights.masked_fill(values > 1, math.nan)


def _of(function: Callable[[Any], Any], number: float | None = None) -> Callable[[Tensor], Any]:
    """Give the truth of a function of all values: NaN is left out, or a number stands in its place."""

    def truth(values: Tensor) -> Any:
        flat = values.double().flatten()
        return function((flat[~flat.isnan()] if number is None else flat.nan_to_num(number)).numpy())

    return truth


def _mean(values: Tensor, weights: Tensor) -> float:
    kept = ~(values.isnan() | weights.isnan())
    values, weights = values[kept], weights[kept]
    return math.fsum((values * weights).tolist()) / math.fsum(weights.tolist())


def _quantile(q: Any, method: Any = "linear") -> Callable[[Any], Any]:
    return lambda values: np.quantile(values, q, method=method)


#: Of half precision, in which the values are and so are their quantiles.
_HALF = 1e-2

ROWS: list[Native] = [
    Native("SumMetric", _values, truth=_of(math.fsum), exact=False),
    Native("SumMetric", _integers, {"nan_strategy": "error"}, truth=_of(sum)),
    Native("SumMetric", _with_nan, {"nan_strategy": "ignore"}, truth=_of(math.fsum), exact=False),
    Native("SumMetric", _with_nan, {"nan_strategy": 2.5}, truth=_of(math.fsum, 2.5), exact=False),
    Native("SumMetric", _with_nan, {"nan_strategy": "warn"}, truth=_of(math.fsum), exact=False),
    Native("SumMetric", _tables, {"nan_strategy": "disable"}, truth=_of(math.fsum), exact=False),
    Native("SumMetric", _tables, {"exact": True}, truth=_of(math.fsum), peer=False),
    Native("SumMetric", _with_nan, {"exact": True, "nan_strategy": "ignore"}, truth=_of(math.fsum), peer=False),
    Native("MeanMetric", _values, truth=_of(np.mean), exact=False),
    Native("MeanMetric", _weighted, {"nan_strategy": "error"}, truth=_mean, exact=False),
    Native("MeanMetric", _with_nan, {"nan_strategy": "ignore"}, truth=_of(np.mean), exact=False),
    Native("MeanMetric", _weighted_with_nan, {"nan_strategy": "warn"}, truth=_mean, exact=False),
    Native("MeanMetric", _with_nan, {"nan_strategy": 1.0}, truth=_of(np.mean, 1.0), exact=False),
    Native("MeanMetric", _values, {"nan_strategy": "disable"}, exact=False),
    Native("MeanMetric", _weighted, {"exact": True}, truth=_mean, peer=False),
    Native("MeanMetric", _with_nan, {"exact": True, "nan_strategy": "ignore"}, truth=_of(np.mean), peer=False),
    Native("MeanMetric", _weighted_with_nan, {"exact": True, "nan_strategy": 0.5}, peer=False),
    *[
        Native(f"{name}Metric", draw, options, truth=_of(function))
        for name, function in (("Min", np.min), ("Max", np.max))
        for draw, options in (
            (_tables, {}),
            (_with_nan, {"nan_strategy": "ignore"}),
            (_values, {"nan_strategy": "error"}),
            (_integers, {"nan_strategy": "disable"}),
        )
    ],
    Native("MaxMetric", _with_nan, {"nan_strategy": 99.0}, truth=_of(np.max, 99.0)),
    Native("CatMetric", _values, truth=_of(list)),
    Native("CatMetric", _tables, {"nan_strategy": "error"}, truth=_of(list)),
    Native("CatMetric", _with_nan, {"nan_strategy": "ignore"}, truth=_of(list)),
    Native("CatMetric", _with_nan, {"nan_strategy": 0.5}, truth=_of(list, 0.5)),
    Native("CatMetric", _integers, {"nan_strategy": "disable"}, truth=_of(list)),
    # The window holds as many updates as there are samples, so that they can be split in any way.
    Native("RunningSum", _values, {"window": 64}, truth=_of(math.fsum), exact=False),
    Native("RunningSum", _with_nan, {"window": 64, "nan_strategy": "ignore"}, truth=_of(math.fsum), exact=False),
    Native("RunningMean", _weighted, {"window": 64}, truth=_mean, exact=False),
    Native("RunningMean", _with_nan, {"window": 64, "nan_strategy": 3.0}, truth=_of(np.mean, 3.0), exact=False),
    Native("Median", _values, truth=_of(np.median), peer=False, digits=_HALF),
    Native("Median", _tables, {"shuffle_above": 0}, truth=_of(np.median), peer=False, digits=_HALF),
    Native(
        "Quantile", _values, {"q": [0.1, 0.5, 0.93]}, truth=_of(_quantile([0.1, 0.5, 0.93])), peer=False, digits=_HALF
    ),
    Native("Quantile", _integers, {"q": 0.3}, truth=_of(_quantile(0.3)), peer=False),
    *[
        Native(
            "Quantile",
            _values,
            {"q": 0.71, "interpolation": interpolation, "shuffle_above": 0},
            truth=_of(_quantile(0.71, interpolation)),
            peer=False,
            digits=_HALF,
        )
        for interpolation in ("lower", "higher", "nearest", "midpoint")
    ],
]
