"""Broken metrics, each with one mistake that people make, and the name that `verify` gives to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from syncmetrics import Metric

__all__ = ["ZOO"]


class _Loss(Metric):
    """What most of them have: a sum of values and their number."""

    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        self.total += values.double().sum()
        self.count += values.numel()

    def compute(self) -> Tensor:
        return self.total / self.count


class MeanOfBatchMeans(_Loss):
    def update(self, values: Tensor) -> None:
        self.total += values.double().mean()
        self.count += 1


class MeanOfRankMeans(_Loss):
    def __init__(self, **kwargs: Any) -> None:
        Metric.__init__(self, **kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="mean")
        self.add_state("count", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="mean")

    def update(self, values: Tensor) -> None:
        self.total += values.double().sum()
        self.count += values.numel()


class PlainAttribute(_Loss):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seen = 0

    def update(self, values: Tensor) -> None:
        self.total += values.double().sum()
        self.seen += values.numel()

    def compute(self) -> Tensor:
        return self.total / max(self.seen, 1)


class WrongReduction(Metric):
    hits: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("hits", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="max")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.hits += (preds.argmax(dim=-1) == target).sum()
        self.count += target.numel()

    def compute(self) -> Tensor:
        return self.hits / self.count


class MovingAverage(Metric):
    average: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("average", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="mean")

    def update(self, values: Tensor) -> None:
        self.average = 0.9 * self.average + 0.1 * values.double().mean()

    def compute(self) -> Tensor:
        return self.average


class CountInFloat32(_Loss):
    def __init__(self, **kwargs: Any) -> None:
        Metric.__init__(self, **kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0.0, dtype=torch.float32), dist_reduce_fx="sum")


class CountInBfloat16(_Loss):
    def update(self, values: Tensor) -> None:
        self.total += values.double().sum()
        ones = torch.ones((), dtype=torch.get_default_dtype())
        for _ in range(values.numel()):
            ones = ones + 1
        self.count += (ones - 1).long()


def _root_of_squares_mean(stacked: Tensor) -> Tensor:
    return stacked.mean(dim=0)


class NotAssociative(Metric):
    value: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("value", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx=_root_of_squares_mean)

    def update(self, values: Tensor) -> None:
        self.value = self.value + values.double().sum()

    def compute(self) -> Tensor:
        return self.value


class MaxFromZero(Metric):
    most: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("most", torch.tensor(0.0), dist_reduce_fx="max")

    def update(self, values: Tensor) -> None:
        self.most = torch.maximum(self.most, values.max())

    def compute(self) -> Tensor:
        return self.most


class MinFromZero(Metric):
    least: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("least", torch.tensor(0), dist_reduce_fx="min")

    def update(self, values: Tensor) -> None:
        self.least = torch.minimum(self.least, values.min())

    def compute(self) -> Tensor:
        return self.least


class ByNameAlone(Metric):
    total: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="mean")

    def update(self, *, preds: Tensor, target: Tensor) -> None:
        self.total = self.total + (preds - target).abs().sum()

    def compute(self) -> Tensor:
        return self.total


def _product(stacked: Tensor) -> Tensor:
    return stacked.prod(dim=0)


class ProductFromTwo(Metric):
    product: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("product", torch.tensor(2.0, dtype=torch.float64), dist_reduce_fx=_product)

    def update(self, values: Tensor) -> None:
        self.product = self.product * (1 + values.double().abs() / 10).prod()

    def compute(self) -> Tensor:
        return self.product


class EditsInCompute(_Loss):
    def compute(self) -> Tensor:
        self.total /= self.count
        return self.total.clone()


class HandsOutAState(_Loss):
    def compute(self) -> Tensor:
        return self.total


class Communicates(_Loss):
    def update(self, values: Tensor) -> None:
        total = values.double().sum()
        if dist.is_initialized():
            dist.all_reduce(total)
        self.total += total
        self.count += values.numel()


class CommunicatesInCompute(_Loss):
    def compute(self) -> Tensor:
        total = self.total.clone()
        if dist.is_initialized():
            dist.all_reduce(total)
        return total / self.count


class ReadsItsStates(Metric):
    mean: Tensor
    spread: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("spread", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        for value in values.double():
            self.total = self.total + value
            self.count = self.count + 1
            before = (self.total - value) / (self.count - 1).clamp(min=1)
            self.spread = self.spread + (value - before) * (value - self.total / self.count) * (self.count > 1)

    def compute(self) -> Tensor:
        return self.spread / self.count


class Waits(_Loss):
    def update(self, values: Tensor) -> None:
        self.total += values.double().sum().item()
        self.count += values.numel()


class EditsItsInput(_Loss):
    def update(self, values: Tensor) -> None:
        values -= 1
        self.total += values.double().sum()
        self.count += values.numel()


class KeepsItsInput(Metric):
    rows: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, values: Tensor) -> None:
        self.rows.append(values)

    def compute(self) -> Tensor:
        return torch.cat(self.rows).double().mean()


class Random(_Loss):
    def update(self, values: Tensor) -> None:
        self.total += (values.double() * (torch.rand(values.shape) < 0.5)).sum()
        self.count += values.numel()


class CannotBePickled(_Loss):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._weigh = lambda values: values * 2

    def update(self, values: Tensor) -> None:
        self.total += self._weigh(values.double()).sum()
        self.count += values.numel()


class NothingWithoutData(_Loss):
    def compute(self) -> Tensor:
        return torch.tensor(self.total.item() / self.count.item())


#: What makes each, and the mistake that it has.
ZOO: dict[Callable[[], Metric], str] = {
    MeanOfBatchMeans: "a mean of means",
    MeanOfRankMeans: "a mean of means",
    PlainAttribute: "a plain attribute that is not a state",
    WrongReduction: "a wrong reduction",
    MovingAverage: "an order-dependent value",
    CountInFloat32: "a count in float32",
    CountInBfloat16: "a count in bfloat16",
    NotAssociative: "a reduction that is not associative",
    MaxFromZero: "a default that is not neutral",
    MinFromZero: "a default that is not neutral",
    ByNameAlone: "a wrong reduction",
    ProductFromTwo: "a default that is not neutral",
    EditsInCompute: "states that are edited in `compute`",
    HandsOutAState: "a state handed out",
    Communicates: "an update that communicates",
    CommunicatesInCompute: "a compute that communicates",
    ReadsItsStates: "an update that reads its states",
    Waits: "an update that waits for the device",
    EditsItsInput: "an input that is edited",
    KeepsItsInput: "an input that is kept",
    Random: "random numbers",
    CannotBePickled: "a metric that cannot be copied",
    NothingWithoutData: "no value without data",
}
