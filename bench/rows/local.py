"""One process: what the engine adds to a user's own `update`, and whether it grows with the number of steps."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench.cases import Built, Case, Contender, Role, Row, Scale, Target
from bench.rows.own import OurRows, OurTotal, PeerRows, PeerTotal

__all__ = ["ROWS"]

_EARLY = 10
_WINDOW = 20


class _Holder:
    """What a user writes without a library."""

    def __init__(self) -> None:
        self.total = torch.tensor(0.0)

    def update(self, x: Tensor) -> None:
        self.total += x

    def forward(self, x: Tensor) -> Tensor:
        self.total += x
        return x


def _one_add_cases(scale: Scale) -> list[Case]:
    if not scale.pick(1):
        return []
    contenders: dict[str, Role] = {"syncmetrics": "ours", "torchmetrics": "peer", "the bare addition": "raw"}
    update = (Target("over raw", 2e-6),)
    return [
        Case("one-add", 1, "update()", contenders, {"verb": "update"}, update, headline=True),
        Case("one-add", 1, "forward()", contenders, {"verb": "forward"}),
    ]


def _build_one_add(case: Case, rank: int) -> Built:
    x = torch.tensor(1.0)
    mine, peer, bare = OurTotal(), PeerTotal(), _Holder()
    if case.params["verb"] == "forward":
        calls: list[Any] = [mine, peer, bare.forward]
    else:
        calls = [mine.update, peer.update, bare.update]
    names = case.contenders
    return {name: Contender(partial(call, x), number=200) for name, call in zip(names, calls, strict=True)}


def _flat_cases(scale: Scale) -> list[Case]:
    if not scale.pick(1):
        return []
    late = 300 if scale.quick else 3000
    return [
        Case(
            "flat",
            1,
            f"{verb} at step {late:,}, {kind} state",
            {
                f"syncmetrics at step {late:,}": "ours",
                f"torchmetrics at step {late:,}": "peer",
                f"syncmetrics at step {_EARLY}": "other",
                f"torchmetrics at step {_EARLY}": "other",
            },
            {"verb": verb, "kind": kind, "late": late},
            (Target("other", 1.25),),
            headline=verb == "forward",
        )
        for kind in ("sum", "cat")
        for verb in ("update", "forward")
    ]


class _Climb:
    """Run a fresh metric up to the late step, and remember what a step cost early and late."""

    def __init__(self, make: Any, verb: str, late: int) -> None:
        self._make, self._verb, self._last = make, verb, late
        self._early = 0.0

    def late(self) -> float:
        """Climb, and give the seconds of a late step."""
        metric = self._make()
        step = metric if self._verb == "forward" else metric.update
        x = torch.ones(()) if isinstance(metric, (OurTotal, PeerTotal)) else torch.ones(8)
        for _ in range(_EARLY):
            step(x)
        self._early = _median_step(step, x)
        for _ in range(self._last - _EARLY - _WINDOW):
            step(x)
        return _median_step(step, x)

    def early(self) -> float:
        """Give the seconds of an early step of the last climb."""
        return self._early


def _median_step(step: Any, x: Tensor) -> float:
    taken = []
    for _ in range(_WINDOW):
        start = time.perf_counter()
        step(x)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _build_flat(case: Case, rank: int) -> Built:
    kinds: dict[str, tuple[Any, Any]] = {"sum": (OurTotal, PeerTotal), "cat": (OurRows, PeerRows)}
    climbs = [_Climb(make, case.params["verb"], case.params["late"]) for make in kinds[case.params["kind"]]]
    acts = [climbs[0].late, climbs[1].late, climbs[0].early, climbs[1].early]
    return {name: Contender(act, self_timed=True) for name, act in zip(case.contenders, acts, strict=True)}


ROWS = (
    Row("one-add", "A metric of one addition", _one_add_cases, _build_one_add),
    Row("flat", "Whether a step costs more after thousands of them", _flat_cases, _build_flat),
)
