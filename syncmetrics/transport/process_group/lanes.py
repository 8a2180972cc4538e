"""A lane: one way to send, over a group that torch knows or over one of our own. It starts operations only.

The methods of a group are called themselves: the functions of `torch.distributed` check and log around them what is
known here, and a small operation is short enough to feel it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch._C._distributed_c10d as _c10d
import torch.distributed as dist
from torch import Tensor

from syncmetrics.transport.board import Board

__all__ = ["OPEN_TIMEOUT", "Lane", "lane_of", "open_gloo"]


@dataclass(frozen=True, slots=True)
class Lane:
    """Starts operations.

    Attributes:
        group: A ProcessGroup, or a gloo backend that torch has not registered.
        global_ranks: The ranks of the world by rank in the group, for a ProcessGroup; None for a bare backend.
        softly: Whether a wait that runs out leaves an operation going.
        pretends: Whether its operations come to an end that nobody can ask for: those of torch's fake backend.
        default: How long an operation takes at most that is given no limit; None leaves it to the group.
    """

    group: Any
    global_ranks: tuple[int, ...] | None
    softly: bool
    pretends: bool = False
    default: timedelta | None = None

    def all_gather(self, out: Tensor, local: Tensor, limit: timedelta | None) -> Sequence[Any]:
        """Start gathering `local` of all ranks into `out`."""
        return [self.group._allgather_base(out, local, _options(_c10d.AllgatherOptions(), limit or self.default))]

    def broadcast(self, buffer: Tensor, src: int, limit: timedelta | None) -> Sequence[Any]:
        """Start filling `buffer` with that of rank `src`."""
        options = _options(_c10d.BroadcastOptions(), limit or self.default)
        options.rootRank = src
        return [self.group.broadcast([buffer], options)]

    def all_reduce_sum(self, buffer: Tensor, limit: timedelta | None) -> Sequence[Any]:
        """Start summing `buffer` over ranks, in place."""
        options = _options(_c10d.AllreduceOptions(), limit or self.default)
        options.reduceOp = dist.ReduceOp(dist.ReduceOp.SUM)
        return [self.group.allreduce([buffer], options)]

    def all_to_all(
        self, out: Tensor, local: Tensor, out_sizes: list[int], local_sizes: list[int], limit: timedelta | None
    ) -> Sequence[Any]:
        """Start sending to every rank a piece of its own."""
        options = _options(_c10d.AllToAllOptions(), limit or self.default)
        return [self.group.alltoall_base(out, local, out_sizes, local_sizes, options)]

    def exchange(self, sends: Sequence[tuple[int, Tensor]], receives: Sequence[tuple[int, Tensor]]) -> Sequence[Any]:
        """Start sending buffers to ranks, and receiving buffers from ranks."""
        if not sends and not receives:
            return []
        if self.global_ranks is None:
            started = [self.group.send([buffer], rank, 0) for rank, buffer in sends]
            return [*started, *(self.group.recv([buffer], rank, 0) for rank, buffer in receives)]
        ranks = self.global_ranks
        ops = [dist.P2POp(dist.isend, buffer, ranks[rank], self.group) for rank, buffer in sends]
        ops += [dist.P2POp(dist.irecv, buffer, ranks[rank], self.group) for rank, buffer in receives]
        started = dist.batch_isend_irecv(ops)
        return list(started)


#: What torch gives to gloo.
OPEN_TIMEOUT = timedelta(minutes=30)


def lane_of(group: dist.ProcessGroup, global_ranks: tuple[int, ...], device: str, backend: str) -> Lane:
    """Give the lane of a process group for buffers on a device.

    With TORCH_DISTRIBUTED_DEBUG=DETAIL torch puts a group around gloo which waits for all ranks before each operation,
    for as long as the timeout of the group. It is left out: here ranks are waited for with a patience of our own.
    """
    if backend == "gloo":
        around = getattr(group, "_get_backend", lambda device: None)(torch.device(device))
        wrapped = getattr(around, "wrapped_pg", None)
        if wrapped is not None:
            return Lane(wrapped, None, softly=True)
    return Lane(group, global_ranks, softly=backend == "gloo", pretends=backend == "fake")


def _options(options: Any, limit: timedelta | None) -> Any:
    """Have an operation run beside what the caller does on its device, and end within a limit if there is one."""
    if hasattr(options, "asyncOp"):  # older versions of torch always run beside
        options.asyncOp = True
    if limit is not None:
        options.timeout = limit
    return options


def open_gloo(board: Board, rank: int, world_size: int, timeout: timedelta) -> Lane:
    """Open a CPU lane between the ranks of a group. Collective: every rank of the group must call this.

    Torch's `new_group` is no way to it: among a part of the ranks it needs them all to have made as many groups before.

    Args:
        board: Where the ranks find each other: the same on all of them, and no other lane's.
        rank: Rank in the group.
        world_size: Number of ranks.
        timeout: How long to wait for the other ranks to open it too.
    """
    store = _c10d.PrefixStore(board.name, dist.distributed_c10d._get_default_store())
    backend = dist.ProcessGroupGloo(store, rank, world_size, timeout)
    return Lane(backend, None, softly=True, default=OPEN_TIMEOUT)
