"""What the ranks do in test_guests: our metrics in torchmetrics' containers, and theirs in ours."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torchmetrics
from torch import Tensor
from torchmetrics import classification as theirs

import syncmetrics
from syncmetrics import MeanMetric, MulticlassAccuracy, MulticlassF1Score
from tests.ranks.exchanges import counted_gathers


def batches(rank: int, count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(rank)
    return [
        (torch.randint(3, (5 + rank,), generator=generator), torch.randint(3, (5 + rank,), generator=generator))
        for _ in range(count)
    ]


def as_floats(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: as_floats(value) for name, value in values.items()}
    return torch.as_tensor(values).double().tolist()


def all_batches(world_size: int, count: int) -> list[tuple[Tensor, Tensor]]:
    return [batch for rank in range(world_size) for batch in batches(rank, count)]


def in_their_containers(rank: int, world_size: int) -> dict[str, Any]:
    collection = torchmetrics.MetricCollection(
        {"acc": MulticlassAccuracy(3), "f1": MulticlassF1Score(3), "theirs": theirs.MulticlassAccuracy(3)}, prefix="v_"
    )
    for batch in batches(rank, 2):
        step = collection(*batch)
        assert torch.allclose(step["v_acc"], step["v_theirs"])
    range_of = torchmetrics.wrappers.MinMaxMetric(MeanMetric())
    tracker = torchmetrics.wrappers.MetricTracker(MeanMetric(), maximize=True)
    added = torchmetrics.MeanMetric() + MeanMetric()
    for epoch in range(2):
        range_of.update(torch.tensor(float(rank + epoch)))
        range_of.compute()
        tracker.increment()
        tracker.update(torch.tensor(float(rank - epoch)))
        added.update(torch.tensor(float(rank)))
    found = {
        "collection": collection.compute(),
        "range": range_of.compute(),
        "best": tracker.best_metric(),
        "sum": added.compute(),
        "together": syncmetrics.sync_and_compute(collection),
    }
    collection.reset()
    assert collection["v_acc"].update_count == 0
    return {name: as_floats(value) for name, value in found.items()}


def in_our_collection(rank: int, world_size: int) -> tuple[dict[str, Any], int]:
    def refused(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("torchmetrics communicates by itself")

    dist.all_gather = dist.barrier = refused
    collection = syncmetrics.MetricCollection(
        {
            "acc": MulticlassAccuracy(3),
            "theirs": theirs.MulticlassAccuracy(3),
            "classes": torchmetrics.wrappers.ClasswiseWrapper(theirs.MulticlassAccuracy(3, average=None)),
            "matrix": theirs.MulticlassConfusionMatrix(3),
            "range": torchmetrics.wrappers.MinMaxMetric(theirs.MulticlassAccuracy(3)),
        },
        prefix="v/",
    )
    names = collection.output_names
    for batch in batches(rank, 2 * rank):
        step = collection(*batch)
        assert torch.allclose(step["v/acc"], step["v/theirs"])
        assert torch.allclose(step["v/acc"], step["v/raw"])
        assert tuple(step) == names
    before = collection["theirs"].inner.tp.clone()
    with counted_gathers() as calls:
        value = collection.compute()
        assert tuple(value) == names
        collection.compute()
    assert torch.equal(collection["theirs"].inner.tp, before)
    collection.reset()
    assert collection["theirs"].inner.update_count == 0
    return as_floats(value), len(calls)
