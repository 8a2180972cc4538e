"""Operators on metrics: the value is that of the operator on the values, and every metric has each batch once."""

from __future__ import annotations

import copy
import operator
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from syncmetrics import (
    BinaryF1Score,
    BinaryPrecision,
    BinaryRecall,
    ClasswiseWrapper,
    CompositionalMetric,
    Metric,
    MetricCollection,
    MinMaxMetric,
    MulticlassAccuracy,
    Running,
    StateError,
)
from syncmetrics.transport.threads import run_threads
from tests.samples import Counts, PerClass, Total, Welford, bits


class Row(Total):
    """A sum of rows."""

    full_state_update = False

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        Metric.__init__(self)
        self.add_state("total", torch.zeros(3, dtype=dtype), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.total += x.sum(0)


FLOATS = torch.tensor([[1.5, -2.0, 3.0], [0.25, 0.0, 1.0]], dtype=torch.float64)
INTS = torch.tensor([[1, 6, 3], [4, 0, 1]])
OPERATORS: list[Callable[[Any, Any], Any]] = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.pow,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.matmul,
]
OF_BITS: list[Callable[[Any, Any], Any]] = [operator.and_, operator.or_, operator.xor]
OTHERS: list[Any] = [2, 0.5, np.float64(0.5), np.int64(3), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)]


@pytest.mark.parametrize("function", [*OPERATORS, *OF_BITS])
def test_the_operators(function: Callable[[Any, Any], Any]) -> None:
    data = INTS if function in OF_BITS else FLOATS
    others = [5, torch.tensor([1, 2, 3])] if function in OF_BITS else OTHERS
    for other in [others[-1]] if function is operator.matmul else others:
        for ours in (lambda a, b: function(a, b), lambda a, b: function(b, a)):
            metric = ours(Row(data.dtype), other)
            value = metric(data)
            plain = other.item() if isinstance(other, np.generic) else other
            assert bits(value) == bits(ours(data.sum(0), plain))
            metric.update(data)
            assert bits(metric.compute()) == bits(ours(2 * data.sum(0), plain))
    both = function(Row(data.dtype), Row(data.dtype))
    assert bits(both(data)) == bits(function(data.sum(0), data.sum(0)))


def test_the_remainder_is_that_of_torchmetrics() -> None:
    for metric, right in (
        (Row() % 2, torch.fmod(FLOATS.sum(0), 2)),
        (7 % Row(), torch.fmod(torch.tensor(7.0), FLOATS.sum(0))),
    ):
        assert bits(metric(FLOATS)) == bits(right.double())


def test_operators_of_one_value() -> None:
    for metric, right in (
        (abs(Row()), FLOATS.sum(0).abs()),
        (-Row(), -FLOATS.sum(0)),
        (+Row(), FLOATS.sum(0)),
        (Row()[1], FLOATS.sum(0)[1]),
        (Row()[1:], FLOATS.sum(0)[1:]),
        (CompositionalMetric(torch.exp, Row()), FLOATS.sum(0).exp()),
        (CompositionalMetric(torch.add, 2, Row()), FLOATS.sum(0) + 2),
        (CompositionalMetric(torch.eq, Row(), torch.tensor(1.75)), FLOATS.sum(0) == 1.75),
    ):
        assert bits(metric(FLOATS)) == bits(right)
    assert bits((~(Row() > 1))(FLOATS)) == bits(~(FLOATS.sum(0) > 1))
    metric = MinMaxMetric(Row()[0])["max"]
    assert metric(FLOATS) == 1.75


def test_what_is_no_operand() -> None:
    metric: Any = Total()
    for call in (lambda: metric + "x", lambda: "x" * metric, lambda: metric @ None, lambda: metric < {}):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(TypeError, match="not iterable"):
        list(metric)
    with pytest.raises(TypeError, match="`metric_a` or `metric_b` must be a metric"):
        CompositionalMetric(torch.add, 1, 2)
    with pytest.raises(TypeError, match="`operator` must be a function"):
        CompositionalMetric("add", metric)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="differ in `sync_timeout`"):
        metric + Total(sync_timeout=3.0)


def test_equal_is_whether_it_is_the_same_metric() -> None:
    one, other = Total(), Total()
    assert (one == other) is False
    assert (one != other) is True
    assert [other, one].index(one) == 1
    assert one not in [other]
    assert {one: 1, other: 2}[other] == 2


def test_a_metric_in_several_places_is_updated_once() -> None:
    Counts.updates = 0
    counts = Counts(2)
    share = counts[0] / (counts[0] + counts[1])
    share.update(torch.tensor([0, 1, 1, 1]))
    assert Counts.updates == counts.update_count == 1
    assert share.compute() == 0.25
    counts.update(torch.tensor([0, 0, 0, 0]))  # its states are those of the metric
    assert share.compute() == 5 / 8
    share.reset()
    assert counts.update_count == 0
    doubled = Total() * 1
    twice = doubled + doubled
    assert twice(torch.ones(3)) == 6


def _f1() -> dict[str, Any]:
    precision, recall = BinaryPrecision(), BinaryRecall()
    f1 = 2 * precision * recall / (precision + recall)
    return {"a": f1, "p": precision, "r": recall, "z": 1 - f1, "own": BinaryF1Score(), "range": MinMaxMetric(recall)}


def _batch(seed: int) -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    return torch.rand(9, generator=gen), torch.arange(9) % 2


@pytest.mark.parametrize("how", ["update", "forward", "both", "compiled"])
@pytest.mark.parametrize("compute_groups", [True, False])
def test_it_stands_beside_its_metrics_in_a_collection(how: str, compute_groups: bool) -> None:
    collection = MetricCollection(_f1(), compute_groups=compute_groups)
    add = torch.compile(collection.update, backend="eager") if how == "compiled" else collection.update
    for seed in range(6):
        if how == "forward" or (how == "both" and seed % 2):
            value = collection(*_batch(seed))
            torch.testing.assert_close(value["a"], value["own"])
        else:
            add(*_batch(seed))
    torch._dynamo.reset()
    assert [metric.update_count for metric in collection.values()] == [6] * 6
    value = collection.compute()
    torch.testing.assert_close(value["a"], value["own"])
    right = BinaryPrecision()
    for seed in range(6):
        right.update(*_batch(seed))
    assert bits(value["p"]) == bits(right.compute())
    collection["p"].update(*_batch(0))  # alone
    assert [collection[name].update_count for name in ("p", "r", "own")] == [7, 6, 6]
    collection.reset()
    collection.update(*_batch(3))
    assert [metric.update_count for metric in collection.values()] == [1] * 6


def test_it_stands_beside_its_metrics_on_all_ranks() -> None:
    def run(rank: int, world_size: int) -> Any:
        collection = MetricCollection(_f1())
        for seed in range(3):
            collection.update(*_batch(10 * rank + seed))
            if rank == 1:
                collection["r"].update(*_batch(seed))  # on one rank its metrics do not share their states any more
        step = collection(*_batch(rank))
        twins = pickle.loads(pickle.dumps(collection)), copy.copy(collection)
        return collection.compute(), step, *(twin.compute() for twin in twins)

    one = MetricCollection(_f1(), compute_groups=False)
    for rank in range(3):
        for seed in range(3):
            one.update(*_batch(10 * rank + seed))
            if rank == 1:
                one["r"].update(*_batch(seed))
        one.update(*_batch(rank))
    right = one.compute()
    for rank, (value, step, again, copied) in enumerate(run_threads(run, 3)):
        assert bits(value) == bits(right) == bits(copied)
        assert bits(again) == bits(right)
        torch.testing.assert_close(step["a"], step["own"])
        single = BinaryF1Score()
        assert bits(step["own"]) == bits(single(*_batch(rank)))


def test_a_metric_that_reads_its_states_is_updated_once_more() -> None:
    class Last(Total):
        def update(self, x: Tensor) -> None:
            self.total = self.total / 2 + x.sum()

    last = Last()
    collection = MetricCollection({"by2": last / 2, "last": last, "other": Counts(2)[0] + 0})
    plain = Last()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for seed in range(4):
            collection(torch.tensor([seed % 2, 1]))
            plain.update(torch.tensor([seed % 2, 1]))
    assert "reads its states" in str(told[0].message)
    value = collection.compute()
    assert value["last"] == plain.compute() == 2 * value["by2"]
    assert value["other"] == 0.25


def test_metrics_of_other_libraries() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    theirs, ours = torchmetrics.classification.BinaryPrecision(), BinaryRecall()
    metric = 2 * ours + theirs
    for seed in range(3):
        preds, target = _batch(seed)
        value = metric(preds, target)
        torch.testing.assert_close(value, 2 * BinaryRecall()(preds, target) + BinaryPrecision()(preds, target))
    right = MetricCollection([BinaryPrecision(), BinaryRecall()])
    for seed in range(3):
        right.update(*_batch(seed))
    value = right.compute()
    torch.testing.assert_close(metric.compute(), 2 * value["BinaryRecall"] + value["BinaryPrecision"])
    with pytest.raises(StateError, match="a metric of another library inside"):
        metric.merge_state(copy.deepcopy(metric))
    assert (theirs + ours)(*_batch(0)) > 0  # theirs, with ours inside


def test_a_value_of_a_batch_keeps_its_graph() -> None:
    class Loss(Metric):
        is_differentiable = True
        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.add_state("loss", torch.tensor(0.0), dist_reduce_fx="sum")

        def update(self, x: Tensor) -> None:
            self.loss += (x**2).sum()

        def compute(self) -> Tensor:
            return self.loss.clone()

    metric, x = 3 * Loss() + Running(Loss(), 2) * 0, torch.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        x.grad = None
        metric(x).backward()
        assert x.grad is not None
        assert x.grad.tolist() == [6, 12]
    assert not metric.compute().requires_grad
    assert metric.metric_a.metric_b.metric_state["loss"] == 15


def test_keyword_arguments_and_settings() -> None:
    class Weighted(Total):
        def update(self, x: Tensor, weight: float = 1.0) -> None:
            self.total += x.sum() * weight

    metric = Weighted(sync_on_compute=False) + Total(sync_on_compute=False)
    metric.update(torch.ones(2), weight=3.0)
    assert metric.compute() == 8
    assert metric.sync_on_compute is False
    assert "add" in repr(metric)
    labels = torch.tensor([0, 1, 1])
    collection = MetricCollection({"sum": Counts(2)[0] + 1, "each": ClasswiseWrapper(PerClass(2)), "var": -Welford()})
    collection.update(labels)
    assert list(collection.compute()) == ["sum", "perclass_0", "perclass_1", "var"]
    metric = MulticlassAccuracy(num_classes=2) * torch.tensor(2.0)
    assert metric.to("meta").metric_b.device.type == "meta" == metric.metric_a.device.type


def test_metrics_that_share_their_states_with_others_outside() -> None:
    """What is done to an operator's value is done to its metrics, and not to those that they shared states with."""
    for how in ("update", "forward"):
        shared = MetricCollection([BinaryPrecision(), BinaryRecall(), BinaryF1Score()])
        shared.update(*_batch(0))
        metric = shared["BinaryPrecision"] * shared["BinaryRecall"]
        if how == "update":
            metric.update(*_batch(1))
        else:
            alone = BinaryPrecision()(*_batch(1)) * BinaryRecall()(*_batch(1))
            assert bits(metric(*_batch(1))) == bits(alone)
        assert [one.update_count for one in shared.values()] == [2, 2, 1]
        right = MetricCollection([BinaryPrecision(), BinaryRecall(), BinaryF1Score()])
        right.update(*_batch(0))
        assert bits(shared.compute()["BinaryF1Score"]) == bits(right.compute()["BinaryF1Score"])
        right.update(*_batch(1))
        value = right.compute()
        assert bits(metric.compute()) == bits(value["BinaryPrecision"] * value["BinaryRecall"])


@pytest.mark.parametrize("how", ["update", "forward"])
def test_a_metric_of_another_library_beside_an_operator_on_it(how: str) -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    collection = MetricCollection({"theirs": torchmetrics.classification.BinaryRecall()})
    collection.add_metrics({"twice": 2 * collection["theirs"]})
    for seed in range(3):
        value = collection.update(*_batch(seed)) if how == "update" else collection(*_batch(seed))
        if value is not None:
            assert value["twice"] == 2 * value["theirs"] == 2 * BinaryRecall()(*_batch(seed))
    assert collection["theirs"].update_count == 3
    value = collection.compute()
    assert value["twice"] == 2 * value["theirs"]
