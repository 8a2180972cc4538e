"""Values of all ranks in every step of a training, and a sync that hides behind a step."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch

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


def _products(number: int) -> float:
    """Multiply so many matrices; give the seconds."""
    a = torch.randn(_SIDE, _SIDE)
    start = time.perf_counter()
    for _ in range(number):
        torch.mm(a, a)
    return time.perf_counter() - start


def _async_settle(case: Case) -> Case:
    """Find out how many products take as long as the step; they must be as many on every rank and in every turn."""
    if case.params["work"] != "here":
        return case
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as on the ranks
    best = min(_products(10) for _ in range(30)) / 10  # whatever else runs only makes it longer
    torch.set_num_threads(threads)
    return replace(case, params={**case.params, "products": max(1, int(_STEP_SECONDS / best))})


def _build_async(case: Case, rank: int) -> Built:
    batch = batch_of(512, rank)
    mine: Any = our_collection()
    blocking = our_collection()

    def step() -> None:
        if case.params["work"] == "here":
            _products(case.params["products"])
        else:
            time.sleep(_STEP_SECONDS)  # an accelerator does the work, and this process waits for it

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


def _step_cases(scale: Scale) -> list[Case]:
    kinds = {
        "MetricLogger: update of 18 metrics, log, step": "logger",
        "sync_every=1, a loss and an accuracy": "two",
        "sync_every=1, 18 metrics": "eighteen",
    }
    contenders: dict[str, Role] = {"syncmetrics": "ours", "one all_gather": "raw", "without sync": "other"}
    return [
        Case("step", world, label, contenders, {"kind": kind}, (Target("value", 150e-6),), headline=world == 2)
        for world in scale.pick(2, 4)
        for label, kind in kinds.items()
    ]


def _build_step(case: Case, rank: int) -> Built:
    """Steps in a loop, as a training takes them: what a barrier before each would add is not part of it."""
    batch, kind = batch_of(512, rank), case.params["kind"]
    if kind == "logger":
        act, alone = _logged(batch, True), _logged(batch, False)
    elif kind == "two":
        act, alone = _two(batch, 1), _two(batch, None)
    else:
        mine, other = our_collection(sync_every=1), our_collection()
        act, alone = (lambda: mine(*batch)), (lambda: other(*batch))
    return {
        "syncmetrics": Contender(act, number=20),
        "one all_gather": Contender(raw_gather(case.world), number=20),
        "without sync": Contender(alone, number=20),
    }


def _logged(batch: Any, on_step: bool) -> Any:
    metrics, logger, loss = our_collection(), syncmetrics.MetricLogger(), torch.rand(())

    def step() -> None:
        metrics.update(*batch)
        logger.log("loss", loss, on_step=on_step, weight=512)
        logger.log_dict(metrics)
        logger.step()

    return step


def _two(batch: Any, sync_every: int | None) -> Any:
    loss = torch.rand(())
    mean = syncmetrics.MeanMetric(sync_every=sync_every)
    accuracy = syncmetrics.MulticlassAccuracy(num_classes=10, average="micro", sync_every=sync_every)

    def step() -> None:
        mean(loss)
        accuracy(*batch)

    return step


ROWS = (
    Row("step", "Steps that sync, in a loop", _step_cases, _build_step),
    Row("per-step", "dist_sync_on_step=True", _per_step_cases, _build_per_step),
    Row("async", "A sync in the background", _async_cases, _build_async, _async_skip, _async_settle),
)
