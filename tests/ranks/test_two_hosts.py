"""Two hosts, with a network and a memory of their own, and a link between them that is cut."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ranks.hosts import Host, cut_link, two_hosts

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    try:
        with two_hosts(tmp_path) as made:
            yield made
    except OSError as error:
        pytest.skip(f"hosts cannot be made here: {error}")


def test_a_cut_link_is_told_on_both_sides_within_the_timeout_and_a_second(hosts: tuple[Host, Host]) -> None:
    """The side that has not the store of the process group asks it, and gets no answer."""
    program = [sys.executable, "-W", "ignore", "-m", "tests.ranks.two_hosts_body"]
    ranks = [
        subprocess.Popen(
            host.command(*program, str(rank), hosts[0].address, host.interface, cwd=ROOT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank, host in enumerate(host for host in hosts for _ in range(2))
    ]
    try:
        for rank in ranks:
            assert rank.stdout is not None
            assert rank.stdout.readline().strip() == "[0.0, 1.0, 2.0, 3.0]"
        cut_link(hosts[0])
        for rank in ranks:
            assert rank.stdin is not None
            rank.stdin.write("cut\n")
            rank.stdin.flush()
        said = [rank.stdout.readline() for rank in ranks if rank.stdout is not None]
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    missing, seconds = zip(*(text.strip().rsplit(" ", 1) for text in said), strict=True)
    assert missing == ("(2, 3)", "(2, 3)", "()", "()")
    assert max(map(float, seconds)) < 3.0 + 1.0 + 6.0  # the last ones for a machine that is busy; it was minutes
