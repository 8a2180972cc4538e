"""What the ranks of test_logger.py do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from syncmetrics import (
    BinaryAUROC,
    ClasswiseWrapper,
    MeanMetric,
    MetricCollection,
    MetricLogger,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    SumMetric,
    share_errors,
)
from syncmetrics.errors import PeerError, SchemaMismatchError
from syncmetrics.logger import CSVSink, JSONLinesSink

CLASSES = 3


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Give five batches of different sizes, one of which has no sample."""
    generator = torch.Generator().manual_seed(7)
    return [
        (torch.rand(size, CLASSES, generator=generator), torch.randint(CLASSES, (size,), generator=generator))
        for size in (4, 1, 0, 7, 3)
    ]


def make_metrics() -> MetricCollection:
    each = MulticlassAccuracy(CLASSES, average=None)
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(CLASSES, average="micro"),
            "confusion": MulticlassConfusionMatrix(CLASSES),
            "inner": MetricCollection({"each": ClasswiseWrapper(each, prefix="accuracy_of_")}),
        },
        prefix="val/",
    )


def epochs(rank: int, dealt: int, world_size: int, folder: str | None = None) -> list[dict[str, Any]]:
    """Log two epochs. The batches are dealt to `dealt` ranks; if there are more ranks, those get none."""
    sinks = []
    if folder is not None:
        own = Path(folder) / str(rank)
        sinks = [JSONLinesSink(own / "run.jsonl"), CSVSink(own / "run.csv")]
    metrics, auroc = make_metrics(), BinaryAUROC()
    found = []
    with MetricLogger(sinks) as logger:
        logger.track(metrics)
        logger.track({"auroc": auroc})
        for _ in range(2):
            for preds, target in batches()[rank::dealt] if rank < dealt else []:
                metrics.update(preds, target)
                auroc.update(preds[:, 0], (target == 0).long())
                logger.log("loss", preds.double().mean(), on_step=True)
                logger.log("last", preds.double().sum() / 3, weight=3)
                logger.step(batch_size=len(preds))
                if rank == 1:
                    logger.log("rank 1 alone", 5.0, weight=2)
            found.append(logger.end_epoch())
    assert logger.global_step <= 2 * len(batches())
    return found


def on_threads(rank: int, world_size: int, dealt: int) -> list[dict[str, Any]]:
    return epochs(rank, dealt, world_size)


def on_processes(rank: int, world_size: int, dealt: int, folder: str) -> list[dict[str, Any]]:
    return epochs(rank, dealt, world_size, folder)


def counted(rank: int, world_size: int) -> dict[str, dict[str, int]]:
    """Count the operations of an epoch with all kinds of values."""
    import torcheval.metrics
    import torchmetrics

    from tests.ranks.collective_bodies import Calls

    calls = Calls()
    found: dict[str, dict[str, int]] = {}
    logger = MetricLogger()
    ours = {"metrics": make_metrics(), "mean": MeanMetric(), "auroc": BinaryAUROC()}
    theirs = {"theirs": torchmetrics.MeanMetric(), "third": torcheval.metrics.Mean()}
    logger.track({**ours, **theirs})
    with calls.counted() as counter:
        for preds, target in batches():
            ours["metrics"](preds, target)
            ours["auroc"](preds[:, 0], (target == 0).long())
            for metric in (ours["mean"], *theirs.values()):
                metric.update(preds.mean() if len(preds) else torch.tensor(1.0))
            logger.log_dict({f"value {i}": float(i) for i in range(30)}, on_step=True)
            logger.log("metrics", ours["metrics"], on_step=True)
            logger.step(batch_size=len(preds))
    found["steps"] = dict(counter)
    with calls.counted() as counter:
        values = logger.end_epoch()
    found["epoch"] = dict(counter)
    assert len(values) == 30 + 5 + 1 + 1 + 2, sorted(values)
    return found


def not_tracked(rank: int, world_size: int) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Log a metric on rank 0 alone, hear of it, say so on the others too, and end the epoch then."""
    logger, metric = MetricLogger(), SumMetric()
    if rank == 0:
        metric.update(4)
        logger.log("only/here", metric)
    logger.log("loss", float(rank), weight=rank + 1)
    try:
        logger.end_epoch()
    except SchemaMismatchError as error:
        text = str(error)
    logger.track({"only/here": metric})
    first = logger.end_epoch()
    return text, first, logger.end_epoch()


def values_alone(rank: int, world_size: int) -> dict[str, Any]:
    """Log other names on every rank, and none on the last."""
    logger = MetricLogger()
    if rank < world_size - 1:
        logger.log("all", 0.1 * (rank + 1), weight=rank + 1)
        logger.log(f"of {rank}", torch.tensor(float(rank)))
        logger.step()
    return logger.end_epoch()


def other_epochs(rank: int, world_size: int) -> str:
    logger = MetricLogger()
    logger.epoch = 1 if rank == 1 else 0
    logger.log("x", 1.0)
    try:
        logger.end_epoch()
    except SchemaMismatchError as error:
        return str(error)
    return ""


def peer_fails(rank: int, world_size: int) -> tuple[str, dict[str, Any]]:
    """Let rank 1 fail in the loop: the others hear of it in `end_epoch`, lose nothing, and go on."""
    logger, metric = MetricLogger(), SumMetric()
    logger.track({"sum": metric})
    metric.update(rank + 1)
    logger.log("x", float(rank))
    text = ""
    try:
        with share_errors():
            if rank == 1:
                raise RuntimeError("no more data")
            logger.end_epoch()
    except (RuntimeError, PeerError) as error:
        text = str(error)
    assert logger.epoch == 0
    assert metric.update_count == 1
    return text, logger.end_epoch()


def in_a_subgroup(rank: int, world_size: int, folder: str) -> dict[str, Any]:
    """Log on ranks 1 and 2 of three."""
    group = dist.new_group([1, 2])
    if rank == 0:
        return {}
    metric = SumMetric()  # of all ranks by itself; the logger says otherwise
    metric.update(rank)
    with MetricLogger([JSONLinesSink(Path(folder) / f"{rank}.jsonl")], process_group=group, sync_timeout=30) as logger:
        logger.log("sum", metric)
        logger.log("x", float(rank), weight=rank)
        return logger.end_epoch()
