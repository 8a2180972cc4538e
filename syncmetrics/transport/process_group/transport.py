"""The ranks of a `torch.distributed` process group as a transport."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch._C._distributed_c10d as _c10d
import torch.distributed as dist
from torch import Tensor

from syncmetrics.errors import SyncError
from syncmetrics.transport.base import span_of
from syncmetrics.transport.patience import RollCall, Why, current_patience, wait_for
from syncmetrics.transport.process_group.groups import GroupRef
from syncmetrics.transport.process_group.lanes import OPEN_TIMEOUT, Lane, lane_of, open_gloo

__all__ = ["ProcessGroupTransport", "transport_of", "world_transport"]

#: What the words of a backend mean.
_KINDS: dict[Why, tuple[str, ...]] = {
    "lost": ("connection closed by peer", "connection reset by peer", "broken pipe", "pair closure", "refused"),
    "timeout": ("timed out", "timeout"),
}


_transports: weakref.WeakKeyDictionary[dist.ProcessGroup, ProcessGroupTransport] = weakref.WeakKeyDictionary()


def transport_of(ref: GroupRef) -> ProcessGroupTransport:
    """Give the transport over a group: the same one each time, so that its syncs are counted together."""
    return _transport_over(ref.resolve())


def world_transport() -> ProcessGroupTransport:
    """Give the transport over all ranks."""
    group = dist.group.WORLD
    assert group is not None
    return _transport_over(group)


def _transport_over(group: dist.ProcessGroup) -> ProcessGroupTransport:
    transport = _transports.get(group)
    if transport is None:
        transport = _transports[group] = ProcessGroupTransport(group)
    return transport


class ProcessGroupTransport:
    """The ranks of a `torch.distributed` process group.

    Only operations on equal sizes or on sizes known beforehand are used, only on contiguous buffers of the transport's
    callers, and only ones that gloo and NCCL agree on.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group = weakref.ref(group)
        self._rank = dist.get_rank(group)
        self._global_ranks = tuple(dist.get_process_group_ranks(group))
        self._world_size = len(self._global_ranks)
        self._backends = _backends(group)
        self._id = f"{getattr(group, 'group_name', '')}{self._global_ranks}"
        self._cpu_lane: Lane | None = None
        self._twin: ProcessGroupTransport | None = None
        self._meetings = 0
        self._roll_store: Any = None
        self._last_met: float | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> ProcessGroupTransport:
        return self

    @property
    def rank(self) -> int:
        """Rank of this process in the group."""
        return self._rank

    @property
    def world_size(self) -> int:
        """Number of ranks in the group."""
        return self._world_size

    @property
    def name(self) -> str:
        """What to call the group in a message."""
        return f"group of global ranks {list(self._global_ranks)}"

    def wire_device(self, device_types: Sequence[str]) -> torch.device:
        """Give the device to send from.

        It is the one where the data lies if the group serves it, else the CPU, else one that the group serves. A group
        that serves only devices which this process lacks sends over a CPU group of its own, made at the first transfer.
        """
        kinds = set(device_types)
        if len(kinds) == 1:
            (kind,) = kinds
            if kind != "cpu" and kind in self._backends and _is_here(kind):
                return _current_device(kind)
        if "cpu" in self._backends:
            return torch.device("cpu")
        for kind in self._backends:
            if _is_here(kind):
                return _current_device(kind)
        return torch.device("cpu")

    def twin(self) -> ProcessGroupTransport:
        """Give a transport over a CPU lane of its own between the same ranks. Collective the first time."""
        if self._twin is None:
            self._twin = _Twin(self)
        return self._twin

    def all_gather(self, out: Tensor, local: Tensor, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Gather `local` of every rank into `out`."""
        self._run(local, lambda lane, limit: lane.all_gather(out, local, limit), timeout, what)

    def broadcast(self, buffer: Tensor, src: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Fill `buffer` with what rank `src` has in it."""
        self._run(buffer, lambda lane, limit: lane.broadcast(buffer, src, limit), timeout, what)

    def broadcasts(
        self, buffers: Sequence[tuple[int, Tensor]], *, timeout: float | None = None, what: str = "a sync"
    ) -> None:
        """Fill every buffer with what its rank has in it, all of them under way at the same time."""
        if buffers:
            self._run(
                buffers[0][1],
                lambda lane, limit: [work for src, buffer in buffers for work in lane.broadcast(buffer, src, limit)],
                timeout,
                what,
            )

    def gather(self, pieces: Sequence[Tensor], dst: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Send every rank's own piece to rank `dst`, straight into place."""
        mine = pieces[self._rank]
        if mine.device.type == "cpu" or self._backends.get(mine.device.type) == "gloo":
            self._gather_softly(pieces, dst, timeout, what)
            return
        sends = [(dst, mine)] if self._rank != dst and mine.numel() else []
        others = enumerate(pieces) if self._rank == dst else []
        receives = [(rank, piece) for rank, piece in others if rank != dst and piece.numel()]
        self._run(mine, lambda lane, limit: lane.exchange(sends, receives), timeout, what)

    def _gather_softly(self, pieces: Sequence[Tensor], dst: int, timeout: float | None, what: str) -> None:
        """Gather over gloo, by a collective: a wait for its sends and receives that runs out closes all connections."""
        mine, ranks = pieces[self._rank], range(self._world_size)
        if self._rank != dst:
            sizes = [mine.numel() if rank == dst else 0 for rank in ranks]
            self.all_to_all(mine[:0], mine, [0] * self._world_size, sizes, timeout=timeout, what=what)
            return
        whole = span_of(pieces)
        out = torch.cat([*pieces]) if whole is None else whole
        sizes = [piece.numel() for piece in pieces]
        to_itself = [mine.numel() if rank == dst else 0 for rank in ranks]
        self.all_to_all(out, mine, sizes, to_itself, timeout=timeout, what=what)
        if whole is None:
            for piece, arrived in zip(pieces, torch.split(out, sizes), strict=True):
                piece.copy_(arrived)

    def all_to_all(
        self,
        out: Tensor,
        local: Tensor,
        out_sizes: Sequence[int],
        local_sizes: Sequence[int],
        *,
        timeout: float | None = None,
        what: str = "a sync",
    ) -> None:
        """Send to every rank a piece of its own."""
        source, target = self._point_to_point(local), self._point_to_point(out)
        sizes = (list(out_sizes), list(local_sizes))
        self._run(source, lambda lane, limit: lane.all_to_all(target, source, *sizes, limit), timeout, what)
        if target is not out:
            out.copy_(target)

    def all_reduce_sum(self, buffer: Tensor, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Replace an `int64` buffer by its sum over ranks."""
        self._run(buffer, lambda lane, limit: lane.all_reduce_sum(buffer, limit), timeout, what)

    def _run(
        self,
        tensor: Tensor,
        post: Callable[[Lane, timedelta | None], Sequence[Any]],
        timeout: float | None,
        what: str,
    ) -> None:
        """Start an operation, wait for it, and turn what the backend raises into the errors of this package.

        The backend gets a limit beyond ours, if there is one: it would otherwise hold the process at its end for as
        long as the group's timeout. A rank that comes late, but before that, still finds the group in order.
        """
        patience = current_patience()
        if timeout is not None:
            patience = replace(patience, timeout=timeout)
        limit = None
        if patience.timeout is not None:
            limit = timedelta(seconds=patience.timeout + min(max(patience.timeout, 2.0), 30.0))
        self._meetings += 1
        roll = RollCall(self._open_store, str(self._meetings), self._rank, self._world_size, what)
        start = time.monotonic()
        try:
            lane = self._lane(tensor, limit)
            for work in post(lane, limit):
                if work is not None and lane.pretends:
                    work.wait()
                elif work is not None:
                    wait_for(partial(_finished_within, work, lane.softly), roll, patience)
            if self._may_be_late(start, patience.timeout):
                verdict = roll.verdict(0.0)
                if verdict is not None:
                    raise verdict
            self._last_met = time.monotonic()
        except RuntimeError as error:
            text = str(error).lower()
            if isinstance(error, SyncError):
                raise
            why = next((kind for kind, words in _KINDS.items() if any(word in text for word in words)), None)
            if why is None:
                raise
            raise roll.conclude(why, time.monotonic() - start) from error

    def _may_be_late(self, now: float, timeout: float | None) -> bool:
        """Say whether others may have given up before this rank came: none waits longer than since the last time."""
        return timeout is not None and (self._last_met is None or now - self._last_met >= timeout)

    def _open_store(self) -> Any:
        """Give the place where waiting ranks write their names."""
        if self._roll_store is None:
            store = dist.distributed_c10d._get_default_store()
            self._roll_store = _c10d.PrefixStore(f"syncmetrics/roll/{self._id}", store)
        return self._roll_store

    def _point_to_point(self, piece: Tensor) -> Tensor:
        """Give a buffer that can be sent from rank to rank: gloo does so from the CPU alone."""
        kind = piece.device.type
        return piece.cpu() if kind != "cpu" and self._backends.get(kind) == "gloo" else piece

    def _lane(self, tensor: Tensor, limit: timedelta | None) -> Lane:
        kind = tensor.device.type
        if kind in self._backends:
            group = self._group()
            if group is None:
                raise SyncError("the process group of this metric has been destroyed.")
            return lane_of(group, self._global_ranks, kind, self._backends[kind])
        assert kind == "cpu", f"no lane for {kind}: the buffer must lie where wire_device said"
        if self._cpu_lane is None:
            self._cpu_lane = open_gloo(f"cpu/{self._id}", self._rank, self._global_ranks, limit or OPEN_TIMEOUT)
        return self._cpu_lane


class _Twin(ProcessGroupTransport):
    """The same ranks over a CPU lane of its own, whatever the group itself serves."""

    def __init__(self, parent: ProcessGroupTransport) -> None:
        self._group = parent._group
        self._rank = parent._rank
        self._global_ranks = parent._global_ranks
        self._world_size = parent._world_size
        self._backends = {}
        self._id = f"twin/{parent._id}"
        self._cpu_lane = None
        self._twin = None
        self._meetings = 0
        self._roll_store = None
        self._last_met = None


def _backends(group: dist.ProcessGroup) -> dict[str, str]:
    """Read which backend serves which device type: {"cpu": "gloo", "cuda": "nccl"}."""
    pairs = (entry.partition(":") for entry in str(dist.get_backend_config(group)).split(","))
    found = {device: backend for device, _, backend in pairs if backend}
    return found or {"cpu": str(dist.get_backend(group))}


def _is_here(kind: str) -> bool:
    if kind == "cpu":
        return True
    module = getattr(torch, kind, None)
    return bool(module is not None and module.is_available())


def _current_device(kind: str) -> torch.device:
    return torch.device(kind, getattr(torch, kind).current_device()) if kind != "mps" else torch.device("mps")


def _finished_within(work: Any, softly: bool, seconds: float) -> bool:
    """Wait for at most so long.

    Gloo leaves an operation going when a wait runs out. NCCL takes that for the end of the communicator, and is only
    asked.
    """
    if softly:
        try:
            work.wait(timedelta(seconds=seconds))
        except RuntimeError:
            if not work.is_completed():
                return False
            work.wait()  # it may have ended just then, well or badly
        return True
    deadline, pause = time.monotonic() + seconds, 1e-5
    while not work.is_completed():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 1e-3)
    work.wait()
    return True
