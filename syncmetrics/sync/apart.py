"""Metrics that may share their states, and do not on some rank: how that is said, and what follows for all ranks.

Who may share follows from what is declared, so it is the same on every rank, and the states of those metrics are one
entry of a sync. On a rank where they went apart (one of them was updated by itself, say) they are blocks: those of one
block share there. All ranks then sync by the blocks that no rank has to take apart any further. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeAlias

from syncmetrics.errors import PacketError
from syncmetrics.sync.manifest import Part

__all__ = ["blocks_of", "decode_blocks", "encode_blocks"]

#: For each metric of a part the place of the first one that shares with it.
Blocks: TypeAlias = tuple[int, ...]


def encode_blocks(parts: Sequence[Part]) -> str:
    """Say which metrics of which parts are apart on this rank."""
    return json.dumps([list(part.blocks) for part in parts], separators=(",", ":"))


def decode_blocks(message: str, parts: Sequence[Part], rank: int) -> list[Blocks]:
    """Read what a rank said of its parts; nothing means that no metrics are apart.

    Raises:
        PacketError: It does not fit the parts, which are the same on every rank.
    """
    whole = [(0,) * max(1, len(part.names)) for part in parts]
    if not message:
        return whole
    try:
        said = json.loads(message)
        blocks = [tuple(row) or known for row, known in zip(said, whole, strict=True)]
    except (ValueError, TypeError) as error:
        raise PacketError(f"rank {rank} did not say how its metrics share their states: {error}") from error
    for row, known in zip(blocks, whole, strict=True):
        if len(row) != len(known) or not all(type(i) is int and 0 <= i < len(known) for i in row):
            raise PacketError(
                f"rank {rank} said that its metrics share as {row}, which does not fit {len(known)} of them."
            )
    return blocks


def blocks_of(ranks: Sequence[Blocks]) -> list[tuple[int, ...]]:
    """Give the metrics block by block, in order: those that share on every rank are in one."""
    found: dict[Blocks, list[int]] = {}
    for index, owners in enumerate(zip(*ranks, strict=True)):
        found.setdefault(owners, []).append(index)
    return [tuple(block) for block in found.values()]
