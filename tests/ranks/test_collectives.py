"""How many operations a sync costs: that is the third promise."""

from __future__ import annotations

from typing import Any

import pytest

from syncmetrics.testing import run_ranks
from tests.ranks import collective_bodies

ONE = {"_allgather_base": 1}
#: The exchange, and a vote before and after what does not fit into it.
VOTED = {"_allgather_base": 3}
WANTED: dict[str, dict[str, int]] = {
    "a collection": ONE,
    "a cached collection": {},
    "a collection of which one was updated": ONE,
    "a metric that is cached": {},
    "update": {},
    "forward": {},
    "reset": {},
    "1 metrics": ONE,
    "5 metrics": ONE,
    "50 metrics": ONE,
    "1 updates": ONE,
    "1000 updates": ONE,
    "1 scalars": ONE,
    "1000 scalars": ONE,
    "sync_and_compute of a mix": ONE,
    "synced": ONE,
    "sync_states": ONE,
    "gather_ragged": ONE,
    "four steps of a collection": {"_allgather_base": 4},
    "four steps of a metric": {"_allgather_base": 4},
    "four steps without": {},
    "sync_context": ONE,
    "unsync": {},
    "a large list": {**VOTED, "broadcast": 3},  # each rank's own, straight into place
    "three large lists": {**VOTED, "broadcast": 9},
    "large integer sums": {**VOTED, "allreduce": 1},
    "a large sum of floats": {**VOTED, "all_to_all": 1, "broadcast": 3},
    "many medium lists": {"_allgather_base": 4},
}


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    """Count on three ranks, for all tests of this module."""
    return run_ranks(collective_bodies.collective_counts, 3)


def counted(calls: dict[str, int]) -> dict[str, int]:
    """Take the names that torch has had for one operation as one."""
    names = {"all_gather_single": "_allgather_base", "allgather_into_tensor": "_allgather_base"}
    names |= {"all_to_all_single": "all_to_all", "alltoall_base": "all_to_all"}
    return {names.get(name, name): number for name, number in calls.items()}


def test_the_number_of_operations(found: list[dict[str, Any]]) -> None:
    for rank, calls in enumerate(found):
        assert {name: counted(calls[name]) for name in WANTED} == WANTED, f"rank {rank}"


def test_a_skewed_list_is_broadcast_by_those_who_have_rows(found: list[dict[str, Any]]) -> None:
    for calls in found:
        assert counted(calls["a large list on one rank"]) == {**VOTED, "broadcast": 1}


def test_what_is_for_one_rank_goes_there_alone(found: list[dict[str, Any]]) -> None:
    to_one = [counted(calls["a large list to one rank"]) for calls in found]
    assert to_one == [{**VOTED, "all_to_all": 1}] * 3  # in which only rank 0 receives
