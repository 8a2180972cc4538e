"""Every scenario of the table, on real processes: the right value, or the same named error on every rank."""

from __future__ import annotations

import functools
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from syncmetrics.testing.ranks import Outcome, run_ranks_outcomes
from tests.ranks import faults_gone
from tests.ranks.faults import SCENARIOS, Scenario, run_alone, run_family
from tests.ranks.faults_watch import Seen
from tests.ranks.memories import VARIABLE, on_hosts

TOGETHER = [(s, world) for s in SCENARIOS if s.family for world in s.worlds]
ALONE = [(s, world) for s in SCENARIOS if not s.family for world in s.worlds]


def _named(pairs: list[tuple[Scenario, int]]) -> dict[str, Any]:
    return {"argvalues": pairs, "ids": [f"{s.name}-{world}" for s, world in pairs]}


def chance_of(name: str) -> random.Random:
    """Give the choices of a scenario: the same in each run."""
    return random.Random(name)


@functools.cache
def _outcomes_of_family(family: str, world_size: int) -> list[Outcome]:
    """Run a family once for all tests that look at it."""
    return run_ranks_outcomes(run_family, world_size, family, timeout=60)


@pytest.mark.parametrize(("scenario", "world_size"), **_named(TOGETHER))
def test_ranks_that_differ(scenario: Scenario, world_size: int) -> None:
    outcomes = _outcomes_of_family(scenario.family, world_size)
    assert [o.status for o in outcomes] == ["returned"] * world_size, [o.error for o in outcomes]
    check(scenario, world_size, {o.rank: o.value[scenario.name] for o in outcomes})


@pytest.mark.parametrize(("scenario", "world_size"), **_named(ALONE))
def test_ranks_that_are_absent_or_gone(
    scenario: Scenario, world_size: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Through the memory of one host, of two hosts, or not: SYNCMETRICS_SHARED_MEMORY=0 has all of them without.
    if world_size == 3:
        monkeypatch.setenv(VARIABLE, on_hosts(tmp_path, chance_of(scenario.name).choice([[0, 0, 1], [0, 1, 1]])))
    elif world_size == 4:
        monkeypatch.setenv(VARIABLE, on_hosts(tmp_path, [0, 0, 1, 1]))
        monkeypatch.setenv("SYNCMETRICS_SHARED_MEMORY", chance_of(scenario.name).choice("01"))
    args = (str(tmp_path),) if scenario.body is faults_gone.keeper_gone else ()
    outcomes = run_ranks_outcomes(run_alone, world_size, scenario.name, *args, timeout=40)
    lost = scenario.gone(world_size)
    assert all(outcomes[rank].status == "died" for rank in lost), [o.error for o in outcomes]
    left = [o for o in outcomes if o.rank not in lost]
    assert [o.status for o in left] == ["returned"] * len(left), [o.error for o in left]
    check(scenario, world_size, {o.rank: o.value for o in left})


def check(scenario: Scenario, world_size: int, seen: dict[int, tuple[list[Seen], Seen | None]]) -> None:
    """Compare what the ranks saw with the table, and with each other."""
    faults: dict[str, list[Seen]] = {}
    for rank, (calls, after) in seen.items():
        for call in calls:
            _check_call(scenario, world_size, rank, call)
            if call.role == "fault":
                faults.setdefault(call.tag, []).append(call)
        if scenario.lives:
            assert after is not None
            _check_call(scenario, world_size, rank, after)
    assert bool(faults) == (scenario.error is not None), "the table names an error that no rank is to see"
    for tag, calls in faults.items():
        assert len({call.missing for call in calls}) == 1, f"{tag}: the ranks name other ranks: {calls}"
        assert all(call.failures == calls[0].failures for call in calls), f"{tag}: the ranks name other failures"
        if scenario.missing is None:
            assert len({call.text for call in calls}) == 1 or calls[0].missing is not None, calls


def _check_call(scenario: Scenario, world_size: int, rank: int, call: Seen) -> None:
    where = f"rank {rank}, {call.tag}: {call.error} {call.text}"
    assert call.kept, f"{where}: the local states have changed"
    if call.role == "own":
        assert call.error == "BoomError", where
    elif call.role == "right" or (call.role == "either" and not call.error):
        assert (call.error, call.value) == ("", call.right), where
    elif call.role == "fault":
        assert scenario.error is not None
        assert call.error == scenario.error.__name__, where
        for word in (*scenario.words, *scenario.words_of.get(call.tag, ())):
            assert word in call.text, f"{word!r} is not in the text of {where}"
        assert call.seconds < scenario.within, where
        if scenario.missing is not None:
            assert call.missing == scenario.missing(world_size), where


# -- what is around the scenarios


def test_a_late_rank_is_named_in_one_warning() -> None:
    outcomes = run_ranks_outcomes(faults_gone.slow, 3, timeout=60)
    assert [o.status for o in outcomes] == ["returned"] * 3, [o.error for o in outcomes]
    assert outcomes[0].value == [], "the late rank has waited for nobody"
    for outcome in outcomes[1:]:
        (warning,) = outcome.value
        assert f"rank {outcome.rank} has waited" in warning
        assert "sync 1 of `Rows` for rank 0 to come" in warning


def test_the_environment_sets_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCMETRICS_TIMEOUT", "0.5")
    monkeypatch.setenv("SYNCMETRICS_WARN_AFTER", "12")
    outcomes = run_ranks_outcomes(faults_gone.patience_of_the_environment, 2, timeout=60)
    assert [o.value for o in outcomes] == [(0.5, "SyncTimeoutError", 12.0), (0.5, "", 12.0)], [
        o.error for o in outcomes
    ]


def test_a_store_that_answers_late_does_not_keep_ranks_apart() -> None:
    outcomes = run_ranks_outcomes(faults_gone.unanswered, 2, timeout=60)
    assert [o.value for o in outcomes] == [([2.0, 4.0, 8.0], (1,))] * 2, [o.error for o in outcomes]


@pytest.mark.parametrize("world_size", [2, 4])
def test_a_sync_to_which_all_come_asks_the_store_nothing(world_size: int) -> None:
    outcomes = run_ranks_outcomes(faults_gone.counted, world_size, timeout=60)
    right = {"one metric": (1, 0), "thirty metrics": (1, 0), "cached": (0, 0)}
    assert [o.value for o in outcomes] == [right] * world_size, [o.error for o in outcomes]


_ENDING = """
import sys, torch.distributed as dist
from syncmetrics import SyncTimeoutError
from tests.samples import Total
import torch

rank, path = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", store=dist.FileStore(path, 2), rank=rank, world_size=2)
metric = Total(sync_timeout=1.0)
metric.update(torch.ones(1))
print("ready", flush=True)
if rank == 1:
    sys.stdin.read()
else:
    metric.compute()
"""


def test_a_process_ends_soon_after_its_timeout(tmp_path: Any) -> None:
    """The operation that nobody answers would hold the process for the 30 minutes of the group, were it not limited."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", _ENDING, str(rank), str(tmp_path / "store")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for rank in range(2)
    ]
    try:
        _, said = ranks[0].communicate(timeout=60)
        assert ranks[0].returncode == 1
        assert "SyncTimeoutError: rank 1 did not come to sync 1 of `Total`" in said
    finally:
        for process in ranks:
            process.kill()
            process.communicate()
