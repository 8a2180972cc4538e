"""Count the collectives of a piece of code, and the bytes that it hands to them."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch.distributed as dist
from torch import Tensor

__all__ = ["Traffic", "counted"]

# Every function of torch.distributed ends in one of these methods of a group, the object collectives in several.
_METHODS = """
_allgather_base all_gather_single allgather_into_tensor_coalesced allgather allgather_coalesced gather
_reduce_scatter_base reduce_scatter reduce_scatter_single
all_to_all_single alltoall alltoall_base allreduce allreduce_coalesced reduce barrier monitored_barrier broadcast
scatter send recv recv_anysource
"""

#: Names that torch has had for one operation.
_SAME = {
    "_allgather_base": "all_gather",
    "all_gather_single": "all_gather",
    "allgather": "all_gather",
    "allgather_coalesced": "all_gather",
    "allgather_into_tensor_coalesced": "all_gather",
    "allreduce": "all_reduce",
    "allreduce_coalesced": "all_reduce",
    "alltoall": "all_to_all",
    "alltoall_base": "all_to_all",
    "all_to_all_single": "all_to_all",
    "monitored_barrier": "barrier",
    "recv_anysource": "recv",
}
_SECOND_IS_INPUT = ("all_gather", "gather", "_reduce_scatter_base", "reduce_scatter", "all_to_all")


@dataclass(slots=True)
class Traffic:
    """What one rank asked of its process groups.

    Attributes:
        calls: Number of operations by name.
        sent: Bytes that this rank gave to them: what a broadcast sends counts at its root alone.
    """

    calls: Counter[str] = field(default_factory=Counter)
    sent: int = 0


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, (list, tuple)):
        return sum(_bytes(item) for item in value)
    return 0


def _sent(name: str, group: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Give the bytes of the input of an operation; 0 where this rank only receives."""
    if name in ("recv", "barrier"):
        return 0
    given = [*args, *kwargs.values()]
    if name in ("broadcast", "scatter"):
        roots = [value.rootRank for value in given if hasattr(value, "rootRank")]
        if roots and roots[0] != group.rank():
            return 0
    tensors = [value for value in given if isinstance(value, (Tensor, list, tuple))]
    position = 1 if name in _SECOND_IS_INPUT and len(tensors) > 1 else 0
    return _bytes(tensors[position]) if tensors else 0


def _counting(name: str, function: Callable[..., Any], traffic: Traffic) -> Callable[..., Any]:
    shown = _SAME.get(name, name)

    def call(group: Any, *args: Any, **kwargs: Any) -> Any:
        traffic.calls[shown] += 1
        traffic.sent += _sent(shown, group, args, kwargs)
        return function(group, *args, **kwargs)

    return call


def _shared_memory() -> Any:
    """Give the class whose exchanges torch does not see; None in versions that have none."""
    try:
        return importlib.import_module("syncmetrics.transport.process_group.shared_memory").SharedMemory
    except ImportError:
        return None


@contextmanager
def counted() -> Iterator[Traffic]:
    """Count inside a `with` block. Never around anything timed: counting costs time itself."""
    traffic = Traffic()
    gloo = getattr(dist, "ProcessGroupGloo", None)
    owners = [dist.ProcessGroup] + ([gloo] if gloo is not None else [])
    before: list[tuple[type, str, Any]] = []
    for owner in owners:
        for name in _METHODS.split():
            function = getattr(owner, name, None)
            if function is not None:
                # What stands in the class itself is put back: what getattr gives would not bind to a group again.
                before.append((owner, name, vars(owner).get(name)))
                setattr(owner, name, _counting(name, function, traffic))
    shared, gather = _shared_memory(), None
    if shared is not None:  # an exchange through the memory of a host takes the place of a gather
        gather = shared.all_gather

        def exchange(memory: Any, out: Tensor, local: Tensor, *limit: Any) -> Any:
            if getattr(memory, "is_all", True):  # what goes on to other hosts is seen there
                traffic.calls["all_gather"] += 1
                traffic.sent += _bytes(local)
            return gather(memory, out, local, *limit)

        shared.all_gather = exchange
    try:
        yield traffic
    finally:
        if shared is not None:
            shared.all_gather = gather
        for owner, name, method in before:
            if method is None:
                delattr(owner, name)
            else:
                setattr(owner, name, method)
