"""torcheval and ignite: their own sync beside ours."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import syncmetrics
from bench.cases import Built, Case, Contender, Role, Row, Scale
from bench.ours import ours
from bench.rows.classification import CLASSES, batch_of

__all__ = ["ROWS"]

_FIVE = ("MulticlassAccuracy", "MulticlassPrecision", "MulticlassRecall", "MulticlassF1Score")
_MACRO = {"num_classes": CLASSES, "average": "macro"}


def _needs(module: str, name: str) -> Callable[[], str | None]:
    return lambda: None if importlib.util.find_spec(module) else f"{name} is not installed"


def _own_five() -> syncmetrics.MetricCollection:
    five: dict[str, Any] = {name: ours(name)(**_MACRO) for name in _FIVE}
    return syncmetrics.MetricCollection({**five, "confusion": ours("MulticlassConfusionMatrix")(CLASSES)})


def _torcheval_cases(scale: Scale) -> list[Case]:
    contenders: dict[str, Role] = {
        "syncmetrics, same metrics": "ours",
        "torcheval": "peer",
        "syncmetrics, own metrics": "other",
    }
    return [
        Case("torcheval", world, "sync_and_compute of 5 metrics", contenders, headline=world == 2)
        for world in scale.pick(2, 4)
    ]


def _torcheval_five() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses torch.jit.script
        import torcheval.metrics as room
    five = {name: getattr(room, name)(**_MACRO) for name in _FIVE}
    return {**five, "confusion": room.MulticlassConfusionMatrix(CLASSES)}


def _build_torcheval(case: Case, rank: int) -> Built:
    batch = batch_of(512, rank)
    first, second, own = _torcheval_five(), _torcheval_five(), _own_five()
    from torcheval.metrics.toolkit import sync_and_compute_collection

    def feed(five: dict[str, Any]) -> None:
        for metric in five.values():
            metric.update(*batch)

    return {
        "syncmetrics, same metrics": Contender(lambda: syncmetrics.sync_and_compute(first), lambda: feed(first)),
        "torcheval": Contender(lambda: sync_and_compute_collection(second), lambda: feed(second)),
        "syncmetrics, own metrics": Contender(lambda: syncmetrics.sync_and_compute(own), lambda: own.update(*batch)),
    }


def _ignite_cases(scale: Scale) -> list[Case]:
    contenders: dict[str, Role] = {"syncmetrics": "ours", "ignite": "peer"}
    return [
        Case("ignite", world, "an epoch of one batch, 5 metrics attached", contenders, headline=world == 2)
        for world in scale.pick(2, 4)
    ]


def _build_ignite(case: Case, rank: int) -> Built:
    import ignite.metrics as room
    from ignite.engine import Engine

    batch = batch_of(512, rank, scores=True)

    def engine() -> Engine:
        return Engine(lambda engine, data: data)

    mine, peer = engine(), engine()
    ours("ignite.attach")(_own_five(), mine, "five")
    top = room.TopKCategoricalAccuracy(k=2)
    macro = {"precision": room.Precision(average="macro"), "recall": room.Recall(average="macro")}
    five = {"accuracy": room.Accuracy(), **macro, "top": top, "confusion": room.ConfusionMatrix(CLASSES)}
    for name, metric in five.items():
        metric.attach(peer, name)
    return {
        "syncmetrics": Contender(lambda: mine.run([batch])),
        "ignite": Contender(lambda: peer.run([batch])),
    }


ROWS = (
    Row("torcheval", "torcheval's sync and ours", _torcheval_cases, _build_torcheval, _needs("torcheval", "torcheval")),
    Row("ignite", "Metrics on an engine of ignite", _ignite_cases, _build_ignite, _needs("ignite", "pytorch-ignite")),
)
