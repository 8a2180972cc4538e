"""Peak memory of a rank: every contender in fresh processes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torchmetrics.classification as theirs
from torch import Tensor

from bench.cases import Built, Case, Contender, Role, Row, Scale, Target
from bench.ours import ours
from bench.rows.cats import broadcast_act, padded_act
from bench.rows.own import OurRows, PeerRows

__all__ = ["ROWS"]

_MIB = 1 << 20
_STAGING = 64 * _MIB
_FEW = 64


def _cat_cases(scale: Scale) -> list[Case]:
    local = 4_000_000 if scale.quick else 80_000_000
    contenders: dict[str, Role] = {
        "syncmetrics": "ours",
        "torchmetrics": "peer",
        "pad and all_gather": "raw",
        "a broadcast a rank": "raw",
    }
    return [
        Case(
            "memory",
            world,
            f"{local // 1_000_000} MB of rows on each rank",
            contenders,
            {"rows": local // 4},
            (Target("value", float((world + 1) * local + _STAGING)),),
            unit="bytes",
            headline=True,
        )
        for world in ((2,) if scale.quick and scale.worlds is None else scale.pick(4))
    ]


class _Filled:
    """A metric, or plain rows, that is filled when its turn comes."""

    def __init__(self, make: Callable[[], Any], number: int, by_hand: Callable[[Tensor], Tensor] | None = None) -> None:
        self._make, self._number, self._by_hand = make, number, by_hand
        self.rows: Any = None
        self.metric: Any = None
        self.value: Any = None

    def prepare(self) -> None:
        """Make the data; those of a metric are in the metric alone."""
        self._fill(self._number)

    def _fill(self, number: int) -> None:
        rows = torch.empty(number).uniform_()
        self.metric = self._make()
        if self._by_hand is not None:
            self.rows = rows
        else:
            self.metric.update(rows)

    def compute(self) -> None:
        """Compute, and keep the value as a user would."""
        self.value = self.metric.compute() if self._by_hand is None else self._by_hand(self.rows)

    def rehearse(self) -> None:
        """Go through it with a few rows."""
        self._fill(_FEW)
        self.compute()
        self.metric = self.rows = self.value = None


def _build_cat(case: Case, rank: int) -> Built:
    number, world = case.params["rows"], case.world
    filled = {
        "syncmetrics": _Filled(OurRows, number),
        "torchmetrics": _Filled(PeerRows, number),
        "pad and all_gather": _Filled(_nothing, number, lambda rows: padded_act(rows, world)()),
        "a broadcast a rank": _Filled(_nothing, number, lambda rows: broadcast_act(rows, world, rank)()),
    }
    return {name: Contender(one.compute, one.prepare, rehearse=one.rehearse) for name, one in filled.items()}


def _nothing() -> None:
    return None


def _shuffling() -> dict[bool, dict[str, Any]]:
    """Give the arguments for shuffled and for gathered rows. The one place that knows how the choice is spelled."""
    if "shuffle_above" in inspect.signature(ours("BinaryAUROC")).parameters:
        return {True: {"shuffle_above": 0}, False: {"shuffle_above": None}}
    return {}


def _auroc_skip() -> str | None:
    return None if _shuffling() else "BinaryAUROC has no choice to shuffle in place of gathering"


def _auroc_cases(scale: Scale) -> list[Case]:
    total = 10**5 if scale.quick else 10**7
    contenders: dict[str, Role] = {"shuffled": "ours", "torchmetrics": "peer", "gathered": "other"}
    targets = (Target("other", 1.0 if scale.quick else 0.4), Target("same", 1.0))
    return [
        Case(
            "auroc",
            world,
            f"AUROC of {total:,} rows",
            contenders,
            {"rows": total // world},
            targets,
            "bytes",
            True,
            300.0,
        )
        for world in ((2,) if scale.quick and scale.worlds is None else scale.pick(4))
    ]


class _Curve:
    """An AUROC that is filled when its turn comes."""

    def __init__(self, make: Callable[[], Any], number: int, rank: int) -> None:
        self._make, self._number, self._rank = make, number, rank
        self.metric: Any = None
        self.value: Any = None

    def prepare(self) -> None:
        """Fill it with scores that say a little about the targets."""
        self._fill(self._number)

    def rehearse(self) -> None:
        """Go through it with a few rows."""
        self._fill(_FEW)
        self.compute()
        self.metric = self.value = None

    def _fill(self, number: int) -> None:
        g = torch.Generator().manual_seed(self._rank)
        target = torch.randint(2, (number,), generator=g)
        scores = torch.rand(number, generator=g).add_(target, alpha=0.5).div_(1.5)
        self.metric = self._make()
        self.metric.update(scores, target)

    def compute(self) -> None:
        """Compute, and keep the value."""
        self.value = self.metric.compute()

    def shown(self) -> str:
        """Give the value with all its bits."""
        return float(self.value).hex()


def _build_auroc(case: Case, rank: int) -> Built:
    makes: dict[str, Callable[[], Any]] = {
        "shuffled": lambda: ours("BinaryAUROC")(**_shuffling()[True]),
        "torchmetrics": theirs.BinaryAUROC,
        "gathered": lambda: ours("BinaryAUROC")(**_shuffling()[False]),
    }
    curves = {name: _Curve(make, case.params["rows"], rank) for name, make in makes.items()}
    return {
        name: Contender(curve.compute, curve.prepare, shown=curve.shown, rehearse=curve.rehearse)
        for name, curve in curves.items()
    }


ROWS = (
    Row("memory", "Peak memory of a rank that joins rows", _cat_cases, _build_cat),
    Row("auroc", "Peak memory of a rank in an exact AUROC", _auroc_cases, _build_auroc, _auroc_skip),
)
