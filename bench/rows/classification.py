"""Eighteen classification metrics in one collection: the commonest thing to compute at the end of an epoch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torchmetrics
import torchmetrics.classification
from torch import Tensor

import syncmetrics
from bench.cases import Built, Case, Contender, Role, Row, Scale, Target
from bench.hosts import reason_against
from bench.ours import ours
from bench.rows.by_hand import gather_into

__all__ = ["CLASSES", "ROWS", "batch_of", "our_collection", "peer_collection", "raw_gather"]

CLASSES = 10
_RAW_BYTES = 8192
_NAMES = ("MulticlassAccuracy", "MulticlassPrecision", "MulticlassRecall", "MulticlassF1Score")
_AVERAGES = ("micro", "macro", "weighted", "none")


def _eighteen(find: Callable[[str], Any], options: dict[str, Any]) -> dict[str, Any]:
    """Make the same metrics from either library."""
    metrics = {
        f"{name}_{average}": find(name)(num_classes=CLASSES, average=average, **options)
        for name in _NAMES
        for average in _AVERAGES
    }
    metrics["confusion"] = find("MulticlassConfusionMatrix")(num_classes=CLASSES, **options)
    metrics["confusion_true"] = find("MulticlassConfusionMatrix")(num_classes=CLASSES, normalize="true", **options)
    return metrics


def our_collection(**options: Any) -> Any:
    """Make the collection of syncmetrics."""
    return syncmetrics.MetricCollection(_eighteen(ours, options))


def peer_collection(**options: Any) -> Any:
    """Make the collection of torchmetrics, with its compute groups."""
    return torchmetrics.MetricCollection(_eighteen(partial(getattr, torchmetrics.classification), options))


def batch_of(size: int, rank: int, *, scores: bool = False) -> tuple[Tensor, Tensor]:
    """Make predictions and targets: labels, or scores for each class."""
    g = torch.Generator().manual_seed(rank)
    target = torch.randint(CLASSES, (size,), generator=g)
    if scores:
        return torch.randn(size, CLASSES, generator=g), target
    return torch.randint(CLASSES, (size,), generator=g), target


def raw_gather(world: int) -> Callable[[], Any]:
    """Give one all_gather of eight kibibytes by hand: as little as any sync of such a collection can cost."""
    local = torch.zeros(_RAW_BYTES, dtype=torch.uint8)
    out = torch.empty(world * _RAW_BYTES, dtype=torch.uint8)
    return lambda: gather_into(out, local)


_EPOCH: dict[str, Role] = {"syncmetrics": "ours", "torchmetrics": "peer", "one all_gather": "raw"}


def _compute_cases(scale: Scale) -> list[Case]:
    fast = Target("peer", 200.0)
    return [Case("compute", world, "18 metrics", _EPOCH, targets=(fast,), headline=True) for world in scale.pick(2, 4)]


def _world_cases(scale: Scale) -> list[Case]:
    return [Case("worlds", world, "18 metrics", _EPOCH) for world in scale.pick(2, 3, 4, 8)]


def _build_compute(case: Case, rank: int) -> Built:
    batch = batch_of(512, rank)
    mine, peer = our_collection(), peer_collection()
    return {
        "syncmetrics": Contender(mine.compute, lambda: mine.update(*batch)),
        "torchmetrics": Contender(peer.compute, lambda: peer.update(*batch)),
        "one all_gather": Contender(raw_gather(case.world)),
    }


def _host_cases(scale: Scale) -> list[Case]:
    shown: dict[str, Role] = {**_EPOCH, "without shared memory": "other"}
    label = "18 metrics, 2 hosts with 2 ranks each"
    return [
        Case("hosts", world, label, shown, targets=(Target("peer", 100.0),), headline=True, hosts=2)
        for world in scale.pick(4)
    ]


def _build_hosts(case: Case, rank: int) -> Built:
    batch, other = batch_of(512, rank), _without_shared_memory()
    return {
        **_build_compute(case, rank),
        "without shared memory": Contender(other.compute, lambda: other.update(*batch)),
    }


def _sync_cases(scale: Scale) -> list[Case]:
    limits = {2: 0.6, 4: 0.3}
    return [
        Case(
            "sync",
            world,
            "18 metrics",
            {"syncmetrics": "ours", "one all_gather": "raw", "without shared memory": "other"},
            targets=(Target("raw", limits[world]),),
            headline=True,
        )
        for world in scale.pick(2, 4)
    ]


def _build_sync(case: Case, rank: int) -> Built:
    batch = batch_of(512, rank)
    mine, other = our_collection(), _without_shared_memory()
    return {
        "syncmetrics": Contender(partial(_sync, mine), lambda: mine.update(*batch)),
        "one all_gather": Contender(raw_gather(case.world)),
        "without shared memory": Contender(partial(_sync, other), lambda: other.update(*batch)),
    }


def _without_shared_memory() -> Any:
    """Make the collection over a group of its own, whose ranks share none."""
    other = our_collection(process_group=dist.new_group())
    set_shared_memory = getattr(syncmetrics, "set_shared_memory", lambda enabled: None)
    set_shared_memory(False)
    _sync(other)  # a group finds out with its first sync
    set_shared_memory(None)
    return other


def _sync(metrics: Any) -> None:
    with syncmetrics.synced(metrics):
        pass


def _update_cases(scale: Scale) -> list[Case]:
    if not scale.pick(1):
        return []
    plain: dict[str, Role] = {"syncmetrics": "ours", "torchmetrics": "peer", "one bincount": "raw"}
    both: dict[str, Role] = {"syncmetrics": "ours", "torchmetrics": "peer"}
    wanted = (Target("value", 40e-6), Target("peer", 6.0))
    labels = Case("update", 1, "512 labels", plain, {"scores": False}, wanted, headline=True)
    scores = Case("update", 1, "512 rows of scores", plain, {"scores": True})
    step = Case("forward", 1, "512 labels", both, {"scores": False}, (Target("peer", 10.0),), headline=True)
    return [labels, scores, step]


def _build_update(case: Case, rank: int) -> Built:
    preds, target = batch_of(512, rank, scores=case.params["scores"])
    mine, peer = our_collection(), peer_collection()
    counts = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
    scores = case.params["scores"]

    def by_hand() -> None:
        labels = preds.argmax(1) if scores else preds
        counts.add_(torch.bincount(target * CLASSES + labels, minlength=CLASSES**2).view(CLASSES, CLASSES))

    peer.update(preds, target)  # it finds its compute groups in the first update
    return {
        "syncmetrics": Contender(lambda: mine.update(preds, target), number=20),
        "torchmetrics": Contender(lambda: peer.update(preds, target), number=20),
        "one bincount": Contender(by_hand, number=20),
    }


def _build_forward(case: Case, rank: int) -> Built:
    batch = batch_of(512, rank)
    mine, peer = our_collection(), peer_collection()
    peer.update(*batch)
    return {
        "syncmetrics": Contender(lambda: mine(*batch), number=5),
        "torchmetrics": Contender(lambda: peer(*batch), number=5),
    }


ROWS = (
    Row("compute", "compute() of 18 classification metrics", _compute_cases, _build_compute),
    Row("sync", "The sync of 18 classification metrics, without their compute()", _sync_cases, _build_sync),
    Row("hosts", "compute() of 18 classification metrics on two hosts", _host_cases, _build_hosts, reason_against),
    Row("worlds", "compute() of 18 classification metrics by number of ranks", _world_cases, _build_compute),
    Row(
        "update",
        "update() of 18 classification metrics",
        lambda scale: [case for case in _update_cases(scale) if case.row == "update"],
        _build_update,
    ),
    Row(
        "forward",
        "forward() of 18 classification metrics",
        lambda scale: [case for case in _update_cases(scale) if case.row == "forward"],
        _build_forward,
    ),
)
