"""What syncs cost: how many operations, how many bytes, how long, and which rank the others waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import said_by
from syncmetrics.transport.base import Transport

__all__ = ["CountingTransport", "SyncRecord", "Trace", "is_observed", "observing", "trace"]


@dataclass(slots=True)
class SyncRecord:
    """One sync, as this rank saw it.

    Attributes:
        label: What was synced.
        group: Between whom.
        sequence: Which sync of the group it was.
        collectives: Number of operations.
        bytes_sent: What this rank put into them.
        bytes_received: What it got out of them, its own part included.
        seconds: From the beginning to the end.
        waited: Seconds of these until the last rank had come. It compares the clocks of the ranks' machines.
        slowest: The rank that came last.
        error: What was raised, if anything was.
    """

    label: str
    group: str
    sequence: int = 0
    collectives: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    slowest: int | None = None
    error: str | None = None

    def arrived(self, entered: Sequence[int], rank: int) -> None:
        """Note who came last, of the moments at which the ranks came."""
        self.slowest = entered.index(max(entered))
        self.waited = max(0.0, (max(entered) - entered[rank]) * 1e-9)


@dataclass(slots=True, eq=False)
class Trace:
    """All syncs of this process while it was on, in the order in which they ended.

    Attributes:
        syncs: One record each.
    """

    syncs: list[SyncRecord] = field(default_factory=list)

    @property
    def collectives(self) -> int:
        """Number of operations of all syncs."""
        return sum(record.collectives for record in self.syncs)

    @property
    def bytes_sent(self) -> int:
        """Bytes that this rank sent in all syncs."""
        return sum(record.bytes_sent for record in self.syncs)

    @property
    def seconds(self) -> float:
        """Time in all syncs."""
        return sum(record.seconds for record in self.syncs)

    @property
    def waited(self) -> float:
        """Time in all syncs until the last rank had come."""
        return sum(record.waited for record in self.syncs)

    def __str__(self) -> str:
        """Give a table, a line for each label: the number of syncs, what they cost, and whom they waited for."""
        rows = [("sync", "times", "collectives", "bytes sent", "ms", "ms waited", "mostly for rank")]
        for label in dict.fromkeys(record.label for record in self.syncs):
            records = [record for record in self.syncs if record.label == label]
            ranks = [record.slowest for record in records if record.slowest is not None]
            rows.append(
                (
                    label,
                    str(len(records)),
                    str(sum(record.collectives for record in records)),
                    f"{sum(record.bytes_sent for record in records):,}",
                    f"{sum(record.seconds for record in records) * 1e3:.2f}",
                    f"{sum(record.waited for record in records) * 1e3:.2f}",
                    str(max(set(ranks), key=ranks.count)) if ranks else "",
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if column else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )


_active: list[Trace] = []


@contextmanager
def trace() -> Iterator[Trace]:
    """Record every sync of this process inside a `with` block.

    It does not communicate, and costs nothing when off::

        with syncmetrics.trace() as t:
            metrics.compute()
        print(t)

    The time of a sync includes the wait for the slowest rank; `waited` says how much of it that was, and `slowest`
    which rank. With `torch.profiler`, syncs are ranges named after what is synced, whether this is on or not.
    """
    recording = Trace()
    _active.append(recording)
    try:
        yield recording
    finally:
        _active.remove(recording)


def is_observed() -> bool:
    """Say whether anybody asks what a sync costs: a trace, or a profiler."""
    return bool(_active) or torch._C._autograd._profiler_enabled()


@contextmanager
def observing(label: str, transport: Transport) -> Iterator[SyncRecord]:
    """Record one sync, for all who ask for it."""
    record = SyncRecord(label, transport.name)
    start = time.perf_counter()
    try:
        with torch.profiler.record_function(f"syncmetrics: {label}"):
            yield record
    except BaseException as error:
        record.error = said_by(error)
        raise
    finally:
        record.seconds = time.perf_counter() - start
        for recording in _active:
            recording.syncs.append(record)


class CountingTransport:
    """A transport that counts what goes over another one.

    Args:
        inner: What carries the bytes.
        record: Where they are counted.
    """

    def __init__(self, inner: Transport, record: SyncRecord) -> None:
        self._inner = inner
        self._record = record

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _counted(self, sent: int, received: int, operation: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        self._record.collectives += 1
        self._record.bytes_sent += sent
        self._record.bytes_received += received
        operation(*args, **kwargs)

    def all_gather(self, out: Tensor, local: Tensor, **kwargs: Any) -> None:
        """Count and gather."""
        self._counted(local.nbytes, out.nbytes, self._inner.all_gather, out, local, **kwargs)

    def broadcast(self, buffer: Tensor, src: int, **kwargs: Any) -> None:
        """Count and broadcast."""
        sent = buffer.nbytes if src == self._inner.rank else 0
        self._counted(sent, buffer.nbytes, self._inner.broadcast, buffer, src, **kwargs)

    def broadcasts(self, buffers: Sequence[tuple[int, Tensor]], **kwargs: Any) -> None:
        """Count and broadcast."""
        sent = sum(buffer.nbytes for src, buffer in buffers if src == self._inner.rank)
        self._record.collectives += len(buffers) - 1
        self._counted(sent, sum(b.nbytes for _, b in buffers), self._inner.broadcasts, buffers, **kwargs)

    def gather(self, pieces: Sequence[Tensor], dst: int, **kwargs: Any) -> None:
        """Count and gather."""
        received = sum(piece.nbytes for piece in pieces) if dst == self._inner.rank else 0
        self._counted(pieces[self._inner.rank].nbytes, received, self._inner.gather, pieces, dst, **kwargs)

    def all_to_all(self, out: Tensor, local: Tensor, *sizes: Any, **kwargs: Any) -> None:
        """Count and exchange."""
        self._counted(local.nbytes, out.nbytes, self._inner.all_to_all, out, local, *sizes, **kwargs)

    def all_reduce_sum(self, buffer: Tensor, **kwargs: Any) -> None:
        """Count and reduce."""
        self._counted(buffer.nbytes, buffer.nbytes, self._inner.all_reduce_sum, buffer, **kwargs)
