"""Sizes at which the engine changes its ways: as they are, or so small that a state of a few KiB meets all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from syncmetrics.sync import memory, plan, ragged, slices
from syncmetrics.sync.packet import packet_size
from syncmetrics.sync.route import MAX_CHUNK_BYTES, Route


@dataclass(frozen=True)
class Thresholds:
    """One set of them.

    Attributes:
        name: What to call it.
        packet: Bytes of a packet; 0 for what follows from the number of ranks.
        direct: From so many bytes on a state has a transfer of its own.
        chunk: So many bytes are under way at a time.
        slices: So many bytes are reduced in slices at a time.
        step: Up to so many bytes pieces are gathered in one collective.
        few: Up to so many ranks large pieces are broadcast.
    """

    name: str
    packet: int
    direct: int
    chunk: int
    slices: int
    step: int
    few: int

    def packet_of(self, world_size: int) -> int:
        """Give the size of a packet."""
        return self.packet or packet_size(world_size)


#: What a job runs with; all its ranks with the same. Chunks that are no multiple of anything cut elements apart.
SETS = (
    Thresholds("real", 0, plan.DIRECT_BYTES, MAX_CHUNK_BYTES, slices.STEP_BYTES, ragged.STEP_BYTES, 16),
    Thresholds("small", 2048, 8192, 5003, 4096, 4096, 16),
    Thresholds("small, many ranks", 1024, 4096, 3001, 2048, 2048, 1),
    Thresholds("small, whole", 1024, 4096, 1 << 20, 2048, 1 << 20, 16),
)


@contextmanager
def set_to(thresholds: Thresholds) -> Iterator[None]:
    """Have the engine of this process work with these."""
    places = (
        (memory, "packet_size", thresholds.packet_of),
        (plan, "DIRECT_BYTES", thresholds.direct),
        (slices, "STEP_BYTES", thresholds.slices),
        (ragged, "STEP_BYTES", thresholds.step),
        (ragged, "FEW_RANKS", thresholds.few),
        (Route.__init__, "__defaults__", (None, None, "a sync", thresholds.chunk)),
    )
    before = [(place, name, getattr(place, name)) for place, name, _ in places]
    try:
        for place, name, value in places:
            setattr(place, name, value)
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)
