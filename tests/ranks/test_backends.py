"""Groups that torch makes for debugging, and for pretending, behave as others do."""

from __future__ import annotations

from syncmetrics.testing import run_ranks
from tests.ranks import backend_bodies as bodies


def test_a_group_that_torch_watches() -> None:
    first, second = run_ranks(bodies.detailed, 2, timeout=60)
    assert first[0] == second[0] == [[3.0, 1.0, 2], 1] * 3
    assert first[1] == ("SyncTimeoutError", (1,), True)
    assert second[1][0] == "SyncTimeoutError"


def test_a_group_that_pretends() -> None:
    assert run_ranks(bodies.pretended, 1, timeout=60) == [{"sum": 200_000.0, "cat": (200_000,)}]
