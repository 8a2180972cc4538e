"""Rows that were appended batch by batch, read in slices: nothing is joined as a whole before it is sent."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from syncmetrics.states.joined import joined_of
from syncmetrics.states.spec import State, own_tensor

__all__ = ["Rows", "parts_of"]


def parts_of(state: State) -> Sequence[Tensor]:
    """Give the rows of a `"cat"` state in as few tensors as they are there in."""
    if isinstance(state, Tensor):
        return [state]
    joined = joined_of(state)
    return state if joined is None else [joined]


class Rows:
    """The rows of one column of this rank.

    Args:
        state: A `"cat"` state with rows of shape `()`: a tensor, or a list of tensors.
        dtype: What the rows are converted to.
        device: Where the metric has its states.
        encode: What is done to a slice when it is read.
    """

    def __init__(
        self,
        state: State,
        dtype: torch.dtype,
        device: torch.device,
        encode: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._parts = [own_tensor(part).reshape(-1) for part in parts_of(state) if part.numel()]
        self._ends = list(itertools.accumulate(part.shape[0] for part in self._parts))
        self._dtype = dtype
        self.device = device
        self._encode = encode

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def slice(self, start: int, stop: int) -> Tensor:
        """Give the rows from `start` to before `stop`."""
        found = []
        for index in range(bisect_right(self._ends, start), len(self._parts)):
            part, end = self._parts[index], self._ends[index]
            at = end - part.shape[0]
            if at >= stop:
                break
            found.append(part[max(start - at, 0) : stop - at].to(self._dtype))
        nothing = torch.empty(0, dtype=self._dtype, device=self.device)
        rows = found[0] if len(found) == 1 else torch.cat([nothing, *found])
        return rows if self._encode is None else self._encode(rows)

    def take(self, places: Tensor) -> Tensor:
        """Give the rows at these places, which are in ascending order."""
        stops = torch.searchsorted(places, torch.tensor(self._ends, dtype=torch.int64)).tolist()
        places, found, done = places.to(self.device), [self.slice(0, 0)], 0
        for part, end, stop in zip(self._parts, self._ends, stops, strict=True):
            if stop > done:
                rows = part[places[done:stop] - (end - part.shape[0])].to(self._dtype)
                found.append(rows if self._encode is None else self._encode(rows))
                done = stop
        return torch.cat(found)
