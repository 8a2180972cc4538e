"""Metrics that are written once and run on both libraries: the class body is the same, the base class is not."""

from __future__ import annotations

from typing import Any

import torch
import torchmetrics
from torch import Tensor

import syncmetrics

__all__ = ["OurRows", "OurTotal", "PeerRows", "PeerTotal"]


class _Total:
    """Add up. A size makes it a vector; a dtype, another one than float32."""

    total: Tensor

    def __init__(self, shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float32, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros(shape, dtype=dtype), dist_reduce_fx="sum")  # type: ignore[attr-defined]

    def update(self, x: Tensor) -> None:
        self.total += x

    def compute(self) -> Tensor:
        return self.total


class _Rows:
    """Keep all rows."""

    rows: Any

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", [], dist_reduce_fx="cat")  # type: ignore[attr-defined]  # of the other base class

    def update(self, x: Tensor) -> None:
        self.rows.append(x)

    def compute(self) -> Tensor:
        return syncmetrics.dim_zero_cat(self.rows)


class OurTotal(_Total, syncmetrics.Metric):
    """A sum on syncmetrics."""


class PeerTotal(_Total, torchmetrics.Metric):
    """The same sum on torchmetrics."""

    full_state_update = False


class OurRows(_Rows, syncmetrics.Metric):
    """Rows on syncmetrics."""


class PeerRows(_Rows, torchmetrics.Metric):
    """The same rows on torchmetrics."""

    full_state_update = False
