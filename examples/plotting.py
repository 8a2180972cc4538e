"""Draw the pictures of docs/plotting.md into one: `python examples/plotting.py docs/plotting.png`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from syncmetrics import (
    BinaryROC,
    MetricCollection,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassCohenKappa,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecisionRecallCurve,
    MulticlassROC,
)

CLASSES = ("aeroplane", "bicycle", "cat", "potted plant", "television monitor")


def predictions(generator: torch.Generator, skill: float, count: int = 600) -> tuple[Tensor, Tensor]:
    """Give scores for each class that are the better the more skill there is, and what is true."""
    target = torch.randint(len(CLASSES), (count,), generator=generator)
    scores = torch.randn(count, len(CLASSES), generator=generator)
    scores[torch.arange(count), target] += skill
    return scores.softmax(1), target


def draw(path: Path) -> None:
    """Draw into a file."""
    generator = torch.Generator().manual_seed(7)
    classes = len(CLASSES)
    metrics = MetricCollection([MulticlassAccuracy(classes), MulticlassAUROC(classes), MulticlassCohenKappa(classes)])
    steps = [metrics(*predictions(generator, 0.25 * epoch)) for epoch in range(12)]
    each = MetricCollection(
        {
            "accuracy": MulticlassAccuracy(classes),
            "F1 by class": MulticlassF1Score(classes, average=None),
            "confusion": MulticlassConfusionMatrix(classes),
            "ROC": MulticlassROC(classes),
            "precision and recall": MulticlassPrecisionRecallCurve(classes),
        }
    )
    each.update(*predictions(generator, 1.5))
    models = MetricCollection({name: BinaryROC() for name in ("old model", "new model")})
    for name, skill in (("old model", 0.8), ("new model", 1.8)):
        preds, target = predictions(generator, skill)
        models[name].update(preds[:, 2], (target == 2).long())
    together = MetricCollection([MulticlassAUROC(classes, average=None), MulticlassF1Score(classes, average=None)])
    together.update(*predictions(generator, 1.5))

    figure = Figure(figsize=(17, 12.5), layout="constrained")
    grid = figure.add_gridspec(3, 3)
    places = [figure.add_subfigure(grid[index // 3, index % 3]).subplots() for index in range(9)]
    each["accuracy"].plot(ax=places[0])
    each["F1 by class"].plot(ax=places[1], labels=CLASSES)
    together.plot(ax=places[2], together=True, labels=CLASSES)
    metrics.plot(steps, ax=places[3], together=True)
    each["confusion"].plot(ax=places[4], labels=CLASSES)
    MulticlassConfusionMatrix(classes, normalize="true").plot(
        torch.nn.functional.normalize(each["confusion"].compute().float(), p=1, dim=1),
        ax=places[5],
        labels=CLASSES,
        cmap="magma",
    )
    each["ROC"].plot(ax=places[6], score=True, labels=CLASSES)
    each["precision and recall"].plot(ax=places[7], score=True, labels=CLASSES)
    models.plot(ax=places[8], together=True)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
