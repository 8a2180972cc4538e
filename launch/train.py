"""Train and evaluate a small network on all ranks, whichever launcher started them. Every recipe here starts this.

::

    torchrun --standalone --nproc-per-node 2 launch/train.py
    python launch/train.py

It needs torch and syncmetrics, and no data. Of the launcher it asks what `torch.distributed` asks: the environment
variables RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, and LOCAL_RANK for the GPU. The values of every epoch go to
`values.json` in `--out`: as many ranks give the same ones, whatever started them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import syncmetrics
from syncmetrics import MeanMetric, MetricCollection, MulticlassAccuracy, SumMetric
from syncmetrics.data import EvalSampler

CLASSES = 3
FEATURES = 8
TRAIN_SAMPLES = 480
EVAL_SAMPLES = 101  # divides by no number of ranks, so that shards are uneven
BATCH_SIZE = 16  # on each rank


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    with process_group(options.timeout):
        train(options.epochs, options.out)
    return 0


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train and evaluate a small network on all ranks.")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the training set (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/train"), help="folder (default: %(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=600.0, help="seconds a rank waits for the others (default: %(default)s)"
    )
    return parser.parse_args(argv)


@contextmanager
def process_group(timeout: float) -> Iterator[None]:
    """Join the group of the launcher, or none where there is no launcher."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        # A launcher that gives each rank its own GPU shows it that one alone, whatever LOCAL_RANK says.
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    try:
        yield
    finally:
        gc.collect()  # DistributedDataParallel is a cycle of references that holds the group
        dist.destroy_process_group()


def train(epochs: int, out: Path) -> list[dict[str, Any]]:
    """Train on the process group there is, and give the values of each epoch. Collective."""
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    print(f"rank {rank} of {ranks} on {socket.gethostname()}, {device}", flush=True)
    train_set, eval_set = blobs(TRAIN_SAMPLES, seed=1), blobs(EVAL_SAMPLES, seed=2)
    torch.manual_seed(0)
    model: nn.Module = nn.Linear(FEATURES, CLASSES).to(device)
    if dist.is_initialized():
        model = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sampler: DistributedSampler[tuple[Tensor, ...]] = DistributedSampler(train_set, ranks, rank, drop_last=True)
    loader = DataLoader(train_set, BATCH_SIZE, sampler=sampler)
    shard = DataLoader(eval_set, BATCH_SIZE, sampler=EvalSampler(eval_set, shuffle=False))
    metrics = MetricCollection({"accuracy": MulticlassAccuracy(CLASSES, average="micro"), "loss": MeanMetric()})
    seen = SumMetric()
    found: list[dict[str, Any]] = []
    for epoch in range(1, epochs + 1):
        sampler.set_epoch(epoch)
        fit(model, optimizer, loader, device)
        metrics.reset()
        seen.reset()
        evaluate(model, shard, metrics, seen, device)
        values = syncmetrics.sync_and_compute({"metrics": metrics, "samples": seen})
        found.append({"epoch": epoch, "samples": int(values["samples"]), **as_numbers(values["metrics"])})
        if rank == 0:
            print(", ".join(f"{name} {value}" for name, value in found[-1].items()), flush=True)
    if rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        (out / "values.json").write_text(json.dumps({"ranks": ranks, "epochs": found}, indent=1) + "\n")
    return found


def blobs(samples: int, *, seed: int) -> TensorDataset:
    """Give points around one centre for each class: the same on every rank and in every run."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % CLASSES
    centres = torch.eye(CLASSES, FEATURES)
    return TensorDataset(centres[labels] + 0.5 * torch.randn(samples, FEATURES, generator=generator), labels)


def fit(
    model: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader[tuple[Tensor, ...]], device: torch.device
) -> None:
    model.train()
    for points, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(points.to(device)), labels.to(device))
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimizer.step()


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loader: DataLoader[tuple[Tensor, ...]],
    metrics: MetricCollection,
    seen: SumMetric,
    device: torch.device,
) -> None:
    """Update the metrics with this rank's share. Nothing communicates here: shards may be of any sizes."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    inner.eval()
    for points, labels in loader:
        scores, target = inner(points.to(device)), labels.to(device)
        metrics.update(preds=scores, target=target, value=F.cross_entropy(scores, target, reduction="none"))
        seen.update(len(labels))


def as_numbers(values: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in values.items()}


if __name__ == "__main__":
    sys.exit(main())
