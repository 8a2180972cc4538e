"""Rows of the table: metrics around metrics, and arithmetic on metrics."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn import metrics as sk
from torch import Tensor

import syncmetrics
from syncmetrics import BootStrapper, MultitaskWrapper
from tests.natives.native import Native, Samples

__all__ = ["ROWS"]


class Identified(BootStrapper):
    """The last argument says who the samples are; where nothing has values, nobody."""

    def update(self, preds: Tensor, target: Tensor, ids: Tensor) -> None:  # type: ignore[override]  # as the table has it
        super().update(preds, target, ids=ids if ids.is_cpu else None)


class Tasks(MultitaskWrapper):
    """Two tasks with the same batch."""

    def update(self, preds: Any, target: Any) -> None:
        super().update({"kind": preds, "same": preds}, {"kind": target, "same": target})


def _binary(n: int, gen: torch.Generator) -> Samples:
    return torch.rand(n, generator=gen, dtype=torch.float32), torch.randint(0, 2, (n,), generator=gen)


def _graded(n: int, gen: torch.Generator) -> Samples:
    return torch.rand(n, generator=gen, dtype=torch.float32), torch.randint(0, 5, (n,), generator=gen)


def _classes(n: int, gen: torch.Generator) -> Samples:
    return torch.randint(0, 4, (n,), generator=gen), torch.randint(0, 4, (n,), generator=gen)


def _outputs(n: int, gen: torch.Generator) -> Samples:
    return torch.rand(n, 3, generator=gen, dtype=torch.float32), torch.randint(0, 2, (n, 3), generator=gen)


def _outputs_with_holes(n: int, gen: torch.Generator) -> Samples:
    preds, target = _outputs(n, gen)
    holes = torch.rand(n, 3, generator=gen, dtype=torch.float32) < 0.2
    return preds.masked_fill(holes, torch.nan), target


def _known(n: int, gen: torch.Generator) -> Samples:
    return *_binary(n, gen), torch.randperm(1000, generator=gen)[:n]


def _both(build: Callable[[Any], Any]) -> dict[str, Callable[[], Any]]:
    """Give what makes a metric of ours, and what makes the same of torchmetrics, of one line of code."""

    def of(package: str) -> Any:
        found = importlib.import_module(package)
        rooms = [importlib.import_module(f"{package}.{room}") for room in ("classification", "wrappers")]
        return functools.partial(_named, [found, *rooms])

    return {"build": lambda: build(of("syncmetrics")), "build_peer": lambda: build(of("torchmetrics"))}


def _named(rooms: list[Any], name: str) -> Any:
    return next(getattr(room, name) for room in rooms if hasattr(room, name))


def _f1(of: Callable[[str], Any]) -> Any:
    precision, recall = of("BinaryPrecision")(), of("BinaryRecall")()
    return 2 * precision * recall / (precision + recall)


def _range(preds: Tensor, target: Tensor) -> list[float]:
    return [sk.accuracy_score(target, preds > 0.5)] * 3


def _each(preds: Tensor, target: Tensor) -> list[float]:
    kept = ~preds.isnan()
    return [[sk.accuracy_score(t[k], p[k] > 0.5) for p, t, k in zip(preds.T, target.T, kept.T, strict=True)]]  # type: ignore[list-item]


def _resampled(preds: Tensor, target: Tensor, ids: Tensor) -> list[Any]:
    """Draw again, one number at a time."""
    from syncmetrics.wrappers._draws import poisson_counts

    values = []
    for counts in poisson_counts(3, 20, ids).tolist():
        right = sum(n * float((p > 0.5) == t) for n, p, t in zip(counts, preds, target, strict=True))
        values.append(right / sum(counts))
    return [np.mean(values), np.std(values, ddof=1), np.quantile(values, [0.1, 0.9]), values]


_BOOTSTRAP = {"num_bootstraps": 20, "quantile": [0.1, 0.9], "raw": True, "generator": 3}

ROWS = [
    Native(
        "BinaryTargetTransformer",
        _graded,
        truth=lambda preds, target: sk.accuracy_score(target > 2, preds > 0.5),
        **_both(lambda of: of("BinaryTargetTransformer")(of("BinaryAccuracy")(), threshold=2)),
    ),
    Native(
        "BootStrapper",
        _known,
        {"of": "BinaryAccuracy"},
        truth=_resampled,
        peer=False,  # it draws otherwise
        build=lambda: Identified(syncmetrics.BinaryAccuracy(), **_BOOTSTRAP),
        on_device=False,
        digits=1e-6,
    ),
    Native(
        "ClasswiseWrapper",
        _classes,
        truth=lambda preds, target: list(sk.recall_score(target, preds, average=None, labels=range(4))),
        **_both(lambda of: of("ClasswiseWrapper")(of("MulticlassAccuracy")(num_classes=4, average=None))),
    ),
    Native(
        "CompositionalMetric",
        _binary,
        truth=lambda preds, target: sk.f1_score(target, preds > 0.5),
        **_both(_f1),
    ),
    Native(
        "CompositionalMetric",
        _binary,
        {"of": "1 - a"},
        truth=lambda preds, target: 1 - sk.accuracy_score(target, preds > 0.5),
        **_both(lambda of: 1 - of("BinaryAccuracy")()),
    ),
    Native(
        "CompositionalMetric",
        _classes,
        {"of": "a[1]"},
        truth=lambda preds, target: sk.recall_score(target, preds, average=None, labels=range(4))[1],
        **_both(lambda of: of("MulticlassRecall")(num_classes=4, average=None)[1]),
    ),
    Native(
        "LambdaInputTransformer",
        _binary,
        truth=lambda preds, target: sk.accuracy_score(target, preds > 0.5),
        **_both(lambda of: of("LambdaInputTransformer")(of("BinaryAccuracy")(threshold=0.25), lambda preds: preds / 2)),
    ),
    Native(
        "MetricInputTransformer",
        _binary,
        truth=lambda preds, target: sk.accuracy_score(target, preds > 0.5),
        **_both(lambda of: of("MetricInputTransformer")(of("BinaryAccuracy")())),
    ),
    Native("MinMaxMetric", _binary, truth=_range, **_both(lambda of: of("MinMaxMetric")(of("BinaryAccuracy")()))),
    Native(
        "MultioutputWrapper",
        _outputs,
        truth=_each,
        **_both(lambda of: of("MultioutputWrapper")(of("BinaryAccuracy")(), 3, remove_nans=False)),
    ),
    Native(
        "MultioutputWrapper",
        _outputs_with_holes,
        {"remove_nans": True},
        truth=_each,
        **_both(lambda of: of("MultioutputWrapper")(of("BinaryAccuracy")(), 3)),
        on_device=False,  # how many samples are left depends on the data
    ),
    Native(
        "MultitaskWrapper",
        _binary,
        peer=False,  # it takes dicts
        build=lambda: Tasks(
            {
                "kind": syncmetrics.BinaryAccuracy(),
                "same": syncmetrics.MetricCollection([syncmetrics.BinaryAccuracy(), syncmetrics.BinaryF1Score()]),
            }
        ),
        truth=lambda preds, target: [sk.accuracy_score(target, preds > 0.5)] * 2 + [sk.f1_score(target, preds > 0.5)],
    ),
    Native(
        "Running",
        _binary,
        {"window": 30},
        truth=lambda preds, target: sk.accuracy_score(target, preds > 0.5),
        **_both(lambda of: of("Running")(of("BinaryAccuracy")(), window=30)),
    ),
    Native(
        "Running",
        _binary,
        {"of": "BinaryAUROC", "window": 30},
        truth=lambda preds, target: sk.roc_auc_score(target, preds),
        peer=False,  # it cannot compute before the window is full
        build=lambda: syncmetrics.Running(syncmetrics.BinaryAUROC(), window=30),
    ),
]
