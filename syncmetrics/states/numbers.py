"""Tensors of one element as Python's own numbers: a snapshot that costs an eighth of a copy, and the tensor again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from syncmetrics.states.autograd import no_graph

__all__ = ["Number", "tensor_of"]

#: In which a number of Python's is exact, whatever narrower dtype it came from.
_WIDE = {float: torch.float64, complex: torch.complex128, bool: torch.bool}


@dataclass(slots=True, eq=False)
class Number:
    """What was in a tensor of one element.

    Attributes:
        item: The number.
        dtype: Of the tensor.
    """

    item: float | complex
    dtype: torch.dtype

    def tensor(self) -> Tensor:
        """Give a new tensor of it, on the CPU and without dimensions."""
        return tensor_of(self.item, self.dtype, ())


def tensor_of(item: float | complex, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """Give the tensor of one element, on the CPU, whose `item()` gave this number."""
    wide = _WIDE.get(type(item)) or (dtype if dtype is torch.uint64 else torch.int64)
    with no_graph():
        return torch.tensor(item, dtype=wide, device="cpu").to(dtype).reshape(tuple(shape))
