"""What the ranks do in scenarios that disturb a sync at a random moment; `chaos.py` draws and judges them."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
import torch.distributed as dist

import syncmetrics
from syncmetrics import Metric, MetricCollection, PeerLostError, SyncError, dim_zero_cat
from tests.ranks.faults_watch import BoomError
from tests.ranks.memories import move
from tests.samples import bits

__all__ = ["Outcome", "Scenario", "run"]

Verb: TypeAlias = Literal["compute", "forward", "async", "context", "collection", "one_rank", "join"]
Disturbance: TypeAlias = Literal["none", "late", "stopped", "alarm", "memory", "limited", "killed"]

#: So long a rank waits for the others, past all collectives, before something must be wrong.
_LIMIT = 20.0
#: Allocations of fewer elements succeed where there is no memory.
_LITTLE = 40_000
#: Verbs that take in the batch.
_STEPS = ("forward", "join")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One sync, and what disturbs it.

    Attributes:
        seed: Its number.
        verb: How it is synced.
        rows: Rows of a `"cat"` state, by rank.
        floats: Elements of a float `"sum"`.
        counts: Elements of an integer `"sum"`.
        disturbance: What happens.
        victim: To which rank.
        moment: When, as a part of what the sync takes undisturbed; or before the how-manieth large allocation.
        seconds: For how long.
        timeout: What the sync is given.
    """

    seed: int
    verb: Verb
    rows: tuple[int, ...]
    floats: int
    counts: int
    disturbance: Disturbance
    victim: int
    moment: float
    seconds: float
    timeout: float


@dataclass(slots=True)
class Outcome:
    """What one rank saw of one scenario.

    Attributes:
        end: What it got: "value", "error" (a `SyncError`), or "own" (what disturbed it).
        text: Of the error, with its class.
        seconds: How long the call took.
        wrong: What should not have been.
    """

    end: str = ""
    text: str = ""
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Load(Metric):
    """States of three kinds, of any size."""

    is_differentiable = False

    def __init__(self, floats: int, counts: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("floats", torch.zeros(floats), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(counts, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, x: torch.Tensor) -> None:
        self.rows.append(x)
        self.floats = self.floats + 1
        self.counts = self.counts + 2

    def compute(self) -> Any:
        return dim_zero_cat(self.rows), self.floats.clone(), self.counts.clone()


def _right(scenario: Scenario, updates: Sequence[int], ranks: Sequence[int]) -> Any:
    """Give the value after so many updates on each of these ranks."""
    rows = [torch.full((n * scenario.rows[r],), float(r)) for r, n in zip(ranks, updates, strict=True)]
    total = sum(updates)
    return (
        torch.cat(rows),
        torch.full((scenario.floats,), float(total)),
        torch.full((scenario.counts,), 2 * total, dtype=torch.int64),
    )


class _Ranks:
    """The ranks, as far as they talk to each other past all collectives."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank = rank
        self.here = list(range(world_size))
        self._store = dist.distributed_c10d._get_default_store()
        self._meetings = 0

    def tell_all(self, word: str) -> list[str]:
        """Give what each rank that is here says, once all have said it."""
        self._meetings += 1
        key = f"chaos/{self._meetings}"
        self._store.set(f"{key}/{self.rank}", word)
        keys = [f"{key}/{rank}" for rank in self.here]
        start = time.monotonic()
        while not self._store.check(keys):
            if time.monotonic() - start > _LIMIT:
                raise TimeoutError(f"not all of {self.here} have said something")
            time.sleep(0.002)
        return [self._store.get(k).decode() for k in keys]


def run(rank: int, world_size: int, scenarios: Sequence[Scenario], hosts: str) -> list[Outcome]:
    """Go through the scenarios, one after another on one process group; only in the last may a rank be killed."""
    move(rank, hosts)
    ranks = _Ranks(rank, world_size)
    outcomes = []
    for scenario in scenarios:
        outcomes.append(_run_one(ranks, scenario))
        if outcomes[-1].wrong:
            break
    return outcomes


def _run_one(ranks: _Ranks, scenario: Scenario) -> Outcome:
    outcome = Outcome()
    took = _undisturbed(ranks, scenario, outcome)
    metric, batch = _metric(scenario), _batch(scenario, ranks.rank)
    if scenario.verb not in _STEPS:
        metric.update(batch)
    before = _local(metric)
    ranks.tell_all("ready")
    start = time.monotonic()
    value: Any = None
    try:
        with _disturbed(ranks.rank, scenario, took):
            value = _act(metric, scenario.verb, batch)
        outcome.end = "value"
    except SyncError as error:
        outcome.end, outcome.text = "error", f"{type(error).__name__}: {error}"
    except (BoomError, MemoryError, RuntimeError) as error:  # torch says that there is no memory by the last
        outcome.end, outcome.text = "own", repr(error)
    outcome.seconds = time.monotonic() - start
    if scenario.disturbance == "killed":
        if ranks.rank == scenario.victim:
            time.sleep(_LIMIT)
        ranks.here = [r for r in ranks.here if r != scenario.victim]
    ends = ranks.tell_all(outcome.end)
    if outcome.end == "value":
        _expect(outcome, "the value", value, _first(scenario, ranks.rank))
    elif scenario.verb not in _STEPS:
        outcome.wrong += [] if _local(metric) == before else ["the states are not what they were"]
    updates = [int(word) for word in ranks.tell_all(str(metric.update_count))]
    if scenario.disturbance == "killed":
        _recover(ranks, scenario, metric, ends, updates, outcome)
    else:
        _go_on(ranks, scenario, metric, ends, updates, outcome)
    return outcome


def _metric(scenario: Scenario) -> Any:
    options: dict[str, Any] = {"sync_timeout": scenario.timeout}
    if scenario.verb in _STEPS:
        options["dist_sync_on_step"] = True
    if scenario.verb == "one_rank":
        options["compute_on"] = 0
    return Load(scenario.floats, scenario.counts, **options)


def _first(scenario: Scenario, rank: int) -> Any:
    """Give the value of the sync that is disturbed; None on a rank that has but its own."""
    if scenario.verb == "one_rank" and rank != 0:
        return None
    ranks = range(len(scenario.rows))
    return _right(scenario, [_steps(r) if scenario.verb == "join" else 1 for r in ranks], ranks)


def _steps(rank: int) -> int:
    return 1 + rank % 2


def _batch(scenario: Scenario, rank: int) -> torch.Tensor:
    return torch.full((scenario.rows[rank],), float(rank))


def _local(metric: Metric) -> Any:
    states, count = metric._holder.store.local
    return count, bits({name: dim_zero_cat(s) if isinstance(s, list) else s for name, s in states.items()})


def _act(metric: Any, verb: Verb, batch: torch.Tensor) -> Any:
    match verb:
        case "compute":
            return metric.compute()
        case "forward":
            return metric(batch)
        case "async":
            return metric.compute_async().wait()
        case "context":
            with metric.sync_context():
                return metric.compute()
        case "collection":
            return MetricCollection({"load": metric}).compute()["load"]
        case "one_rank":
            return metric.compute()
        case "join":
            with syncmetrics.join(metric):
                for _ in range(_steps(dist.get_rank())):
                    metric(batch)
            return metric.compute()


def _undisturbed(ranks: _Ranks, scenario: Scenario, outcome: Outcome) -> float:
    """Do the same once before, which has to be right; give how long it takes."""
    metric, batch = _metric(scenario), _batch(scenario, ranks.rank)
    metric.sync_timeout = 30.0
    if scenario.verb not in _STEPS:
        metric.update(batch)
    ranks.tell_all("undisturbed")
    start = time.monotonic()
    value = _act(metric, scenario.verb, batch)
    took = time.monotonic() - start
    _expect(outcome, "undisturbed", value, _first(scenario, ranks.rank))
    return took


def _expect(outcome: Outcome, what: str, found: Any, right: Any) -> None:
    if right is None:
        return
    if isinstance(found, tuple):
        found = tuple(x.reshape(-1) for x in found)  # a value of one element has no shape
    if bits(found) != bits(right):
        shapes = [tuple(x.shape) for x in found] if isinstance(found, tuple) else found
        outcome.wrong.append(f"{what} is wrong: {shapes}, of {[tuple(x.shape) for x in right]}")


# -- what disturbs


@contextmanager
def _disturbed(rank: int, scenario: Scenario, took: float) -> Iterator[None]:
    """Let happen what is to happen to this rank while the block runs."""
    if rank != scenario.victim or scenario.disturbance == "none":
        yield
        return
    delay = scenario.moment * took
    match scenario.disturbance:
        case "late":
            time.sleep(scenario.seconds)
            yield
        case "stopped":
            with _stopped(delay, scenario.seconds):
                yield
        case "alarm":
            with _alarm(delay):
                yield
        case "memory":
            with _no_memory(int(scenario.moment * 4)):
                yield
        case "limited":
            with _limited((40 << 20) + int(scenario.moment * (40 << 20))):
                yield
        case "killed":
            kill = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
            kill.start()
            yield
            kill.join()


@contextmanager
def _stopped(delay: float, seconds: float) -> Iterator[None]:
    """Stop this process after a while, and let another one wake it: again and again, for it may be early."""
    wake = f"sleep {delay + seconds}; while kill -CONT {os.getpid()}; do sleep 0.2; done"
    with subprocess.Popen(["sh", "-c", wake]) as helper:
        stop = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGSTOP))
        stop.start()
        try:
            yield
        finally:
            stop.join()
            helper.kill()


@contextmanager
def _alarm(delay: float) -> Iterator[None]:
    armed = [True]

    def ring(*_: Any) -> None:
        if armed[0]:
            raise BoomError("the time is up")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(delay, 1e-5))
    try:
        yield
        armed[0] = False
    finally:
        armed[0] = False
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _no_memory(after: int) -> Iterator[None]:
    """Let large allocations fail, but for the first ones."""
    empty, left = torch.empty, [after]

    def little(*size: Any, **kwargs: Any) -> Any:
        sizes = size[0] if size and isinstance(size[0], (tuple, list, torch.Size)) else size
        count = 1
        for part in sizes:
            count *= int(part)
        if count > _LITTLE:
            left[0] -= 1
            if left[0] < 0:
                raise MemoryError("can't allocate memory")
        return empty(*size, **kwargs)

    torch.empty = little
    try:
        yield
    finally:
        torch.empty = empty


@contextmanager
def _limited(more: int) -> Iterator[None]:
    """Let this process have so many bytes more, and no others."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# -- and after it


def _go_on(
    ranks: _Ranks, scenario: Scenario, metric: Any, ends: list[str], updates: list[int], outcome: Outcome
) -> None:
    """Look whether the ranks are in step again: the same metric, and one that nobody has seen, small and large."""
    metric.sync_timeout = 30.0
    rank, batch = ranks.rank, _batch(scenario, ranks.rank)
    metric.compute_on = None
    late = "".join(text for text in ranks.tell_all(outcome.text) if text.startswith("SyncTimeoutError"))
    if ends[scenario.victim] == "own" and late and rank == scenario.victim:
        # It never came, and comes now: the others have left word that they gave up. Steps in `join` have another lane.
        in_steps = any(word in late for word in ("join", "one step"))
        with suppress(SyncError):
            _act(metric, scenario.verb if in_steps or scenario.verb != "join" else "compute", batch)
            outcome.wrong.append("a sync that the others gave up gave a value")
    _again(ranks, scenario, metric, ends, updates, outcome)
    for rows in (10, 100_000):
        other = Load(rows, 3, sync_timeout=30.0)
        other.update(torch.full((rows,), float(rank)))
        like = Scenario(0, "compute", (rows,) * len(updates), rows, 3, "none", 0, 0.0, 0.0, 30.0)
        _must(outcome, f"{rows} rows after it", other.compute, _right(like, [1] * len(updates), ranks.here))


def _again(
    ranks: _Ranks, scenario: Scenario, metric: Any, ends: list[str], updates: list[int], outcome: Outcome
) -> None:
    """Sync the metric again: with the right value; where some ranks are an epoch further, with an error first."""
    batch = _batch(scenario, ranks.rank)
    if scenario.verb != "forward" and "value" in ends and len(set(ends)) > 1:
        if outcome.end == "value":
            metric.reset()  # the loop goes on to the next epoch, where that of the others tries again
        metric.update(batch)
        try:
            metric.compute()
            outcome.wrong.append("two epochs were taken for one")
        except SyncError:
            metric.reset()
        updates = [0] * len(updates)
    metric.update(batch)
    _must(outcome, "the value after it", metric.compute, _right(scenario, [n + 1 for n in updates], ranks.here))


def _recover(
    ranks: _Ranks, scenario: Scenario, metric: Any, ends: list[str], updates: list[int], outcome: Outcome
) -> None:
    """Sync once more, which names who was killed; then go on with those that are left, as `docs/faults.md` says."""
    metric.sync_timeout = 30.0
    metric.compute_on = None
    other = Load(3, 3)
    other.update(torch.ones(2))
    try:
        other.compute()
        outcome.wrong.append("a sync without the rank that was killed gave a value")
    except PeerLostError as error:
        if error.missing != (scenario.victim,):
            outcome.wrong.append(f"{error.missing} are named, and not {scenario.victim}: {error}")
    if len(ranks.here) > 1:
        metric.process_group = dist.new_group(ranks.here, use_local_synchronization=True)
        _again(ranks, scenario, metric, ends, updates, outcome)


def _must(outcome: Outcome, what: str, call: Callable[[], Any], right: Any) -> None:
    try:
        _expect(outcome, what, call(), right)
    except SyncError as error:
        outcome.wrong.append(f"{what}: {type(error).__name__}: {error}")
