"""One update of metrics that torchmetrics has, too: what each costs a training step, with data of a usual size."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.cases import Built, Case, Contender, Row, Scale, Target

__all__ = ["ROWS"]

_N = 1024


def _binary() -> tuple[Tensor, ...]:
    return torch.rand(_N), torch.randint(0, 2, (_N,))


def _classes() -> tuple[Tensor, ...]:
    return torch.randn(_N, 10), torch.randint(0, 10, (_N,))


def _labels() -> tuple[Tensor, ...]:
    return torch.rand(_N, 8), torch.randint(0, 2, (_N, 8))


def _numbers() -> tuple[Tensor, ...]:
    return torch.randn(_N), torch.randn(_N)


def _queries() -> tuple[Tensor, ...]:
    return torch.rand(_N), torch.randint(0, 2, (_N,)), torch.arange(_N) // 16


def _tokens() -> tuple[Tensor, ...]:
    return torch.randn(4, 64, 1000), torch.randint(0, 1000, (4, 64))


def _images() -> tuple[Tensor, ...]:
    return torch.rand(4, 3, 64, 64), torch.rand(4, 3, 64, 64)


def _masks() -> tuple[Tensor, ...]:
    return torch.randint(0, 2, (8, 4, 64, 64)), torch.randint(0, 2, (8, 4, 64, 64))


_Make = tuple[str, str, dict[str, Any], Callable[[], tuple[Tensor, ...]]]
_METRICS: dict[str, _Make] = {
    "BinaryF1Score": ("classification", "BinaryF1Score", {}, _binary),
    "MulticlassAccuracy, 10 classes": ("classification", "MulticlassAccuracy", {"num_classes": 10}, _classes),
    "MultilabelPrecision, 8 labels": ("classification", "MultilabelPrecision", {"num_labels": 8}, _labels),
    "MulticlassCohenKappa": ("classification", "MulticlassCohenKappa", {"num_classes": 10}, _classes),
    "BinaryAUROC": ("classification", "BinaryAUROC", {}, _binary),
    "BinaryAUROC, 100 thresholds": ("classification", "BinaryAUROC", {"thresholds": 100}, _binary),
    "MulticlassROC, 100 thresholds": (
        "classification",
        "MulticlassROC",
        {"num_classes": 10, "thresholds": 100},
        _classes,
    ),
    "BinaryCalibrationError": ("classification", "BinaryCalibrationError", {}, _binary),
    "MeanSquaredError": ("regression", "MeanSquaredError", {}, _numbers),
    "R2Score": ("regression", "R2Score", {}, _numbers),
    "PearsonCorrCoef": ("regression", "PearsonCorrCoef", {}, _numbers),
    "RetrievalNormalizedDCG": ("retrieval", "RetrievalNormalizedDCG", {}, _queries),
    "Perplexity, 1,000 tokens": ("text", "Perplexity", {}, _tokens),
    "MeanIoU": ("segmentation", "MeanIoU", {"num_classes": 4}, _masks),
    "StructuralSimilarityIndexMeasure": (
        "image",
        "StructuralSimilarityIndexMeasure",
        {"data_range": 1.0},
        _images,
    ),
}


def _cases(scale: Scale) -> list[Case]:
    if not scale.pick(1):
        return []
    names = list(_METRICS)[:2] if scale.quick else list(_METRICS)
    target = (Target("peer", 1.0),)
    return [
        Case("natives", 1, name, {"syncmetrics": "ours", "torchmetrics": "peer"}, {"name": name}, target)
        for name in names
    ]


def _build(case: Case, rank: int) -> Built:
    room, name, options, draw = _METRICS[case.params["name"]]
    torch.manual_seed(0)
    batch = draw()
    found = {}
    for contender, package in zip(case.contenders, ("syncmetrics", "torchmetrics"), strict=True):
        metric = getattr(importlib.import_module(f"{package}.{room}"), name)(**options)
        # Samples that are kept would be more in every round.
        found[contender] = Contender(_updating(metric, batch), prepare=metric.reset, number=10)
    return found


def _updating(metric: Any, batch: tuple[Tensor, ...]) -> Callable[[], None]:
    def act() -> None:
        metric.update(*batch)

    return act


def _skip() -> str | None:
    missing = importlib.util.find_spec("torchmetrics") is None
    return "torchmetrics is not installed" if missing else None


ROWS = (Row("natives", "One update of 1,024 samples", _cases, _build, _skip),)
