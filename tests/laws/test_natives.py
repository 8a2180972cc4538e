"""Laws of every metric of the package, as one table: its value is that of one process, however the samples are split.

The rows are in `tests/natives`. Each goes through all splits on 1 to 5 ranks, `forward`, the truth of another library
where there is one, and torchmetrics where it has the metric.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import syncmetrics
from syncmetrics import Metric
from syncmetrics.testing.verification.probes import pretended_device, without_values
from syncmetrics.transport.threads import run_threads
from tests.natives import ROWS
from tests.natives.native import Native, Samples, generator, leaves, take

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*before any update", "ignore:.*, so the (value|area) is", "ignore:.*NaN"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning", "ignore:.*y_true.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:No positive:UserWarning", "ignore:No negative:UserWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning", "ignore:Metric .* will save all"),
    pytest.mark.filterwarnings("ignore:DiceScore metric currently defaults"),
]
IDS = [row.id for row in ROWS]
COUNT = 23


def test_the_table_has_every_metric() -> None:
    abstract = {"Metric", "CompositionalMetric"}
    metrics = {
        name
        for name in syncmetrics.__all__
        if isinstance(getattr(syncmetrics, name), type) and issubclass(getattr(syncmetrics, name), Metric)
    }
    assert metrics - abstract - {row.name for row in ROWS} == set()
    assert len(set(IDS)) == len(IDS)


def _splits(samples: Samples, world_size: int) -> dict[str, list[list[list[int]]]]:
    """Give places of samples, by rank and batch."""
    count, last = COUNT, samples[-1]
    order = list(range(count))
    if isinstance(last, Tensor) and not last.is_floating_point():
        by_label = sorted(order, key=lambda place: last[place].flatten()[0].item())
    else:
        by_label = order[::-1]
    cut = count * 2 // 3
    return {
        "even": [[order[rank::world_size]] for rank in range(world_size)],
        "uneven": [[order[:cut], order[cut:]] if rank == 0 else [] for rank in range(world_size)],
        "sorted by label": _chunks(by_label, world_size),
        "single rows": [[[place] for place in order[rank::world_size]] for rank in range(world_size)],
    }


def _chunks(order: Sequence[int], world_size: int) -> list[list[list[int]]]:
    each = -(-len(order) // world_size)
    return [[list(order[rank * each : (rank + 1) * each])] for rank in range(world_size)]


def _updated(row: Native, samples: Samples, batches: Sequence[Sequence[int]]) -> Any:
    metric = row.make()
    for places in batches:
        if places:
            metric.update(*take(samples, places), **row.update)
    return metric


def _value(row: Native, samples: Samples, batches: Sequence[Sequence[int]]) -> Any:
    return leaves(_updated(row, samples, batches).compute())


def is_alike(row: Native, found: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    """Whether two values are those of one process: to the bit where the row says so."""
    if len(found) != len(right):
        return False
    pairs = list(zip(found, right, strict=True))
    if any(a.dtype != b.dtype or a.shape != b.shape for a, b in pairs):
        return False
    if row.exact:
        return are_equal(found, right)
    return all(torch.allclose(a.double(), b.double(), rtol=1e-12, atol=1e-12, equal_nan=True) for a, b in pairs)


def are_equal(found: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    """Whether two values are equal to the bit, NaN to NaN."""
    return all(torch.equal(a.nan_to_num(7.5), b.nan_to_num(7.5)) for a, b in zip(found, right, strict=True))


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_however_the_samples_are_split(row: Native) -> None:
    samples = row.draw(COUNT, generator(5))
    for world_size in (1, 2, 3, 5):
        for name, split in _splits(samples, world_size).items():
            # Samples that are kept come in rank order, and so do those of one process.
            order = [place for batches in split for places in batches for place in places]
            right = _value(row, samples, [order])
            found = run_threads(lambda rank, _, split=split: _value(row, samples, split[rank]), world_size)
            for rank, value in enumerate(found):
                assert is_alike(row, value, right), (world_size, name, rank, value, right)
                assert are_equal(value, found[0]), name


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_forward_gives_the_value_of_the_batch(row: Native) -> None:
    metric, samples = row.make(), row.draw(COUNT, generator(6))
    batches = [list(range(9)), [9], list(range(10, COUNT))]
    for places in batches:
        batch = take(samples, places)
        found = leaves(metric(*batch, **row.update))
        assert is_alike(row, found, _value(row, batch, [range(len(places))])), (found, places)
    assert is_alike(row, leaves(metric.compute()), _value(row, samples, batches))


@pytest.mark.parametrize("row", [row for row in ROWS if row.truth], ids=[row.id for row in ROWS if row.truth])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_it_is_the_true_value(row: Native, dtype: torch.dtype) -> None:
    assert row.truth is not None
    samples = tuple(
        value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        for value in row.draw(60, generator(7))
    )
    exact = tuple(v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for v in samples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = row.truth(*exact, **row.update)
    if right is None:
        return
    found = _value(row, samples, [list(range(30)), list(range(30, 60))])
    for value, wanted in zip(found, [right] if len(found) == 1 else right, strict=True):
        digits = 1e-6 if value.dtype == torch.float32 else 1e-12 if dtype == torch.float64 else row.digits
        numbers = np.asarray(wanted, dtype=float).reshape(-1)
        np.testing.assert_allclose(value.double().numpy().reshape(-1), numbers, rtol=digits, atol=digits)


@pytest.mark.parametrize("row", [row for row in ROWS if row.peer], ids=[row.id for row in ROWS if row.peer])
def test_it_is_the_value_of_torchmetrics(row: Native) -> None:
    pytest.importorskip("torchmetrics")
    theirs = row.make_peer()
    if theirs is None:
        pytest.fail(f"torchmetrics has no {row.name}: say peer=False")
    samples = row.draw(COUNT, generator(8))
    for places in (range(9), range(9, COUNT)):
        theirs.update(*take(samples, list(places)), **row.update)
    found, right = _value(row, samples, [list(range(9)), list(range(9, COUNT))]), leaves(theirs.compute())
    for a, b in zip(found, right, strict=True):
        assert a.shape == b.shape or a.numel() == b.numel() == 1, (a.shape, b.shape)
        torch.testing.assert_close(a.double(), b.double().view(a.shape), rtol=2e-5, atol=2e-5, equal_nan=True)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_nothing_waits_for_the_device(row: Native) -> None:
    samples, device = row.draw(8, generator(9)), pretended_device()
    if device is None:
        pytest.skip("this torch has no devices in Python")
    if not all(isinstance(value, Tensor) for value in samples) or not row.on_device:
        return  # text is on no device
    metric = row.make()
    with without_values():
        batch = [torch.empty(value.shape, dtype=value.dtype, device=device) for value in samples]
        metric.update(*batch, **row.update)
        metric.update(*batch, **row.update)
        waits = row.name in WAIT_IN_FORWARD and not (row.options.get("thresholds") or row.options.get("max_k"))
        if not waits and not callable(row.options.get("aggregation")):
            metric(*batch, **row.update)


#: The value of a batch has a size that depends on the data. So has what a function that aggregates is given.
WAIT_IN_FORWARD = {
    "RetrievalPrecisionRecallCurve",
    "RetrievalRecallAtFixedPrecision",
}


FIRST_ROWS = list({row.name: row for row in reversed(ROWS)}.values())


@pytest.mark.parametrize("row", FIRST_ROWS, ids=[row.id for row in FIRST_ROWS])
def test_a_compiled_step_is_compiled_once(row: Native) -> None:
    metric, other = row.make(), row.make()
    counter = CompileCounterWithBackend("aot_eager")

    def step(*batch: Any) -> None:
        made = [value * 1 if isinstance(value, Tensor) else value for value in batch]  # what a model has just made
        metric.update(*made, **row.update)

    compiled = torch.compile(step, fullgraph=True, backend=counter)
    try:
        for _ in range(3):
            compiled(*row.batch(1))
            other.update(*row.batch(1), **row.update)
        assert metric.update_count == 3
        assert is_alike(row, leaves(metric.compute()), leaves(other.compute()))
        metric.reset()
        compiled(*row.batch(1))
        assert metric.update_count == 1
        assert counter.frame_count == 1
    finally:
        torch._dynamo.reset()


def test_an_update_that_fails_in_compiled_code() -> None:
    collection = syncmetrics.MetricCollection(
        [syncmetrics.MulticlassAccuracy(num_classes=3), syncmetrics.MulticlassF1Score(num_classes=3)]
    )

    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(weights: Tensor, target: Tensor) -> None:
        collection.update(weights * 2, target)

    weights = torch.rand(4, 3, requires_grad=True)
    try:
        step(weights, torch.tensor([0, 1, 2, 0]))
        before = collection.compute()
        with pytest.raises(ValueError, match=r"labels in `target` must be in 0\.\.2"):
            step(weights, torch.tensor([0, 1, 3, 0]))
        assert collection.compute() == before
        assert [metric.update_count for metric in collection.values()] == [1, 1]
    finally:
        torch._dynamo.reset()
