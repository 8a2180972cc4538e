"""A rank whose own code fails tells the others, at the next sync, instead of leaving them to wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from syncmetrics.errors import SyncError
from syncmetrics.sync import Route, report_failure
from syncmetrics.transport import WORLD, resolve_transport

__all__ = ["share_errors"]


@contextmanager
def share_errors(*, process_group: Any = WORLD, timeout: float | None = None) -> Iterator[None]:
    """Carry an exception of the code inside to the next sync of the other ranks.

    If the block raises, this rank enters the next sync of the group with the message in place of its states, and then
    raises on. Every other rank raises `PeerError` from that sync, with the rank and the message in it, its local
    states as they were. If nothing is raised, nothing is done::

        with share_errors():
            for images, labels in loader:
                metrics.update(model(images), labels)
            values = metrics.compute()

    The block may be a whole loop with its syncs, or the body of one. It must not contain other collectives of the same
    group that the failing rank would leave out (the backward pass of DistributedDataParallel, say): these know no
    errors.

    Args:
        process_group: Over which ranks the metrics inside are synced; all of them if left out.
        timeout: Seconds that the failing rank waits for the next sync of the others before it raises on.
    """
    try:
        yield
    except SyncError:  # every rank has it already
        raise
    except Exception as error:
        with suppress(SyncError):  # nobody came to hear it; the error itself is what matters
            report_failure(error, Route(resolve_transport(process_group), timeout=timeout), label="share_errors")
        raise
