"""Every transport passes one contract: alone, as threads, and as processes."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from syncmetrics import PeerLostError, SyncTimeoutError
from syncmetrics.testing import run_ranks
from syncmetrics.transport import LocalTransport, Transport, resolve_transport
from syncmetrics.transport.threads import ThreadsTransport, ThreadsWorld, current_transport, run_threads
from tests.ranks import sync_bodies
from tests.ranks.contract import check_transport


def test_local() -> None:
    check_transport(LocalTransport(), 0, 1)
    check_transport(resolve_transport(), 0, 1)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_threads(world_size: int) -> None:
    assert run_threads(sync_bodies.world_contract, world_size) == [f"{world_size} threads"] * world_size


@pytest.mark.parametrize("shared_memory", ["1", "0"])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_processes(world_size: int, shared_memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCMETRICS_SHARED_MEMORY", shared_memory)
    assert all(done[0] for done in run_ranks(sync_bodies.contracts, world_size))


@pytest.mark.parametrize("first", [None, [0]], ids=["even", "some ranks have more groups"])
def test_processes_whose_group_serves_no_device_that_is_here(first: list[int] | None) -> None:
    done = run_ranks(sync_bodies.device_contracts, 2, first, backend="cuda:gloo", timeout=20)
    assert done[0] == done[1]
    assert done[0][0]


def test_a_rank_may_come_late_to_a_gather() -> None:
    """Gloo closes all connections when the wait for a send or a receive runs out, and we wait in slices."""
    assert run_ranks(sync_bodies.late_gather, 2) == [[0, 1], [0, 1]]


def test_a_world_of_threads_can_be_handed_over() -> None:
    world = ThreadsWorld(2)
    transports = [ThreadsTransport(world, rank) for rank in range(2)]
    other = threading.Thread(target=check_transport, args=(transports[1], 1, 2))
    other.start()
    check_transport(transports[0], 0, 2)
    other.join()


def test_outside_of_threads_there_is_no_transport_of_theirs() -> None:
    run_threads(sync_bodies.world_contract, 2)
    assert current_transport() is None
    assert isinstance(resolve_transport(), LocalTransport)


def leaving(rank: int, world_size: int) -> Any:
    if rank == 1:
        return None
    with pytest.raises(PeerLostError) as caught:
        resolve_transport().all_gather(torch.empty(3, dtype=torch.uint8), torch.zeros(1, dtype=torch.uint8))
    return caught.value.missing


def test_a_thread_that_has_left_is_lost() -> None:
    assert run_threads(leaving, 3) == [(1,), None, (1,)]


def test_a_thread_that_does_not_come_is_named() -> None:
    done = threading.Event()

    def body(rank: int, world_size: int) -> Any:
        if rank == 1:
            done.wait(30)
            return None
        try:
            with pytest.raises((SyncTimeoutError, PeerLostError)) as caught:
                resolve_transport().all_gather(
                    torch.empty(2, dtype=torch.uint8), torch.zeros(1, dtype=torch.uint8), timeout=0.01
                )
        finally:
            done.set()
        return type(caught.value), caught.value.missing

    assert run_threads(body, 2) == [(SyncTimeoutError, (1,)), None]


def failing(rank: int, world_size: int) -> None:
    if rank == 1:
        raise KeyError("of its own")
    resolve_transport().all_gather(torch.empty(3, dtype=torch.uint8), torch.zeros(1, dtype=torch.uint8))


def test_the_cause_is_raised_and_not_what_it_did_to_the_others() -> None:
    with pytest.raises(KeyError, match="of its own"):
        run_threads(failing, 3)


def test_what_is_a_transport() -> None:
    assert isinstance(LocalTransport(), Transport)
    assert not isinstance(object(), Transport)
    with pytest.raises(ValueError, match="at least 1"):
        ThreadsWorld(0)
