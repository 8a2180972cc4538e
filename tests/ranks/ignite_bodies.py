"""ignite's metrics on real ranks: what the ranks of test_ignite.py do."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any

import ignite.metrics as im
import torch
import torch.distributed as dist
from ignite.engine import Engine
from ignite.metrics.nlp import CharacterErrorRate
from ignite.metrics.regression import GeometricMeanRelativeAbsoluteError, MaximumAbsoluteError
from torch import Tensor

from syncmetrics import Metric, MetricCollection, StateError, sync_and_compute, synced
from syncmetrics.foreign.ignite import attach

SHARDS: dict[str, list[list[int]]] = {
    "even": [[4, 4], [4, 4], [4, 4]],
    "uneven": [[3], [2, 6, 5], [7, 2]],
    "one is empty": [[4, 3], [], [5]],
}


def mean_error(predictions: Tensor, targets: Tensor) -> float:
    return float((predictions - targets).abs().mean())


def many(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 3, generator=g), torch.randint(0, 3, (n,), generator=g)


def pairs(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.rand(n, generator=g), torch.rand(n, generator=g)


def image(n: int, g: torch.Generator) -> Tensor:
    return torch.rand(n, 1, 6, 6, generator=g)


def letters(n: int, g: torch.Generator) -> list[str]:
    return ["".join("abcd"[int(i)] for i in torch.randint(0, 4, (5,), generator=g)) for _ in range(n)]


def f1() -> Any:
    precision, recall = im.Precision(average=False), im.Recall(average=False)
    return (precision * recall * 2 / (precision + recall)).mean()


ROWS: dict[str, tuple[Callable[[], Any], Callable[[int, torch.Generator], Any]]] = {
    "Accuracy": (im.Accuracy, many),
    "Precision": (lambda: im.Precision(average=False), many),
    "Precision, macro": (lambda: im.Precision(average="macro"), many),
    "Recall, micro": (lambda: im.Recall(average="micro"), many),
    "Recall, weighted": (lambda: im.Recall(average="weighted"), many),
    "ConfusionMatrix": (lambda: im.ConfusionMatrix(num_classes=3), many),
    "TopK": (lambda: im.TopKCategoricalAccuracy(k=2), many),
    "Loss": (lambda: im.Loss(torch.nn.functional.cross_entropy), many),
    "F1 of two metrics": (f1, many),
    "Group": (lambda: im.MetricGroup({"accuracy": im.Accuracy(), "recall": im.Recall(average="macro")}), many),
    "MeanSquaredError": (im.MeanSquaredError, pairs),
    "MeanAbsoluteError": (im.MeanAbsoluteError, pairs),
    "MaximumAbsoluteError": (MaximumAbsoluteError, pairs),
    "GeometricMean": (GeometricMeanRelativeAbsoluteError, pairs),
    "EpochMetric": (lambda: im.EpochMetric(mean_error), pairs),
    "SSIM": (lambda: im.SSIM(data_range=1.0, kernel_size=3), lambda n, g: (image(n, g), image(n, g))),
    "MeanAveragePrecision": (im.MeanAveragePrecision, many),
    "CharacterErrorRate": (CharacterErrorRate, lambda n, g: (letters(n, g), letters(n, g))),
    "Average": (im.Average, lambda n, g: torch.rand(n, 2, generator=g)),
}


def updated(name: str, shard: list[list[int]], ranks: list[int]) -> Any:
    make, draw = ROWS[name]
    metric = make()
    metric.reset()
    for rank in ranks:
        g = torch.Generator().manual_seed(7 + rank)
        for n in shard[rank]:
            metric.update(draw(n, g))
    return metric


def close(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    return a.shape == b.shape and torch.allclose(a.double(), b.double(), rtol=1e-5, equal_nan=True)


def leaves(metric: Any) -> list[Any]:
    held = vars(metric)  # ignite's `__getattr__` has an answer to every name
    inside = [*held.get("args", []), *held.get("metrics", {}).values()]
    own = [(name, id(value), repr(value)) for name, value in vars(metric).items()]
    return own + [leaves(member) for member in inside if isinstance(member, im.Metric)]


class Forbidden:
    """Stands for what ignite would communicate with."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("ignite communicates inside of `synced`")


def table(rank: int, world_size: int) -> list[str]:
    wrong = []
    everyone = list(range(world_size))
    for how, shard in SHARDS.items():
        metrics = {name: updated(name, shard, [rank]) for name in ROWS}
        before = {name: leaves(metric) for name, metric in metrics.items()}
        kept = {name: getattr(dist, name) for name in ("all_reduce", "all_gather", "all_gather_object", "broadcast")}
        with synced(metrics):
            try:
                for name in kept:
                    setattr(dist, name, Forbidden())
                values = {name: metric.compute() for name, metric in metrics.items()}
            finally:
                for name, function in kept.items():
                    setattr(dist, name, function)
        for name, metric in metrics.items():
            if leaves(metric) != before[name]:
                wrong.append(f"{name}, {how}: the local attributes changed")
            single = updated(name, shard, everyone)
            with _no_world():
                expected = single.compute()
            if not close(values[name], expected):
                wrong.append(f"{name}, {how}: {values[name]} is not {expected}")
    return wrong


def _no_world() -> Any:
    from syncmetrics.foreign.ignite import _alone

    return _alone()


def raising(rank: int, world_size: int) -> Any:
    metric = updated("MeanSquaredError", SHARDS["uneven"], [rank])
    before, inner = leaves(metric), ""
    try:
        with synced(metric, {"again": metric}):
            try:
                with synced(metric):
                    pass
            except Exception as error:
                inner = type(error).__name__
            raise KeyError("in the block")
    except KeyError:
        pass
    plain = metric.compute()  # by ignite's own all_reduce
    return inner, leaves(metric) == before, abs(plain - sync_and_compute(metric)) < 1e-6


def epoch_metric_plain(rank: int, world_size: int) -> float:
    return float(updated("EpochMetric", SHARDS["uneven"], [rank]).compute())


def refused(rank: int, world_size: int) -> str:
    average = im.RunningAverage(im.Accuracy())
    try:
        sync_and_compute(average)
    except Exception as error:
        return str(error)
    return ""


class Total(Metric):
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), "sum")

    def update(self, x: Tensor) -> None:
        self.total = self.total + x.sum()

    def compute(self) -> Tensor:
        return self.total


def on_an_engine(rank: int, world_size: int) -> list[Any]:
    found = []
    for transform in (lambda x: x, lambda x: (x,), lambda x: {"x": x}):
        engine = Engine(lambda engine, batch: batch)
        attach(Total(), engine, "total", output_transform=transform)
        attach(MetricCollection({"a": Total(), "b": Total()}), engine, "both", output_transform=transform)
        engine.run([torch.tensor([1.0 + rank])] * (rank + 1), max_epochs=2)
        found.append(engine.state.metrics)
    return found


#: What metrics of ignite cannot be made without.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "ConfusionMatrix": (3,),
    "DemographicParityDifference": ([0, 1],),
    "EpochMetric": (mean_error,),
    "FID": (2, torch.nn.Identity()),
    "InceptionScore": (2, torch.nn.Identity()),
    "Loss": (torch.nn.functional.mse_loss,),
    "MetricGroup": ({"accuracy": im.Accuracy()},),
    "MetricsLambda": (float, im.Accuracy()),
    "MultiLabelConfusionMatrix": (3,),
    "NDCG": ([1],),
    "PSNR": (1.0,),
    "RunningAverage": (im.Accuracy(),),
    "SSIM": (1.0,),
    "SubgroupAccuracyDifference": ([0, 1],),
    "SubgroupDifference": (im.Accuracy(), [0, 1]),
    "SubgroupMetric": (im.Accuracy(), [0, 1]),
    "VariableAccumulation": (torch.add,),
}


def classes() -> dict[str, type]:
    """Give every metric that ignite has, by name."""
    found = {}
    for info in pkgutil.walk_packages(im.__path__, "ignite.metrics."):
        for name, value in vars(importlib.import_module(info.name)).items():
            is_metric = inspect.isclass(value) and issubclass(value, im.Metric) and not inspect.isabstract(value)
            if is_metric and not name.startswith("_") and value is not im.Metric:
                found[name] = value
    return found


def refused_classes() -> tuple[list[str], int]:
    """Give the metrics of ignite that are refused, and how many there are that can be made here."""
    refused, made = [], 0
    for name, cls in sorted(classes().items()):
        try:
            metric = cls(*ARGUMENTS.get(name, ()))
        except ModuleNotFoundError:  # of torchvision, or of a driver
            continue
        made += 1
        metric.reset()
        try:
            with synced(metric):
                pass
        except StateError:
            refused.append(name)
    return refused, made
