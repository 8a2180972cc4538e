"""Counting what ranks exchange: a gather of packets is one, over the group or through the memory of a host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from syncmetrics import SumMetric
from syncmetrics.transport.process_group import ProcessGroupTransport
from syncmetrics.transport.process_group.shared_memory import SharedMemory

__all__ = ["counted_gathers", "counted_in_memory", "meet"]


def meet() -> None:
    """Sync once: with the first sync of a group, three gathers find out whether its ranks share memory."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        SumMetric().compute()


@contextmanager
def counted_gathers() -> Iterator[list[int]]:
    """Count the gathers that syncs ask for, however they go."""
    calls: list[int] = []
    gather = ProcessGroupTransport.all_gather

    def count(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return gather(*args, **kwargs)

    ProcessGroupTransport.all_gather = count  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        ProcessGroupTransport.all_gather = gather  # type: ignore[method-assign]


@contextmanager
def counted_in_memory(count: Callable[[], None]) -> Iterator[None]:
    """Call a function for each gather through shared memory, which torch does not see."""
    gather = SharedMemory.all_gather

    def counting(*args: Any, **kwargs: Any) -> Any:
        count()
        return gather(*args, **kwargs)

    SharedMemory.all_gather = counting  # type: ignore[method-assign]
    try:
        yield
    finally:
        SharedMemory.all_gather = gather  # type: ignore[method-assign]
