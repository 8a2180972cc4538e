"""What a rank does in the tests of law 10: it gives the elements of a list of all ranks as it sees them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from syncmetrics import Metric, dim_zero_cat


class Rows(Metric):
    def __init__(self, fx: Any) -> None:
        super().__init__()
        self.fx = fx
        self.add_state("rows", [], dist_reduce_fx=fx)

    def update(self, items: list[Tensor]) -> None:
        self.rows.extend(items)

    def compute(self) -> Any:
        whole = dim_zero_cat(self.rows) if self.fx == "cat" else None
        return list(self.rows), whole


def elements(rank: int, world_size: int, world: list[list[Tensor]], fx: Any) -> Any:
    metric = Rows(fx)
    metric.update([item.clone() for item in world[rank]])
    own = rank == 0 and not world[0]
    seen, whole = Rows.compute._wraps[1](metric) if own and world_size == 1 else _shown(metric)  # type: ignore[attr-defined]
    return seen, whole


def _shown(metric: Rows) -> Any:
    with metric.sync_context():
        return [item.clone() for item in metric.rows], dim_zero_cat(metric.rows).clone() if metric.fx == "cat" else None


def joined(items: list[Tensor]) -> Tensor:
    """Give what one process would join."""
    return dim_zero_cat([item.clone() for item in items]) if items else torch.zeros(0)
