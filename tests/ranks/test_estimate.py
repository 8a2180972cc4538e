"""`estimate` says before a sync what `trace` says after it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syncmetrics import (
    CatMetric,
    MeanMetric,
    Metric,
    MetricCollection,
    Price,
    SumMetric,
    estimate,
    set_sync_budget,
    trace,
)
from syncmetrics.sync.plan import DIRECT_BYTES
from syncmetrics.testing import run_ranks, run_threads

pytestmark = pytest.mark.one_core

KINDS = st.tuples(
    st.sampled_from(["sum", "mean", "max", "cat", "list", "none", "bundle", "texts"]),
    st.sampled_from([torch.int64, torch.float32, torch.float64]),
    st.sampled_from([1, 100, 5_000, DIRECT_BYTES // 8 + 1, 70_001]),
)


class Drawn(Metric):
    def __init__(self, kinds: list[tuple[str, torch.dtype, int]]) -> None:
        super().__init__()
        self.kinds = tuple(kinds)
        for index, (kind, dtype, size) in enumerate(kinds):
            default: Any = torch.zeros(size, dtype=dtype) if kind in ("sum", "mean", "max", "none") else []
            fx = {"list": "cat", "none": None, "bundle": None, "texts": "cat"}.get(kind, kind)
            self.add_state(f"s{index}", default, dist_reduce_fx=fx)

    def update(self, rank: int) -> None:
        for index, (kind, dtype, size) in enumerate(self.kinds):
            value = torch.full((size,), rank, dtype=dtype)
            if kind in ("sum", "mean", "max", "none"):
                setattr(self, f"s{index}", value)
            else:
                rows: Any = f"text of {size}" * min(size, 500) if kind == "texts" else value
                getattr(self, f"s{index}").append(rows)

    def compute(self) -> torch.Tensor:
        return torch.tensor(0)


def _can_be(kinds: list[tuple[str, torch.dtype, int]]) -> bool:
    return all(kind != "mean" or dtype.is_floating_point for kind, dtype, _ in kinds)


@given(st.lists(st.lists(KINDS, min_size=1, max_size=3).filter(_can_be), min_size=1, max_size=3), st.integers(2, 4))
def test_it_is_what_the_trace_says(drawn: list[list[Any]], world: int) -> None:
    def body(rank: int, world_size: int) -> Price:
        metrics = MetricCollection({f"m{index}": Drawn(kinds) for index, kinds in enumerate(drawn)})
        metrics.update(rank)
        (found,) = estimate(metrics).syncs
        metrics.compute()
        return found

    alone = MetricCollection({f"m{index}": Drawn(kinds) for index, kinds in enumerate(drawn)})
    alone.update(0)
    (before,) = estimate(alone, world_size=world).syncs
    with trace() as t:
        prices = run_threads(body, world)
    assert len(t.syncs) == world
    told = sorted((s.label, s.collectives, s.bytes_sent, s.bytes_received) for s in t.syncs)
    said = sorted((p.label, p.collectives, p.bytes_sent, p.bytes_received) for p in prices)
    assert said == told
    assert {p.bytes_held for p in prices} == {before.bytes_held}
    assert before == prices[0], "for a world of as many, from a process that is alone"


def in_processes(rank: int, world_size: int) -> list[tuple[int, ...]]:
    found = []
    for metric in (SumMetric(), CatMetric()):
        metric.update(torch.zeros(200_000))
        price = estimate(metric)
        with trace() as t:
            metric.compute()
        for one in (price, t.syncs[0]):
            found.append((one.collectives, one.bytes_sent))
    return found


def test_processes() -> None:
    for small, paid_small, large, paid_large in run_ranks(in_processes, 3):
        assert (small, large) == (paid_small, paid_large)
        assert large[1] > 800_000


def test_a_world_of_one_costs_nothing_and_one_without_ranks_is_refused() -> None:
    metric = SumMetric()
    assert estimate(metric).syncs == ()
    assert str(estimate(metric)) == "nothing: there is one rank alone"
    assert estimate(metric).bytes_held == 0
    with pytest.raises(ValueError, match="`world_size` must be at least 1, but is 0 instead"):
        estimate(metric, world_size=0)


def test_many_ranks_in_no_memory() -> None:
    metric = CatMetric()
    metric.update(torch.zeros(1_000_000))
    found = estimate(metric, world_size=1_000)
    assert found.bytes_received > 4e9
    assert found.bytes_held > 4e9


@pytest.fixture
def _no_budget() -> Iterator[None]:
    yield
    set_sync_budget(None)


@pytest.mark.usefixtures("_no_budget")
def test_a_budget_warns_once_by_name_on_the_ranks_that_are_over_it() -> None:
    def body(rank: int, world_size: int) -> None:
        rows, loss = CatMetric(), MeanMetric()
        rows.update(torch.zeros(500_000))
        loss.update(1.0)
        for _ in range(2):
            rows.update(1.0)
            loss.update(1.0)
            rows.compute()
            loss.compute()

    set_sync_budget(1 << 20)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_threads(body, 2)
        run_threads(body, 2)
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 1
    assert "the sync of `CatMetric` sends 2," in texts[0]
    assert "more than the budget of 1,048,576" in texts[0]
    with pytest.raises(ValueError, match="`max_bytes` must be a number of bytes or None, but is -1 instead"):
        set_sync_budget(-1)


def test_without_a_budget_nothing_is_planned_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("syncmetrics.sync.engine.price_of", refuse)

    def body(rank: int, world_size: int) -> None:
        rows = CatMetric()
        rows.update(torch.zeros(500_000))
        rows.compute()

    run_threads(body, 2)
