"""`torch.distributed`: the only file of the package, with `testing`, that imports it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch._C._distributed_c10d as _c10d
import torch.distributed as dist
from torch import Tensor

from syncmetrics.errors import SyncError
from syncmetrics.transport.patience import RollCall, Why, current_patience, wait_for

__all__ = [
    "GroupRef",
    "ProcessGroupTransport",
    "bind_process_group",
    "has_process_group",
    "transport_of",
    "world_transport",
]

#: What the words of a backend mean.
_KINDS: dict[Why, tuple[str, ...]] = {
    "lost": ("connection closed by peer", "connection reset by peer", "broken pipe", "pair closure", "refused"),
    "timeout": ("timed out", "timeout"),
}


def has_process_group() -> bool:
    """Say whether `torch.distributed` is up in this process."""
    return dist.is_available() and dist.is_initialized()


@dataclass(frozen=True, slots=True)
class GroupRef:
    """A process group that survives pickle and deepcopy: the ranks and the name travel, the group is looked up again.

    Attributes:
        ranks: Its global ranks, in group order.
        name: The name that torch gave to it.
        group: The group itself, held weakly: one that outlives `destroy_process_group` ends the process with SIGABRT.
            None after unpickling.
    """

    ranks: tuple[int, ...]
    name: str
    group: weakref.ref[dist.ProcessGroup] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> GroupRef:
        return self

    def __reduce__(self) -> tuple[type[GroupRef], tuple[tuple[int, ...], str]]:
        return GroupRef, (self.ranks, self.name)

    def resolve(self) -> dist.ProcessGroup:
        """Give the group.

        Raises:
            ValueError: This process has no such group.
        """
        known = None if self.group is None else self.group()
        if known is not None:
            return known
        try:
            group: dist.ProcessGroup = torch._C._distributed_c10d._resolve_process_group(self.name)  # type: ignore[arg-type]
            if tuple(dist.get_process_group_ranks(group)) == self.ranks:
                return group
        except (RuntimeError, ValueError, AttributeError):
            pass
        raise ValueError(
            f"`process_group` is group {self.name!r} of the global ranks {list(self.ranks)}, which this"
            " process does not"
            " have (any more); make the group here and set `metric.process_group = group`."
        )


def bind_process_group(process_group: Any) -> GroupRef:
    """Check what the user gave as `process_group` and make it one that can be kept.

    Args:
        process_group: A ProcessGroup, a one-dimensional DeviceMesh, or a pair `(mesh, "dim")`.

    Raises:
        ValueError: This rank is not part of it, or it has several dimensions.
        TypeError: It is something else.
    """
    if isinstance(process_group, GroupRef):
        return process_group
    if (
        process_group is None
        or process_group == -100
        or process_group == getattr(dist.GroupMember, "NON_GROUP_MEMBER", -100)
    ):
        raise ValueError(
            f"`process_group` must be a group that this rank is part of, but is {process_group!r}, which"
            " torch gives to ranks outside"
            " the group. Do not make or compute the metric on those ranks; to sync over all ranks leave"
            " `process_group` out."
        )
    group = process_group if isinstance(process_group, dist.ProcessGroup) else _group_of_mesh(process_group)
    if dist.get_rank(group) < 0:
        raise ValueError("`process_group` must be a group that this rank is part of, but this rank is outside of it.")
    return GroupRef(tuple(dist.get_process_group_ranks(group)), getattr(group, "group_name", ""), weakref.ref(group))


def _group_of_mesh(given: Any) -> dist.ProcessGroup:
    from torch.distributed.device_mesh import DeviceMesh  # slow to import, and rarely needed

    mesh, dim = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if not isinstance(mesh, DeviceMesh):
        raise TypeError(
            "`process_group` must be a torch.distributed.ProcessGroup, a DeviceMesh, a pair (mesh, 'dim') or a"
            f" syncmetrics.transport.Transport, but is a {type(given).__name__} instead."
        )
    if mesh.get_coordinate() is None:
        raise ValueError(
            f"`process_group` must be a mesh that this rank is part of, but this rank is outside of {mesh}."
        )
    if dim is None and mesh.ndim > 1:
        names = mesh.mesh_dim_names or tuple(map(str, range(mesh.ndim)))
        raise ValueError(
            f"`process_group` must name one dimension of a {mesh.ndim}-d mesh, write process_group=(mesh,"
            f" {names[0]!r});"
            f" the mesh has {list(names)}. To sync over several, flatten them first: mesh[...]._flatten()."
        )
    group: dist.ProcessGroup = mesh.get_group(dim)
    return group


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


@dataclass(frozen=True, slots=True)
class _Lane:
    """A group to communicate on.

    Attributes:
        group: The group.
        softly: Whether a wait that runs out leaves the operation going.
        ranks: The rank in the transport's group of each rank in this one; None if they are the same.
    """

    group: dist.ProcessGroup
    softly: bool
    ranks: tuple[int, ...] | None = None


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
        self._cpu_lane: _Lane | None = None
        self._twin: ProcessGroupTransport | None = None
        self._sequence = 0
        self._meetings = 0
        self._roll_store: Any = None

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

    def next_sequence(self) -> int:
        """Count one more sync of this group."""
        self._sequence += 1
        return self._sequence

    def twin(self) -> ProcessGroupTransport:
        """Give a transport over a CPU group of the same ranks. Collective the first time."""
        if self._twin is None:
            ranks = sorted(self._global_ranks)
            group = dist.new_group(ranks, backend="gloo", use_local_synchronization=True)
            self._twin = ProcessGroupTransport(group)
        return self._twin

    def all_gather(self, out: Tensor, local: Tensor, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Gather `local` of every rank into `out`."""
        lane = self._lane(local)
        target = out if lane.ranks is None else torch.empty_like(out)

        def post(limit: timedelta | None) -> Sequence[Any]:
            if limit is None:
                return [_all_gather_single(target, local, group=lane.group, async_op=True)]
            options = _c10d.AllgatherOptions()
            options.timeout = limit
            return [lane.group._allgather_base(target, local, options)]

        self._run(lane, post, timeout, what)
        if lane.ranks is not None:
            rows, arrived = out.view(self._world_size, -1), target.view(self._world_size, -1)
            for index, rank in enumerate(lane.ranks):
                rows[rank].copy_(arrived[index])

    def broadcast(self, buffer: Tensor, src: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Fill `buffer` with what rank `src` has in it."""
        lane = self._lane(buffer)

        def post(limit: timedelta | None) -> Sequence[Any]:
            if limit is None:
                return [dist.broadcast(buffer, src=self._global_ranks[src], group=lane.group, async_op=True)]
            options = _c10d.BroadcastOptions()
            options.timeout = limit
            options.rootRank = src if lane.ranks is None else lane.ranks.index(src)
            return [lane.group.broadcast([buffer], options)]

        self._run(lane, post, timeout, what)

    def gather(self, pieces: Sequence[Tensor], dst: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Send every rank's own piece to rank `dst`, from rank to rank and straight into place."""
        lane = self._lane(pieces[self._rank])
        peers = [r for r in range(self._world_size) if r != dst] if self._rank == dst else [dst]
        routes = [(r, pieces[r if self._rank == dst else self._rank]) for r in peers]
        routes = [(r, piece) for r, piece in routes if piece.numel()]
        buffers = [self._point_to_point(piece) for _, piece in routes]
        verb = dist.irecv if self._rank == dst else dist.isend
        ops = [
            dist.P2POp(verb, buffer, self._global_ranks[r], lane.group)
            for (r, _), buffer in zip(routes, buffers, strict=True)
        ]
        self._run(lane, lambda limit: dist.batch_isend_irecv(ops) if ops else [], timeout, what)
        if self._rank == dst:
            for (_, piece), buffer in zip(routes, buffers, strict=True):
                if buffer is not piece:
                    piece.copy_(buffer)

    def all_reduce_sum(self, buffer: Tensor, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Replace an `int64` buffer by its sum over ranks."""
        lane = self._lane(buffer)

        def post(limit: timedelta | None) -> Sequence[Any]:
            if limit is None:
                return [dist.all_reduce(buffer, op=dist.ReduceOp.SUM, group=lane.group, async_op=True)]
            options = _c10d.AllreduceOptions()
            options.timeout = limit
            options.reduceOp = dist.ReduceOp(dist.ReduceOp.SUM)
            return [lane.group.allreduce([buffer], options)]

        self._run(lane, post, timeout, what)

    def _run(
        self, lane: _Lane, post: Callable[[timedelta | None], Sequence[Any]], timeout: float | None, what: str
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
            for work in post(limit):
                if work is not None:
                    wait_for(partial(_finished_within, work, lane.softly), roll, patience)
        except RuntimeError as error:
            text = str(error).lower()
            if isinstance(error, SyncError):
                raise
            why = next((kind for kind, words in _KINDS.items() if any(word in text for word in words)), None)
            if why is None:
                raise
            raise roll.conclude(why, time.monotonic() - start) from error

    def _open_store(self) -> Any:
        """Give the place where waiting ranks write their names."""
        if self._roll_store is None:
            group = self._group()
            name = f"{getattr(group, 'group_name', '')}{self._global_ranks}"
            self._roll_store = _c10d.PrefixStore(f"syncmetrics/{name}", dist.distributed_c10d._get_default_store())
        return self._roll_store

    def _point_to_point(self, piece: Tensor) -> Tensor:
        """Give a buffer that can be sent from rank to rank: gloo does so from the CPU alone."""
        kind = piece.device.type
        return piece.cpu() if kind != "cpu" and self._backends.get(kind) == "gloo" else piece

    def _lane(self, tensor: Tensor) -> _Lane:
        kind = tensor.device.type
        if kind in self._backends:
            group = self._group()
            if group is None:
                raise SyncError("the process group of this metric has been destroyed.")
            return _Lane(group, self._backends[kind] == "gloo")
        assert kind == "cpu", f"no lane for {kind}: the buffer must lie where wire_device said"
        if self._cpu_lane is None:
            self._cpu_lane = self._make_cpu_lane()
        return self._cpu_lane

    def _make_cpu_lane(self) -> _Lane:
        """Make the CPU group of a group that serves no device which is here. Collective over its own ranks alone."""
        ranks = sorted(self._global_ranks)
        group = dist.new_group(ranks, backend="gloo", use_local_synchronization=True)
        order = tuple(self._global_ranks.index(rank) for rank in ranks)
        return _Lane(group, True, None if order == tuple(range(self._world_size)) else order)


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
            if work.is_completed():
                raise
            return False
        return True
    deadline, pause = time.monotonic() + seconds, 1e-5
    while not work.is_completed():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 1e-3)
    work.wait()
    return True


_all_gather_single: Callable[..., Any] = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
