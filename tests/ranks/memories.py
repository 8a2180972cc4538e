"""Ranks of one machine that are on several hosts, as far as they can tell: they do not share their memory.

`SYNCMETRICS_TEST_HOSTS="/a/folder:0,0,1,1"` says where, and on which host each rank is.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from syncmetrics.transport.process_group import segment

__all__ = ["VARIABLE", "move", "on_hosts"]

VARIABLE = "SYNCMETRICS_TEST_HOSTS"


def on_hosts(folder: Path, hosts: Sequence[int]) -> str:
    """Say for the environment of ranks that run later on which host each of them is."""
    return f"{folder}:{','.join(map(str, hosts))}"


def move(rank: int, said: str = "") -> None:
    """Go to the host that is said, or that the environment says: what other hosts make is not found there."""
    folder, _, hosts = (said or os.environ.get(VARIABLE, "")).rpartition(":")
    if folder:
        place = Path(folder) / hosts.split(",")[rank]
        place.mkdir(exist_ok=True)
        segment._DIRECTORY = place
