"""Over whom and to whom a sync sends."""

from __future__ import annotations

from dataclasses import dataclass, replace

from syncmetrics.transport.base import Transport

__all__ = ["MAX_CHUNK_BYTES", "Route"]

#: Bound of the staging memory of one transfer.
MAX_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Route:
    """Over whom and to whom a sync sends.

    Attributes:
        transport: Over whom.
        dst: The rank that gets the result, or None for all.
        timeout: Seconds to wait for the other ranks.
        what: What to call the sync in a message.
        max_chunk_bytes: Bound of the staging memory.
    """

    transport: Transport
    dst: int | None = None
    timeout: float | None = None
    what: str = "a sync"
    max_chunk_bytes: int = MAX_CHUNK_BYTES

    @property
    def receives(self) -> bool:
        """Whether this rank gets the result."""
        return self.dst is None or self.dst == self.transport.rank

    def named(self, what: str) -> Route:
        """Give the same route under another name."""
        return Route(self.transport, self.dst, self.timeout, what, self.max_chunk_bytes)

    def to_all(self) -> Route:
        """Give the same route, but to every rank."""
        return replace(self, dst=None)
