"""Values of all ranks in every step of a training, and a sync that hides behind a step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

import syncmetrics
from bench.cases import Built, Case, Contender, Role, Row, Scale, Target
from bench.rows.classification import batch_of, our_collection, peer_collection, raw_gather

__all__ = ["ROWS"]

_STEP_SECONDS = 0.020
_SIDE = 192


def _per_step_cases(scale: Scale) -> list[Case]:
    contenders: dict[str, Role] = {
        "syncmetrics": "ours",
        "torchmetrics": "peer",
        "one all_gather": "raw",
        "syncmetrics without sync": "other",
    }
    return [
        Case("per-step", world, "forward of 18 metrics, synced", contenders, headline=world == 2)
        for world in scale.pick(2, 4)
    ]


def _build_per_step(case: Case, rank: int) -> Built:
    batch = batch_of(512, rank)
    mine, peer = our_collection(dist_sync_on_step=True), peer_collection(dist_sync_on_step=True)
    alone = our_collection()
    peer.update(*batch)
    return {
        "syncmetrics": Contender(lambda: mine(*batch)),
        "torchmetrics": Contender(lambda: peer(*batch)),
        "one all_gather": Contender(raw_gather(case.world)),
        "syncmetrics without sync": Contender(lambda: alone(*batch)),
    }


def _async_skip() -> str | None:
    if hasattr(syncmetrics.MetricCollection, "compute_async"):
        return None
    return "MetricCollection has no compute_async"


def _async_cases(scale: Scale) -> list[Case]:
    contenders: dict[str, Role] = {
        "compute_async": "ours",
        "compute, then the step": "peer",
        "the step alone": "raw",
    }
    steps = {"no core is free": "here", "a core is free": "elsewhere"}
    return [
        Case(
            "async",
            world,
            f"18 metrics behind a step of 20 ms, {label}",
            contenders,
            {"work": work},
            (Target("raw", 1.05),),
            headline=True,
        )
        for world in scale.pick(2)
        for label, work in steps.items()
    ]


def _work() -> Callable[[], None]:
    """Make a step that keeps a core of each rank busy: the same work every time, about 20 ms. Collective."""
    a = torch.randn(_SIDE, _SIDE)

    def some(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            torch.mm(a, a)
        return time.perf_counter() - start

    best = min(some(10) for _ in range(30)) / 10  # whatever else runs only makes it longer
    times = torch.tensor([max(1, int(_STEP_SECONDS / best))])
    if dist.is_initialized():
        dist.broadcast(times, src=0)
    number = int(times.item())

    def step() -> None:
        some(number)

    return step


def _work_elsewhere() -> None:
    """Be a step whose work an accelerator does, while this process waits for it."""
    time.sleep(_STEP_SECONDS)


def _build_async(case: Case, rank: int) -> Built:
    batch = batch_of(512, rank)
    mine: Any = our_collection()
    blocking, step = our_collection(), _work() if case.params["work"] == "here" else _work_elsewhere

    def behind() -> None:
        handle = mine.compute_async()
        step()
        handle.wait()

    def one_after_the_other() -> None:
        blocking.compute()
        step()

    return {
        "compute_async": Contender(behind, lambda: mine.update(*batch)),
        "compute, then the step": Contender(one_after_the_other, lambda: blocking.update(*batch)),
        "the step alone": Contender(step),
    }


ROWS = (
    Row("per-step", "dist_sync_on_step=True", _per_step_cases, _build_per_step),
    Row("async", "A sync in the background", _async_cases, _build_async, _async_skip),
)
