"""Plain values: weighted means over the steps of this rank, and over ranks that need not have logged the same names."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from syncmetrics.family.checks import accumulate_dtype
from syncmetrics.metric import Metric
from syncmetrics.states.spec import States
from syncmetrics.sync import Node
from syncmetrics.transport import local_part

__all__ = ["PlainNode", "PlainValues", "Row", "RunningMeans", "as_number", "as_weight", "fold_rows"]

#: A number of this process, or a 0-d tensor that stays on its device until the epoch ends.
Number: TypeAlias = float | Tensor

#: Name, sum of weight times value, sum of weights.
Row: TypeAlias = tuple[str, float, float]


def as_number(name: str, value: Any) -> Number:
    """Give a value as a float, or as a detached 0-d tensor in float64 (float32 on a device that has none).

    Raises:
        ValueError: It is a tensor with other than one element, or a DTensor that is still to be reduced.
        TypeError: It is neither a real number, nor a real tensor, nor a metric.
    """
    if isinstance(value, Tensor) and type(value) is not Tensor and hasattr(value, "placements"):
        value = local_part(value, name, None)
    if isinstance(value, Tensor) and not value.is_complex():
        if value.numel() != 1:
            raise ValueError(
                f"`{name}` must be a number or a tensor of one element, but has the shape {tuple(value.shape)} instead."
                " Log its mean with weight=number of elements, or update a metric with it and log that."
            )
        return value.detach().reshape(()).to(accumulate_dtype(value.device))
    if isinstance(value, numbers.Real):
        return float(value)
    kind = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
    raise TypeError(
        f"`{name}` must be a real number, a real tensor of one element, or a metric, but is a {kind} instead."
        " `register_adapter` makes a class of your own one of the metrics."
    )


def as_weight(argument: str, weight: Any) -> Number:
    """Give a weight as a float or as a 0-d tensor.

    Raises:
        ValueError: It is negative, or not finite. That of a tensor on another device than the CPU is not looked at.
    """
    number = as_number(argument, weight)
    if isinstance(number, Tensor) and number.device.type != "cpu":
        return number
    number = float(number)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"`{argument}` must be finite and at least 0, but is {number} instead.")
    return number


class RunningMeans:
    """Sums of this rank, a pair for each name.

    What was logged without a weight is kept apart until the step ends, for its weight is the batch size that is told
    there. Nothing is kept but these sums, and nothing waits for a device.
    """

    def __init__(self) -> None:
        self._closed: dict[str, tuple[Number, Number]] = {}
        self._open: dict[str, tuple[Number, Number]] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._closed or name in self._open

    @torch.no_grad()
    def add(self, name: str, value: Number, weight: Number | None) -> None:
        """Add a value.

        Args:
            name: Its name.
            value: What `as_number` gave.
            weight: What `as_weight` gave; None if the step says it.
        """
        sums = self._open if weight is None else self._closed
        sums[name] = _grown(sums.get(name, (0.0, 0.0)), value, 1.0, 1.0 if weight is None else weight)

    @torch.no_grad()
    def end_step(self, batch_size: Number) -> None:
        """Give the values of this step that have no weight the batch size as theirs."""
        self._closed, self._open = self._all(batch_size), {}

    @torch.no_grad()
    def rows(self) -> list[Row]:
        """Give all sums as plain data. It waits for the devices that values are on."""
        return [(name, float(total), float(weight)) for name, (total, weight) in self._all(1.0).items()]

    def load(self, rows: Iterable[Row]) -> None:
        """Have these sums in place of all others; those of one name are added up."""
        sums: dict[str, tuple[Number, Number]] = {}
        for name, total, weight in rows:
            before = sums.get(name, (0.0, 0.0))
            sums[str(name)] = before[0] + float(total), before[1] + float(weight)
        self._closed, self._open = sums, {}

    def clear(self) -> None:
        """Forget all values."""
        self._closed, self._open = {}, {}

    def _all(self, batch_size: Number) -> dict[str, tuple[Number, Number]]:
        closed = dict(self._closed)
        for name, (total, count) in self._open.items():
            closed[name] = _grown(closed.get(name, (0.0, 0.0)), total, count, batch_size)
        return closed


def _grown(sums: tuple[Number, Number], value: Number, count: Number, weight: Number) -> tuple[Number, Number]:
    """Add `value` and `count`, both times the weight. What has the weight 0 is not there, even if it is NaN."""
    total, weights = sums
    if isinstance(weight, Tensor):
        product: Number = torch.where(weight == 0, torch.zeros_like(weight), _times(weight, value))
    elif weight == 0:
        return sums
    else:
        product = _times(weight, value)
    return _plus(total, product), _plus(weights, _times(weight, count))


def _times(a: Number, b: Number) -> Number:
    a, b = _together(a, b)
    return a * b


def _plus(a: Number, b: Number) -> Number:
    a, b = _together(a, b)
    return a + b


def _together(a: Number, b: Number) -> tuple[Number, Number]:
    """Move one of two tensors to where the other one is, and none from a device to the CPU: that would wait."""
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.device != b.device:
        device = b.device if a.device.type == "cpu" else a.device
        return a.to(device), b.to(device)
    return a, b


def fold_rows(rows: Iterable[Row]) -> dict[str, Tensor]:
    """Give the mean of every name that any rank has.

    Args:
        rows: The rows of all ranks, in rank order: every rank folds the same rows in the same order.

    Returns:
        0-d float64 tensors; NaN where all weights are 0.
    """
    sums: dict[str, tuple[float, float]] = {}
    for name, total, weight in rows:
        before = sums.get(name, (0.0, 0.0))
        sums[name] = before[0] + total, before[1] + weight
    return {
        name: torch.tensor(total / weight if weight != 0 else math.nan, dtype=torch.float64, device="cpu")
        for name, (total, weight) in sums.items()
    }


@dataclass(slots=True, eq=False)
class PlainNode(Node):
    """The plain values of an epoch, when they are saved and loaded.

    Attributes:
        means: Where they are.
    """

    means: RunningMeans = field(default_factory=RunningMeans)

    @classmethod
    def of(cls, path: str, means: RunningMeans) -> PlainNode:
        """Give the node of what is there now."""
        plain = PlainValues()
        plain.update(means.rows())
        (node,) = plain._nodes(path)
        return cls(node.path, node.label, node.holders, means=means)

    def take(self, names: Sequence[str], states: States, update_count: int) -> None:
        """Put values in place of those that are there."""
        rows: Any = states["rows"]
        self.means.load(rows)

    def as_it_is(self) -> Callable[[], None]:
        """Remember the values, and give what puts them back."""
        return partial(self.means.load, self.means.rows())


class PlainValues(Metric):
    """The plain values of an epoch as a metric, so that they travel with the others.

    The rows of a rank are a list of plain data, which may be empty: a rank that has logged nothing takes part without
    knowing a single name.
    """

    full_state_update = False
    rows: list[Any]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", [], dist_reduce_fx=None)

    def update(self, rows: Sequence[Row]) -> None:
        """Add the rows of this rank."""
        self.rows.extend(rows)

    def compute(self) -> list[Row]:
        """Give the rows of all ranks, in rank order."""
        return list(self.rows)
