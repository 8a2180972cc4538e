"""A step that is synced has the value of all ranks, whoever wrote `forward`: the user, or another library."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from syncmetrics import MetricCollection, SumMetric
from syncmetrics.testing import run_threads
from syncmetrics.transport.threads import current_transport
from tests.laws import TIMES
from tests.ranks.torchmetrics_rows import ROWS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses torch.jit.script
    import torcheval.metrics


class WithForward(SumMetric):
    def forward(self, value: Tensor) -> Any:
        return super().forward(value)


KINDS: dict[str, Callable[[], Any]] = {
    "ours": SumMetric,
    "own forward": WithForward,
    "torchmetrics": torchmetrics.SumMetric,
    "torcheval": torcheval.metrics.Sum,
}


@settings(max_examples=40 * TIMES)
@given(
    kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4),
    every=st.integers(1, 3),
    is_of_whole=st.booleans(),
    steps=st.integers(1, 6),
    world_size=st.integers(2, 3),
)
def test_every_nth_step_is_synced(kinds: list[str], every: int, is_of_whole: bool, steps: int, world_size: int) -> None:
    """The collection says when, or each metric of ours does."""

    def due(kind: str, step: int) -> bool:
        return (is_of_whole or kind in ("ours", "own forward")) and (step + 1) % every == 0

    def batch(rank: int, step: int) -> float:
        return float(10**rank * (step + 1))

    def member(kind: str) -> Any:
        counts = not is_of_whole and kind in ("ours", "own forward")
        return KINDS[kind](**({"sync_every": every} if counts else {}))

    def body(rank: int, world_size: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        members = {f"{kind} {place}": member(kind) for place, kind in enumerate(kinds)}
        metrics = MetricCollection(members, sync_every=every if is_of_whole else None)
        return [metrics(torch.tensor(batch(rank, step))) for step in range(steps)], metrics.compute()

    for rank, (found, epoch) in enumerate(run_threads(body, world_size)):
        for step, values in enumerate(found):
            for place, kind in enumerate(kinds):
                ranks = range(world_size) if due(kind, step) else [rank]
                wanted = sum(batch(one, step) for one in ranks)
                value = values[f"{kind} {place}"]
                if kind == "torcheval" and not due(kind, step):
                    assert value is None  # it has no value of a batch
                else:
                    assert float(value) == wanted, (kind, step)
        total = sum(batch(one, step) for one in range(world_size) for step in range(steps))
        assert all(float(value) == total for value in epoch.values())


#: One row for each kind of state, and for each kind of what holds others.
CHOSEN = (
    *("BinaryAUROC", "BinaryAccuracy", "MulticlassConfusionMatrix", "BinaryROC", "MultilabelF1Score"),
    *("MeanSquaredError", "PearsonCorrCoef", "SpearmanCorrCoef", "MaxMetric", "MinMetric", "CatMetric", "MeanMetric"),
    *("KLDivergence, reduction=none", "RetrievalMAP", "BLEUScore", "PeakSignalNoiseRatio", "MultioutputWrapper"),
    *("MultitaskWrapper", "ClasswiseWrapper", "MinMaxMetric", "composition, a + b", "MetricCollection"),
)


def _counted() -> list[int]:
    """Give a list that gets longer with every exchange of this rank from now on."""
    transport, found = current_transport(), list[int]()
    assert transport is not None
    gather = transport.all_gather

    def counting(*args: Any, **kwargs: Any) -> None:
        found.append(1)
        gather(*args, **kwargs)

    transport.all_gather = counting  # type: ignore[method-assign]
    return found


class _Recorder:
    given: tuple[tuple[Any, ...], dict[str, Any]]

    def update(self, *args: Any, **kwargs: Any) -> None:
        self.given = args, kwargs


@pytest.mark.parametrize("name", CHOSEN)
def test_steps_of_torchmetrics(name: str) -> None:
    """In a collection with `sync_every`, by one exchange for all of them."""
    row = ROWS[name]

    def batch(rank: int, step: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        recorder = _Recorder()
        row.feed(recorder, 4 + rank, torch.Generator().manual_seed(100 * step + rank))
        return recorder.given

    def of_batches(*places: tuple[int, int]) -> dict[str, Any]:
        metrics = MetricCollection({"theirs": row.make()})
        for rank, step in places:
            args, kwargs = batch(rank, step)
            metrics.update(*args, **kwargs)
        return metrics.compute()

    def body(rank: int, world_size: int) -> tuple[dict[str, Any], dict[str, Any]]:
        warnings.simplefilter("ignore")
        metrics, exchanges = MetricCollection({"theirs": row.make()}, sync_every=2), _counted()
        for step in range(2):
            args, kwargs = batch(rank, step)
            values = metrics(*args, **kwargs)
        assert len(exchanges) == 1
        return values, metrics.compute()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        of_step, of_epoch = of_batches((0, 1), (1, 1)), of_batches((0, 0), (0, 1), (1, 0), (1, 1))
        found = run_threads(body, 2)
    for values, epoch in found:
        torch.testing.assert_close(values, of_step, equal_nan=True)
        torch.testing.assert_close(epoch, of_epoch, equal_nan=True)


def test_a_step_of_many_is_one_exchange() -> None:
    def body(rank: int, world_size: int) -> int:
        metrics = MetricCollection(
            {"ours": SumMetric(), "theirs": torchmetrics.SumMetric(), "third": torcheval.metrics.Sum()}, sync_every=1
        )
        exchanges = _counted()
        assert all(float(value) == 2.0 for value in metrics(torch.tensor(1.0)).values())
        return len(exchanges)

    assert run_threads(body, 2) == [1, 1]
