"""Aggregates that sum without rounding, of a window, of the middle; and NaN where nobody waits to see it."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from syncmetrics import (
    CatMetric,
    MaxMetric,
    MeanMetric,
    Median,
    MetricCollection,
    MinMetric,
    Quantile,
    RunningMean,
    RunningSum,
    SumMetric,
)
from syncmetrics.aggregation import aggregation
from syncmetrics.states.store import Mode
from syncmetrics.transport.threads import run_threads

NAN, INF = math.nan, math.inf
RUNNING = (RunningMean, RunningSum)


def value_of(metric: Any, *updates: Any) -> Tensor:
    for update in updates:
        metric.update(*update) if isinstance(update, tuple) else metric.update(update)
    found = metric.compute()
    assert isinstance(found, Tensor)
    return found


# ---- exact sums


def test_a_sum_without_rounding() -> None:
    values = torch.tensor([1e100, 1.0, -1e100, 0.1] * 50, dtype=torch.float64)
    wanted = math.fsum(values.tolist())
    for pieces in (1, 7, 200):
        assert value_of(SumMetric(exact=True), *values.tensor_split(pieces)) == wanted
        assert value_of(MeanMetric(exact=True), *values.tensor_split(pieces)) == wanted / 200
    assert value_of(SumMetric(), values) != wanted


def test_an_exact_mean_with_weights() -> None:
    values, weights = torch.rand(100, dtype=torch.float64), torch.rand(100, dtype=torch.float64)
    # Each product is rounded once.
    wanted = math.fsum((values * weights).tolist()) / math.fsum(weights.tolist())
    pieces = zip(values.split(9), weights.split(9), strict=True)
    assert value_of(MeanMetric(exact=True), *pieces) == wanted
    assert value_of(MeanMetric(exact=True), 3, (torch.ones(2, 2), torch.tensor([[1.0], [0.0]])), 2.0) == 7 / 4


@pytest.mark.parametrize("cls", [SumMetric, MeanMetric])
def test_exact_sums_of_nothing_infinity_and_nan(cls: Any) -> None:
    assert value_of(cls(exact=True), torch.zeros(0)).isnan() == (cls is MeanMetric)
    assert value_of(cls(exact=True), torch.tensor([INF, 1.0])) == INF
    assert value_of(cls(exact=True), torch.tensor([INF, -INF])).isnan()
    assert value_of(cls("disable", exact=True), torch.tensor([NAN, 1.0])).isnan()
    assert value_of(cls("ignore", exact=True), torch.tensor([NAN, 1.0])) == 1
    assert value_of(cls(3.0, exact=True), torch.tensor([NAN, 1.0])) == (4 if cls is SumMetric else 2)
    metric = cls("error", exact=True)
    with pytest.raises(RuntimeError, match="values must not be NaN"):
        metric.update(torch.tensor([NAN]))
    assert metric.update_count == 0
    assert value_of(cls(exact=True), torch.tensor([1, 2, 3])) == (6 if cls is SumMetric else 2)
    with pytest.raises(TypeError, match="`exact` must be a bool"):
        cls(exact=1)


def test_sums_that_are_exact_are_no_sums_that_are_not() -> None:
    metrics = [SumMetric(exact=True), SumMetric()]
    assert metrics[0](torch.tensor([0.5])) == metrics[1](torch.tensor([0.5])) == 0.5
    assert [metric.metric_state["sum_value"].numel() for metric in metrics] == [70, 1]


# ---- the middle


def test_medians() -> None:
    assert value_of(Median(), torch.tensor([[3.0, 1.0], [2.0, 9.0]])) == 2.5
    assert value_of(Median(), 3, torch.tensor([1, 2])) == 2
    assert value_of(Median(), torch.tensor([-INF, INF, INF])) == INF
    assert value_of(Median(), torch.tensor([1.0, NAN])).isnan()
    with pytest.warns(UserWarning, match="Median: no value was given"):
        assert value_of(Median(), torch.zeros(0)).isnan()
    assert MetricCollection([Median(), Quantile(0.9)]).compute_groups == {0: ["Median", "Quantile"]}
    with pytest.raises(ValueError, match="Median: `shuffle_above`"):
        Median(shuffle_above=-1)


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "nearest", "midpoint"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_quantiles_of_a_batch_without_waiting(interpolation: str, dtype: torch.dtype) -> None:
    for values in (
        torch.randn(7),
        torch.randn(12).round(),
        torch.tensor([-INF, -INF, 1.0, INF]),
        torch.tensor([2.0]),
        torch.tensor([NAN, 1.0]),
        torch.zeros(0),
    ):
        metric = Quantile([0.0, 0.3, 0.5, 1.0], interpolation=interpolation)
        metric.update(values.to(dtype))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            right = metric.compute()
        found = metric._of_batch()
        assert found.dtype is right.dtype
        assert torch.equal(found.nan_to_num(5), right.nan_to_num(5))


# ---- a window


@pytest.mark.parametrize("cls", RUNNING)
@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize("forward", [False, True])
def test_the_last_updates_count(cls: Any, window: int, forward: bool) -> None:
    theirs = pytest.importorskip("torchmetrics.aggregation")
    ours, other = cls(window), getattr(theirs, cls.__name__)(window=window)
    assert cls().window == 5
    generator = torch.Generator().manual_seed(1)
    for count in (1, 4, 0, 3, 2, 2, 5, 1):
        values = torch.randn(count, generator=generator)
        if forward:
            torch.testing.assert_close(ours(values).float(), other(values), equal_nan=True)
        else:
            ours.update(values)
            other.update(values)
        torch.testing.assert_close(ours.compute().float(), other.compute(), equal_nan=True)
    ours.reset()
    ours.update(2.0)
    assert ours.compute() == 2


@pytest.mark.parametrize("cls", RUNNING)
def test_each_rank_has_a_window(cls: Any) -> None:
    def body(rank: int, _: int) -> tuple[Tensor, Tensor]:
        metric = cls(window=2)
        for value in range(rank + 2):
            metric.update(torch.tensor([float(value), float(10 * rank)]))
        first = metric.compute()
        metric.update(100.0)
        return first, metric.compute()

    # Of rank 0 the updates [0, 0] and [1, 0], of rank 1 [1, 10] and [2, 10], of rank 2 [2, 20] and [3, 20]; and then
    # the latter of each with one value of 100.
    first, then = 1 + 23 + 45, 1 + 12 + 23 + 300
    for found in run_threads(body, 3):
        assert found == ((first, then) if cls is RunningSum else (first / 12, then / 9))


@pytest.mark.parametrize("cls", RUNNING)
def test_bad_windows(cls: Any) -> None:
    with pytest.raises(ValueError, match=f"{cls.__name__}: `window` must be at least 1"):
        cls(0)
    with pytest.raises(TypeError, match=f"{cls.__name__}: `window` must be an int"):
        cls(2.0)
    with pytest.raises(ValueError, match=f"{cls.__name__}: `nan_strategy` must be one of"):
        cls(3, "drop")
    with pytest.raises(TypeError, match=f"{cls.__name__}: `value` must be real"):
        cls().update(torch.ones(2, dtype=torch.complex64))
    metric = cls(2, "error")
    with pytest.raises(RuntimeError, match=f"{cls.__name__}: values must not be NaN"):
        metric.update(NAN)
    assert value_of(metric, 1.0) == 1


def test_running_means_take_weights() -> None:
    metric = RunningMean(window=2)
    for value, weight in ((1.0, 1.0), (2.0, 3.0), (4.0, 1.0)):
        metric.update(value, weight)
    assert metric.compute() == 10 / 4
    assert value_of(RunningMean(), torch.zeros(0)).isnan()
    assert value_of(RunningSum(), torch.zeros(0)) == 0


# ---- NaN that nobody waits for


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregation, "reads_data", lambda tensor: False)


ALL = [
    *[(cls, {}) for cls in (SumMetric, MeanMetric, MinMetric, MaxMetric, CatMetric, RunningMean, RunningSum)],
    *[(cls, {"exact": True}) for cls in (SumMetric, MeanMetric)],
]
EACH = pytest.mark.parametrize(("cls", "options"), ALL)
BATCHES = (torch.tensor([1.0, NAN, 3.0]), torch.tensor([NAN]), torch.tensor([4, 5]), torch.tensor([-INF]))


@EACH
@pytest.mark.parametrize("strategy", ["ignore", "warn", 2.0, "disable"])
@pytest.mark.filterwarnings("ignore:.*NaN values were left out")
def test_it_is_as_if_it_had_been_seen(cls: Any, options: Any, strategy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for batches in (BATCHES[:3], BATCHES):
        right = value_of(cls(nan_strategy=strategy, **options), *batches)
        with monkeypatch.context() as patched:
            patched.setattr(aggregation, "reads_data", lambda tensor: False)
            found = value_of(cls(nan_strategy=strategy, **options), *batches)
        assert found.dtype is right.dtype
        torch.testing.assert_close(found, right, rtol=0, atol=0, equal_nan=True)


@pytest.mark.usefixtures("no_reading")
@EACH
def test_it_is_told_by_compute(cls: Any, options: Any) -> None:
    metric = cls(**options)
    metric.update(torch.tensor([1.0, 3.0]))
    metric.compute()
    metric.update(BATCHES[0])
    with pytest.warns(UserWarning, match=f"{cls.__name__}: NaN values were left out"):
        metric.compute()
    metric = cls(nan_strategy="error", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric(torch.tensor([1.0, NAN]))  # a step does not tell
    with pytest.raises(RuntimeError, match=f"{cls.__name__}: values must not be NaN .* but 1 of .* are NaN"):
        metric.compute()
    metric.reset()
    assert metric._holder.store.mode is Mode.LOCAL
    assert value_of(metric, torch.tensor([2.0])) == 2


@pytest.mark.usefixtures("no_reading")
@pytest.mark.parametrize(
    ("strategy", "expected"), [("ignore", (1 * 2 + 4 * 1) / 3), (10.0, (1 * 2 + 10 + 10 + 4 * 1) / 5)]
)
def test_pairs_with_nan(strategy: Any, expected: float) -> None:
    pair = torch.tensor([1.0, NAN, 3.0, 4.0]), torch.tensor([2.0, 2.0, NAN, 1.0])
    assert value_of(MeanMetric(strategy), pair) == expected
    assert value_of(RunningMean(3, strategy), pair) == expected
