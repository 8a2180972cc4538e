"""What the ranks of the shuffle's tests do: no pytest in here, so that processes start soon."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from syncmetrics import (
    BinaryAUROC,
    BinaryAveragePrecision,
    Metric,
    MetricCollection,
    Quantile,
    RetrievalAUROC,
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    SpearmanCorrCoef,
    SyncError,
    synced,
)
from syncmetrics.transport import resolve_transport

QS = (0.0, 0.1, 1 / 3, 0.5, 0.99, 1.0)

#: Every metric that is shuffled, by a name.
METRICS: dict[str, Callable[..., Metric]] = {
    "auroc": BinaryAUROC,
    "partial": lambda **kw: BinaryAUROC(0.3, **kw),
    "ap": BinaryAveragePrecision,
    "spearman": SpearmanCorrCoef,
    "quantile": lambda **kw: Quantile(QS, **kw),
    "mrr": RetrievalMRR,
    "map": lambda **kw: RetrievalMAP("skip", **kw),
    "ndcg": RetrievalNormalizedDCG,
    "median of areas": lambda **kw: RetrievalAUROC(aggregation="median", max_fpr=0.6, **kw),
}

#: How rows are spread over ranks: the fraction that each of four ranks has, normalized over those that there are.
SPREADS = {"even": (1, 1, 1, 1), "uneven": (5, 1, 3, 2), "empty": (0, 3, 0, 1), "one": (0, 1, 0, 0)}


def scores(kind: str, count: int) -> Tensor:
    """Draw scores of one kind of distribution."""
    generator = torch.Generator().manual_seed(len(kind) + count)
    x = torch.randn(count, generator=generator)
    if kind == "ties":
        return (2 * x).round() / 2
    if kind == "signs":  # zeros of both signs, and infinities
        return torch.tensor([0.0, -0.0, math.inf, -math.inf, 1e-40, -1e-40])[(x.abs() * 3).long().clamp(max=5)]
    others = {
        "normal": x,
        "double": x.double() * 1e-3 + 1,
        "half": x.half(),
        "bfloat16": x.bfloat16(),
        "sorted": x.sort().values,
        "falling": x.sort(descending=True).values,
        "constant": torch.full((count,), 0.25),
        "skewed": (4 * x).exp(),
        "heavy": torch.where(x > 0, 1.0, x),
    }
    return others[kind]


def samples(name: str, kind: str, count: int) -> tuple[Tensor, ...]:
    """Draw the arguments of `update` for one metric."""
    generator = torch.Generator().manual_seed(7)
    x = scores(kind, count)
    if name == "quantile":
        return (x,)
    if name == "spearman":
        return x, scores("ties", count) + torch.rand(count, generator=generator)
    target = (torch.rand(count, generator=generator) < 0.4).long()
    if name in ("mrr", "map", "ndcg", "median of areas"):
        if name == "ndcg":
            target = target * torch.rand(count, generator=generator)
        return x, target, torch.randint(-5, max(1, count // 7), (count,), generator=generator) * 1000
    return x, target


def shard(columns: tuple[Tensor, ...], spread: str, rank: int, world_size: int) -> list[tuple[Tensor, ...]]:
    """Give the batches of one rank."""
    parts = torch.tensor(SPREADS[spread][:world_size], dtype=torch.float64)
    if not parts.sum():
        parts = torch.ones(world_size, dtype=torch.float64)
    ends = (parts.cumsum(0) / parts.sum() * columns[0].shape[0]).round().long().tolist()
    start = ends[rank - 1] if rank else 0
    rows = [column[start : ends[rank]] for column in columns]
    step = max(1, -(-rows[0].shape[0] // 3))
    return list(zip(*(row.split(step) for row in rows), strict=True)) if rows[0].shape[0] else []


def filled(metric: Any, batches: list[tuple[Tensor, ...]]) -> Any:
    for batch in batches:
        metric.update(*batch)
    return metric


def values(rank: int, world_size: int, name: str, kind: str, spread: str, count: int, above: int | None) -> list[float]:
    """Compute one metric, and see that the local states are what they were."""
    batches = shard(samples(name, kind, count), spread, rank, world_size)
    metric = filled(METRICS[name](shuffle_above=above), batches)
    names = list(metric.metric_state)
    before = {name: [(t.data_ptr(), t.clone()) for t in getattr(metric, name)] for name in names}
    value = metric.compute()
    for name, rows in before.items():
        after = getattr(metric, name)
        assert [t.data_ptr() for t in after] == [pointer for pointer, _ in rows]
        assert all(torch.equal(t, copy) for t, (_, copy) in zip(after, rows, strict=True))
    return value.double().reshape(-1).tolist()


def many(rank: int, world_size: int, cases: list[tuple[str, str, str, int]]) -> list[list[list[float]]]:
    """Compute many metrics, gathered, shuffled, and by a threshold in between."""
    return [
        [values(rank, world_size, *case, above) for above in (None, 0, case[3], 10 * case[3] + 10)] for case in cases
    ]


def collected(rank: int, world_size: int, above: int | None) -> dict[str, float]:
    columns = samples("auroc", "ties", 3000)
    metrics = MetricCollection(
        {name: METRICS[name](shuffle_above=above) for name in ("auroc", "ap")}
        | {"partial": BinaryAUROC(0.3, shuffle_above=above)}
    )
    filled(metrics, shard(columns, "uneven", rank, world_size))
    with synced(metrics):
        shown = {name: value.item() for name, value in metrics.compute().items()}
    values = {name: value.item() for name, value in metrics.compute().items()}
    assert values == shown
    return values


def late(rank: int, world_size: int) -> tuple[str, tuple[int, ...]] | None:
    """Rank 1 does not come to a transfer; the others are to say so."""
    transport = resolve_transport()
    transport.all_to_all(*_even(world_size), timeout=20.0)
    if rank == 1:
        time.sleep(3)
        return None
    try:
        transport.all_to_all(*_even(world_size), timeout=1.0)
    except SyncError as error:
        return type(error).__name__, getattr(error, "missing", ())
    return "nothing", ()


def gone(rank: int, world_size: int) -> tuple[str, tuple[int, ...]] | None:
    """Rank 1 dies before a transfer."""
    transport = resolve_transport()
    transport.all_to_all(*_even(world_size), timeout=20.0)
    if rank == 1:
        os._exit(3)
    try:
        transport.all_to_all(*_even(world_size), timeout=20.0)
    except SyncError as error:
        return type(error).__name__, getattr(error, "missing", ())
    return "nothing", ()


def _even(world_size: int) -> tuple[Tensor, Tensor, list[int], list[int]]:
    sizes = [1000] * world_size
    return torch.empty(sum(sizes), dtype=torch.uint8), torch.zeros(sum(sizes), dtype=torch.uint8), sizes, sizes
