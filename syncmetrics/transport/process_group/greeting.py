"""Which ranks of a group share memory: found out, not assumed, and agreed by all of them.

Ranks whose shared memory may be the same say so; the first of each host makes a segment with a random name, the others
of that host try to open it, and it is used if all ranks of the group could open theirs.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from syncmetrics.transport.environment import is_on
from syncmetrics.transport.neighbours import host_of_process
from syncmetrics.transport.process_group.segment import CANNOT, Segment, place_of_memory
from syncmetrics.transport.process_group.shared_memory import Between, Layout, SharedMemory

__all__ = ["greet", "is_wanted", "set_shared_memory", "wanting_shared_memory"]

#: A magic, whether it wants to, its host, its shared memory there, and its process.
_PLACE = struct.Struct("<8s?96s48sq")
#: A magic, whether it could, and what the memory of its host is called.
_NAME = struct.Struct("<8s?128s16s")
_ANSWER = struct.Struct("<8s?")
_MAGIC = b"syncshm\x01"

_wanted: bool | None = None


def set_shared_memory(enabled: bool | None = None) -> None:
    """Say whether ranks of one host exchange packets through shared memory; the environment says so otherwise.

    Before the first call, and after one with None, `SYNCMETRICS_SHARED_MEMORY=0` turns it off. It is used for a group
    if all of its ranks want it and can. To be called before the first sync of a group.

    Args:
        enabled: Whether this process wants it; None for what the environment says.

    Raises:
        TypeError: It is something else.
    """
    global _wanted
    if enabled is not None and not isinstance(enabled, bool):
        raise TypeError(f"`enabled` must be a bool or None, but is {enabled!r} instead.")
    _wanted = enabled


@contextmanager
def wanting_shared_memory(enabled: bool) -> Iterator[None]:
    """Want shared memory, or not, inside of a `with` block, whatever was said before."""
    global _wanted
    before, _wanted = _wanted, enabled
    try:
        yield
    finally:
        _wanted = before


def is_wanted() -> bool:
    """Whether this process wants to share memory with others."""
    if _wanted is not None:
        return _wanted
    return is_on("SYNCMETRICS_SHARED_MEMORY")


def greet(
    rank: int, gather: Callable[[bytes], list[bytes]], open_between: Callable[[int, int], Between]
) -> SharedMemory | None:
    """Find out which ranks of a group share memory. Collective: every rank of the group must call this.

    Args:
        rank: Rank in the group.
        gather: Gives what all ranks have given to it, in rank order, all of one size. It is called up to three times,
            as often on all ranks.
        open_between: Opens a lane between the first ranks of the hosts, given which of them this is and how many there
            are, and gives what starts a gather over it; only called on these, where there are several.

    Returns:
        What they share; None, on all ranks, if one of them does not want to or cannot, or where that would not help.
    """
    host, place = host_of_process() or "", place_of_memory()
    wants = is_wanted() and sys.platform == "linux" and bool(host and place)
    said = [
        _PLACE.unpack(one) for one in gather(_PLACE.pack(_MAGIC, wants, host.encode(), place.encode(), os.getpid()))
    ]
    if not all(magic == _MAGIC and is_willing for magic, is_willing, *_ in said):
        return None
    layout = _lay_out(rank, [(where.partition(b"/")[0], memory) for _, _, where, memory, _ in said])
    if not layout.is_worth_it:
        return None
    # Processes with another space of process numbers share memory all the same, but are not seen.
    pids = [said[peer][4] if said[peer][2].rstrip(b"\0") == host.encode() else 0 for peer in layout.mine]
    return _share(layout, pids, gather, open_between)


def _lay_out(rank: int, places: list[tuple[bytes, bytes]]) -> Layout:
    hosts: dict[tuple[bytes, bytes], list[int]] = {}
    for peer, place in enumerate(places):
        hosts.setdefault(place, []).append(peer)
    mine = hosts[places[rank]]
    ranks = tuple(map(tuple, hosts.values()))
    return Layout(ranks, ranks.index(tuple(mine)), mine.index(rank))


def _share(
    layout: Layout,
    pids: list[int],
    gather: Callable[[bytes], list[bytes]],
    open_between: Callable[[int, int], Between],
) -> SharedMemory | None:
    made = None if layout.local else Segment.make(len(layout.mine), layout.size)
    try:
        name, token = ("", b"") if made is None else (made.name, made.token)
        called = gather(_NAME.pack(_MAGIC, made is not None or layout.local > 0, name.encode(), token))
        names = [_NAME.unpack(one) for one in called]
        found = None
        if all(magic == _MAGIC and could for magic, could, *_ in names):
            _, _, name_of, token = names[layout.mine[0]]
            with suppress(*CANNOT, RuntimeError):
                segment = made or Segment.open(name_of.rstrip(b"\0").decode(), token, len(layout.mine), layout.size)
                speaks = len(layout.hosts) > 1 and not layout.local
                between = open_between(layout.host, len(layout.hosts)) if speaks else None
                found = SharedMemory(segment, layout, pids, between)
        answers = [_ANSWER.unpack(one) for one in gather(_ANSWER.pack(_MAGIC, found is not None))]
        if all(magic == _MAGIC and has for magic, has in answers):
            return found
        if found is not None:
            found.close()
        return None
    finally:
        if made is not None:
            made.unlink()
