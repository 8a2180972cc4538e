"""Small metrics as people write them, and how to compare states bit by bit. Neither pytest nor hypothesis is needed."""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import torch
from torch import Tensor

from syncmetrics import Metric, dim_zero_cat

_NAMES = """
bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex32 complex64 complex128
float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu
"""
DTYPES: tuple[torch.dtype, ...] = tuple(getattr(torch, name) for name in _NAMES.split() if hasattr(torch, name))

with warnings.catch_warnings():  # torch says once that complex32 is experimental
    warnings.simplefilter("ignore")
    torch.zeros(1, dtype=torch.complex32)


def bits(value: Any) -> Any:
    """Give something that is equal for two values only if their types, shapes and bytes are."""
    if isinstance(value, Tensor):
        flat = value.detach().cpu().resolve_conj().clone(memory_format=torch.contiguous_format).reshape(-1)
        return str(value.dtype), tuple(value.shape), flat.view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return "dict", tuple((key, bits(value[key])) for key in value)
    if isinstance(value, (list, tuple)):
        return "list" if isinstance(value, list) else "tuple", tuple(bits(item) for item in value)
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return type(value).__name__, value


def local_bits(metric: torch.nn.Module) -> Any:
    """Give the local states of a metric, and of all metrics inside it, bit by bit."""
    return [
        (name, module.update_count, bits(module.metric_state))
        for name, module in metric.named_modules()
        if isinstance(module, Metric)
    ]


def about(state_dict: Any, prefix: str = "") -> Any:
    """Read what a state dict says of the states in it."""
    return json.loads(bytes(state_dict[prefix + "_about"]))


class Total(Metric):
    """A sum, edited in place."""

    is_differentiable = False

    def __init__(self, default: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.as_tensor(default, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.total += x.sum()

    def compute(self) -> Tensor:
        return self.total.clone()


class Accuracy(Metric):
    """Two counts, one edited in place and one rebound."""

    is_differentiable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("correct", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.correct += (preds == target).sum()
        self.count = self.count + target.numel()

    def compute(self) -> Tensor:
        return self.correct / self.count


class Rows(Metric):
    """A list of tensors."""

    is_differentiable = False

    def __init__(self, dist_reduce_fx: Any = "cat", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", [], dist_reduce_fx=dist_reduce_fx)

    def update(self, x: Tensor) -> None:
        self.rows.append(x)

    def compute(self) -> Tensor:
        return dim_zero_cat(self.rows)


class Names(Metric):
    """A list of plain data."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("names", [])

    def update(self, *names: Any) -> None:
        self.names.extend(names)

    def compute(self) -> list[Any]:
        return list(self.names)


class Welford(Metric):
    """States that belong together."""

    is_differentiable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("count", "mean", "m2"):
            self.add_state(name, torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        x = x.double()
        batch = {"count": torch.tensor(float(x.numel()), dtype=torch.float64), "mean": x.mean()}
        batch["m2"] = ((x - batch["mean"]) ** 2).sum()
        for name, value in self.merge_states(self.metric_state, batch).items():
            setattr(self, name, value)

    def merge_states(self, a: Any, b: Any) -> Any:
        count = a["count"] + b["count"]
        delta = b["mean"] - a["mean"]
        return {
            "count": count,
            "mean": a["mean"] + delta * b["count"] / count,
            "m2": a["m2"] + b["m2"] + delta**2 * a["count"] * b["count"] / count,
        }

    def compute(self) -> Tensor:
        return self.m2 / self.count


class PerClass(Metric):
    """One value for each class."""

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.add_state("counts", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, labels: Tensor) -> None:
        self.counts += torch.bincount(labels, minlength=self.num_classes)

    def compute(self) -> Tensor:
        return self.counts.double() / self.counts.sum()


class Counts(PerClass):
    """The same states as every other metric of this class, so that a collection keeps them once."""

    full_state_update = False
    updates = 0  # of all metrics of this class: how often `update` really ran

    def update(self, labels: Tensor) -> None:
        Counts.updates += 1
        super().update(labels)

    @property
    def compute_group(self) -> Any:
        return "counts", self.num_classes


class Most(Counts):
    """Another value of the states of `Counts`."""

    def compute(self) -> Tensor:
        return self.counts.max()


class Outer(Metric):
    """A metric with metrics inside and a state of its own."""

    is_differentiable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = Total(**kwargs)
        self.many = torch.nn.ModuleList([Rows(**kwargs)])
        self.add_state("batches", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.inner.update(x)
        self.many[0].update(x)
        self.batches += 1

    def compute(self) -> dict[str, Tensor]:
        return {"total": self.inner.compute(), "rows": self.many[0].compute(), "batches": self.batches.clone()}
