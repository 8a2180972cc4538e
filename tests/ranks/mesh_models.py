"""Models that are spread over ranks, and hold metrics."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.distributed.pipelining
import torch.distributed.tensor.parallel
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from syncmetrics import MetricCollection, MulticlassAccuracy, MulticlassF1Score, over, synced

DIMS = ("dp_replicate", "dp_shard")


def recipe(rank: int, world_size: int, code: str) -> float:
    """Run a recipe, and give the value that it comes to."""
    names: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(code, "recipe", "exec"), names)
    return float(names["value"])


def batch(seed: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(6, 4), torch.randint(3, (6,))


def alone(seeds: Iterable[int]) -> Tensor:
    """Give what one process comes to, of the batches of these seeds."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    accuracy = MulticlassAccuracy(num_classes=3, average="micro")
    for seed in seeds:
        images, labels = batch(seed)
        accuracy.update(model(images), labels)
    value = accuracy.compute()
    assert isinstance(value, Tensor)
    return value


class Holder(nn.Module):
    """A model that holds a metric and a collection."""

    def __init__(self, group: Any = None, *, persistent: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        self.accuracy = MulticlassAccuracy(num_classes=3, average="micro", process_group=group)
        self.metrics = MetricCollection({"f1": MulticlassF1Score(num_classes=3)}, process_group=group)
        self.accuracy.persistent(persistent)
        self.metrics.persistent(persistent)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        logits: Tensor = self.layers(images)
        self.accuracy.update(logits, labels)
        self.metrics.update(logits, labels)
        return nn.functional.cross_entropy(logits, labels)


def models(rank: int, world_size: int) -> None:
    """Whatever is put around the model, its metrics stay what they are, and nothing of them is sent or sharded."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=DIMS)
    both = over(mesh, DIMS)
    weights = {"weight", "bias"}

    wrapped = DistributedDataParallel(Holder(persistent=True))
    twice = batch(rank), batch(rank + 10)
    for images, labels in twice:
        wrapped(images, labels).backward()  # which would broadcast buffers
    wrapped.eval().to("cpu")
    inside = wrapped.module
    assert inside.accuracy.update_count == 2
    assert not [*inside.accuracy.buffers(), *inside.metrics.parameters()]
    seeds = [seed for one in range(world_size) for seed in (one, one + 10)]
    assert float(inside.accuracy.compute()) == float(alone(seeds))
    assert {name.split(".")[-1] for name in wrapped.state_dict()} > weights

    for deep in (False, True):
        model = Holder(both)
        for layer in (model.layers[0], model.layers[2]) if deep else ():
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        model(*batch(rank)).backward()
        model.eval()
        model.to("cpu")
        assert {name.split(".")[-1] for name in get_model_state_dict(model)} == weights
        assert float(model.accuracy.compute()) == float(alone(range(world_size)))

    with torch.device("meta"):
        model = Holder(both)
    fully_shard(model, mesh=mesh)
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    model(*batch(rank))
    assert model.accuracy.device.type == "cpu"
    assert model.accuracy.compute() == sum(int((batch(one)[1] == 0).sum()) for one in range(world_size)) / 24

    metric = fully_shard(MulticlassAccuracy(num_classes=3, average="micro"), mesh=mesh)  # type: ignore[arg-type]
    metric.update(torch.eye(3), torch.arange(3))  # it has nothing to shard, and works
    assert metric.compute() == 1.0


def saved_with_a_model(rank: int, world_size: int) -> None:
    """A checkpoint of a sharded model takes what all ranks have counted, whichever way it is asked for."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=DIMS)
    both = over(mesh, DIMS)
    wanted = float(alone(range(world_size)))
    folder: list[str | None] = [tempfile.mkdtemp() if rank == 0 else None]
    dist.broadcast_object_list(folder)

    model = fully_shard(Holder(both), mesh=mesh)
    model(*batch(rank))
    beside = {"model": get_model_state_dict(model), "accuracy": model.accuracy, "metrics": model.metrics}
    dcp.save(beside, checkpoint_id=f"{folder[0]}/beside")
    again = fully_shard(Holder(both), mesh=mesh)
    state = {"model": get_model_state_dict(again), "accuracy": again.accuracy, "metrics": again.metrics}
    dcp.load(state, checkpoint_id=f"{folder[0]}/beside")
    set_model_state_dict(again, state["model"])
    assert float(again.accuracy.compute()) == wanted
    assert again.metrics.compute() == model.metrics.compute()

    kept = fully_shard(Holder(both, persistent=True), mesh=mesh)
    kept(*batch(rank))
    with synced(kept.accuracy, kept.metrics):
        whole = get_model_state_dict(kept)
        dcp.save({"model": whole}, checkpoint_id=f"{folder[0]}/inside")
    again = fully_shard(Holder(both, persistent=True), mesh=mesh)
    inside = {"model": get_model_state_dict(again)}
    dcp.load(inside, checkpoint_id=f"{folder[0]}/inside")
    set_model_state_dict(again, inside["model"])
    assert float(again.accuracy.compute()) == wanted
    assert again.metrics.compute() == kept.metrics.compute()
