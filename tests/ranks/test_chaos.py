"""A fixed slice of the random disturbances; `scripts/chaos` runs more of them, and others."""

from __future__ import annotations

import random

import pytest

from tests.ranks import chaos
from tests.ranks.chaos_bodies import Outcome


@pytest.mark.timeout(300)
def test_disturbed_syncs() -> None:
    figures = chaos.search(seed=0, scenarios=40)
    assert figures.wrong == []
    assert figures.scenarios == 40


def test_what_is_drawn_reaches_everything() -> None:
    drawn = [scenario for _, job in chaos.jobs(0, 1000) for scenario in job]
    assert len(drawn) == 1000
    assert {s.disturbance for s in drawn} == {"none", "late", "stopped", "alarm", "memory", "limited", "killed"}
    assert {len(s.rows) for s in drawn} == {2, 3, 4}
    assert {max(s.rows) * 4 // 32_768 for s in drawn} >= {0, 1, 8}


def test_what_must_not_be_is_found() -> None:
    """The judge is no rubber stamp: every kind of disagreement is one that it names."""
    scenario = chaos._draw(random.Random(0), 0, 2, "late")
    right = Outcome("value", "", 0.1)
    late = Outcome("error", "SyncTimeoutError: rank 1 did not come", 0.1)
    other = Outcome("error", "SyncTimeoutError: rank 0 did not come", 0.1)
    slow = Outcome("value", "", 60.0)
    assert chaos._wrong(scenario, [right, late])
    assert chaos._wrong(scenario, [late, other])
    assert chaos._wrong(scenario, [right, slow])
    assert chaos._wrong(chaos._draw(random.Random(0), 0, 2, "killed"), [late])
