"""Cats first, then dogs: every batch of the test data holds one class.

The accuracy of the epoch is not the mean of the accuracies of the batches: the last batch is smaller, and a macro
average needs both classes, of which one is absent in every batch.
"""

# As Lightning declares `log` and `log_dict`, they take numbers and metrics of torchmetrics; a type checker believes it.
# mypy: disable-error-code="arg-type"

from __future__ import annotations

import sys

import torch
from common import Row, count, finish, mean, parse_options, share_right, validate
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.utils.data import TensorDataset

from syncmetrics import MetricCollection, MulticlassAccuracy

CAT, DOG = 0, 1
CATS, DOGS = 24, 13


def accuracies() -> MetricCollection:
    return MetricCollection(
        {"micro": MulticlassAccuracy(2, average="micro"), "macro": MulticlassAccuracy(2, average="macro")}
    )


class MeanOfBatches(LightningModule):
    """Wrong: the mean of what the batches gave."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics = accuracies()
        self.batches: list[dict[str, Tensor]] = []

    def validation_step(self, batch: list[Tensor]) -> None:
        preds, target = batch
        self.batches.append(self.metrics(preds, target))

    def on_validation_epoch_end(self) -> None:
        for name in self.metrics:
            self.log(name, torch.stack([values[name] for values in self.batches]).mean(), sync_dist=True)
        self.batches.clear()


class WholeEpoch(LightningModule):
    """Right: one value, of all samples."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics = accuracies()

    def validation_step(self, batch: list[Tensor]) -> None:
        preds, target = batch
        self.metrics.update(preds, target)
        self.log_dict(self.metrics)


def cats_and_dogs() -> tuple[Tensor, Tensor]:
    """Give predictions and targets: nine of ten cats are recognised, and half of the dogs."""
    target = torch.tensor([CAT] * CATS + [DOG] * DOGS)
    is_right = torch.tensor([position % 10 != 7 for position in range(CATS)] + [True, False, False] * 4 + [True])
    return torch.where(is_right, target, 1 - target), target


def main() -> int:
    options = parse_options(__doc__)
    preds, target = cats_and_dogs()
    dataset = TensorDataset(preds, target)
    naive = validate(MeanOfBatches(), dataset, options.devices)
    right = validate(WholeEpoch(), dataset, options.devices)
    expected = {
        "micro": share_right(preds, target),
        "macro": mean([of_class.recall for of_class in count(preds, target, classes=2)]),
    }
    rows = [Row(f"{name} accuracy", naive[name], right[name], expected[name]) for name in expected]
    return finish("Accuracy, cats first and dogs last", rows, options)


if __name__ == "__main__":
    sys.exit(main())
