"""Transports, and which one a `process_group` means.

`resolve_transport` is the one place that decides over whom a sync goes: over what the user named, else over the
threads of a `ThreadsWorld` if this thread is one of its ranks, else over all ranks of `torch.distributed` if it is up,
else over nobody.
"""

from __future__ import annotations

import enum
from typing import Any, TypeAlias

from syncmetrics.transport.base import Transport
from syncmetrics.transport.local import LocalTransport
from syncmetrics.transport.patience import set_sync_timeout
from syncmetrics.transport.process_group import (
    GroupRef,
    bind_process_group,
    has_process_group,
    set_shared_memory,
    transport_of,
    world_transport,
)
from syncmetrics.transport.threads import current_transport

__all__ = [
    "WORLD",
    "BoundGroup",
    "LocalTransport",
    "Transport",
    "bind_group",
    "resolve_transport",
    "set_shared_memory",
    "set_sync_timeout",
    "transport_over",
    "unbind_group",
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
BoundGroup: TypeAlias = _World | GroupRef | Transport


def bind_group(process_group: Any = WORLD) -> BoundGroup:
    """Check a `process_group` argument, and make it one that can be kept, copied and pickled.

    None means the world, as everywhere in torch. What `torch.distributed.new_group` gives to a rank outside of the new
    group is refused: such a rank must not sync with the world while the others sync among themselves.

    Args:
        process_group: Left out or None, a ProcessGroup, a DeviceMesh, a pair `(mesh, "dim")`, or a Transport.

    Raises:
        ValueError: This rank is not part of it.
        TypeError: It is something else.
    """
    if process_group is WORLD or process_group is None:
        return WORLD
    if not isinstance(process_group, (GroupRef, type)) and isinstance(process_group, Transport):
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
    assert not isinstance(bound, _World)
    return bound
