"""A metric of your own beside those that come with it.

Declare with `add_state` what `update` changes: it is then summed over all processes, and reset after every epoch. What
stands in plain attributes or lists stays that of one process.
"""

# As Lightning declares `log` and `log_dict`, they take numbers and metrics of torchmetrics; a type checker believes it.
# mypy: disable-error-code="arg-type"

from __future__ import annotations

import math
import sys

import torch
from common import BATCH_SIZE, Row, count, finish, mean, parse_options, predictions, share_right, validate
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.utils.data import TensorDataset

from syncmetrics import (
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    MetricCollection,
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

CLASSES = 3


class UndeclaredAccuracy(Metric):
    """Wrong: nobody knows of these numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.correct = 0
        self.total = 0

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.correct += int((preds == target).sum())
        self.total += target.numel()

    def compute(self) -> Tensor:
        return torch.tensor(self.correct / self.total)


class Accuracy(Metric):
    """Right: declared states, and how each is reduced over processes."""

    correct: Tensor
    total: Tensor

    def __init__(self, *, dist_sync_on_step: bool = False) -> None:
        super().__init__(dist_sync_on_step=dist_sync_on_step)
        self.add_state("correct", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.correct += (preds == target).sum()
        self.total += target.numel()

    def compute(self) -> Tensor:
        return self.correct / self.total


class ByHand(LightningModule):
    """Wrong: attributes and lists of each process, and a mean over the processes (`sync_dist=True`)."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = UndeclaredAccuracy()
        self.steps: list[float] = []
        self.batches: list[list[Tensor]] = []

    def validation_step(self, batch: list[Tensor]) -> None:
        preds, target, _, _ = batch
        self.steps.append(share_right(preds, target))
        self.accuracy.update(preds, target)
        self.log("own accuracy", self.accuracy)
        self.batches.append(batch)

    def on_validation_epoch_end(self) -> None:
        columns = [torch.cat(parts) for parts in zip(*self.batches, strict=True)]
        self.log_dict(plain_scores(*columns), sync_dist=True)
        self.batches.clear()


class WithMetrics(LightningModule):
    """Right: metrics, which are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.accuracy = Accuracy(dist_sync_on_step=True)
        self.of_classes = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(CLASSES, average="micro"),
                "precision": MulticlassPrecision(CLASSES),
                "recall": MulticlassRecall(CLASSES),
                "f1": MulticlassF1Score(CLASSES),
            }
        )
        self.of_numbers = MetricCollection({"mse": MeanSquaredError(), "mae": MeanAbsoluteError()})
        self.steps: list[float] = []

    def validation_step(self, batch: list[Tensor]) -> None:
        preds, target, numbers, true_numbers = batch
        self.steps.append(float(self.accuracy(preds, target)))  # of this step, on all processes
        self.log("own accuracy", self.accuracy)
        self.of_classes.update(preds, target)
        self.log_dict(self.of_classes)
        self.of_numbers.update(numbers, true_numbers)
        self.log_dict(self.of_numbers)


def plain_scores(preds: Tensor, target: Tensor, numbers: Tensor, true_numbers: Tensor) -> dict[str, float]:
    classes = count(preds, target, CLASSES)
    errors = [a - b for a, b in zip(numbers.tolist(), true_numbers.tolist(), strict=True)]
    return {
        "accuracy": share_right(preds, target),
        "precision": mean([of_class.precision for of_class in classes]),
        "recall": mean([of_class.recall for of_class in classes]),
        "f1": mean([of_class.f1 for of_class in classes]),
        "mse": mean([math.pow(error, 2) for error in errors]),
        "mae": mean([abs(error) for error in errors]),
    }


def main() -> int:
    options = parse_options(__doc__)
    preds, target = predictions(CLASSES, seed=4)
    generator = torch.Generator().manual_seed(2)
    numbers, true_numbers = torch.randn(2, len(target), dtype=torch.float64, generator=generator)
    dataset = TensorDataset(preds, target, numbers, true_numbers)

    naive_module, module = ByHand(), WithMetrics()
    naive = validate(naive_module, dataset, options.devices)
    right = validate(module, dataset, options.devices)
    expected = {"own accuracy": share_right(preds, target), **plain_scores(preds, target, numbers, true_numbers)}
    rows = [Row(name, naive[name], right[name], value) for name, value in expected.items()]

    for step, (naive_value, value) in enumerate(zip(naive_module.steps, module.steps, strict=True)):
        of_step = slice(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
        rows.append(Row(f"own accuracy, step {step}", naive_value, value, share_right(preds[of_step], target[of_step])))
    return finish("A metric of one's own, and six others", rows, options)


if __name__ == "__main__":
    sys.exit(main())
