"""What the ranks of the tests here do. A module of its own, so that a rank does not have to import pytest."""

from __future__ import annotations

import inspect
import time
from typing import Any

import torch
import torch.distributed as dist

from syncmetrics.transport import resolve_transport
from syncmetrics.transport.roll_call import FIRST_SECONDS
from tests.ranks.contract import check_transport


def world_contract(rank: int, world_size: int) -> str:
    check_transport(resolve_transport(), rank, world_size)
    assert resolve_transport() is resolve_transport()
    return resolve_transport().name


def group_contract(rank: int, world_size: int, ranks: list[int], **settings: Any) -> bool:
    """Run the contract in a subgroup, whose ranks are counted in the order that torch gives them."""
    if settings and not settings.keys() <= inspect.signature(dist.new_group).parameters.keys():
        return False
    group = dist.new_group(ranks, **settings)
    if rank in ranks:
        check_transport(resolve_transport(group), dist.get_rank(group), len(ranks))
    check_transport(resolve_transport(), rank, world_size)
    return True


def contracts(rank: int, world_size: int) -> list[bool]:
    world_contract(rank, world_size)
    if world_size == 1:
        return [group_contract(rank, world_size, [0])]
    return [
        group_contract(rank, world_size, [0, world_size - 1]),
        group_contract(rank, world_size, [1]),
        group_contract(rank, world_size, [world_size - 1, 0], sort_ranks=False),
    ]


def device_contracts(rank: int, world_size: int, first: list[int] | None = None) -> list[bool]:
    """Groups that serve no device which is here; and before them one that not every rank is in."""
    if first is not None:
        dist.new_group(first)
    world_contract(rank, world_size)
    return [
        group_contract(rank, world_size, [1, 0], backend="cuda:gloo"),
        group_contract(rank, world_size, [1, 0], backend="cuda:gloo", sort_ranks=False),
    ]


def late_gather(rank: int, world_size: int) -> list[int]:
    """Come to a gather when the other rank has waited for longer than the first slice of its wait."""
    if rank == 1:
        time.sleep(FIRST_SECONDS + 0.3)
    pieces = [torch.full((1000,), rank, dtype=torch.uint8) for _ in range(world_size)]
    resolve_transport().gather(pieces, 0, timeout=30)
    resolve_transport().broadcasts([(0, piece) for piece in pieces], timeout=30)
    return [int(piece[-1]) for piece in pieces]
