"""What the ranks of test_cuda.py do. All of them have the first GPU, so that one is enough."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from syncmetrics import (
    CatMetric,
    MeanMetric,
    MeanSquaredError,
    Metric,
    MetricCollection,
    MulticlassAccuracy,
    SumMetric,
    dim_zero_cat,
)
from tests.ranks import parity_bodies
from tests.samples import Accuracy, Rows, Total, bits, local_bits


def everything(rank: int, world_size: int) -> dict[str, Any]:
    """Do what test_parity.py does, with every tensor on the GPU."""
    with torch.device("cuda"):
        return parity_bodies.everything(rank, world_size)


class Both(Metric):
    """States on the GPU beside plain data, and a value of a large state."""

    is_differentiable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("counts", torch.zeros(200_000, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("highest", torch.full((3,), -torch.inf), dist_reduce_fx="max")
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("names", [])

    def update(self, x: Tensor, name: str) -> None:
        self.counts += torch.bincount(x.flatten() % 200_000, minlength=200_000)
        self.highest = torch.maximum(self.highest, x.flatten()[:3].float())
        self.rows.append(x)
        self.names.append(name)

    def compute(self) -> Any:
        return {"counts": self.counts, "highest": self.highest, "rows": dim_zero_cat(self.rows), "names": self.names}


def mixed(rank: int, world_size: int) -> Any:
    """Give the bits of values that are on the GPU, from uneven shards."""
    torch.cuda.set_device(0)
    metric = Both().to("cuda")
    for batch in ([range(5), range(5, 6)] if world_size == 2 else [range(6)])[rank]:
        metric.update(torch.arange(3 + 40_000 * batch).view(1, -1).to("cuda")[:, : 3 + 1000 * batch].T, f"b{batch}")
    value = metric.compute()
    assert all(value[name].is_cuda for name in ("counts", "highest", "rows"))
    handle = metric.compute_async()
    assert bits(handle.wait()) == bits(value)
    return bits(value)


@contextlib.contextmanager
def no_waits() -> Iterator[None]:
    """Raise wherever the CPU would wait for the GPU."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _waits(act: Callable[[], Any]) -> str:
    try:
        with no_waits():
            act()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return ""


def waits(rank: int, world_size: int) -> dict[str, str]:
    """Say what waits for the GPU of all that a training step does: nothing, or what torch says."""
    preds, target = torch.rand(512, 5, device="cuda"), torch.randint(5, (512,), device="cuda")
    labels, x = preds.argmax(1), torch.rand(64, device="cuda")
    found = {}
    makers: dict[str, tuple[Callable[[], Any], tuple[Tensor, ...]]] = {
        "Total": (Total, (x,)),
        "Accuracy": (Accuracy, (labels, target)),
        "Rows": (Rows, (x,)),
        "SumMetric": (lambda: SumMetric(nan_strategy="disable"), (x,)),
        "MeanMetric": (lambda: MeanMetric(nan_strategy="disable"), (x,)),
        "CatMetric": (lambda: CatMetric(nan_strategy="disable"), (x,)),
        "MeanSquaredError": (MeanSquaredError, (x, x)),
        "a collection": (lambda: MetricCollection({"a": Total(), "b": Rows()}), (x,)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mode is a prototype
        for name, (make, batch) in makers.items():
            metric = make().to("cuda")
            for _ in range(3):  # the first ones find out what the class does
                metric.update(*batch)
                metric(*batch)
            metric.reset()
            found[f"{name}.update"] = _waits(lambda m=metric, b=batch: m.update(*b))
            metric = make().to("cuda")
            for _ in range(5):
                metric(*batch)
            found[f"{name}.forward"] = _waits(lambda m=metric, b=batch: m(*b))
            found[f"{name}.reset"] = _waits(metric.reset)
        shipped = MulticlassAccuracy(5, validate_args=False).to("cuda")
        shipped.update(preds, target)
        found["MulticlassAccuracy.update"] = _waits(lambda: shipped.update(preds, target))
    return found


class Raises(Metric):
    """Adds to two states and raises in between, if it is told to."""

    is_differentiable = False

    def __init__(self, in_place: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.in_place = in_place
        self.add_state("a", torch.zeros(3), dist_reduce_fx="sum")
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, x: Tensor, fail: bool) -> None:
        self.rows.append(x)
        if self.in_place:
            self.a += x
        else:
            self.a = self.a + x
        if fail:
            raise ValueError("told to")

    def compute(self) -> Tensor:
        return self.a + len(self.rows)


def undone(rank: int, world_size: int) -> dict[str, list[str]]:
    """Say what an update that raised has left, for states that are bound anew, edited, and copied before."""
    found = {}
    for name, metric in {
        "bound anew": Raises(False),
        "edited": Raises(True),
        "copied": Raises(True, atomic=True),
    }.items():
        metric.to("cuda")
        x = torch.ones(3, device="cuda")
        metric.update(x, False)
        before = local_bits(metric)
        try:
            metric.update(x, True)
        except ValueError as error:
            notes = " ".join(getattr(error, "__notes__", []))
        found[name] = ["kept" if local_bits(metric) == before else "changed", notes]
    return found


def moved(rank: int, world_size: int) -> None:
    """Move between devices, and edit what was handed out."""
    metric = Rows().to("cuda")
    metric.update(torch.ones(2, device="cuda"))
    value = metric.compute()
    value.mul_(100)
    assert metric.compute().tolist() == [1, 1] * world_size
    assert metric.cpu().compute().device.type == "cpu"
    metric.update(torch.ones(1))
    assert metric.cuda().compute().tolist() == [1] * 3 * world_size
    with torch.device("meta"):
        net = torch.nn.Sequential(torch.nn.Linear(2, 2))
        net.total = Total(4)
    net.to_empty(device="cuda")
    assert net.total.device.type == "cuda"
    assert net.total.metric_state["total"].item() == 4
