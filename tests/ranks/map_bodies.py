"""What the ranks of test_map do. torchvision, of which only a change of box formats is used, is replaced by that."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from typing import Any

import torch
import torchmetrics.detection.mean_ap as mean_ap
from torch import Tensor

from syncmetrics import synced
from syncmetrics.foreign import torchmetrics as room

SIDE = 48


def _box_convert(boxes: Tensor, in_fmt: str, out_fmt: str) -> Tensor:
    assert (in_fmt, out_fmt) == ("xyxy", "xywh")
    return torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


def make(*, segm: bool) -> Any:
    """Give a mean average precision. What it finds of torchvision is ours, in this process, from then on."""
    if not mean_ap._TORCHVISION_AVAILABLE:
        torchvision, ops = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
        torchvision.__spec__ = importlib.machinery.ModuleSpec("torchvision", None)
        ops.box_convert = _box_convert
        torchvision.ops = ops
        sys.modules.update({"torchvision": torchvision, "torchvision.ops": ops})
        mean_ap._TORCHVISION_AVAILABLE = True
    return mean_ap.MeanAveragePrecision(iou_type=("bbox", "segm") if segm else "bbox")


def _masks(boxes: Tensor) -> Tensor:
    masks = torch.zeros(len(boxes), SIDE, SIDE, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.long().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    return masks


def image(index: int, *, segm: bool) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Give the objects of one image: none in every third."""
    generator = torch.Generator().manual_seed(index)
    count = index % 3
    corner = torch.rand(count, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + 5 + torch.rand(count, 2, generator=generator) * 20], 1)
    labels = torch.randint(2, (count,), generator=generator)
    found = boxes + torch.rand(count, 4, generator=generator) * 3
    preds = {"boxes": found, "scores": torch.rand(count, generator=generator), "labels": labels}
    target = {"boxes": boxes, "labels": labels}
    if segm:
        preds["masks"], target["masks"] = _masks(found), _masks(boxes)
    return [preds], [target]


def images_of(rank: int) -> range:
    """Give the images of a rank: rank 1 has none."""
    return range(0) if rank == 1 else range(4 * rank, 4 * rank + 3 + rank)


def as_lists(values: dict[str, Tensor]) -> dict[str, Any]:
    return {name: value.tolist() for name, value in values.items()}


def body(rank: int, world_size: int, segm: bool, how: str) -> tuple[dict[str, Any], list[int]]:
    metric = make(segm=segm)
    for index in images_of(rank):
        metric.update(*image(index, segm=segm))
    if how == "install":
        room.install()
        values = metric.compute()
        room.uninstall()
    else:
        with synced(metric):
            values = metric.compute()
    return as_lists(values), [len(getattr(metric, name)) for name in metric._reductions]
