"""Every metric of the package, saved on so many ranks and loaded on others, goes on as if it had never stopped."""

from __future__ import annotations

import io
import itertools
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import syncmetrics
from syncmetrics import Metric, load_state, save_state
from syncmetrics.checkpoint.saved import pack
from syncmetrics.transport.threads import run_threads
from tests.natives import ROWS
from tests.natives.native import Native

BEFORE, AFTER = (1, 2, 3, 4), (1, 2, 3, 5)
WHEN = ("before an update", "in the middle", "while synced")


def _scores(key: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(key))


def _kind(row: Native) -> tuple[Any, ...]:
    """Give what decides how the states of a metric are saved and dealt."""
    metric = row.make()
    specs = [spec for part in metric.modules() if isinstance(part, Metric) for spec in part._holder.specs.values()]
    return tuple(sorted({(spec.reduction.name, spec.is_list) for spec in specs})), type(metric).merge_states


def _tracker() -> Any:
    tracker = syncmetrics.MetricTracker(syncmetrics.BinaryAccuracy())
    tracker.increment()
    return tracker


def _collection() -> Any:
    return syncmetrics.MetricCollection([syncmetrics.BinaryAccuracy(), syncmetrics.BinaryAUROC()])


def _binary(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.rand(count, generator=generator), torch.randint(0, 2, (count,), generator=generator)


TABLE = [
    *ROWS,
    Native("MetricTracker", _binary, build=_tracker, peer=False),
    Native("MetricCollection", _binary, build=_collection, peer=False),
]
#: A metric of each kind goes through everything, the others through a slice, another one for each.
FULL = {row.id for row in {_kind(row): row for row in reversed(ROWS)}.values()}


def _equal(row: Native, found: Any, right: Any) -> bool:
    if isinstance(right, (dict, list, tuple)):
        keys = list(right) if isinstance(right, dict) else range(len(right))
        return len(found) == len(right) and all(_equal(row, found[key], right[key]) for key in keys)
    if not isinstance(right, Tensor):
        return bool(found == right)
    if found.dtype != right.dtype or found.shape != right.shape:
        return False
    if right.is_floating_point() and not row.exact:  # plain sums of floats, in another order
        digits = 1e-6 if right.dtype == torch.float32 else 1e-12
        return torch.allclose(found, right, rtol=digits, atol=digits, equal_nan=True)
    return torch.equal(found.nan_to_num(7.0), right.nan_to_num(7.0))


def _value(metric: Any) -> Any:
    """Give the value, or what is said of it where there is no data."""
    try:
        value = metric.compute()
        # What a MinMaxMetric gave in between is in the range of what it gives in the end.
        return value["raw"] if isinstance(metric, syncmetrics.MinMaxMetric) else value
    except ValueError as error:
        return {type(error).__name__: torch.tensor(list(str(error).encode()))}


def _through_torch(saved: Any) -> Any:
    file = io.BytesIO()
    torch.save(saved, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


def _through_safetensors(saved: Any) -> Any:
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    return safetensors.load(safetensors.save(saved))


def _through_bytes(saved: Any) -> Any:
    """Give what `torch.distributed.checkpoint` and accelerate keep."""
    return pickle.loads(pickle.dumps(pack(saved)))


FORMATS = (_through_torch, _through_safetensors, _through_bytes)


def _updated(row: Native, keys: Sequence[int]) -> Any:
    metric = row.make()
    for key in keys:
        metric.update(*row.batch(key), **row.update)
    return metric


def _combinations(row: Native) -> list[tuple[int, str, int]]:
    every = list(itertools.product(BEFORE, WHEN, AFTER))
    return every if row.id in FULL else every[TABLE.index(row) % 11 :: 11]


@pytest.mark.filterwarnings(
    "ignore:.*before any update", "ignore:.*, so the (value|area) is", "ignore:.*NaN values were"
)
@pytest.mark.parametrize("row", TABLE, ids=[row.id for row in TABLE])
def test_saved_and_loaded(row: Native) -> None:
    for number, (before, when, after) in enumerate(_combinations(row)):
        first = [[10 * rank + i for i in range(0 if when == WHEN[0] else 1 + rank % 2)] for rank in range(before)]
        saved = run_threads(_save, before, row, first, when)[0]
        through = FORMATS[number % len(FORMATS)](saved)
        shares = [range(rank * before // after, (rank + 1) * before // after) for rank in range(after)]
        keys = [[key for old in share for key in first[old]] for share in shares]
        at_once = _value(_updated(row, [key for own in keys for key in own]))
        later = [[*own, 100 + rank] for rank, own in enumerate(keys)]
        at_last = _value(_updated(row, [key for own in later for key in own]))
        for found in run_threads(_load, after, row, through):
            assert _equal(row, found[0], at_once), (before, when, after, found[0], at_once)
            assert _equal(row, found[1], at_last), (before, when, after, found[1], at_last)


def _save(rank: int, world_size: int, row: Native, first: Any, when: str) -> Any:
    metric = _updated(row, first[rank])
    if when != WHEN[2]:
        return save_state(metric)
    with syncmetrics.synced(metric):
        return save_state(metric)


def _load(rank: int, world_size: int, row: Native, saved: Any) -> Any:
    metric = row.make()
    metric.update(*row.batch(999), **row.update)  # it is replaced
    load_state(metric, saved)
    at_once = _value(metric)
    metric.update(*row.batch(100 + rank), **row.update)
    return at_once, _value(metric)


def test_each_kind_of_states_goes_through_everything() -> None:
    kinds = {_kind(row) for row in ROWS}
    assert len(FULL) == len(kinds) >= 8
    reductions = {name for states, _ in kinds for name, _ in states}
    assert reductions >= {"sum", "min", "max", "cat", "exact_sum"}


@pytest.mark.parametrize("name", ["BinaryAUROC", "BinaryAveragePrecision", "SpearmanCorrCoef", "Quantile"])
def test_rows_that_are_shuffled(name: str) -> None:
    """Enough of them that a sync shuffles them instead of gathering all: before it is saved, and after."""

    def batch(count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        key = generator.initial_seed()
        preds, target = _scores(key, 2000), _scores(1000 + key, 2000)
        if name == "Quantile":
            return (preds,)
        return (preds, (target > 0.5).long()) if name.startswith("Binary") else (preds, target)

    row = Native(name, batch, {"shuffle_above": 1000, **({"q": 0.3} if name == "Quantile" else {})})
    first = [[0], [1], [2]]

    def save(rank: int, world_size: int) -> Any:
        metric = _updated(row, first[rank])
        value = metric.compute()
        return save_state(metric), value

    (saved, value) = run_threads(save, 3)[0]
    right = _updated(row, [0, 1, 2, 100, 101]).compute()
    for at_once, at_last in run_threads(_load, 2, row, _through_torch(saved)):
        torch.testing.assert_close(at_once, value, rtol=1e-12, atol=0.0)
        torch.testing.assert_close(at_last, right, rtol=1e-12, atol=0.0)
