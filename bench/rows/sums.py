"""Sums that are too large for a packet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bench.cases import Built, Case, Contender, Role, Row, Scale, Target
from bench.rows.by_hand import gather_into
from bench.rows.own import OurTotal, PeerTotal

__all__ = ["ROWS"]

_CONTENDERS: dict[str, Role] = {
    "syncmetrics": "ours",
    "torchmetrics": "peer",
    "all_reduce": "raw",
    "all_gather and add": "raw",
}


def _cases(scale: Scale) -> list[Case]:
    shapes: list[tuple[str, tuple[int, ...], str]] = [
        ("1000 x 1000 counts, int64", (1000, 1000), "int64"),
        ("8 MB of float64", (1 << 20,), "float64"),
        ("64 MB of float64", (1 << 23,), "float64"),
    ]
    if scale.quick:
        shapes = [("100 x 100 counts, int64", (100, 100), "int64"), ("80 KB of float64", (10_000,), "float64")]
    return [
        Case(
            "sum",
            world,
            label,
            _CONTENDERS,
            {"shape": shape, "dtype": dtype},
            (Target("raw", 1.1),),
            headline=index < 2,
        )
        for world in scale.pick(2, 4)
        for index, (label, shape, dtype) in enumerate(shapes)
    ]


def _reduced(local: Tensor) -> Callable[[], Tensor]:
    def act() -> Tensor:
        total = local.clone()  # the state of this rank must stay what it is
        dist.all_reduce(total)
        return total

    return act


def _folded(local: Tensor, world: int) -> Callable[[], Tensor]:
    def act() -> Tensor:
        out = torch.empty((world, *local.shape), dtype=local.dtype)
        gather_into(out.view(-1), local.view(-1))
        return out.sum(0)

    return act


def _build(case: Case, rank: int) -> Built:
    shape, dtype = tuple(case.params["shape"]), getattr(torch, case.params["dtype"])
    local = torch.full(shape, 1 + rank, dtype=dtype)
    mine, peer = OurTotal(shape, dtype), PeerTotal(shape, dtype)

    def fill(metric: Any) -> None:
        metric.reset()
        metric.update(local)

    return {
        "syncmetrics": Contender(mine.compute, lambda: fill(mine)),
        "torchmetrics": Contender(peer.compute, lambda: fill(peer)),
        "all_reduce": Contender(_reduced(local)),
        "all_gather and add": Contender(_folded(local, case.world)),
    }


ROWS = (Row("sum", "compute() of large sums", _cases, _build),)
