"""Process groups as users hand them over, and as they can be kept."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["GroupRef", "has_process_group", "refer_to"]


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


def refer_to(group: dist.ProcessGroup) -> GroupRef:
    """Give a group as it can be kept."""
    return GroupRef(tuple(dist.get_process_group_ranks(group)), getattr(group, "group_name", ""), weakref.ref(group))
