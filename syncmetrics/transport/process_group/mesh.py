"""Which ranks a `process_group` argument means: those of a group, or of a mesh.

`over` says along which dimensions of a mesh the ranks hold different data, and what the other ranks get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch.distributed as dist

from syncmetrics.transport.base import Role
from syncmetrics.transport.local import OutsideTransport
from syncmetrics.transport.process_group.groups import GroupRef, has_process_group, refer_to
from syncmetrics.transport.process_group.transport import ProcessGroupTransport, transport_between, transport_of
from syncmetrics.transport.spread import Grid, spread

__all__ = ["MeshRef", "bind_process_group", "over", "transport_on"]

_OUTSIDE = OutsideTransport()


@dataclass(frozen=True, slots=True)
class MeshRef:
    """The ranks of a mesh that this one syncs with. It survives pickle and deepcopy, on the rank that it was made for.

    Attributes:
        text: How it was asked for.
        rank: Global rank that it was made for.
        ranks: Global ranks that sync together, those that have data first; empty if this rank takes no part.
        inside: How many of them have data.
        is_first: Whether these are the first of the replicas.
        group: The group that torch has of them, if it has one.
        whole: The ranks that are asked whether replicas hold the same; none if nobody is.
        replicas: Places in `whole` of ranks that are to hold the same, set by set.
        names: What to call each rank of `whole`.
    """

    text: str
    rank: int
    ranks: tuple[int, ...]
    inside: int
    is_first: bool = True
    group: GroupRef | None = None
    whole: tuple[int, ...] = ()
    replicas: tuple[tuple[int, ...], ...] = ()
    names: tuple[str, ...] = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> MeshRef:
        return self

    def __repr__(self) -> str:
        return f"syncmetrics.{self.text}"

    @property
    def is_absent(self) -> bool:
        """Whether this rank neither has data nor gets the value."""
        return not self.ranks

    @property
    def is_outside(self) -> bool:
        """Whether this rank has no data."""
        return self.rank not in self.ranks[: self.inside]


def over(
    mesh: Any,
    dims: str | int | Sequence[str | int],
    *,
    only: Mapping[str | int, int] | None = None,
    outside: Literal["none", "broadcast"] = "none",
    check_replicas: bool = False,
) -> MeshRef:
    """Say along which dimensions of a mesh the ranks hold different data, for any `process_group` argument.

    Each sample is counted once: ranks that differ along `dims` alone sync with each other, and ranks that differ along
    other dimensions are replicas, which see the same data and come to the same value by syncs of their own. Nothing is
    sent here. ::

        MetricCollection(metrics, process_group=over(mesh, "dp"))                          # tp, cp, ... are replicas
        MetricCollection(metrics, process_group=over(mesh, ("dp_replicate", "dp_shard")))  # HSDP
        MetricCollection(metrics, process_group=over(mesh, "dp", only={"pp": -1}, outside="broadcast"))  # a pipeline

    Ranks are in the order of the mesh. One dimension of a mesh has a group of torch's, and so has the whole world;
    anything else is synced over connections of its own between CPUs, which are made by the first sync.

    Args:
        mesh: A DeviceMesh. Every rank of it gives the same arguments.
        dims: The names of the dimensions (or their numbers) along which ranks hold different data; an empty tuple if
            all ranks hold the same.
        only: Where there are data: by dimension the one index, which may count from the end. `{"pp": -1}` is the last
            stage of a pipeline. Updates elsewhere are refused.
        outside: What `compute` gives on ranks without data, elsewhere in the mesh or not in it: "none" is None, and
            such a rank neither sends nor waits; "broadcast" is the value, and they call `compute` with the others.
        check_replicas: Whether replicas are to hold the same states, which every sync asks them first, by one exchange
            between all ranks that have data. If they do not, all ranks raise `ReplicaMismatchError`.

    Raises:
        TypeError: `mesh` is no DeviceMesh.
        ValueError: The mesh has no such dimension or index, or a dimension is named twice.
    """
    from torch.distributed.device_mesh import DeviceMesh  # slow to import, and rarely needed

    if not isinstance(mesh, DeviceMesh):
        raise TypeError(f"`mesh` must be a torch.distributed DeviceMesh, but is a {type(mesh).__name__} instead.")
    if outside not in ("none", "broadcast"):
        raise ValueError(f"`outside` must be 'none' or 'broadcast', but is {outside!r} instead.")
    if isinstance(dims, (str, int)):
        dims = (dims,)
    grid = _grid_of(mesh)
    axes = [_axis(grid, dim, "dims") for dim in dims]
    where = {axis: _index(grid, axis, index) for axis, index in _axes_of(grid, only or {})}
    twice = [grid.names[axis] for axis in range(len(grid.shape)) if [*axes, *where].count(axis) > 1]
    if twice:
        raise ValueError(f"`dims` and `only` must name a dimension once, but name {twice} more often.")
    rank, broadcast = dist.get_rank(), outside == "broadcast"
    others = tuple(sorted(set(range(dist.get_world_size())) - set(_grid_of(_root_of(mesh)).ranks)))
    found = spread(grid, rank, axes, where, others=others, broadcast=broadcast)
    text = _text(grid, axes, where, outside, check_replicas)
    if check_replicas and found.ranks and found.replicas:
        at = {one: place for place, one in enumerate(found.whole)}
        sets = tuple(tuple(at[one] for one in some) for some in found.replicas)
        names = _names_of(grid, found.whole)
        return MeshRef(text, rank, found.ranks, found.inside, found.is_first, None, found.whole, sets, names)
    group = _group_of(mesh, axes, found.ranks) if len(found.ranks) == found.inside else None
    return MeshRef(text, rank, found.ranks, found.inside, found.is_first, group)


def _group_of(mesh: Any, axes: Sequence[int], ranks: tuple[int, ...]) -> GroupRef | None:
    """Give the group that torch has of these ranks on every rank of them, whatever else was made on it."""
    if len(axes) == 1:
        group: dist.ProcessGroup = mesh.get_group(axes[0])
        if tuple(dist.get_process_group_ranks(group)) == ranks:
            return refer_to(group)
    if ranks == tuple(range(dist.get_world_size())):
        world = dist.group.WORLD
        assert world is not None
        return refer_to(world)
    return None


def bind_process_group(process_group: Any) -> GroupRef | MeshRef:
    """Check what the user gave as `process_group` and make it one that can be kept.

    Args:
        process_group: A ProcessGroup, a one-dimensional DeviceMesh, a pair of a DeviceMesh and what `over` takes as
            `dims`, or what `over` gave.

    Raises:
        ValueError: This rank is not part of it, or it has several dimensions.
        TypeError: It is something else.
    """
    if isinstance(process_group, (GroupRef, MeshRef)):
        return process_group
    if process_group == -100 or process_group == getattr(dist.GroupMember, "NON_GROUP_MEMBER", -100):
        raise ValueError(
            f"`process_group` must be a group that this rank is part of, but is {process_group!r}, which"
            " torch gives to ranks outside"
            " the group. Do not make or compute the metric on those ranks; to sync over all ranks leave"
            " `process_group` out."
        )
    if not isinstance(process_group, dist.ProcessGroup):
        return _bind_mesh(process_group)
    if dist.get_rank(process_group) < 0:
        raise ValueError("`process_group` must be a group that this rank is part of, but this rank is outside of it.")
    return refer_to(process_group)


def _bind_mesh(given: Any) -> MeshRef:
    from torch.distributed.device_mesh import DeviceMesh

    mesh, dims = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if not isinstance(mesh, DeviceMesh):
        raise TypeError(
            "`process_group` must be a torch.distributed.ProcessGroup, a DeviceMesh, a pair (mesh, 'dim') or a"
            f" syncmetrics.transport.Transport, but is a {type(given).__name__} instead."
        )
    if mesh.get_coordinate() is None:
        raise ValueError(
            f"`process_group` must be a mesh that this rank is part of, but this rank is outside of {mesh};"
            " syncmetrics.over(mesh, 'dim') says what such ranks get."
        )
    if dims is None and mesh.ndim > 1:
        names = _grid_of(mesh).names
        raise ValueError(
            f"`process_group` must say along which dimensions of a {mesh.ndim}-d mesh the ranks hold different data,"
            f" write process_group=(mesh, {names[0]!r}), or process_group=syncmetrics.over(mesh, ({names[0]!r}, ...))"
            f" for several; the mesh has {list(names)}."
        )
    return over(mesh, 0 if dims is None else dims)


def transport_on(ref: MeshRef) -> ProcessGroupTransport | OutsideTransport:
    """Give the transport between the ranks of a mesh: the same one each time.

    Raises:
        ValueError: This process is not the rank that the ranks were found for.
    """
    if ref.group is not None:
        return transport_of(ref.group)
    if not has_process_group() or dist.get_rank() != ref.rank or dist.get_world_size() <= max(ref.ranks, default=0):
        raise ValueError(
            f"`process_group` is {ref!r} as it was found on global rank {ref.rank}, which this process is not (any"
            " more); make it here and set `metric.process_group = over(mesh, ...)`."
        )
    if ref.is_absent:
        return _OUTSIDE
    purpose = f"over {ref.inside} of {len(ref.ranks)}" + (f", checked among {ref.whole}" if ref.whole else "")

    def role() -> Role:
        if not ref.whole:
            return Role(ref.is_outside)
        whole = transport_between(ref.whole, "replicas", Role)
        return Role(ref.is_outside, whole, ref.replicas, ref.names)

    return transport_between(ref.ranks, purpose, role)


def _grid_of(mesh: Any) -> Grid:
    shape = tuple(mesh.mesh.shape)
    names = tuple(mesh.mesh_dim_names or [str(axis) for axis in range(len(shape))])
    return Grid(names, shape, tuple(mesh.mesh.reshape(-1).tolist()))


def _root_of(mesh: Any) -> Any:
    """Give the mesh that this one is a slice of: the ranks beside a slice have slices of their own."""
    if hasattr(mesh, "_get_root_mesh"):
        return mesh._get_root_mesh()
    from torch.distributed import device_mesh  # an older torch

    known: Any = device_mesh._mesh_resources
    find: Any = getattr(known, "get_root_mesh" if hasattr(known, "get_root_mesh") else "get_parent_mesh")
    found = find(mesh)
    return mesh if found is None else found


def _axis(grid: Grid, dim: str | int, argument: str) -> int:
    if isinstance(dim, str) and dim in grid.names:
        return grid.names.index(dim)
    if isinstance(dim, int) and not isinstance(dim, bool) and -len(grid.shape) <= dim < len(grid.shape):
        return dim % len(grid.shape)
    raise ValueError(f"`{argument}` must name dimensions of the mesh, which has {list(grid.names)}, but names {dim!r}.")


def _axes_of(grid: Grid, only: Mapping[str | int, int]) -> list[tuple[int, int]]:
    return [(_axis(grid, dim, "only"), index) for dim, index in only.items()]


def _index(grid: Grid, axis: int, index: int) -> int:
    size = grid.shape[axis]
    if type(index) is not int or not -size <= index < size:  # a bool is no index
        raise ValueError(
            f"`only` must give one index of {grid.names[axis]!r}, {-size} to {size - 1}, but gives {index!r} instead."
        )
    return index % size


def _text(grid: Grid, axes: Sequence[int], where: Mapping[int, int], outside: str, check_replicas: bool) -> str:
    """Write a call down as it may have been written."""
    named = tuple(grid.names[axis] for axis in axes)
    text = f"over(mesh, {named[0]!r}" if len(named) == 1 else f"over(mesh, {named!r}"
    if where:
        text += f", only={ {grid.names[axis]: index for axis, index in where.items()}!r}"
    if outside != "none":
        text += f", outside={outside!r}"
    return text + (", check_replicas=True)" if check_replicas else ")")


def _names_of(grid: Grid, ranks: Sequence[int]) -> tuple[str, ...]:
    where = {
        rank: ", ".join(f"{name}={index}" for name, index in zip(grid.names, place, strict=True))
        for place, rank in grid.places().items()
    }
    return tuple(f"global rank {rank}" + (f" ({where[rank]})" if rank in where else "") for rank in ranks)
