"""What `coverage` says of the last sync, against what was given to each rank."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syncmetrics import (
    BinaryAUROC,
    CatMetric,
    Coverage,
    MaxMetric,
    MeanMetric,
    Metric,
    MetricCollection,
    MulticlassAccuracy,
    MulticlassF1Score,
    StateError,
    SumMetric,
    coverage,
    trace,
)
from syncmetrics.sync import alike
from syncmetrics.testing import run_ranks, run_threads

pytestmark = pytest.mark.one_core

BATCHES = st.lists(st.integers(0, 4), max_size=3)


def made() -> MetricCollection:
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(num_classes=3),
            "auroc": BinaryAUROC(),
            "f1": MulticlassF1Score(num_classes=3),
            "mean": MeanMetric(),
            "top": MaxMetric(),
        }
    )


def feed(metrics: MetricCollection, size: int, way: str = "update") -> None:
    scores, target = torch.rand(size, 3), torch.arange(size) % 3
    for name, args in {
        "accuracy": (scores, target),
        "auroc": (scores[:, 0], target > 0),
        "f1": (scores, target),
        "mean": (scores[:, 1],),
        "top": (scores[:, 1],),
    }.items():
        getattr(metrics[name], way)(*args)


@pytest.mark.filterwarnings("ignore:.*before any update")
@given(st.lists(BATCHES, min_size=1, max_size=5), st.sampled_from([0, 32]))
def test_it_is_what_was_given_to_each_rank(batches: list[list[int]], few: int) -> None:
    def body(rank: int, world_size: int) -> Coverage:
        loss = MeanMetric()
        for size in batches[rank]:
            loss.update(torch.rand(size))
        loss.compute()
        return coverage(loss)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alike, "FEW", few)
        found = run_threads(body, len(batches))
    assert len(set(found)) == 1, "the same on every rank"
    told = found[0]
    assert told.samples == tuple(map(sum, batches))
    assert told.updates == tuple(map(len, batches))
    assert told.idle_ranks == tuple(rank for rank, sizes in enumerate(batches) if not sum(sizes))
    assert told.total == sum(map(sum, batches))


@given(st.lists(st.tuples(BATCHES, BATCHES), min_size=1, max_size=4))
def test_metrics_that_saw_different_samples_in_one_sync(batches: list[tuple[list[int], list[int]]]) -> None:
    def body(rank: int, world_size: int) -> Coverage:
        metrics = MetricCollection({"a": SumMetric(), "b": MeanMetric(), "c": MaxMetric()}, compute_groups=False)
        for name, sizes in zip("abc", (*batches[rank], batches[rank][0]), strict=True):
            for size in (2, *sizes):
                metrics[name].update(torch.rand(size))
        metrics.compute()
        return coverage(metrics)

    found = run_threads(body, len(batches))
    assert len(set(found)) == 1
    wanted = {
        name: tuple(2 + sum(of_rank[which]) for of_rank in batches) for name, which in (("a", 0), ("b", 1), ("c", 0))
    }
    assert {name: share.samples for share in found[0].shares for name in share.names} == wanted
    assert [share.total for share in found[0].shares] == sorted((s.total for s in found[0].shares), reverse=True)


@pytest.mark.parametrize("way", ["update", "forward", "__call__"])
def test_every_way_counts_a_batch_once(way: str) -> None:
    def body(rank: int, world_size: int) -> Coverage:
        metrics = made()
        for size in (3, 4):
            feed(metrics, size, way)
        metrics.compute()
        return coverage(metrics)

    (share,) = run_threads(body, 2)[0].shares
    assert (share.updates, share.samples) == ((2, 2), (7, 7))
    assert set(share.names) == set(made())


class Failing(Metric):
    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, value: torch.Tensor, fails: bool = False) -> None:
        self.total = self.total + value.sum()
        if fails:
            raise ValueError("no")

    def compute(self) -> torch.Tensor:
        return self.total


def test_what_is_undone_copied_merged_saved_and_reset() -> None:
    def samples(metric: Any) -> int | None:
        metric.compute()
        return coverage(metric).samples[0]

    one, pair = Failing(), MetricCollection({"a": SumMetric(), "b": Failing()})
    one.update(torch.ones(3))
    pair.update(torch.ones(3))
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            one.update(torch.ones(5), True)
        with pytest.raises(ValueError, match="no"):
            one(torch.ones(5), True)
        with pytest.raises(TypeError):
            pair.update(torch.ones(5), torch.ones(1), fails=True)
    assert samples(one) == samples(pair["a"]) == samples(pair["b"]) == 3

    other = copy.deepcopy(one)
    other.update(torch.ones(4))
    assert (samples(one), samples(other), samples(pickle.loads(pickle.dumps(other)))) == (3, 7, 7)
    one.merge_state(other)
    assert samples(one) == 10
    assert samples(one.to(torch.float64)) == 10

    fresh = Failing()
    fresh.load_state_dict(one.state_dict())
    fresh.update(torch.ones(2))
    assert samples(fresh) in (None, 2)
    one.reset()
    assert coverage(one).samples == (10,), "of the last sync still"
    one.update(torch.ones(1))
    assert samples(one) == 1


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ((torch.ones(4, 2), torch.ones(3)), 4),
        ((torch.tensor(2.0),), 1),
        ((2.0,), 1),
        (([1.0, 2.0, 3.0],), 3),
    ],
)
def test_what_a_batch_has(given: tuple[Any, ...], count: int) -> None:
    class Counting(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")

        def update(self, value: Any, weight: Any = None) -> None:
            self.n = self.n + 1

        def compute(self) -> torch.Tensor:
            return self.n

    metric = Counting()
    for _ in range(2):
        metric.update(*given)
        metric.update(**dict(zip(("value", "weight"), given, strict=False)))
    metric.compute()
    assert coverage(metric).samples == (4 * count,)


@pytest.mark.parametrize(("size", "world"), [(5, 2), (7, 3), (6, 3), (449, 4)])
def test_a_sampler_that_repeats_samples_is_suspected(size: int, world: int) -> None:
    def body(rank: int, world_size: int, pads: bool) -> tuple[Coverage, Coverage]:
        each = -(-size // world_size)
        mine = [i % size for i in range(rank, each * world_size, world_size)] if pads else range(rank, size, world_size)
        metrics = MetricCollection({"mean": MeanMetric(), "ids": CatMetric()})
        metrics.update(torch.tensor(mine, dtype=torch.float32))
        ids = metrics.compute()["ids"]
        return coverage(metrics, dataset_size=size), coverage(metrics, ids=ids)

    for pads in (True, False):
        for found in run_threads(body, world, pads)[0]:
            assert found.is_padded == (pads and size % world != 0)
            assert bool(found.findings) == found.is_padded
            assert ("take EvalSampler" in str(found)) == found.is_padded


def test_what_it_says() -> None:
    def body(rank: int, world_size: int) -> str:
        loss, seen = MeanMetric(), SumMetric()
        for _ in range(rank):
            loss.update(torch.ones(1000))
        seen.update(1.0)
        MetricCollection({"loss": loss, "seen": seen}).compute()
        return str(coverage({"loss": loss, "seen": seen}, dataset_size=3001))

    lines = run_threads(body, 3)[1].splitlines()
    assert lines == [
        "loss: 3,000 samples in 3 updates on 3 ranks: 0, 1,000, 2,000; rank 0 had none;"
        " 1 sample missing: the dataset has 3,001",
        "seen: 3 samples in 3 updates on 3 ranks: 1, 1, 1",
    ]


def test_what_was_never_synced_is_refused() -> None:
    with pytest.raises(StateError, match=r"no sync has told what `MeanMetric` rests on; call compute\(\) first"):
        coverage(MeanMetric())
    with pytest.raises(ValueError, match="`dataset_size` must be a number of samples, but is -1 instead"):
        coverage(MeanMetric(), dataset_size=-1)


def in_processes(rank: int, world_size: int) -> list[Any]:
    loss = MeanMetric(compute_on=0)
    for _ in range(rank):
        loss.update(torch.ones(3))
    loss.compute()
    with trace() as after:
        told = coverage(loss).samples
    return [told, len(after.syncs)]


def test_processes_and_one_rank_that_computes() -> None:
    assert run_ranks(in_processes, 3) == [[(0, 3, 6), 0]] * 3


def test_a_background_sync_and_a_step() -> None:
    def body(rank: int, world_size: int) -> tuple[Any, Any]:
        loss = MeanMetric()
        loss.update(torch.ones(1 + rank))
        loss.compute_async().wait()
        step = MeanMetric(dist_sync_on_step=True)
        for _ in range(2):
            step(torch.ones(2 + rank))
        return coverage(loss).samples, coverage(step).samples

    assert run_threads(body, 2) == [((1, 2), (2, 3))] * 2
