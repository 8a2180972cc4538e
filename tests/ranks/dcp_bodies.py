"""Bodies of ranks: metrics in checkpoints of `torch.distributed.checkpoint`, beside models that are spread out."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict

from syncmetrics import (
    CatMetric,
    ClasswiseWrapper,
    MeanMetric,
    MetricCollection,
    MetricLogger,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    StatefulMetrics,
    SumMetric,
)
from tests.samples import bits, local_bits


def _metrics() -> dict[str, Any]:
    each = ClasswiseWrapper(MulticlassAccuracy(num_classes=3, average=None), ["a", "b", "c"])
    logger = MetricLogger()
    logger.track({"mean": MeanMetric()})
    return {
        "collection": MetricCollection({"matrix": MulticlassConfusionMatrix(num_classes=3), "each": each}),
        "cat": CatMetric(),
        "logger": logger,
    }


def batch(key: int) -> tuple[Tensor, Tensor]:
    """Give predictions and targets: other numbers of rows in each."""
    generator = torch.Generator().manual_seed(key)
    found = torch.randint(0, 3, (2, 3 + key % 4), generator=generator)
    return found[0], found[1]


def _update(metrics: dict[str, Any], key: int) -> None:
    preds, target = batch(key)
    metrics["collection"].update(preds, target)
    metrics["cat"].update(preds + 10.0 * key)
    metrics["logger"].log_dict({"mean": metrics["logger"]._entries["mean"].metric})
    metrics["logger"]._entries["mean"].metric.update(preds.double())
    metrics["logger"].log("loss", key / 4)


def _values(metrics: dict[str, Any]) -> Any:
    return bits([metrics["collection"].compute(), metrics["cat"].compute(), metrics["logger"].end_epoch()])


def once(keys: list[int]) -> Any:
    """Give the values of one process that has seen all."""
    metrics = _metrics()
    for key in keys:
        _update(metrics, key)
    return _values(metrics)


def _model(kind: str) -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))
    if kind == "ddp":
        return nn.parallel.DistributedDataParallel(model)
    if kind == "fsdp2":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for layer in model:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    return model


def _whole(tensor: Any) -> Tensor:
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found.detach()


def save(rank: int, world_size: int, path: str, kind: str, is_async: bool) -> Any:
    """Save in the middle of an epoch, and go on: the ranks have other numbers of batches."""
    model, metrics = _model(kind), _metrics()
    for key in range(rank * 2, rank * 2 + 1 + rank):
        _update(metrics, key)
    state = {"model": get_model_state_dict(model), **metrics, "all": StatefulMetrics(metrics)}
    if is_async:
        found = dcp.async_save(state, checkpoint_id=path)
        metrics["cat"].update(torch.tensor([1e6]))  # which is not in it
        found.result()
    else:
        dcp.save(state, checkpoint_id=path)
    return None


def load(rank: int, world_size: int, path: str, kind: str, one_by_one: bool, later: list[int]) -> Any:
    """Load on another number of ranks, and go on."""
    model, metrics = _model(kind), _metrics()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    _update(metrics, 99)  # it is replaced
    weights = get_model_state_dict(model)
    state: dict[str, Any] = {"model": weights}
    dcp.load(state | metrics if one_by_one else state | {"all": StatefulMetrics(metrics)}, checkpoint_id=path)
    set_model_state_dict(model, weights)
    for key in later[rank::world_size]:
        _update(metrics, key)
    total = sum(_whole(parameter).abs().sum() for parameter in model.parameters())
    return _values(metrics), float(total)


def persistent(rank: int, world_size: int) -> list[str]:
    """Take a model with persistent metrics through the helpers for state dicts."""
    model = nn.Module()
    model.layer = nn.Linear(2, 2)
    model.total, model.rows = SumMetric(), CatMetric()
    model.plain = MetricCollection([MulticlassConfusionMatrix(num_classes=3)])
    for metric in (model.total, model.rows):
        metric.persistent(True)
        metric.update(torch.tensor([1.0 + rank]))
    before = local_bits(model)
    found = get_model_state_dict(model)
    model.total.reset()
    model.rows.reset()
    missing, unexpected = set_model_state_dict(model, found)
    assert not missing
    assert not unexpected
    assert local_bits(model) == before
    return sorted(found)
