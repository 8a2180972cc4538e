"""Train and evaluate a small network on handwritten digits, on all ranks, and compare every metric with one process.

::

    torchrun --standalone --nproc-per-node 4 launch/digits.py
    python launch/digits.py

DistributedDataParallel trains; `EvalSampler` gives each rank its share of the evaluation set, whose 449 samples do not
divide by 4; a `MetricLogger` syncs the values of the training and all metrics in one exchange an epoch. Then rank 0
evaluates the same weights again, alone, on all samples in plain order and in batches of another size. A table shows
both columns; `metrics.json`, `log.jsonl` and `digits.png` go to `--out`. The exit status is 1, on every rank, if any
value differs in any epoch.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from syncmetrics import (
    BinaryAUROC,
    CatMetric,
    ClasswiseWrapper,
    Coverage,
    MaxMetric,
    MeanMetric,
    Metric,
    MetricCollection,
    MetricLogger,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    coverage,
)
from syncmetrics.data import EvalSampler
from syncmetrics.logger import ConsoleSink, JSONLinesSink

CLASSES = 10
EVAL_SAMPLES = 449  # odd, so that shards are uneven for any even number of ranks
ONE_PROCESS_BATCH = 97  # the one process sees other batches than the ranks
AUROC_DIGIT = 8
LOSS_TOLERANCE = 1e-12
TRAIN_NAMES = "train/loss", "train/accuracy"
SHOWN = *TRAIN_NAMES, "loss", "accuracy_micro"
PANELS = {
    "Mean loss": ("train/loss", "loss"),
    "Scores": ("train/accuracy", "accuracy_micro", "f1_macro", f"auroc_of_{AUROC_DIGIT}"),
}

Values = dict[str, Tensor]
Loader = DataLoader[tuple[Tensor, ...]]


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    with process_group() as rank:
        console = Console(quiet=rank != 0)
        train_set, eval_set = load_data()
        shard = EvalSampler(eval_set, shuffle=False)
        reports = train_and_evaluate(options, train_set, eval_set, shard, console)
        shard_sizes = gather_sizes(len(shard))
        if rank == 0:
            write_json(options.out / "metrics.json", reports, shard_sizes)
            console.print(comparison_table(reports[-1].rows, shard_sizes))
            console.print(f"these values rest on {reports[-1].coverage}", highlight=False)
            console.print(f"wrote {options.out / 'metrics.json'} and {options.out / 'digits.png'}", highlight=False)
        return 1 if differs_on_any_rank(reports) else 0


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train on handwritten digits; compare the metrics with one process.")
    parser.add_argument("--epochs", type=int, default=8, help="passes over the training set (default: %(default)s)")
    parser.add_argument(
        "--batch-size", type=int, default=16, help="samples a step, on each rank (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/digits"), help="folder (default: %(default)s)")
    options = parser.parse_args(argv)
    if options.epochs < 1 or options.batch_size < 1:
        parser.error("--epochs and --batch-size must be at least 1")
    return options


@contextmanager
def process_group() -> Iterator[int]:
    """Give the rank: in the launcher's group, or that of this process alone."""
    if "WORLD_SIZE" not in os.environ:
        yield 0
        return
    dist.init_process_group("gloo")
    try:
        yield dist.get_rank()
    finally:
        # DistributedDataParallel is a cycle of references that holds the group. If it goes as late as the interpreter
        # does, gloo's threads are still there, and end the process with SIGABRT.
        gc.collect()
        dist.destroy_process_group()


# ---- data, model, metrics -------------------------------------------------------------------------------------------


def load_data() -> tuple[TensorDataset, TensorDataset]:
    """Give the training and the evaluation set: the same split on every rank and in every run."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target, dtype=torch.int64)
    train, held_out = train_test_split(range(len(labels)), test_size=EVAL_SAMPLES, stratify=labels, random_state=0)
    return TensorDataset(images[train], labels[train]), TensorDataset(images[held_out], labels[held_out])


def build_model() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, CLASSES),
    )
    return DistributedDataParallel(model) if dist.is_initialized() else model


class DigitAUROC(BinaryAUROC):
    """How well the score of one digit separates it from all others."""

    def __init__(self, digit: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.digit = digit

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds[:, self.digit], (target == self.digit).long())


def train_accuracy() -> Metric:
    return MulticlassAccuracy(CLASSES, average="micro")


def eval_metrics(*, sync: bool) -> MetricCollection:
    """Give all the metrics of an evaluation: of the samples of all ranks, or of this process alone."""
    per_class = MulticlassAccuracy(CLASSES, average=None, sync_on_compute=sync)
    return MetricCollection(
        {
            "accuracy_micro": MulticlassAccuracy(CLASSES, average="micro", sync_on_compute=sync),
            "accuracy_macro": MulticlassAccuracy(CLASSES, average="macro", sync_on_compute=sync),
            "accuracy_weighted": MulticlassAccuracy(CLASSES, average="weighted", sync_on_compute=sync),
            "f1_macro": MulticlassF1Score(CLASSES, average="macro", sync_on_compute=sync),
            f"auroc_of_{AUROC_DIGIT}": DigitAUROC(AUROC_DIGIT, sync_on_compute=sync),
            "loss": MeanMetric(sync_on_compute=sync),
            "confusion": MulticlassConfusionMatrix(CLASSES, sync_on_compute=sync),
            "per_class": ClasswiseWrapper(per_class, prefix="accuracy_of_"),
        }
    )


# ---- training and evaluation ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One metric: its value on all ranks and in one process."""

    name: str
    ranks: Tensor
    one_process: Tensor
    difference: float
    equal: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What came out of one epoch. Only rank 0 has rows."""

    train: Values
    rows: tuple[Row, ...]
    coverage: Coverage | None = None


def train_and_evaluate(
    options: argparse.Namespace, train_set: TensorDataset, eval_set: TensorDataset, shard: EvalSampler, console: Console
) -> list[Report]:
    model = build_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    # The sampler may drop what does not divide: in training, no rank may have a step more than the others.
    sampler = train_sampler(train_set)
    train_loader = DataLoader(train_set, options.batch_size, sampler=sampler, shuffle=sampler is None)
    shard_loader = DataLoader(eval_set, options.batch_size, sampler=shard)
    accuracy, metrics, alone = train_accuracy(), eval_metrics(sync=True), eval_metrics(sync=False)
    sinks = (
        ConsoleSink(steps_per_epoch=len(train_loader), names=SHOWN, console=console),
        JSONLinesSink(options.out / "log.jsonl"),
    )
    reports = []
    with MetricLogger(sinks) as logger:
        logger.track({"train/accuracy": accuracy})
        logger.track(metrics)
        for epoch in range(options.epochs):
            if sampler is not None:
                sampler.set_epoch(epoch)
            train(model, optimizer, train_loader, accuracy, logger)
            evaluate(model, shard_loader, metrics)
            values = logger.end_epoch()
            ranks = {name: values[name] for name in metrics.output_names}
            rows: tuple[Row, ...] = ()
            if not console.quiet:
                evaluate(model, DataLoader(eval_set, ONE_PROCESS_BATCH), alone)
                rows = compare(ranks, alone.compute())
            found = coverage(metrics, dataset_size=len(eval_set))
            reports.append(Report({name: values[name] for name in TRAIN_NAMES}, rows, found))
        logger.draw(options.out / "digits.png", title="Handwritten digits, synced each epoch", panels=PANELS)
    return reports


def train_sampler(data: TensorDataset) -> DistributedSampler[tuple[Tensor, ...]] | None:
    return DistributedSampler(data, drop_last=True) if dist.is_initialized() else None


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader, accuracy: Metric, logger: MetricLogger
) -> None:
    """Train for one epoch."""
    model.train()
    for images, digits in loader:
        scores = model(images)
        loss = F.cross_entropy(scores, digits)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimizer.step()
        accuracy(scores, digits)
        logger.log_dict({"train/loss": loss, "train/accuracy": accuracy}, on_step=True)
        logger.step(batch_size=len(images))


@torch.no_grad()
def evaluate(model: nn.Module, loader: Loader, metrics: MetricCollection) -> None:
    """Update the metrics with all that the loader gives.

    A matrix product depends, in the last bits, on how many rows it has, so a sample gets another score in a batch of 97
    than in one of 16. That is no matter of metrics, and it must not decide which of two near scores is the larger one:
    the network computes in float64, and the scores are rounded to float32, which makes them the same.
    """
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    exact = copy.deepcopy(inner).double().eval()
    metrics.reset()
    for images, digits in loader:
        scores = F.log_softmax(exact(images.double()), dim=1)
        losses = F.nll_loss(scores, digits, reduction="none")
        metrics.update(preds=scores.float(), target=digits, value=losses)


def gather_sizes(size: int) -> list[int]:
    """Give the shard size of every rank, in rank order. Collective."""
    sizes = CatMetric()
    sizes.update(torch.tensor([size]))
    return [int(value) for value in sizes.compute().reshape(-1)]


# ---- comparison -----------------------------------------------------------------------------------------------------


def compare(ranks: Mapping[str, Tensor], one_process: Mapping[str, Tensor]) -> tuple[Row, ...]:
    """Compare all values.

    Counts, ratios of counts and the AUROC must be equal to the bit. The loss is a float64 sum of the same terms in
    another order, and of terms that differ in their last bits; it may differ by `LOSS_TOLERANCE`, relative.
    """
    if ranks.keys() != one_process.keys():
        raise ValueError(f"the ranks computed {sorted(ranks)}, one process computed {sorted(one_process)}.")
    return tuple(compare_one(name, value, one_process[name]) for name, value in ranks.items())


def compare_one(name: str, ranks: Tensor, one_process: Tensor) -> Row:
    if ranks.shape != one_process.shape or ranks.dtype != one_process.dtype:
        return Row(name, ranks, one_process, float("inf"), equal=False)
    a, b = ranks.double(), one_process.double()
    difference = float(((a - b).abs() / torch.maximum(a.abs(), b.abs()).clamp(min=1e-300)).max())
    equal = difference <= LOSS_TOLERANCE if name == "loss" else torch.equal(ranks, one_process)
    return Row(name, ranks, one_process, difference, equal)


def differs_on_any_rank(reports: Sequence[Report]) -> bool:
    """Tell all ranks what rank 0, which alone has compared, has found. Collective."""
    found = MaxMetric()
    found.update(sum(not row.equal for report in reports for row in report.rows))
    return bool(found.compute() > 0)


# ---- what the user sees ---------------------------------------------------------------------------------------------


def comparison_table(rows: Sequence[Row], shard_sizes: Sequence[int]) -> Table:
    table = Table(title=f"The last epoch: shards of {', '.join(map(str, shard_sizes))} samples against one process")
    table.caption = f"equal: to the bit; the loss, summed in another order, within {LOSS_TOLERANCE:g}"
    table.add_column("metric")
    for head in (f"{len(shard_sizes)} ranks", "one process", "relative diff."):
        table.add_column(head, justify="right")
    table.add_column("equal")
    for row in rows:
        verdict = "[green]yes[/]" if row.equal else "[bold red]NO[/]"
        table.add_row(row.name, shown(row.ranks), shown(row.one_process), f"{row.difference:.1e}", verdict)
    return table


def shown(value: Tensor) -> str:
    if value.dim() == 2:
        return f"{value.diagonal().sum()} of {value.sum()}"
    return f"{value.item():.10f}"


def write_json(path: Path, reports: Sequence[Report], shard_sizes: Sequence[int]) -> None:
    content = {
        "world_size": len(shard_sizes),
        "shard_sizes": list(shard_sizes),
        "equal": all(row.equal for report in reports for row in report.rows),
        "loss_tolerance": LOSS_TOLERANCE,
        "epochs": [
            {
                "epoch": epoch,
                "train": {name.removeprefix("train/"): value.tolist() for name, value in report.train.items()},
                "ranks": {row.name: row.ranks.tolist() for row in report.rows},
                "one_process": {row.name: row.one_process.tolist() for row in report.rows},
                "relative_difference": {row.name: row.difference for row in report.rows},
                "equal": {row.name: row.equal for row in report.rows},
            }
            for epoch, report in enumerate(reports, start=1)
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
