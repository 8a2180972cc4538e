"""Where the ranks of a process group stand: they write down, in the store of the job, where each can be asked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch._C._distributed_c10d as c10d
import torch.distributed as dist

from syncmetrics.transport.answering import Syncing, answer_for, is_wanted, listen
from syncmetrics.transport.asking import Standings
from syncmetrics.transport.board import Board

__all__ = ["can_be_asked", "standings_over"]

#: Processes, and not groups: one that has synced over any group can be asked about all of them.
_PROCESSES = "syncmetrics/processes"


def can_be_asked(group: dist.ProcessGroup) -> None:
    """Have this process answer from now on those who wait for it. It does not wait, and does not raise."""
    with suppress(ValueError, RuntimeError, AttributeError):  # a group beside the world, or a store of other makers
        store, rank = dist.distributed_c10d._get_default_store(), dist.get_rank()
        listen(group, _host_of(store), lambda address: store.set(f"{_PROCESSES}/{rank}", address))


def standings_over(syncing: Syncing, global_ranks: Sequence[int], group: str) -> Standings | None:
    """Give what finds out where the other ranks stand; None if there are none, or this process does not want to know.

    Args:
        syncing: What this process answers about.
        global_ranks: The ranks of the world, by rank in the group.
        group: What to tell it by: the same on all ranks, and no other's.
    """
    if len(global_ranks) < 2 or not is_wanted():
        return None
    key = hashlib.blake2b(group.encode(), digest_size=16).hexdigest()
    answer_for(key, syncing)
    return Standings(Board(dist.distributed_c10d._get_default_store, _PROCESSES), syncing.rank, global_ranks, key)


def _host_of(store: Any) -> str | None:
    """Give the host that keeps a store; None for a store that no host keeps, by which ranks of one host meet."""
    while isinstance(store, c10d.PrefixStore):
        store = store.underlying_store
    return str(store.host) if isinstance(store, c10d.TCPStore) else None
