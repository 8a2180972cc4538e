"""Every metric of the package, saved on so many ranks and loaded on others, goes on as if it had never stopped."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import syncmetrics
from syncmetrics import (
    Metric,
    MetricCollection,
    MetricTracker,
    MinMaxMetric,
    MulticlassAccuracy,
    load_state,
    save_state,
)
from syncmetrics.checkpoint.saved import pack
from syncmetrics.transport.threads import run_threads
from tests.natives import wrappers

BEFORE, AFTER = (1, 2, 3, 4), (1, 2, 3, 5)
WHEN = ("before an update", "in the middle", "while synced")

Make = Callable[[], Any]


def _scores(key: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(key))


def _numbers(key: int) -> tuple[Tensor, ...]:
    return (_scores(key, 3 + key % 3),)


def _pairs(key: int) -> tuple[Tensor, ...]:
    return _scores(key, 4 + key % 3), _scores(1000 + key, 4 + key % 3)


def _binary(key: int) -> tuple[Tensor, ...]:
    preds, target = _pairs(key)
    return preds, (target > 0.5).long()


def _classes(key: int) -> tuple[Tensor, ...]:
    preds, target = _pairs(key)
    return (preds * 3).long(), (target * 3).long()


def _queries(key: int) -> tuple[Tensor, ...]:
    preds, target = _binary(key)
    return preds, target, torch.arange(len(preds)) // 2 + key  # queries reach over batches, and so over ranks


BATCHES: dict[str, Callable[[int], tuple[Tensor, ...]]] = {
    **dict.fromkeys(("CatMetric", "MaxMetric", "MeanMetric", "MinMetric", "Quantile", "SumMetric"), _numbers),
    **dict.fromkeys(("MeanAbsoluteError", "MeanSquaredError", "SpearmanCorrCoef"), _pairs),
    **dict.fromkeys(("BinaryAUROC", "BinaryAccuracy", "BinaryAveragePrecision"), _binary),
    **dict.fromkeys(("RetrievalMAP", "RetrievalMRR"), _queries),
}
OPTIONS: dict[str, dict[str, Any]] = {"Quantile": {"q": 0.3}}


def _native(name: str) -> Make:
    options = {"num_classes": 3} if name.startswith("Multiclass") else OPTIONS.get(name, {})
    return lambda: getattr(syncmetrics, name)(**options)


def _tracker() -> Any:
    tracker = MetricTracker(MulticlassAccuracy(num_classes=3))
    tracker.increment()
    return tracker


def _makes() -> dict[str, tuple[Make, Callable[[int], tuple[Tensor, ...]]]]:
    found: dict[str, Any] = {}
    for name in syncmetrics.__all__:
        cls = getattr(syncmetrics, name)
        if isinstance(cls, type) and issubclass(cls, Metric) and cls is not Metric:
            found[name] = (_native(name), BATCHES.get(name, _classes))
    found |= {row.name: (row.make, row.batch) for row in reversed(wrappers.ROWS)}
    # What it gives in between is in the range of what it gives in the end, so it is asked for the value alone.
    found["MinMaxMetric"] = (lambda: MinMaxMetric(_native("MulticlassAccuracy")())["raw"], _classes)
    found["MetricTracker"] = (_tracker, _classes)
    found["MetricCollection"] = (
        lambda: MetricCollection([_native("MulticlassAccuracy")(), _native("MulticlassConfusionMatrix")()]),
        _classes,
    )
    return found


MAKES = _makes()


def _equal(found: Any, right: Any) -> bool:
    if isinstance(right, dict):
        return found.keys() == right.keys() and all(_equal(found[name], right[name]) for name in right)
    if found.dtype != right.dtype or found.shape != right.shape:
        return False
    if right.dtype == torch.float64:  # plain sums of floats, in another order
        return torch.allclose(found, right, rtol=1e-12, atol=0.0, equal_nan=True)
    return torch.equal(found.nan_to_num(7.0), right.nan_to_num(7.0))


def _value(metric: Any) -> Any:
    """Give the value, or what is said of it where there is no data."""
    try:
        return metric.compute()
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


def _updated(make: Make, batch: Callable[[int], tuple[Tensor, ...]], keys: Sequence[int]) -> Any:
    metric = make()
    for key in keys:
        metric.update(*batch(key))
    return metric


@pytest.mark.filterwarnings("ignore:.*before any update", "ignore:.*, so the (value|area) is")
@pytest.mark.parametrize("name", sorted(MAKES))
def test_saved_and_loaded(name: str) -> None:
    make, batch = MAKES[name]
    for before in BEFORE:
        for when in WHEN:
            first = [[10 * rank + i for i in range(0 if when == WHEN[0] else 1 + rank % 2)] for rank in range(before)]
            saved = run_threads(_save, before, make, batch, first, when)[0]
            for index, after in enumerate(AFTER):
                through = FORMATS[(before + index) % len(FORMATS)](saved)
                shares = [range(rank * before // after, (rank + 1) * before // after) for rank in range(after)]
                keys = [[key for old in share for key in first[old]] for share in shares]
                at_once = _value(_updated(make, batch, [key for own in keys for key in own]))
                later = [[*own, 100 + rank] for rank, own in enumerate(keys)]
                at_last = _value(_updated(make, batch, [key for own in later for key in own]))
                for found in run_threads(_load, after, make, batch, through):
                    assert _equal(found[0], at_once), (before, when, after, found[0], at_once)
                    assert _equal(found[1], at_last), (before, when, after, found[1], at_last)


def _save(
    rank: int, world_size: int, make: Make, batch: Callable[[int], tuple[Tensor, ...]], first: Any, when: str
) -> Any:
    metric = _updated(make, batch, first[rank])
    if when != WHEN[2]:
        return save_state(metric)
    with syncmetrics.synced(metric):
        return save_state(metric)


def _load(rank: int, world_size: int, make: Make, batch: Callable[[int], tuple[Tensor, ...]], saved: Any) -> Any:
    metric = make()
    metric.update(*batch(999))  # it is replaced
    load_state(metric, saved)
    at_once = _value(metric)
    metric.update(*batch(100 + rank))
    return at_once, _value(metric)


def test_every_metric_is_in_the_table() -> None:
    names = {
        name
        for name in syncmetrics.__all__
        if isinstance(cls := getattr(syncmetrics, name), type) and issubclass(cls, Metric) and cls is not Metric
    }
    assert names <= MAKES.keys()
    assert len(names) >= 19


@pytest.mark.parametrize("name", ["BinaryAUROC", "BinaryAveragePrecision", "SpearmanCorrCoef", "Quantile"])
def test_rows_that_are_shuffled(name: str) -> None:
    """Enough of them that a sync shuffles them instead of gathering all: before it is saved, and after."""
    options = {**OPTIONS.get(name, {}), "shuffle_above": 1000}

    def make() -> Any:
        return getattr(syncmetrics, name)(**options)

    def batch(key: int) -> tuple[Tensor, ...]:
        preds, target = _scores(key, 2000), _scores(1000 + key, 2000)
        if name == "Quantile":
            return (preds,)
        return (preds, (target > 0.5).long()) if name.startswith("Binary") else (preds, target)

    first = [[0], [1], [2]]

    def save(rank: int, world_size: int) -> Any:
        metric = _updated(make, batch, first[rank])
        value = metric.compute()
        return save_state(metric), value

    (saved, value) = run_threads(save, 3)[0]
    right = _updated(make, batch, [0, 1, 2, 100, 101]).compute()
    for at_once, at_last in run_threads(_load, 2, make, batch, _through_torch(saved)):
        torch.testing.assert_close(at_once, value, rtol=1e-12, atol=0.0)
        torch.testing.assert_close(at_last, right, rtol=1e-12, atol=0.0)
