"""A world of 16,384 ranks on 2,048 hosts, of which one is here, as threads; the others say and send what it does."""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from syncmetrics.sync.packet import packet_size
from syncmetrics.testing import run_threads
from syncmetrics.transport.process_group.greeting import greet

pytestmark = [
    pytest.mark.one_core,
    pytest.mark.skipif(sys.platform != "linux", reason="shared memory is used on Linux alone"),
]
RANKS, ON_A_HOST = 16_384, 8


class _Done:
    def is_completed(self) -> bool:
        return True

    def wait(self, *args: Any) -> None:
        return None


class _OneOfManyHosts:
    """What the ranks of host 3 say to each other, and what the other hosts say."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(ON_A_HOST)
        self.said: list[bytes] = [b""] * ON_A_HOST
        self.found: list[bytes] = []
        self.parties: list[int] = []
        self.gathers: list[int] = []

    def gather(self, local: int) -> Callable[[bytes], list[bytes]]:
        def gather(mine: bytes) -> list[bytes]:
            self.said[local] = mine
            if self.barrier.wait(30) == 0:
                self.found = [self._of(host, one) for host in range(RANKS // ON_A_HOST) for one in self.said]
            self.barrier.wait(30)
            return self.found

        return gather

    def _of(self, host: int, said: bytes) -> bytes:
        """Have the rank of another host say the same, with a memory of its own."""
        at = 9 + 96
        if host == 3 or len(said) != struct.calcsize("<8s?96s48sq"):
            return said
        return said[:at] + f"memory {host}".encode().ljust(48, b"\0") + said[at + 48 :]

    def open_between(self, host: int, hosts: int) -> Callable[..., Any]:
        assert host == 3
        self.parties.append(hosts)

        def gather(out: Tensor, block: Tensor, limit: Any) -> _Done:
            self.gathers.append(block.numel())
            out.view(hosts, -1).copy_(block)
            return _Done()

        return gather


def _exchange(local: int, _: int, world: _OneOfManyHosts) -> bool:
    shared = greet(3 * ON_A_HOST + local, world.gather(local), world.open_between)
    assert shared is not None
    size = packet_size(RANKS)
    for number in range(2):
        out = torch.empty(RANKS * size, dtype=torch.uint8)
        shared.all_gather(out, torch.full((size,), 8 * number + local, dtype=torch.uint8)).wait()
        wanted = torch.arange(8 * number, 8 * number + ON_A_HOST, dtype=torch.uint8)
        assert bool((out.view(-1, ON_A_HOST, size) == wanted.view(1, -1, 1)).all())
    shared.close()
    return True


def test_a_world_of_many_hosts_is_an_exchange_of_its_hosts() -> None:
    world = _OneOfManyHosts()
    assert run_threads(_exchange, ON_A_HOST, world) == [True] * ON_A_HOST
    assert world.parties == [RANKS // ON_A_HOST] == [2_048]
    assert world.gathers == [ON_A_HOST * packet_size(RANKS)] * 2
