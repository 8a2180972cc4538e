"""Metrics that may share their states, and do not on some rank: how that is said, and what follows for all ranks.

Who may share follows from what is declared, so it is the same on every rank. On a rank where those metrics went apart
(one of them was updated by itself, say) they are in blocks: those of one block share. A rank brings the states of its
own blocks, and says which these are. If all ranks say the same, as they mostly do, that is all; if not, they sync once
more, by the blocks that no rank has to take apart any further. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from syncmetrics.errors import PacketError
from syncmetrics.states.epoch import of_several
from syncmetrics.sync.fold import Merged
from syncmetrics.sync.manifest import Part

__all__ = ["common_blocks", "decode_blocks", "encode_blocks", "put_together", "taken_apart"]

#: For each metric of a part the place of the first one that shares with it; nothing if all of them do.
Blocks: TypeAlias = tuple[int, ...]


def encode_blocks(parts: Sequence[Part]) -> str:
    """Say which metrics of which parts are apart on this rank: nothing, mostly."""
    if not any(part.blocks for part in parts):
        return ""
    return json.dumps([list(part.blocks) for part in parts], separators=(",", ":"))


def decode_blocks(message: str, parts: Sequence[Part], rank: int) -> list[Blocks]:
    """Read what a rank said of its parts.

    Raises:
        PacketError: It does not fit the parts, which are the same on every rank.
    """
    if not message:
        return [()] * len(parts)
    try:
        blocks = [tuple(row) for row in json.loads(message)]
    except (ValueError, TypeError) as error:
        raise PacketError(f"rank {rank} did not say how its metrics share their states: {error}") from error
    fits = len(blocks) == len(parts) and all(
        not row or (len(row) == len(part.names) and all(type(i) is int and 0 <= i < len(row) for i in row))
        for row, part in zip(blocks, parts, strict=False)
    )
    if not fits:
        raise PacketError(f"rank {rank} said that its metrics share as {blocks}, which are not the metrics here.")
    return blocks


def common_blocks(ranks: Sequence[Blocks]) -> Blocks:
    """Give the blocks that are shared on every rank."""
    length = max(map(len, ranks))
    owners = list(zip(*[blocks or (0,) * length for blocks in ranks], strict=True))
    return tuple(owners.index(owner) for owner in owners)


def taken_apart(parts: Sequence[Part], blocks: Sequence[Blocks] | None = None) -> Sequence[Part]:
    """Give a part for each block, sorted by path.

    Args:
        parts: The parts, sorted by path.
        blocks: The blocks of each of them; left out, those of this rank.
    """
    if blocks is None:
        if not any(part.blocks for part in parts):
            return parts
        blocks = [part.blocks for part in parts]
    found: list[Part] = []
    for part, owners in zip(parts, blocks, strict=True):
        if part.each is None or not owners:
            found.append(part)
            continue
        each = part.each()
        for first in sorted(set(owners)):
            of_block = [index for index, owner in enumerate(owners) if owner == first]
            names = tuple(part.names[index] for index in of_block)
            epoch = of_several([each[index].epoch for index in of_block])
            found.append(replace(each[first], path=names[0], names=names, epoch=epoch))
    return sorted(found, key=lambda part: part.path)


def put_together(parts: Sequence[Part], found: Sequence[tuple[Part, Merged]]) -> list[Merged]:
    """Give a result for each part again, of those of the blocks that it was taken apart into."""
    by_name = {name: (part, merged) for part, merged in found for name in part.names or (part.path,)}
    results = []
    for part in parts:
        blocks = {id(merged): (one, merged) for name in part.names or (part.path,) for one, merged in [by_name[name]]}
        if len(blocks) == 1:
            results.append(next(merged for _, merged in blocks.values()))
        else:
            results.append(Merged({}, 0, tuple((one.names, merged) for one, merged in blocks.values())))
    return results
