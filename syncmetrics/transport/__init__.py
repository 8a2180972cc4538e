"""Transports, and which one a `process_group` means.

`resolve_transport` is the one place that decides over whom a sync goes: over what the user named, else over the
threads of a `ThreadsWorld` if this thread is one of its ranks, else over all ranks of `torch.distributed` if it is up,
else over nobody.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from typing import Any, TypeAlias

from syncmetrics.errors import StateError
from syncmetrics.transport.base import Transport
from syncmetrics.transport.local import LocalTransport
from syncmetrics.transport.patience import set_sync_timeout
from syncmetrics.transport.process_group import (
    GroupRef,
    MeshRef,
    bind_process_group,
    has_process_group,
    local_part,
    over,
    set_shared_memory,
    transport_of,
    transport_on,
    world_transport,
)
from syncmetrics.transport.threads import current_transport

__all__ = [
    "WORLD",
    "BoundGroup",
    "LocalTransport",
    "Transport",
    "always_meets",
    "bind_group",
    "has_data",
    "is_absent",
    "local_part",
    "over",
    "ranks_of",
    "refuse_outside",
    "resolve_transport",
    "set_shared_memory",
    "set_sync_timeout",
    "transport_over",
    "unbind_group",
    "writes",
]


class _World(enum.Enum):
    """The type of `WORLD`, which stays itself under pickle and deepcopy."""

    WORLD = "world"

    def __repr__(self) -> str:
        return "syncmetrics.WORLD"


#: All ranks, whichever these are when a sync begins: what `process_group` means when it is left out.
WORLD = _World.WORLD

_ALONE = LocalTransport()

#: What is kept of a `process_group` argument.
BoundGroup: TypeAlias = _World | GroupRef | MeshRef | Transport


def bind_group(process_group: Any = WORLD) -> BoundGroup:
    """Check a `process_group` argument, and make it one that can be kept, copied and pickled.

    None means the world, as everywhere in torch. What `torch.distributed.new_group` gives to a rank outside of the new
    group is refused: such a rank must not sync with the world while the others sync among themselves.

    Args:
        process_group: Left out or None, a ProcessGroup, a DeviceMesh, a pair `(mesh, "dim")`, what `over` gave, or a
            Transport.

    Raises:
        ValueError: This rank is not part of it.
        TypeError: It is something else.
    """
    if process_group is WORLD or process_group is None:
        return WORLD
    if not isinstance(process_group, (GroupRef, MeshRef, type)) and isinstance(process_group, Transport):
        return process_group
    return bind_process_group(process_group)


def unbind_group(bound: BoundGroup) -> Any:
    """Give what was handed over as `process_group`: the ProcessGroup itself as long as it lives."""
    if not isinstance(bound, GroupRef) or bound.group is None:
        return bound
    return bound.group() or bound


def resolve_transport(process_group: Any = WORLD) -> Transport:
    """Give the transport for a `process_group` argument. It does not communicate.

    Args:
        process_group: As for `bind_group`.
    """
    return transport_over(bind_group(process_group))


def transport_over(bound: BoundGroup) -> Transport:
    """Give the transport for what `bind_group` gave, which is not checked again. It does not communicate."""
    if bound is WORLD:
        threads = current_transport()
        if threads is not None:
            return threads
        return world_transport() if has_process_group() else _ALONE
    if isinstance(bound, GroupRef):
        return transport_of(bound)
    if isinstance(bound, MeshRef):
        return transport_on(bound)
    assert not isinstance(bound, _World)
    return bound


def ranks_of(bound: BoundGroup) -> Collection[int] | None:
    """Give the global ranks of those that sync; None where that is not known."""
    if isinstance(bound, (GroupRef, MeshRef)):
        return bound.ranks
    if bound is WORLD and current_transport() is None and has_process_group():
        return world_transport().global_ranks
    return None


def has_data(bound: BoundGroup) -> bool:
    """Say whether this rank may have data to bring to a sync. It does not communicate."""
    return not (type(bound) is MeshRef and bound.is_outside)


def is_absent(bound: Any) -> bool:
    """Say whether this rank takes no part in a sync, so that its value is None. It does not communicate."""
    return type(bound) is MeshRef and bound.is_absent


def always_meets(bound: BoundGroup) -> bool:
    """Say whether a rank cannot tell by its own states whether a value is still good. It does not communicate.

    One without data does not know what those with data have added since, and a replica may have gone apart.
    """
    return type(bound) is MeshRef and (len(bound.ranks) > bound.inside or bool(bound.whole))


def writes(bound: BoundGroup) -> bool:
    """Say whether this rank is the one of all that writes what is to be written once. It does not communicate."""
    if type(bound) is MeshRef and (bound.is_absent or not bound.is_first):
        return False
    return transport_over(bound).rank == 0


def refuse_outside(bound: BoundGroup, label: str) -> None:
    """Refuse data on a rank that was said to have none.

    Raises:
        StateError: This is one.
    """
    if type(bound) is MeshRef and bound.is_outside:
        raise StateError(
            f"`{label}` is synced over {bound!r}, and this rank, global rank {bound.rank}, has no data there: what it"
            " is given would be counted nowhere. Update it where the data are, or name among the dimensions of `over`"
            " those along which this rank has others."
        )
