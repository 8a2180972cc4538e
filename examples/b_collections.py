"""A collection with a macro accuracy and the accuracy of each class, over several epochs.

Automatic: `self.log_dict(self.metrics)`, and Lightning computes and resets. Manual: `update` in the step; `compute`,
`log_dict` and `reset` at the end of the epoch.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch
import torch.nn.functional as F
import torchmetrics
from common import Data, EvalData, Row, count, finish, logged, mean, parse_options, quiet_trainer
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from syncmetrics import ClasswiseWrapper, MetricCollection, MulticlassAccuracy

LABELS = ["cat", "dog", "owl"]
CLASSES = len(LABELS)
EPOCHS = 3


def build_metrics() -> MetricCollection:
    per_class = MulticlassAccuracy(CLASSES, average=None)
    return MetricCollection(
        {"macro": MulticlassAccuracy(CLASSES), "per class": ClasswiseWrapper(per_class, LABELS, prefix="")},
        prefix="accuracy/",
    )


class Classifier(LightningModule):
    """What all of them have in common."""

    def __init__(self, metrics: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(2, CLASSES, dtype=torch.float64)
        self.metrics = metrics

    def training_step(self, batch: list[Tensor]) -> Tensor:
        inputs, target = batch
        return F.cross_entropy(self.net(inputs), target)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Automatic(Classifier):
    """Right: log the collection."""

    def validation_step(self, batch: list[Tensor]) -> None:
        inputs, target = batch
        self.metrics.update(self.net(inputs), target)
        self.log_dict(self.metrics)


class Manual(Classifier):
    """Right: update, compute, log, reset."""

    def validation_step(self, batch: list[Tensor]) -> None:
        inputs, target = batch
        self.metrics.update(self.net(inputs), target)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.metrics.compute())
        self.metrics.reset()


class NeverReset(Manual):
    """Wrong: every epoch adds to those before, and to the sanity check that Lightning starts with."""

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.metrics.compute())


class Watch(Callback):
    """Keep what was logged in each epoch, and what the network says of all samples."""

    def __init__(self, inputs: Tensor) -> None:
        self.inputs = inputs
        self.logged: list[dict[str, float]] = []
        self.preds: list[Tensor] = []

    def on_validation_end(self, trainer: Trainer, module: Any) -> None:
        if not trainer.sanity_checking:
            self.logged.append(logged(trainer))
            self.preds.append(module.net(self.inputs).argmax(dim=1))


def samples(number: int, *, seed: int) -> TensorDataset:
    """Give points of a plane; the class is the sector that somebody saw them in who does not see well."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, 2, dtype=torch.float64, generator=generator)
    seen = inputs + 0.4 * torch.randn(number, 2, dtype=torch.float64, generator=generator)
    angle = torch.atan2(seen[:, 0], seen[:, 1])
    return TensorDataset(inputs, torch.bucketize(angle, torch.tensor([-0.5, 1.5], dtype=torch.float64)))


def train(module: LightningModule, evaluation: TensorDataset, devices: int) -> Watch:
    watch = Watch(evaluation.tensors[0])
    trainer = quiet_trainer(devices, callbacks=[watch], max_epochs=EPOCHS)
    trainer.fit(module, datamodule=Data(samples(36, seed=0), evaluation))
    return watch


def error_of_torchmetrics(evaluation: TensorDataset) -> str:
    """Log torchmetrics' own collection, in one process, and give what it ends with."""
    accuracy = torchmetrics.classification.MulticlassAccuracy
    per_class = torchmetrics.ClasswiseWrapper(accuracy(CLASSES, average=None), LABELS, prefix="")
    metrics = torchmetrics.MetricCollection({"macro": accuracy(CLASSES), "per class": per_class}, prefix="accuracy/")
    try:
        quiet_trainer(devices=1).validate(Automatic(metrics), datamodule=EvalData(evaluation), verbose=False)
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing raised"


def rows_of(options: argparse.Namespace, evaluation: TensorDataset) -> list[Row]:
    never_reset, automatic, manual = (
        train(module(build_metrics()), evaluation, options.devices) for module in (NeverReset, Automatic, Manual)
    )
    expected = [scores(preds, evaluation.tensors[1]) for preds in automatic.preds]
    rows = [
        Row(f"automatic, epoch {epoch}, {name}", "raises", automatic.logged[epoch][name], value)
        for epoch, values in enumerate(expected)
        for name, value in values.items()
    ]
    rows += [
        Row(f"manual, epoch {epoch}, {name}", never_reset.logged[epoch][name], manual.logged[epoch][name], value)
        for epoch, values in enumerate(expected)
        for name, value in values.items()
    ]
    return rows


def scores(preds: Tensor, target: Tensor) -> dict[str, float]:
    recalls = [of_class.recall for of_class in count(preds, target, CLASSES)]
    names = [f"accuracy/{label}" for label in ["macro", *LABELS]]
    return dict(zip(names, [mean(recalls), *recalls], strict=True))


def main() -> int:
    options = parse_options(__doc__)
    evaluation = samples(37, seed=1)
    raised = error_of_torchmetrics(evaluation)
    rows = rows_of(options, evaluation)
    return finish("Accuracies, epoch by epoch", rows, options, notes=[f"raised with torchmetrics: {raised}"])


if __name__ == "__main__":
    sys.exit(main())
