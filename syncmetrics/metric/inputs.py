"""What `update` is called with, where tensors may be spread over ranks: each rank is given the part that it counts.

Nothing is looked at before `torch.distributed.tensor` is imported, which whoever makes a DTensor has done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from sys import modules
from typing import Any

import torch
from torch import Tensor, nn

from syncmetrics.metric.module import StatefulModule
from syncmetrics.transport import BoundGroup, local_part, ranks_of

__all__ = ["DTENSORS", "are_plain", "local_batch", "modules"]

#: Imported by whoever makes a DTensor.
DTENSORS = "torch.distributed._tensor" if torch.__version__.startswith("2.4.") else "torch.distributed.tensor"

_PLAIN = (Tensor, nn.Parameter)
_CONTAINERS = (list, tuple, dict)


def are_plain(args: Iterable[Any], kwargs: Mapping[str, Any]) -> bool:
    """Say whether no argument is a tensor of another kind than torch's own, or holds one."""
    for value in args:
        if type(value) is not Tensor and not _is_plain(value):
            return False
    return not kwargs or all(map(_is_plain, kwargs.values()))


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind in _CONTAINERS:
        inside = value.values() if kind is dict else value
        kinds = set(map(type, inside))
        if kinds.isdisjoint(_CONTAINERS):
            return not any(issubclass(one, Tensor) and one not in _PLAIN for one in kinds)
        return all(map(_is_plain, inside))
    return kind in _PLAIN or not isinstance(value, Tensor)


def local_batch(
    metrics: Iterable[StatefulModule], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the part of a batch that this rank counts. It does not communicate.

    Args:
        metrics: Who is to be updated with it.
        args: What `update` is called with: tensors, DTensors, and lists, tuples and dicts of them.
        kwargs: Likewise.

    Raises:
        ValueError: A DTensor is spread in a way in which its samples are not counted once.
    """
    found = list(metrics)
    groups: dict[BoundGroup | None, StatefulModule] = {}
    for metric in found:
        is_synced = metric.sync_on_compute or metric.dist_sync_on_step
        groups.setdefault(metric._books.group if is_synced else None, metric)
    names = list(found[0]._update_parameters()) if found else []
    given = [names[index] if index < len(names) else f"args[{index}]" for index in range(len(args))]
    local = tuple(_local(value, name, groups) for value, name in zip(args, given, strict=True))
    if not kwargs:
        return local, {}
    return local, {name: _local(value, name, groups) for name, value in kwargs.items()}


def _local(value: Any, name: str, groups: Mapping[BoundGroup | None, StatefulModule]) -> Any:
    if _is_plain(value):
        return value
    if isinstance(value, Tensor):
        for group, metric in groups.items():
            part = local_part(value, name, None if group is None else ranks_of(group), f"{metric._label}: ")
        return part
    if isinstance(value, dict):
        return {key: _local(item, f"{name}[{key!r}]", groups) for key, item in value.items()}
    return type(value)(_local(item, f"{name}[{index}]", groups) for index, item in enumerate(value))
