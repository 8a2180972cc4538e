"""Process groups as users hand them over, and as they can be kept."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["GroupRef", "bind_process_group", "has_process_group"]


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
    if process_group == -100 or process_group == getattr(dist.GroupMember, "NON_GROUP_MEMBER", -100):
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
