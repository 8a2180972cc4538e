"""Random short programs on ranks as threads, mostly alike, against a model of what each call has to give.

Every sync ends in the right value or in a named error, the same one on all ranks that take part; what a rank holds is
what the model says after every call; and no rank waits for one that has gone. `SYNCMETRICS_SCENARIOS` sets how many.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st

import syncmetrics
from syncmetrics import Metric, SyncError, dim_zero_cat, share_errors, sync_and_compute
from syncmetrics.transport import threads
from syncmetrics.transport.threads import ThreadsTransport, ThreadsWorld, run_threads
from tests.ranks.faults_model import COLLECTIVE, METRICS, STEP_METRIC, Expected, Op, Step, expect
from tests.ranks.faults_watch import BoomError
from tests.samples import Rows, Total

SCENARIOS = int(os.environ.get("SYNCMETRICS_SCENARIOS", "6000"))
CHUNKS = 8


class _Collecting(Metric):
    """Keeps what it is given, in three kinds of states."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.switch = {"raising": False}  # not a setting: setting an attribute ends the cache
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("names", [])

    def update(self, x: int) -> None:
        self.total += x
        self.rows.append(torch.tensor([x]))
        self.names.append(str(x))

    def compute(self) -> Any:
        if self.switch["raising"]:
            raise BoomError("no value")
        return _seen(self.metric_state)


class Alpha(_Collecting):
    pass


class Beta(_Collecting):
    pass


class Gamma(_Collecting):
    pass


def _seen(states: Any) -> tuple[int, list[int], list[str]]:
    return int(states["total"]), dim_zero_cat(states["rows"]).int().tolist(), list(states["names"])


def _of(data: tuple[int, ...]) -> tuple[int, list[int], list[str]]:
    return sum(data), list(data), [str(x) for x in data]


class _Runner:
    """Runs the program of one rank, and writes down what differs from the model."""

    def __init__(self, world: ThreadsWorld, rank: int, steps: list[Step]) -> None:
        self.world, self.rank, self.steps = world, rank, steps
        self.transport = ThreadsTransport(world, rank)
        kinds = {"Alpha": Alpha, "Beta": Beta, "Gamma": Gamma}
        self.metrics = {name: kinds[name](dist_sync_on_step=name == STEP_METRIC) for name in METRICS}
        self.wrong: list[str] = []
        self.texts: list[tuple[int, str]] = []

    def run(self) -> None:
        threads._current.transport = self.transport
        try:
            for number, step in enumerate(self.steps):
                self._take(number, step)
        except BaseException as error:  # a thread has nobody else to tell
            self.wrong.append(f"rank {self.rank} ended with {error!r}")
        finally:
            self.world.leave(self.rank)

    def _take(self, number: int, step: Step) -> None:
        where = f"rank {self.rank}, call {number}, {step.op}"
        before = {name: _bytes(metric) for name, metric in self.metrics.items()}
        found: Any = None
        error: Exception | None = None
        try:
            found = self._call(step.op)
        except (SyncError, syncmetrics.StateError, BoomError) as raised:
            error = raised
        expected = step.expected
        if type(error).__name__ != (expected.error or "NoneType"):
            self.wrong.append(f"{where}: expected {expected}, but it gave {found} or raised {error!r}")
        elif expected.value is not None and found != _value(expected):
            self.wrong.append(f"{where}: gave {found} instead of {_value(expected)}")
        if isinstance(error, SyncError) and expected.meeting is not None:
            self.texts.append((expected.meeting, str(error)))
        if expected.failed and tuple(getattr(error, "failures", ())) != expected.failed:
            self.wrong.append(f"{where}: {error!r} does not name {expected.failed}")
        if error is not None and before != {name: _bytes(metric) for name, metric in self.metrics.items()}:
            self.wrong.append(f"{where}: after {error!r} the local states are not what they were")
        held = {name: _seen(metric._holder.store.local[0]) for name, metric in self.metrics.items()}
        if held != {name: _of(data) for name, data in step.data.items()}:
            self.wrong.append(f"{where}: it holds {held} instead of {step.data}")

    def _call(self, op: Op) -> Any:
        metric = self.metrics[op.metric]
        match op.verb:
            case "update":
                return metric.update(op.x)
            case "forward":
                return metric(op.x)
            case "compute" | "reset" | "sync" | "unsync":
                return getattr(metric, op.verb)()
            case "raising compute":
                metric.switch["raising"] = True
                try:
                    return metric.compute()
                finally:
                    metric.switch["raising"] = False
            case "session":
                with metric.sync_context():
                    return metric.compute()
            case "both":
                return tuple(sync_and_compute([self.metrics["Alpha"], self.metrics["Beta"]]))
            case "fail":
                with share_errors():
                    raise BoomError("a bad batch")
            case "absent":
                return self._be_absent()
        raise AssertionError(op)

    def _be_absent(self) -> None:
        """Come only after the others have given up; they do so as soon as all of them wait, not by a clock."""
        world = self.world
        while True:
            with world._condition:
                lane = world.lane(self.transport._lane_number + self.transport._left)
                others = lane.here | world._gone
                if lane.verdict is not None or (not lane.here and len(others) == world.world_size - 1):
                    return
                if len(others) == world.world_size - 1 and not world._gone:
                    world._give_up(lane, "timeout", self.transport._operations + 1, 0.0)
                    return
            time.sleep(1e-4)


def _bytes(metric: Metric) -> Any:
    states, count = metric._holder.store.local
    return count, states["total"].numpy().tobytes(), [row.numpy().tobytes() for row in states["rows"]], states["names"]


def _value(expected: Expected) -> Any:
    if expected.value and isinstance(expected.value[0], tuple):
        return tuple(_of(data) for data in expected.value)
    return _of(expected.value)


_VERBS = ("update",) * 6 + ("forward",) * 3 + ("compute",) * 5 + ("reset", "sync", "unsync", "both", "session")
_RARE = ("fail", "raising compute")


@st.composite
def scenarios(draw: Any) -> list[list[Op]]:
    """Draw a program for each of two to four ranks: one program, with a few deviations."""
    world_size = draw(st.integers(2, 4))
    op = st.builds(Op, st.sampled_from(_VERBS + _RARE), st.sampled_from(METRICS), st.integers(1, 9))
    common = draw(st.lists(op, min_size=1, max_size=10))
    programs = [[Op(o.verb, o.metric, 10 * o.x + rank) for o in common] for rank in range(world_size)]
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        program = programs[draw(st.integers(0, world_size - 1))]
        at = draw(st.integers(0, len(common) - 1)) % max(1, len(program))
        match draw(st.sampled_from(["skip", "swap", "insert", "replace", "fail", "absent"])):
            case "skip":
                del program[at : at + 1]
            case "swap":
                program[at : at + 2] = program[at : at + 2][::-1]
            case "insert":
                program.insert(at, draw(op))
            case "replace":
                program[at : at + 1] = [draw(op)]
            case "fail":
                program.insert(at, Op("fail"))
            case "absent":
                if not any(o.verb == "absent" for p in programs for o in p):
                    program.insert(at, Op("absent"))
    return programs


def run_scenario(programs: list[list[Op]]) -> None:
    expected = expect(programs)
    world = ThreadsWorld(len(programs), timeout=60.0)
    runners = [_Runner(world, rank, steps) for rank, steps in enumerate(expected)]
    members = [threading.Thread(target=runner.run, daemon=True) for runner in runners]
    for member in members:
        member.start()
    for member in members:
        member.join(30.0)
    assert not any(member.is_alive() for member in members), f"a rank waits for ever in {expected}"
    wrong = [line for runner in runners for line in runner.wrong]
    assert not wrong, "\n".join(wrong)
    texts: dict[int, set[str]] = {}
    for meeting, text in (pair for runner in runners for pair in runner.texts):
        texts.setdefault(meeting, set()).add(text)
    assert all(len(found) == 1 for found in texts.values()), f"ranks that met were told different things: {texts}"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("chunk", [0, *(pytest.param(chunk, marks=pytest.mark.one_core) for chunk in range(1, CHUNKS))])
def test_random_programs(chunk: int) -> None:
    @seed(chunk)
    @settings(max_examples=max(1, SCENARIOS // CHUNKS), database=None)
    @given(scenarios())
    def every(programs: list[list[Op]]) -> None:
        run_scenario(programs)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*computes? before any update.*")
        every()


def test_the_programs_reach_every_end() -> None:
    """Look whether the drawn scenarios are worth running: each kind of call ends well, and in each kind of error."""
    reached: set[tuple[str, str]] = set()

    @seed(0)
    @settings(max_examples=1000, database=None)
    @given(scenarios())
    def count(programs: list[list[Op]]) -> None:
        reached.update((s.op.verb, s.expected.error) for steps in expect(programs) for s in steps)

    count()
    syncs = {"SchemaMismatchError", "PeerError", "PeerLostError", "SyncTimeoutError"}
    assert {("fail", "BoomError"), ("raising compute", "BoomError"), ("update", "StateError")} <= reached
    for verb in {*COLLECTIVE, "forward"} - {"fail"}:
        assert {error for v, error in reached if v == verb} >= syncs | ({""} if verb != "raising compute" else set())


# -- uneven steps


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1, max_size=2), st.integers(2, 3))
def test_random_numbers_of_steps_in_join(rounds: list[list[int]], world_size: int) -> None:
    def body(rank: int, world_size: int) -> None:
        metric = Gamma(dist_sync_on_step=True)
        given_to: list[list[int]] = [[] for _ in range(world_size)]
        for number, counts in enumerate(rounds):
            with syncmetrics.join(metric):
                for step in range(counts[rank]):
                    batches = {r: 100 * number + 10 * step + r for r in range(world_size) if step < counts[r]}
                    assert metric(batches[rank]) == _of(tuple(batches.values()))
            for r in range(world_size):
                given_to[r].extend(100 * number + 10 * step + r for step in range(counts[r]))
            if any(given_to):
                assert metric.compute() == _of(tuple(x for data in given_to for x in data))

    run_threads(body, world_size)


def test_a_rank_may_leave_join_and_be_done() -> None:
    """Nothing has to follow the block: the rank goes on to take part in the steps of the others."""

    def body(rank: int, world_size: int) -> list[float]:
        metric, values = Total(dist_sync_on_step=True), []
        with syncmetrics.join(metric):
            for _ in range(1 + 3 * rank):
                values.append(metric(torch.tensor(1.0)).item())
                time.sleep(0.02)
        return values

    assert run_threads(body, 2) == [[2.0], [2.0, 1.0, 1.0, 1.0]]


def test_a_rank_that_never_comes_is_named_in_time() -> None:
    """The one program here that a clock decides: rank 2 stays away until the others have given up."""
    given_up = threading.Barrier(3)

    def body(rank: int, world_size: int) -> str:
        metric = Rows(sync_timeout=0.3)
        metric.update(torch.tensor([rank]))
        try:
            if rank == 2:
                return ""
            with pytest.raises(syncmetrics.SyncTimeoutError) as caught:
                metric.compute()
        finally:
            given_up.wait(30.0)
        assert caught.value.missing == (2,)
        return str(caught.value)

    first, second, _ = run_threads(body, 3)
    assert first == second != ""
