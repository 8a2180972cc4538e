"""Ranks of one host exchange packets through the memory that they share: when, how, and what becomes of it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from syncmetrics.testing import run_ranks
from syncmetrics.testing.ranks import run_ranks_outcomes
from syncmetrics.transport.process_group import shared_memory
from tests.ranks import shared_memory_bodies as bodies

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared memory is used on Linux alone")
#: 100,000 takes a few minutes; the tests of every day take a slice.
EXCHANGES = int(os.environ.get("SYNCMETRICS_EXCHANGES", "400"))


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_ranks_of_one_host_share_memory_and_leave_nothing(world_size: int) -> None:
    assert run_ranks(bodies.shared, world_size) == [(True, [])] * world_size


@pytest.mark.parametrize(
    ("who", "how"), [(0, "environment"), (1, "environment"), (1, "argument"), (0, "full"), (1, "apart"), (0, "apart")]
)
def test_all_ranks_or_none(who: int, how: str) -> None:
    assert run_ranks(bodies.unwilling, 3, who, how) == [(False, [])] * 3


@pytest.mark.parametrize("world_size", [2, 3, 4, 8])
def test_no_byte_is_of_another_exchange(world_size: int) -> None:
    count = EXCHANGES // (1 if world_size < 8 else 2)
    timeout = 3600.0 if EXCHANGES > 1000 else 100.0
    found = run_ranks(bodies.exchanges, world_size, count, EXCHANGES + world_size, timeout=timeout)
    assert found == [count] * world_size


def test_a_rank_that_is_killed_is_found_at_once() -> None:
    outcomes = run_ranks_outcomes(bodies.killed, 3, 2, timeout=60)
    for outcome in outcomes[:2]:
        kind, missing, seconds = outcome.value
        assert (kind, missing) == ("lost", (2,))
        assert seconds < 5.0


def test_a_lane_that_was_left_is_not_used_again() -> None:
    first, second = run_ranks(bodies.stopped_and_late, 2, timeout=60)
    assert first[0] == second[0] == [0.0, (1,), 4.0, (1,), 8.0, (1,)]
    for _, descriptors in (first, second):
        assert descriptors[0] == 2  # one process, one segment
        assert max(descriptors) <= 4


def test_what_a_killed_job_left_is_swept_away() -> None:
    body = (
        "import os, signal; from syncmetrics.transport.process_group.shared_memory import _Segment;"
        " print(_Segment.make(3).name, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    name = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, timeout=60).stdout.strip()
    assert name in os.listdir("/dev/shm")
    assert sum(name in entry for entry in os.listdir("/dev/shm")) == 7
    made = shared_memory._Segment.make(2)
    assert made is not None
    made.unlink()
    assert not any(name in entry or made.name in entry for entry in os.listdir("/dev/shm"))


def test_a_segment_of_others_is_not_opened() -> None:
    made = shared_memory._Segment.make(2)
    assert made is not None
    try:
        with pytest.raises(ValueError, match="another segment"):
            shared_memory._Segment.open(made.name, b"\1" * 16, 2)
        with pytest.raises(ValueError, match="not what was made"):
            shared_memory._Segment.open(made.name, made.token, 3)
        (shared_memory._DIRECTORY / made.name).chmod(0o644)
        with pytest.raises(ValueError, match="not what was made"):
            shared_memory._Segment.open(made.name, made.token, 2)
        with pytest.raises(ValueError, match="no segment"):
            shared_memory._Segment.open("../etc/passwd", made.token, 2)
    finally:
        made.unlink()


def test_the_argument_is_checked() -> None:
    with pytest.raises(TypeError, match="`enabled` must be a bool or None"):
        shared_memory.set_shared_memory("yes")  # type: ignore[arg-type]
