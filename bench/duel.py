"""Take turns: every round runs all contenders of a case once, each from a common start of all ranks."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from bench.cases import Built, Contender
from bench.counting import counted
from bench.memory import peak_bytes, reset_peak, resident_bytes

__all__ = ["Found", "Mark", "agree", "duel", "stand_by", "turn", "weigh"]

_WARM_UPS = 2
_FEWEST_ROUNDS = 3
_PATIENCE = 4  # times the budget, for the fewest rounds


class Mark:
    """Where the parent sees which contender is at work, in case it never comes back."""

    def __init__(self, cell: Any) -> None:
        self._cell = cell

    def set(self, index: int) -> None:
        """Say that a contender begins."""
        self._cell.value = index


@dataclass(slots=True)
class Found:
    """What one rank found about one contender.

    Attributes:
        samples: One a round: seconds, or bytes.
        calls: Collectives of one time, by name.
        sent: Bytes that this rank gave to them.
        shown: What to write down of the result.
        failed: Why there are no samples.
    """

    samples: list[float] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    shown: str | None = None
    failed: str | None = None


def agree(ok: bool) -> bool:
    """Say whether all ranks are well; they leave this at about the same time. Collective."""
    if not dist.is_initialized():
        return ok
    flag = torch.tensor([int(ok)])
    dist.all_reduce(flag, op=dist.ReduceOp.MIN)
    return bool(flag.item())


def _same(go_on: bool) -> bool:
    """Give what rank 0 decides. Collective."""
    if not dist.is_initialized():
        return go_on
    flag = torch.tensor([int(go_on)])
    dist.broadcast(flag, src=0)
    return bool(flag.item())


def _once(contender: Contender) -> float:
    """Run one contender once; give the seconds of one call."""
    if contender.self_timed:
        return float(contender.act())
    act = contender.act
    start = time.perf_counter()
    for _ in range(contender.number):
        act()
    return (time.perf_counter() - start) / contender.number


def _turn(contender: Contender, found: Found) -> float | None:
    """Prepare, start together, run. None if it failed here, or on another rank before it began."""
    try:
        contender.prepare()
        mine = True
    except Exception as error:
        found.failed, mine = _reason(error), False
    if not agree(mine):
        found.failed = found.failed or "failed on another rank"
        return None
    try:
        return _once(contender)
    except Exception as error:
        found.failed = _reason(error)
        return None


def _reason(error: BaseException) -> str:
    first = (str(error).strip() or "no text").splitlines()[0]
    return f"{type(error).__name__}: {first[:200]}"


def _settle(found: Found) -> bool:
    """Drop a contender on all ranks if one of them failed. Collective."""
    if agree(found.failed is None):
        return True
    found.failed = found.failed or "failed on another rank"
    return False


def _introduce(contender: Contender, found: Found) -> bool:
    """Warm up and count; say whether it may take part. Collective."""
    if contender.self_timed:
        return _settle(found)  # it begins anew each time
    for _ in range(_WARM_UPS):
        _turn(contender, found)
        if not _settle(found):
            return False
    contender.prepare()
    with counted() as traffic:
        for _ in range(contender.number):
            contender.act()
    number = contender.number
    found.calls = {name: calls // number for name, calls in sorted(traffic.calls.items())}
    found.sent = traffic.sent // number
    return _settle(found)


def duel(
    built: Built, excluded: Sequence[str], rounds: int, budget: float, mark: Mark, fewest: int = 0
) -> dict[str, Found]:
    """Measure all contenders in turns.

    Collective: every rank must call this with the same contenders.

    Args:
        built: The contenders by name.
        excluded: Those that broke the processes of an earlier attempt.
        rounds: At most so many rounds.
        budget: Seconds after which no further round begins.
        mark: Where to say who is at work.
        fewest: So many rounds begin whatever the budget.
    """

    def time_left() -> bool:
        limit = (_PATIENCE if done < _FEWEST_ROUNDS else 1) * budget
        return done < fewest or time.perf_counter() - start < limit

    found = {name: Found() for name in built}
    order = list(built)
    fit = []
    for name in order:
        mark.set(order.index(name))
        if name not in excluded and _introduce(built[name], found[name]):
            fit.append(name)
    gc.collect()
    gc.disable()
    try:
        start, done = time.perf_counter(), 0
        while fit and _same(time_left()):
            turned = fit[done % len(fit) :] + fit[: done % len(fit)]  # nobody always runs behind the same one
            for name in turned:
                mark.set(order.index(name))
                sample = _turn(built[name], found[name])
                if _settle(found[name]) and sample is not None:
                    found[name].samples.append(sample)
                else:
                    fit.remove(name)
            done += 1
            if done >= rounds:
                break
    finally:
        gc.enable()
    for name in fit:
        shown = built[name].shown
        found[name].shown = None if shown is None else shown()
    return found


def stand_by(contender: Contender, mark: Mark) -> Found:
    """Make one contender ready for turns that others call. Collective."""
    found = Found()
    mark.set(0)
    _introduce(contender, found)
    gc.collect()
    return found


def turn(contender: Contender, times: int) -> Found:
    """Measure a contender that stands by so many times, and once before that without the clock.

    Its processes have been idle, and run slowly at first. Collective.
    """
    found = Found()
    untimed = 0 if contender.self_timed else 1
    gc.disable()
    try:
        for index in range(untimed + times):
            sample = _turn(contender, found)
            if not _settle(found) or sample is None:
                break
            if index >= untimed:
                found.samples.append(sample)
    finally:
        gc.enable()
    return found


def weigh(contender: Contender, mark: Mark) -> Found:
    """Give the peak memory of one contender above what was resident before it had its data.

    Collective. It is called once in fresh processes. `prepare` makes the data, and belongs to what is weighed; what
    the process group and the code took for a rehearsal does not.
    """
    found = Found()
    mark.set(0)
    contender.rehearse()
    agree(True)
    reset_peak()
    before = resident_bytes()
    ran = _turn(contender, found) is not None
    peak = peak_bytes()
    if _settle(found) and ran:
        found.samples.append(float(peak - before))
        found.shown = None if contender.shown is None else contender.shown()
    return found
