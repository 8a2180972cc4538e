"""Ranks that are killed at random moments: the others agree on who is missing. `SYNCMETRICS_KILLS` sets how many."""

from __future__ import annotations

import os
import random

import pytest

from syncmetrics.testing.ranks import run_ranks_outcomes
from tests.ranks import kill_bodies

KILLS = int(os.environ.get("SYNCMETRICS_KILLS", "6"))


@pytest.mark.timeout(3600)
def test_survivors_agree() -> None:
    for seed in range(KILLS):
        world_size = random.Random(seed + 1).randint(2, 4)
        victim = random.Random(seed).randrange(world_size)
        outcomes = run_ranks_outcomes(kill_bodies.killed, world_size, seed, timeout=30)
        left = [o for o in outcomes if o.rank != victim]
        assert [o.status for o in left] == ["returned"] * len(left), (seed, [o.error for o in left])
        for outcome in left:
            (first, missing, seconds), second = outcome.value
            assert (first, missing) in (("", ()), ("PeerLostError", (victim,))), (seed, outcome.value)
            assert second[:2] == ("PeerLostError", (victim,)), (seed, outcome.value)
            assert max(seconds, second[2]) < 10.0, (seed, outcome.value)
