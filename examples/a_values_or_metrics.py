"""Log the metric, not its value: `self.log("f1", self.f1)`.

A value that is logged in a step is averaged over the batches, and an F1 score is no average of those of the batches.
A metric that is logged is computed once, at the end of the epoch, over all samples of all processes.
"""

# As Lightning declares `log` and `log_dict`, they take numbers and metrics of torchmetrics; a type checker believes it.
# mypy: disable-error-code="arg-type"

from __future__ import annotations

import sys

from common import Row, count, finish, mean, parse_options, predictions, told, validate
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.utils.data import TensorDataset

from syncmetrics import MulticlassF1Score

CLASSES = 3


class BatchValue(LightningModule):
    """Wrong: the value of each batch, averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.f1 = MulticlassF1Score(CLASSES)

    def validation_step(self, batch: list[Tensor]) -> None:
        preds, target = batch
        self.log("f1", self.f1(preds, target), sync_dist=True)


class RunningValue(LightningModule):
    """Wrong: the value so far, averaged (and a sync in every step)."""

    def __init__(self) -> None:
        super().__init__()
        self.f1 = MulticlassF1Score(CLASSES)

    def validation_step(self, batch: list[Tensor]) -> None:
        preds, target = batch
        self.f1.update(preds, target)
        self.log("f1", self.f1.compute())


class LoggedMetric(LightningModule):
    """Right: the metric itself."""

    def __init__(self) -> None:
        super().__init__()
        self.f1 = MulticlassF1Score(CLASSES)

    def validation_step(self, batch: list[Tensor]) -> None:
        preds, target = batch
        self.f1.update(preds, target)
        self.log("f1", self.f1)


def main() -> int:
    options = parse_options(__doc__)
    preds, target = predictions(CLASSES)
    dataset = TensorDataset(preds, target)
    with told() as warned:
        batch_value = validate(BatchValue(), dataset, options.devices)["f1"]
        running_value = validate(RunningValue(), dataset, options.devices)["f1"]
    right = validate(LoggedMetric(), dataset, options.devices)["f1"]
    expected = mean([of_class.f1 for of_class in count(preds, target, CLASSES)])
    rows = [
        Row("f1, from the values of the batches", batch_value, right, expected),
        Row("f1, from the values so far", running_value, right, expected),
    ]
    return finish("Macro F1", rows, options, notes=[f"warned: {text}" for text in warned])


if __name__ == "__main__":
    sys.exit(main())
