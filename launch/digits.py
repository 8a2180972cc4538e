"""Train and evaluate a small network on handwritten digits, on all ranks, and compare every metric with one process.

::

    torchrun --standalone --nproc-per-node 4 launch/digits.py
    python launch/digits.py

DistributedDataParallel trains; `EvalSampler` gives each rank its share of the evaluation set, whose 449 samples do not
divide by 4; one `MetricCollection` holds all metrics and is synced in one exchange an epoch. Then rank 0 evaluates the
same weights again, alone, on all samples in plain order and in batches of another size. A table shows both columns;
`metrics.json` and `digits.png` go to `--out`. The exit status is 1, on every rank, if any value differs in any epoch.
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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from syncmetrics import ClasswiseWrapper, MetricCollection
from syncmetrics.data import EvalSampler
from syncmetrics.metrics import (
    BinaryAUROC,
    CatMetric,
    MaxMetric,
    MeanMetric,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
)

CLASSES = 10
EVAL_SAMPLES = 449  # odd, so that shards are uneven for any even number of ranks
ONE_PROCESS_BATCH = 97  # the one process sees other batches than the ranks
AUROC_DIGIT = 8
LOSS_TOLERANCE = 1e-12

Values = dict[str, Tensor]
Loader = DataLoader[tuple[Tensor, ...]]


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    with process_group() as (rank, world_size):
        console = Console(quiet=rank != 0)
        train_set, eval_set = load_data()
        shard = EvalSampler(eval_set, shuffle=False)
        reports = train_and_evaluate(options, train_set, eval_set, shard, console)
        shard_sizes = gather_sizes(len(shard))
        if rank == 0:
            write_json(options.out / "metrics.json", reports, shard_sizes)
            draw(options.out / "digits.png", reports, world_size)
            console.print(comparison_table(reports[-1].rows, shard_sizes))
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
def process_group() -> Iterator[tuple[int, int]]:
    """Give the rank and the number of ranks: of the launcher's group, or of this process alone."""
    if "WORLD_SIZE" not in os.environ:
        yield 0, 1
        return
    dist.init_process_group("gloo")
    try:
        yield dist.get_rank(), dist.get_world_size()
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


def train_metrics() -> MetricCollection:
    return MetricCollection({"loss": MeanMetric(), "accuracy": MulticlassAccuracy(CLASSES, average="micro")})


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


def train_and_evaluate(
    options: argparse.Namespace, train_set: TensorDataset, eval_set: TensorDataset, shard: EvalSampler, console: Console
) -> list[Report]:
    model = build_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    # The sampler may drop what does not divide: in training, no rank may have a step more than the others.
    sampler = train_sampler(train_set)
    train_loader = DataLoader(train_set, options.batch_size, sampler=sampler, shuffle=sampler is None)
    shard_loader = DataLoader(eval_set, options.batch_size, sampler=shard)
    metrics = train_metrics(), eval_metrics(sync=True), eval_metrics(sync=False)
    reports = []
    with progress_bar(console) as progress:
        task = progress.add_task("", total=options.epochs * len(train_loader))
        for epoch in range(options.epochs):
            if sampler is not None:
                sampler.set_epoch(epoch)
            for step in train_steps(model, optimizer, train_loader, metrics[0]):
                text = f"epoch {epoch + 1}: loss {step['loss']:.3f}, accuracy {step['accuracy']:.3f}"
                progress.update(task, advance=1, description=text)
            train = metrics[0].compute()
            ranks = evaluate(model, shard_loader, metrics[1])
            rows: tuple[Row, ...] = ()
            if not console.quiet:
                rows = compare(ranks, evaluate(model, DataLoader(eval_set, ONE_PROCESS_BATCH), metrics[2]))
            reports.append(Report(train, rows))
            progress.console.print(epoch_line(epoch, train, ranks), highlight=False)
    return reports


def train_sampler(data: TensorDataset) -> DistributedSampler[tuple[Tensor, ...]] | None:
    return DistributedSampler(data, drop_last=True) if dist.is_initialized() else None


def train_steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader, metrics: MetricCollection
) -> Iterator[Values]:
    """Train for one epoch, and give the metrics of each batch of this rank."""
    model.train()
    metrics.reset()
    for images, digits in loader:
        scores = model(images)
        losses = F.cross_entropy(scores, digits, reduction="none")
        optimizer.zero_grad()
        losses.mean().backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimizer.step()
        yield metrics(preds=scores, target=digits, value=losses)


@torch.no_grad()
def evaluate(model: nn.Module, loader: Loader, metrics: MetricCollection) -> Values:
    """Evaluate the network on what the loader gives. Collective, unless the metrics are those of one process.

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
    return metrics.compute()


def gather_sizes(size: int) -> list[int]:
    """Give the shard size of every rank, in rank order. Collective."""
    sizes = CatMetric()
    sizes.update(torch.tensor([size]))
    return [int(value) for value in sizes.compute()]


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


def progress_bar(console: Console) -> Progress:
    columns = TextColumn("{task.description:42}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, console=console)


def epoch_line(epoch: int, train: Values, evaluation: Values) -> str:
    return (
        f"epoch {epoch + 1:2}: train loss {train['loss']:.4f}, accuracy {train['accuracy']:.4f};"
        f" eval loss {evaluation['loss']:.4f}, accuracy {evaluation['accuracy_micro']:.4f}"
    )


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
                "train": {name: value.tolist() for name, value in report.train.items()},
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


def draw(path: Path, reports: Sequence[Report], world_size: int) -> None:
    """Draw the curves over the epochs, and the confusion matrix of the last one."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    evaluation = [{row.name: row.ranks for row in report.rows} for report in reports]
    train = [report.train for report in reports]
    figure, axes = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained", width_ratios=(1, 1, 0.95))
    draw_curves(axes[0], "Mean loss", {"train": (train, "loss"), "evaluation": (evaluation, "loss")})
    curves = {
        "train accuracy": (train, "accuracy"),
        "accuracy": (evaluation, "accuracy_micro"),
        "macro F1": (evaluation, "f1_macro"),
        f"AUROC of {AUROC_DIGIT}": (evaluation, f"auroc_of_{AUROC_DIGIT}"),
    }
    draw_curves(axes[1], "Scores", curves)
    draw_confusion(axes[2], evaluation[-1]["confusion"])
    figure.suptitle(
        f"Handwritten digits: metrics of {world_size} rank{'s' if world_size > 1 else ''}, synced each epoch"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_curves(axes: Any, title: str, curves: Mapping[str, tuple[Sequence[Values], str]]) -> None:
    for label, (values, name) in curves.items():
        style = "--" if label.startswith("train") else ":" if "F1" in label else "-"  # F1 lies upon the accuracy
        epochs = range(1, len(values) + 1)
        axes.plot(epochs, [float(value[name]) for value in values], style, marker="o", markersize=4, label=label)
    axes.set(title=title, xlabel="epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()


def draw_confusion(axes: Any, counts: Tensor) -> None:
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    for row in range(CLASSES):
        for column in range(CLASSES):
            count = int(counts[row, column])
            if count:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, count, ha="center", va="center", color=color, fontsize=9)
    title = f"Confusion matrix: {int(counts.diagonal().sum())} of {int(counts.sum())} right"
    axes.set(title=title, xlabel="predicted", ylabel="digit", xticks=range(CLASSES), yticks=range(CLASSES))


if __name__ == "__main__":
    sys.exit(main())
