"""What a recipe starts in the tests: a rank that counts its share of 101 samples and syncs. As a program: folder, task.

`sync` writes what it found. `cut` says what it sees while the link between the hosts is cut, and syncs when it is back.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from syncmetrics import CatMetric, MeanMetric, MetricCollection, SyncTimeoutError, set_sync_timeout
from syncmetrics.data import EvalSampler

SAMPLES = 101
TIMEOUT = 3.0


def main(folder: Path, task: str) -> None:
    dist.init_process_group("gloo", timeout=timedelta(seconds=120))
    rank, ranks = dist.get_rank(), dist.get_world_size()
    metrics = MetricCollection({"rows": CatMetric(), "mean": MeanMetric()})
    metrics.update(torch.tensor(list(EvalSampler(range(SAMPLES), shuffle=False)), dtype=torch.float64))
    said: dict[str, Any] = {"rank": rank, "ranks": ranks, "address": os.environ["MASTER_ADDR"], "hour": time.time()}
    if task == "cut":
        said |= without_link(folder, rank, metrics)
    said["found"] = values(metrics)
    (folder / f"rank-{rank}.json").write_text(json.dumps(said))
    print(f"rank {rank} of {ranks} has {said['found']['mean']}", flush=True)
    if task == "cut":
        os._exit(0)  # what was in the group when the link was cut is waited for at its end
    dist.destroy_process_group()


def without_link(folder: Path, rank: int, metrics: MetricCollection) -> dict[str, Any]:
    """Sync, wait until the link is cut, try to sync, say what came of it, and wait until the link is back."""
    before = MeanMetric()
    before.update(rank)
    before.compute()
    set_sync_timeout(TIMEOUT)
    wait_for_word(folder, rank, "here")
    start = time.monotonic()
    try:
        metrics.compute()
    except SyncTimeoutError as error:
        said = {"error": str(error), "missing": error.missing, "seconds": time.monotonic() - start}
    print(f"rank {rank}: {said['error']}", file=sys.stderr, flush=True)
    said["alone"] = values(alone(metrics))
    wait_for_word(folder, rank, "told")
    set_sync_timeout(60.0)  # TCP tries again after a pause that has grown with the time without a link
    return said


def alone(metrics: MetricCollection) -> MetricCollection:
    """Give the same metrics, which sync no more: what this rank has counted is there."""
    mine = metrics.clone()
    for metric in mine.values():
        metric.sync_on_compute = False
    return mine


def values(metrics: MetricCollection) -> dict[str, Any]:
    found = metrics.compute()
    return {"rows": sorted(found["rows"].tolist()), "mean": found["mean"].item()}


def wait_for_word(folder: Path, rank: int, word: str) -> None:
    """Say a word to the test through a pipe, and wait for its answer through another."""
    (folder / f"from-{rank}").write_text(f"{word}\n")
    (folder / f"to-{rank}").read_text()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
