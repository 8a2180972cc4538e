from __future__ import annotations

import gc
import math
import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from syncmetrics import (
    ClasswiseWrapper,
    MetricCollection,
    MetricLogger,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    SumMetric,
)
from syncmetrics.logger import Record
from syncmetrics.logger.values import RunningMeans

PREDS = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
TARGET = torch.tensor([0, 1, 1])


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.pictures: list[tuple[str, list[Any]]] = []
        self.closed = 0

    def write(self, record: Record) -> None:
        self.records.append(record)

    def picture(self, name: str, values: torch.Tensor, record: Record) -> None:
        self.pictures.append((name, values.tolist()))

    def close(self) -> None:
        self.closed += 1

    def of(self, kind: str) -> list[dict[str, float]]:
        return [dict(record.scalars) for record in self.records if record.kind == kind]


def accuracy(**kwargs: Any) -> MulticlassAccuracy:
    return MulticlassAccuracy(2, average="micro", **kwargs)


def several() -> MetricCollection:
    return MetricCollection(
        {
            "accuracy": accuracy(),
            "confusion": MulticlassConfusionMatrix(2),
            "each": ClasswiseWrapper(MulticlassAccuracy(2, average=None), ["cat", "dog"], prefix="accuracy_"),
        },
        prefix="val/",
    )


# ---- plain values ---------------------------------------------------------------------------------------------------


def test_values_are_weighted_by_the_batch_size_of_their_step() -> None:
    logger = MetricLogger()
    for value, size in ((1.0, 3), (5.0, 1)):
        logger.log("loss", value)
        logger.step(batch_size=size)
    values = logger.end_epoch()
    assert values["loss"].dtype == torch.float64
    assert values["loss"].item() == 2.0, "the mean of samples, which the mean of means, 3, is not"


def test_a_weight_goes_before_the_batch_size() -> None:
    logger = MetricLogger()
    logger.log("loss", 1.0, weight=3)
    logger.log("loss", torch.tensor(5.0), weight=torch.tensor(1))
    logger.step(batch_size=100)
    assert logger.end_epoch()["loss"].item() == 2.0


def test_without_both_every_value_counts_once() -> None:
    logger = MetricLogger()
    for value in (1.0, 2.0, 6.0):
        logger.log("loss", value)
    assert logger.end_epoch()["loss"].item() == 3.0
    logger.log("loss", 1.0)
    logger.step()
    logger.log("loss", 2.0)  # no step behind it
    assert logger.end_epoch()["loss"].item() == 1.5


@pytest.mark.parametrize("weight", [0, 0.0, torch.tensor(0)])
def test_what_has_no_weight_is_not_there(weight: Any) -> None:
    logger = MetricLogger()
    logger.log("loss", torch.tensor(math.nan), weight=weight)
    logger.log("loss", 4.0)
    logger.step(batch_size=2)
    logger.log("loss", math.nan)
    logger.step(batch_size=weight)
    assert logger.end_epoch()["loss"].item() == 4.0


def test_weights_that_stay_on_a_device_are_not_looked_at() -> None:
    """Those of a GPU are tensors to the end; here they are so without one."""
    means = RunningMeans()
    with _NoRead():
        means.add("x", torch.tensor(math.nan), torch.tensor(0.0))
        means.add("x", torch.tensor(3.0), torch.tensor(2.0))
        means.add("x", 6.0, None)
        means.end_step(torch.tensor(4.0))
        means.add("x", torch.tensor(math.nan), None)
        means.end_step(torch.tensor(0.0))
    assert means.rows() == [("x", 3.0 * 2 + 6.0 * 4, 2.0 + 4.0)]


def test_sums_go_to_the_device_and_not_away_from_it() -> None:
    means = RunningMeans()
    for device in ("cpu", "meta", "cpu"):
        means.add("x", torch.tensor(1.0, device=device), torch.tensor(1.0))
        means.add("y", 1.0, torch.tensor(1.0, device=device))
    (total, _), (_, weight) = (means._closed[name] for name in ("x", "y"))
    assert isinstance(total, torch.Tensor)
    assert isinstance(weight, torch.Tensor)
    assert (total.device.type, weight.device.type) == ("meta", "meta")


def test_one_metric_under_two_names() -> None:
    metric = SumMetric()
    metric.update(2)
    logger = MetricLogger()
    logger.log_dict({"a": metric, "b": metric})
    assert {name: value.item() for name, value in logger.end_epoch().items()} == {"a": 2.0, "b": 2.0}
    assert metric.update_count == 0


def test_a_mean_of_nothing_is_nan_and_nan_is_not_hidden() -> None:
    logger = MetricLogger()
    logger.log_dict({"nothing": 1.0}, weight=0)
    logger.log("bad", math.nan)
    logger.log("bad", 1.0)
    values = logger.end_epoch()
    assert values["nothing"].isnan()
    assert values["bad"].isnan()


@pytest.mark.parametrize(
    "value", [2, 2.0, True, np.float32(2), torch.tensor(2), torch.tensor([[2.0]]), torch.tensor(2.0).bfloat16()]
)
def test_what_is_a_number(value: Any) -> None:
    logger = MetricLogger()
    logger.log("x", value)
    assert logger.end_epoch()["x"].item() == float(value)


def test_sums_are_kept_in_float64() -> None:
    logger = MetricLogger()
    for _ in range(10_000):
        logger.log("x", torch.tensor(0.1))
    assert logger.end_epoch()["x"].item() == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_no_graph_and_no_batch_is_kept() -> None:
    logger = MetricLogger([Kept()])
    data = np.ones((5, 3))  # it lives as long as a tensor, or a graph, has its memory
    batch = torch.from_numpy(data)
    losses = batch @ torch.ones(3, dtype=torch.float64, requires_grad=True)
    logger.log("loss", losses[2], on_step=True)
    logger.log("row", batch[0, :1], on_step=True, weight=batch[1, :1])
    logger.log("open", batch[0, 0])
    watched = weakref.ref(data)
    del data, batch
    gc.collect()
    assert watched() is not None, "the graph of the losses has it"
    del losses
    gc.collect()
    assert watched() is None
    logger.step(batch_size=2)
    assert not logger.end_epoch()["loss"].requires_grad


def test_memory_is_flat() -> None:
    logger = MetricLogger([Kept()], log_every_n_steps=10**9)

    def steps(number: int) -> None:
        for _ in range(number):
            logger.log("loss", torch.rand(()), on_step=True)
            logger.log("other", torch.rand(()), weight=2)
            logger.sinks[0].records.clear()
            logger.step(batch_size=3)

    # Traced from before the first step, so that what a later step replaces is counted
    # where it goes as well as where it comes.
    tracemalloc.start()
    try:
        steps(200)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        steps(2000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


class _NoRead(TorchDispatchMode):
    """Refuses to bring a value of a tensor to Python: on a GPU, that waits."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "_local_scalar_dense" not in str(func), "a tensor was read"
        return func(*args, **(kwargs or {}))


def test_a_step_reads_no_tensor_unless_it_is_to_be_written() -> None:
    logger = MetricLogger([Kept()], log_every_n_steps=3)
    value = torch.tensor(1.5)
    with _NoRead():
        for _ in range(2):
            logger.log("loss", value, on_step=True)
            logger.step(batch_size=4)
        logger.log("loss", value, on_step=True)
    with _NoRead(), pytest.raises(AssertionError, match="was read"):
        logger.step(batch_size=4)


# ---- metrics --------------------------------------------------------------------------------------------------------


def test_metrics_are_computed_and_reset() -> None:
    logger = MetricLogger()
    metric = accuracy()
    for batch in (slice(0, 2), slice(2, 3)):
        metric.update(PREDS[batch], TARGET[batch])
        logger.log("accuracy", metric)
    assert logger.end_epoch()["accuracy"].item() == pytest.approx(2 / 3)
    assert metric.update_count == 0
    metric.update(PREDS[:1], TARGET[:1])
    assert logger.end_epoch()["accuracy"].item() == 1.0, "a metric once logged is known"


def test_names_of_metrics_with_several_values() -> None:
    metrics, classes = several(), ClasswiseWrapper(MulticlassAccuracy(2, average=None), ["cat", "dog"], prefix="")
    metrics.update(PREDS, TARGET)
    classes.update(PREDS, TARGET)
    logger = MetricLogger()
    logger.log_dict(metrics)
    logger.log("per_class", classes)
    assert list(logger.end_epoch()) == [*metrics.output_names, "per_class/cat", "per_class/dog"]


def test_a_collection_with_a_name() -> None:
    metrics = MetricCollection({"a": accuracy(), "b": MetricCollection({"c": accuracy()})})
    metrics.update(PREDS, TARGET)
    logger = MetricLogger()
    logger.log("val", metrics)
    assert list(logger.end_epoch()) == [f"val/{name}" for name in metrics.output_names]


def test_the_order_is_that_of_the_first_log() -> None:
    metric = SumMetric()
    metric.update(1)
    logger = MetricLogger()
    logger.log_dict({"b": 1.0, "m": metric, "a": 2.0})
    assert list(logger.end_epoch()) == ["b", "m", "a"]


def test_what_was_not_updated_is_left_out() -> None:
    often, seldom = SumMetric(), SumMetric()
    logger = MetricLogger()
    logger.track({"often": often, "seldom": seldom, "all": several()})
    often.update(1)
    assert list(logger.end_epoch()) == ["often"]
    seldom.update(1)
    assert list(logger.end_epoch()) == ["seldom"]
    assert logger.end_epoch() == {}


def test_metrics_of_other_libraries() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    torcheval = pytest.importorskip("torcheval.metrics")
    theirs = torchmetrics.MetricCollection({"mean": torchmetrics.MeanMetric(), "max": torchmetrics.MaxMetric()})
    alone, third = torchmetrics.MeanMetric(), torcheval.Mean()
    logger = MetricLogger(sinks=[kept := Kept()])
    for value in (1.0, 3.0):
        theirs(torch.tensor(value))
        alone(torch.tensor(value))
        third.update(torch.tensor(value))
        logger.log("theirs", theirs, on_step=True)
        logger.log_dict({"alone": alone, "third": third})
        logger.log("alone_step", alone, on_step=True, on_epoch=False)
        logger.step()
    values = logger.end_epoch()
    assert {name: value.item() for name, value in values.items()} == {
        "theirs/mean": 2.0,
        "theirs/max": 3.0,
        "alone": 2.0,
        "third": 2.0,
    }
    assert kept.of("step")[-1] == {"theirs/mean": 3.0, "theirs/max": 3.0, "alone_step": 3.0}
    assert alone._update_count == 0
    assert third.weights.item() == 0
    alone.update(torch.tensor(7.0))
    third.update(torch.tensor(8.0))
    again = logger.end_epoch()
    assert (again["alone"].item(), again["third"].item()) == (7.0, 8.0)
    assert "theirs/mean" not in again


def test_a_metric_of_this_process_stays_that() -> None:
    metric = SumMetric(sync_on_compute=False)
    metric.update(3)
    logger = MetricLogger()
    logger.log_dict({"alone": metric})
    assert logger.end_epoch()["alone"].item() == 3.0


# ---- steps ----------------------------------------------------------------------------------------------------------


def test_steps_are_written_as_they_are() -> None:
    kept, metric = Kept(), accuracy()
    logger = MetricLogger([kept])
    for value, batch in ((1.0, slice(0, 2)), (2.0, slice(2, 3))):
        metric(PREDS[batch], TARGET[batch])
        logger.log("loss", torch.tensor(value), on_step=True, on_epoch=False)
        logger.log("accuracy", metric, on_step=True)
        logger.step()
    logger.step()
    assert kept.of("step") == [{"loss": 1.0, "accuracy": 0.5}, {"loss": 2.0, "accuracy": 1.0}, {}]
    assert [(r.epoch, r.step) for r in kept.records] == [(1, 1), (1, 2), (1, 3)]
    assert list(logger.end_epoch()) == ["accuracy"]


def test_every_nth_step() -> None:
    kept = Kept()
    logger = MetricLogger([kept], log_every_n_steps=2)
    for value in (1.0, 2.0, 3.0, 4.0):
        logger.log("loss", value, on_step=True)
        logger.step()
    assert kept.of("step") == [{}, {"loss": 2.0}, {}, {"loss": 4.0}]
    assert logger.end_epoch()["loss"].item() == 2.5


def test_a_collection_per_step() -> None:
    kept, metrics = Kept(), several()
    logger = MetricLogger([kept])
    given = metrics(PREDS[:2], TARGET[:2])
    logger.log_dict(metrics, on_step=True)
    logger.log("again", metrics, on_step=True, on_epoch=False)
    logger.step()
    assert kept.records[0].scalars["val/accuracy"] == given["val/accuracy"].item() == 0.5
    assert kept.records[0].scalars["again/val/accuracy_cat"] == 1.0
    assert kept.records[0].arrays["val/confusion"].tolist() == [[1, 0], [1, 0]]


def test_a_metric_without_a_value_of_the_step() -> None:
    metric = accuracy()
    metric.update(PREDS, TARGET)
    with pytest.raises(ValueError, match=r"`accuracy` has no value of a step.*metric\(preds, target\)"):
        MetricLogger().log("accuracy", metric, on_step=True)
