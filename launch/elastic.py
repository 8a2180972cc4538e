"""A job that may lose workers in the middle of an epoch, and prints what a job prints that lost none.

::

    export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
    torchrun --standalone --nproc-per-node 4 --max-restarts 2 launch/elastic.py --kill 1:17
    python launch/elastic.py --out runs/undisturbed

It trains a small network on handwritten digits. Every few steps rank 0 saves the network, the optimizer, where the
epoch stands, and what the metrics of all ranks have accumulated. When a worker is killed (`--kill 1:17` kills rank 1 in
step 17), torchrun starts all of them again, perhaps fewer, and the job goes on from what was saved last. The values of
each epoch are printed, and go to `values.json`: those of a run that was not disturbed, on any number of ranks.

Without the first line, torch 2.13 gives workers that were started again the store of those before them, and the gloo
backend connects to processes that are gone.

What a user of another job edits are `save` and `resume`; the rest is a loop like any other.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from launch.digits import CLASSES, DigitAUROC, load_data, process_group
from syncmetrics import (
    CatMetric,
    ClasswiseWrapper,
    MaxMetric,
    MetricCollection,
    MetricLogger,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    load_state,
    save_state,
)

BATCH_SIZE = 60  # of all ranks together
LEARNING_RATE = 0.3


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_options(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    with process_group() as rank:
        world_size = dist.get_world_size() if dist.is_initialized() else 1
        job = Job(options.out)
        job.resume()
        if rank == 0:
            print(f"{world_size} ranks go on from epoch {job.epoch}, step {job.step}", flush=True)
        while job.epoch < options.epochs:
            images, digits = job.shuffled()
            while job.step * BATCH_SIZE < len(images):
                kill_on_purpose(options, rank, job)
                rows = torch.arange(job.step * BATCH_SIZE, min((job.step + 1) * BATCH_SIZE, len(images)))
                job.train_step(images[rows], digits[rows], rows, rank, world_size)
                job.step += 1
                if job.step % options.save_every == 0:
                    job.save(rank)
            job.end_epoch(rank)
            job.save(rank)
    return 0


def parse_options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train on handwritten digits, and survive the loss of workers.")
    parser.add_argument("--epochs", type=int, default=3, help="passes over the training set (default: %(default)s)")
    parser.add_argument("--save-every", type=int, default=5, help="steps between two saves (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/elastic"), help="folder (default: %(default)s)")
    where = "in this step of the second epoch, once"
    parser.add_argument("--kill", metavar="RANK:STEP", action="append", default=[], help=f"kill this rank {where}")
    parser.add_argument(
        "--lose", metavar="RANK:STEP", action="append", default=[], help=f"kill this rank and its launcher {where}"
    )
    return parser.parse_args(argv)


class Job:
    """The network, the metrics, and where the epoch stands."""

    def __init__(self, out: Path) -> None:
        self.out = out
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, CLASSES)).double()
        self.optimizer = torch.optim.SGD(self.model.parameters(), LEARNING_RATE, momentum=0.5)
        per_class = MulticlassAccuracy(CLASSES, average=None)
        self.metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(CLASSES, average="micro"),
                "per_class": ClasswiseWrapper(per_class, prefix="accuracy_of_"),
                "confusion": MulticlassConfusionMatrix(CLASSES),
                "auroc_of_8": DigitAUROC(8),
            }
        )
        self.rows, self.largest = CatMetric(), MaxMetric()
        self.logger = MetricLogger()
        self.logger.track({"rows": self.rows, "largest_score": self.largest})
        self.logger.track(self.metrics)
        self.epoch = self.step = 0
        self.values: list[dict[str, Any]] = []

    def save(self, rank: int) -> None:
        """Save everything. Collective, as `save_state` is."""
        metrics = save_state({"logger": self.logger}, dst=0)
        if rank != 0:
            return
        content = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "values": self.values,
            "metrics": metrics,
        }
        partly = self.out / "checkpoint.partly"
        torch.save(content, partly)
        os.replace(partly, self.out / "checkpoint.pt")  # a worker that is killed leaves the whole file, or the old one

    def resume(self) -> None:
        """Go on from what was saved last, on any number of ranks."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return
        content = torch.load(path, weights_only=True)
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        load_state({"logger": self.logger}, content["metrics"])
        self.epoch, self.step, self.values = content["epoch"], content["step"], content["values"]

    def shuffled(self) -> tuple[Tensor, Tensor]:
        """Give the training set in the order of this epoch: the same on every rank, and when it is asked for again."""
        images, digits = load_data()[0].tensors
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.epoch))
        return images[order].double(), digits[order]

    def train_step(self, images: Tensor, digits: Tensor, rows: Tensor, rank: int, world_size: int) -> None:
        """Train on a batch, and update the metrics with this rank's share of it.

        Every rank trains on all of the batch. DistributedDataParallel would add up gradients in another order on
        another number of ranks: the network would be another one, and its predictions would say nothing of the metrics.
        """
        scores = self.model(images)
        losses = F.cross_entropy(scores, digits, reduction="none")
        self.optimizer.zero_grad()
        losses.mean().backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        self.optimizer.step()
        mine = slice(rank * len(rows) // world_size, (rank + 1) * len(rows) // world_size)
        preds, target = scores[mine].detach(), digits[mine]
        self.metrics.update(preds=preds.float(), target=target)
        self.rows.update(rows[mine])
        self.largest.update(preds)
        if len(target):
            self.logger.log("loss", losses[mine].detach().mean(), weight=len(target))
        self.logger.step()

    def end_epoch(self, rank: int) -> None:
        """Take the values of the epoch. Collective."""
        values = {name: value.tolist() for name, value in self.logger.end_epoch().items()}
        values["rows"] = sorted(values["rows"])
        self.values.append(values)
        self.epoch, self.step = self.epoch + 1, 0
        if rank == 0:
            (self.out / "values.json").write_text(json.dumps(self.values, indent=1) + "\n")
            counted = sum(map(sum, values["confusion"]))
            print(
                f"epoch {self.epoch}: accuracy {values['accuracy']:.10f}, auroc of 8 {values['auroc_of_8']:.10f},"
                f" loss {values['loss']:.10f}, {counted} samples counted",
                flush=True,
            )


def kill_on_purpose(options: argparse.Namespace, rank: int, job: Job) -> None:
    """Kill this process, if that was asked for and has not happened yet."""
    here = f"{rank}:{job.step}"
    if job.epoch != 1 or here not in [*options.kill, *options.lose]:
        return
    told = options.out / f"killed-{rank}-{job.step}"
    if told.exists():
        return
    told.touch()
    if here in options.lose:  # as if the host were gone
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
