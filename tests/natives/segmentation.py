"""Metrics of segmentation masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.natives.native import Native, Samples

__all__ = ["ROWS", "dice", "generalized_dice", "mean_iou"]

_CLASSES = 3


def labels(n: int, gen: torch.Generator) -> Samples:
    """Give masks of labels in which every class occurs."""
    masks = torch.randint(0, _CLASSES, (2, n, 4, 5), generator=gen)
    masks[:, :, 0, :_CLASSES] = torch.arange(_CLASSES)
    return tuple(masks.unbind())


def with_void(n: int, gen: torch.Generator) -> Samples:
    preds, target = labels(n, gen)
    void = torch.rand(target[:, 1:].shape, generator=gen) < 0.3
    target[:, 1:][void] = 255
    return preds.to(torch.uint8), target.to(torch.uint8)


def one_hot(n: int, gen: torch.Generator) -> Samples:
    return tuple(members(mask).long() for mask in labels(n, gen))


def multi_hot(n: int, gen: torch.Generator) -> Samples:
    return tuple(torch.randint(0, 2, (2, n, _CLASSES, 4, 5), generator=gen).unbind())


def mixed(n: int, gen: torch.Generator) -> Samples:
    preds, target = labels(n, gen)
    return members(preds).float() + torch.rand(n, _CLASSES, 4, 5, generator=gen) / 2, target


def members(mask: Tensor) -> Tensor:
    return torch.stack([mask == one for one in range(_CLASSES)], dim=1)


def counts(preds: Tensor, target: Tensor, background: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count (both, preds, target), each (N, C), pixel by pixel."""
    if preds.is_floating_point():
        preds = preds.argmax(1)
    void = target == 255
    one, other = (members(mask) if mask.ndim == 3 else mask.bool() for mask in (preds, target))
    if void.ndim == 3:
        one = one & ~void.unsqueeze(1)
    result = ((one & other).flatten(2).sum(2), one.flatten(2).sum(2), other.flatten(2).sum(2))
    both, p, t = (count.numpy().astype(float)[:, 0 if background else 1 :] for count in result)
    return both, p, t


def mean_iou(preds: Tensor, target: Tensor, background: bool = True, per_class: bool = False) -> Any:
    both, p, t = counts(preds, target, background)
    union = p + t - both
    iou = np.divide(both, union, out=np.full_like(both, np.nan), where=union > 0)
    if not per_class:
        return float(np.nanmean(iou)) if (union > 0).any() else math.nan
    there = (union > 0).sum(0)
    return np.where(there > 0, np.nansum(iou, 0) / np.maximum(there, 1), -1.0)


def dice(
    preds: Tensor, target: Tensor, average: str = "macro", background: bool = True, whole: bool = False
) -> list[float] | float:
    both, p, t = counts(preds, target, background)
    if whole:
        both, p, t = (count.sum(0, keepdims=True) for count in (both, p, t))
    rows: list[list[float]] = []
    for b, q, s in zip(both, p, t, strict=True):
        each = [2 * x / (y + z) if y + z else math.nan for x, y, z in zip(b, q, s, strict=True)]
        there = [value for value in each if not math.isnan(value)]
        if average == "none":
            rows.append(each)
        elif not there:
            rows.append([math.nan])
        elif average == "micro":
            rows.append([2 * b.sum() / (q.sum() + s.sum())])
        elif average == "macro":
            rows.append([sum(there) / len(there)])
        else:
            shares = s / max(s.sum(), 1)
            rows.append([sum(v * w for v, w in zip(each, shares, strict=True) if not math.isnan(v))])
    means = [
        sum(kept) / len(kept) if (kept := [value for value in column if not math.isnan(value)]) else math.nan
        for column in zip(*rows, strict=True)
    ]
    return means if average == "none" else means[0]


def generalized_dice(
    preds: Tensor, target: Tensor, power: int = 2, background: bool = True, per_class: bool = False
) -> Any:
    scores = []
    for b, q, s in zip(*counts(preds, target, background), strict=True):
        if per_class:
            scores.append([2 * x / (y + z) if y + z else 0.0 for x, y, z in zip(b, q, s, strict=True)])
            continue
        finite = [1 / value**power for value in s if value] or [0.0]
        weights = [1 / value**power if value or not power else max(finite) for value in s]
        lower = sum(w * (y + z) for w, y, z in zip(weights, q, s, strict=True))
        scores.append([2 * sum(w * x for w, x in zip(weights, b, strict=True)) / lower if lower else 0.0])
    value = np.mean(np.array(scores), axis=0)
    return value if per_class else float(value[0])


_INDEX = {"num_classes": _CLASSES, "input_format": "index"}
ROWS: list[Native] = [
    Native("MeanIoU", one_hot, {"num_classes": _CLASSES}, truth=mean_iou, exact=False),
    Native("MeanIoU", multi_hot, {}, truth=mean_iou, exact=False),
    Native(
        "MeanIoU",
        labels,
        {**_INDEX, "per_class": True, "include_background": False},
        truth=lambda preds, target: mean_iou(preds, target, False, True),
        exact=False,
    ),
    Native("MeanIoU", with_void, {**_INDEX, "ignore_index": 255}, truth=mean_iou, exact=False, peer=False),
    Native("MeanIoU", mixed, {"num_classes": _CLASSES, "input_format": "mixed"}, truth=mean_iou, exact=False),
    *(
        Native(
            "DiceScore",
            labels,
            {**_INDEX, "average": average, "aggregation_level": level},
            truth=lambda preds, target, average=average, level=level: dice(
                preds, target, average, whole=level == "global"
            ),
            exact=level == "global",
        )
        for average in ("micro", "macro", "weighted", "none")
        for level in ("samplewise", "global")
    ),
    Native(
        "DiceScore",
        one_hot,
        {"num_classes": _CLASSES, "include_background": False},
        truth=lambda preds, target: dice(preds, target, background=False),
        exact=False,
    ),
    Native("DiceScore", mixed, {"num_classes": _CLASSES, "input_format": "mixed"}, truth=dice, exact=False),
    Native("DiceScore", with_void, {**_INDEX, "ignore_index": 255}, truth=dice, exact=False, peer=False),
    *(
        Native(
            "GeneralizedDiceScore",
            labels,
            {**_INDEX, "weight_type": kind},
            truth=lambda preds, target, power=power: generalized_dice(preds, target, power),
            exact=False,
        )
        for kind, power in (("square", 2), ("simple", 1), ("linear", 0))
    ),
    Native(
        "GeneralizedDiceScore",
        one_hot,
        {"num_classes": _CLASSES, "per_class": True, "include_background": False},
        truth=lambda preds, target: generalized_dice(preds, target, 2, False, True),
        exact=False,
    ),
    Native(
        "GeneralizedDiceScore",
        with_void,
        {**_INDEX, "ignore_index": 255},
        truth=generalized_dice,
        exact=False,
        peer=False,
    ),
    Native(
        "GeneralizedDiceScore",
        mixed,
        {"num_classes": _CLASSES, "input_format": "mixed"},
        truth=generalized_dice,
        exact=False,
    ),
]
