"""Ranks of one host exchange packets through the memory that they share: when, how, and what becomes of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from syncmetrics.testing import run_ranks
from syncmetrics.testing.ranks import run_ranks_outcomes
from syncmetrics.transport.process_group import segment, set_shared_memory
from tests.ranks import shared_memory_bodies as bodies
from tests.ranks.memories import on_hosts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared memory is used on Linux alone")
#: 100,000 takes a few minutes; the tests of every day take a slice.
EXCHANGES = int(os.environ.get("SYNCMETRICS_EXCHANGES", "400"))


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_ranks_of_one_host_share_memory_and_leave_nothing(world_size: int) -> None:
    assert run_ranks(bodies.shared, world_size) == [(True, [])] * world_size


@pytest.mark.parametrize(
    ("who", "how"),
    [(0, "environment"), (1, "environment"), (1, "argument"), (0, "full"), (1, "cannot open"), (1, "no memory")],
)
def test_all_ranks_or_none(who: int, how: str) -> None:
    assert run_ranks(bodies.unwilling, 3, who, how) == [(False, [])] * 3


@pytest.mark.parametrize("world_size", [2, 3, 4, 8])
def test_no_byte_is_of_another_exchange(world_size: int) -> None:
    timeout = 3600.0 if EXCHANGES > 1000 else 100.0
    found = run_ranks(bodies.exchanges, world_size, EXCHANGES, EXCHANGES + world_size, timeout=timeout)
    assert found == [EXCHANGES] * world_size


#: Which host each rank is on.
HOSTS = ([0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1], [0, 1, 1, 2], [0, 1, 1, 0, 0, 2, 2, 0], [0, 1])


@pytest.mark.parametrize("hosts", HOSTS, ids=str)
def test_one_rank_of_a_host_speaks_for_all_of_it(hosts: list[int], tmp_path: Path) -> None:
    """The ranks of a host share memory, those of two do not; a host whose ranks are alone has nothing to share."""
    count = EXCHANGES // (1 if len(hosts) < 8 else 2)
    timeout = 3600.0 if EXCHANGES > 1000 else 100.0
    found = run_ranks(bodies.on_hosts, len(hosts), on_hosts(tmp_path, hosts), count, EXCHANGES, timeout=timeout)
    has_neighbours = len(set(hosts)) < len(hosts)
    speak = {hosts.index(host) for host in hosts}
    for rank, (is_shared, between, exchanged, left) in enumerate(found):
        assert (is_shared, exchanged, left) == (has_neighbours, count, [])
        assert between == (count if rank in speak and has_neighbours else 0)


def test_where_there_is_no_way_between_hosts_all_goes_over_the_group(tmp_path: Path) -> None:
    found = run_ranks(bodies.no_way_between, 4, on_hosts(tmp_path, [0, 0, 1, 1]))
    assert found == [(False, 6.0, True)] * 4


@pytest.mark.parametrize("victim", range(4))
@pytest.mark.parametrize(
    ("how", "kind"), [("killed", "PeerLostError"), ("late", "SyncTimeoutError"), ("raises", "PeerError")]
)
def test_on_two_hosts_too_everybody_is_told_who_did_not_come(victim: int, how: str, kind: str, tmp_path: Path) -> None:
    args = on_hosts(tmp_path, [0, 0, 1, 1]), victim, how
    for rank, outcome in enumerate(run_ranks_outcomes(bodies.gone_from_a_host, 4, *args, timeout=60)):
        if rank != victim:
            assert outcome.value == (kind, (victim,), float(rank)), outcome.error


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
        "import os, signal; from syncmetrics.transport.process_group.segment import Segment;"
        " print(Segment.make(3, 4096).name, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    name = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, timeout=60).stdout.strip()
    assert name in os.listdir("/dev/shm")
    assert sum(name in entry for entry in os.listdir("/dev/shm")) == 7
    made = segment.Segment.make(2, 4096)
    assert made is not None
    made.unlink()
    assert not any(name in entry or made.name in entry for entry in os.listdir("/dev/shm"))


def test_a_segment_of_others_is_not_opened() -> None:
    made = segment.Segment.make(2, 4096)
    assert made is not None
    try:
        with pytest.raises(ValueError, match="another segment"):
            segment.Segment.open(made.name, b"\1" * 16, 2, 4096)
        with pytest.raises(ValueError, match="not what was made"):
            segment.Segment.open(made.name, made.token, 2, 8192)
        (segment._DIRECTORY / made.name).chmod(0o644)
        with pytest.raises(ValueError, match="not what was made"):
            segment.Segment.open(made.name, made.token, 2, 4096)
        with pytest.raises(ValueError, match="no segment"):
            segment.Segment.open("../etc/passwd", made.token, 2, 4096)
    finally:
        made.unlink()


def test_the_argument_is_checked() -> None:
    with pytest.raises(TypeError, match="`enabled` must be a bool or None"):
        set_shared_memory("yes")  # type: ignore[arg-type]
