"""What the five stories share: their options, their data, a quiet Trainer, plain arithmetic, and the table at the end.

Nothing of this is needed to use the metrics; the stories are in the other files.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from syncmetrics.data import EvalSampler

SAMPLES = 37  # does not divide by 2, and not by the batch size
BATCH_SIZE = 8  # of all processes together: step i of an epoch sees the same samples on one process and on two
TOLERANCE = torch.finfo(torch.float32).eps  # ratios are given in float32: the expected value, rounded once

if sys.platform == "linux":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the processes are on one machine: talk over loopback

# Lightning says how it starts, and what it would do in a large training; and it calls functions that torch deprecates.
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message=".*does not have many workers")  # the data are in memory
warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.")  # Lightning 2.6 with torch 2.13


# ---- options and data -----------------------------------------------------------------------------------------------


def parse_options(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--devices", type=int, choices=(1, 2), default=1, help="processes (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser.parse_args()


def predictions(classes: int, *, samples: int = SAMPLES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Give predicted labels and targets: two of three predictions are right, and the classes differ in size."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.arange(classes, 0, -1, dtype=torch.float64)
    target = torch.multinomial(shares, samples, replacement=True, generator=generator)
    guess = torch.randint(classes, (samples,), generator=generator)
    return torch.where(torch.rand(samples, generator=generator) < 0.6, target, guess), target


def train_loader(dataset: TensorDataset, trainer: Trainer) -> DataLoader[Any]:
    """Give a process its share of the training samples, as large as that of the others.

    No process may have a step more than the others, and a mean over processes is one over samples only if all have
    equally many: samples that do not divide are left out.
    """
    world_size, rank = trainer.world_size, trainer.global_rank
    sampler: DistributedSampler[Any] = DistributedSampler(dataset, world_size, rank, shuffle=False, drop_last=True)
    return DataLoader(dataset, BATCH_SIZE // world_size, sampler=sampler)


def eval_loader(dataset: TensorDataset, trainer: Trainer) -> DataLoader[Any]:
    """Give a process its share of the evaluation samples: over all processes, each sample once."""
    return DataLoader(dataset, BATCH_SIZE // trainer.world_size, sampler=EvalSampler(dataset, shuffle=False))


class TrainData(LightningDataModule):
    """Samples to train on. Lightning asks for the loader when the process knows its rank, and not before."""

    def __init__(self, train: TensorDataset) -> None:
        super().__init__()
        self.train = train

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        return train_loader(self.train, self.trainer)


class EvalData(LightningDataModule):
    """Samples to evaluate on."""

    def __init__(self, evaluation: TensorDataset) -> None:
        super().__init__()
        self.evaluation = evaluation

    def val_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        return eval_loader(self.evaluation, self.trainer)


class Data(TrainData):
    """Both."""

    def __init__(self, train: TensorDataset, evaluation: TensorDataset) -> None:
        super().__init__(train)
        self.evaluation = evaluation

    def val_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        return eval_loader(self.evaluation, self.trainer)


# ---- running --------------------------------------------------------------------------------------------------------


def quiet_trainer(devices: int, *, callbacks: Sequence[Callback] = (), **options: Any) -> Trainer:
    """Make a Trainer for one process or two, which writes nothing. It leaves the samplers as they are."""
    defaults: dict[str, Any] = {
        "strategy": "ddp" if devices > 1 else "auto",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(
        accelerator="cpu",
        devices=devices,
        use_distributed_sampler=False,
        callbacks=list(callbacks),
        **{**defaults, **options},
    )


def validate(module: Any, dataset: TensorDataset, devices: int) -> dict[str, float]:
    """Run one evaluation, and give what was logged."""
    trainer = quiet_trainer(devices)
    trainer.validate(module, datamodule=EvalData(dataset), verbose=False)
    return logged(trainer)


def logged(trainer: Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@contextmanager
def told() -> Iterator[list[str]]:
    """Collect the warnings that a value is logged where the metric is meant, instead of showing them."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", message="`self.log")
        yield texts
    texts.extend(str(warning.message) for warning in caught)


# ---- plain arithmetic: what is expected ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counts:
    """One class: how many predictions of it are right, how many there are, and how many samples it has."""

    right: int
    predicted: int
    actual: int

    @property
    def precision(self) -> float:
        return self.right / self.predicted

    @property
    def recall(self) -> float:
        return self.right / self.actual

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.predicted + self.actual)


def count(preds: Tensor, target: Tensor, classes: int) -> list[Counts]:
    pairs = list(zip(preds.tolist(), target.tolist(), strict=True))
    return [
        Counts(
            right=sum(p == t == label for p, t in pairs),
            predicted=sum(p == label for p, _ in pairs),
            actual=sum(t == label for _, t in pairs),
        )
        for label in range(classes)
    ]


def share_right(preds: Tensor, target: Tensor) -> float:
    return mean([p == t for p, t in zip(preds.tolist(), target.tolist(), strict=True)])


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


# ---- the end --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One value: what the naive way gives (a number, or what happens), what the right way gives, what it should be."""

    name: str
    naive: float | str
    right: float
    expected: float

    @property
    def good(self) -> bool:
        return math.isclose(self.right, self.expected, rel_tol=TOLERANCE)


def finish(title: str, rows: Sequence[Row], options: argparse.Namespace, *, notes: Sequence[str] = ()) -> int:
    """Print the table and write the numbers, on rank 0; give the exit status: 1 if a value is not the expected one."""
    if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
        return 0
    width = max(len(row.name) for row in rows)
    print(f"{title}; {options.devices} process{'es' if options.devices > 1 else ''}")
    print(f"{'':{width}}     naive     right  expected")
    for row in rows:
        cells = "".join(f"{shown(value):>10}" for value in (row.naive, row.right, row.expected))
        print(f"{row.name:{width}}{cells}{'' if row.good else '  DIFFERS'}")
    for note in notes:
        print(*textwrap.wrap(note, 100, break_long_words=False, break_on_hyphens=False), sep="\n    ")
    if options.json is not None:
        content = {"devices": options.devices, "rows": [asdict(row) for row in rows], "notes": list(notes)}
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0 if all(row.good for row in rows) else 1


def shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4f}"
