"""Two hosts, as network namespaces with a pair of interfaces between them, and a link that is cut."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

NAMES = [f"sm{os.getpid()}a", f"sm{os.getpid()}b"]
ADDRESSES = ["10.77.0.1", "10.77.0.2"]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Make the hosts; only root may."""
    links = ["smva", "smvb"]
    try:
        for name in NAMES:
            ip("netns", "add", name)
        ip("-n", NAMES[0], "link", "add", links[0], "type", "veth", "peer", "name", links[1], "netns", NAMES[1])
        for name, link, address in zip(NAMES, links, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", name, "link", "set", link, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield links
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")
    finally:
        for name in NAMES:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=30, check=False)


def test_a_cut_link_is_told_on_both_sides_within_the_timeout_and_a_second(hosts: list[str]) -> None:
    """The side that has not the store of the process group asks it, and gets no answer."""
    program = [sys.executable, "-W", "ignore", "-m", "tests.ranks.two_hosts_body"]
    ranks = [
        subprocess.Popen(
            ["ip", "netns", "exec", NAMES[rank // 2], *program, str(rank), ADDRESSES[0], hosts[rank // 2]],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(4)
    ]
    try:
        for rank in ranks:
            assert rank.stdout is not None
            assert rank.stdout.readline().strip() == "[0.0, 1.0, 2.0, 3.0]"
        ip("-n", NAMES[0], "link", "set", hosts[0], "down")
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
