"""Metrics of random states, as users write them, and what is drawn of batches. No pytest, so that ranks start soon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from syncmetrics import Metric, RowBuffer, dim_zero_cat

#: What a state holds and how `update` changes it. The first word is the reduction.
KINDS = (
    "sum, edited",
    "sum, bound anew",
    "sum of a vector, edited",
    "sum of a vector, by index",
    "max",
    "min, edited",
    "cat of rows",
    "cat of scalars",
    "cat of a buffer",
    "cat of a tensor",
    "none of rows",
    "none of plain data",
    "callable",
)


def _largest(x: Tensor) -> Tensor:
    return x.amax(0)


def _add(metric: Drawn, name: str, kind: str) -> None:
    declare: dict[str, tuple[Callable[[], Any], Any]] = {
        "sum, edited": (lambda: torch.tensor(0.0, dtype=torch.float64), "sum"),
        "sum, bound anew": (lambda: torch.tensor(0), "sum"),
        "sum of a vector, edited": (lambda: torch.zeros(3, dtype=torch.float64), "sum"),
        "sum of a vector, by index": (lambda: torch.zeros(4, dtype=torch.int64), "sum"),
        "max": (lambda: torch.tensor(-torch.inf, dtype=torch.float64), "max"),
        "min, edited": (lambda: torch.tensor(torch.inf, dtype=torch.float64), "min"),
        "cat of rows": (list, "cat"),
        "cat of scalars": (list, "cat"),
        "cat of a buffer": (RowBuffer, "cat"),
        "cat of a tensor": (lambda: torch.zeros(0, dtype=torch.float64), "cat"),
        "none of rows": (list, None),
        "none of plain data": (list, None),
        "callable": (lambda: torch.tensor(-torch.inf, dtype=torch.float64), _largest),
    }
    default, fx = declare[kind]
    metric.add_state(name, default(), dist_reduce_fx=fx)


def _change(metric: Drawn, name: str, kind: str, x: Tensor) -> None:
    if kind == "sum, edited":
        setattr(metric, name, getattr(metric, name).add_(x.sum()))
    elif kind == "sum, bound anew":
        setattr(metric, name, getattr(metric, name) + int(x.sum()))
    elif kind == "sum of a vector, edited":
        state = getattr(metric, name)
        state += x.sum() * torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
        setattr(metric, name, state)
    elif kind == "sum of a vector, by index":
        getattr(metric, name)[int(x.sum()) % 4] += 1
    elif kind in ("max", "callable"):
        setattr(metric, name, torch.maximum(getattr(metric, name), x.max()))
    elif kind == "min, edited":
        getattr(metric, name).copy_(torch.minimum(getattr(metric, name), x.min()))
    elif kind in ("cat of rows", "none of rows"):
        getattr(metric, name).append(x.clone())
    elif kind == "cat of scalars":
        getattr(metric, name).extend(x.clone().unbind())
    elif kind == "cat of a buffer":
        getattr(metric, name).append(x)
    elif kind == "cat of a tensor":
        setattr(metric, name, torch.cat([getattr(metric, name), x]))
    else:
        getattr(metric, name).append({"sum": x.sum().item(), "of": len(x)})


class Drawn(Metric):
    """A metric of random states. Those of one class and the same kinds may share them.

    Args:
        kinds: What each state is, of `KINDS`.
        **kwargs: Arguments of `Metric`.
    """

    def __init__(self, kinds: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kinds = tuple(kinds)
        for index, kind in enumerate(self.kinds):
            _add(self, f"s{index}", kind)

    @property
    def compute_group(self) -> Any:
        return self.kinds

    def update(self, x: Tensor) -> None:
        for index, kind in enumerate(self.kinds):
            _change(self, f"s{index}", kind, x)

    def compute(self) -> tuple[Any, ...]:
        states = (getattr(self, f"s{index}") for index in range(len(self.kinds)))
        return tuple(dim_zero_cat(s) if k.startswith("cat") else s for k, s in zip(self.kinds, states, strict=True))


class Lengths(Drawn):
    """Another value of the same states."""

    def compute(self) -> tuple[Any, ...]:
        return tuple(len(value) if isinstance(value, list) else value.double().sum() for value in super().compute())


def batch(seed: int) -> Tensor:
    """Give a batch of one to four numbers."""
    return torch.arange(1, 2 + seed % 4, dtype=torch.float64) * (seed + 1)
