"""Where a value came from that `compute` or `forward` gave: remembered while somebody asks.

A logger is given a tensor where a metric was meant, or a value that is that of all ranks already. Nothing tells these
from any other tensor but that it is the same object.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["Origin", "origin_of", "remember", "stop_watching", "watch"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from.

    Attributes:
        metric: The metric that gave it.
        method: "compute" or "forward".
        is_global: Whether it is the value of all ranks.
    """

    metric: weakref.ref[Any]
    method: str
    is_global: bool


_origins: dict[int, tuple[weakref.ref[Tensor], Origin]] | None = None


def watch() -> None:
    """Remember values from now on."""
    global _origins
    if _origins is None:
        _origins = {}


def stop_watching() -> None:
    """Remember none any more, and forget those that were."""
    global _origins
    _origins = None


def remember(value: Any, metric: Any, method: str, *, is_global: bool) -> None:
    """Remember a value, and each tensor in a dict of them, as long as it lives. Nothing, if nobody asks."""
    origins = _origins
    if origins is None:
        return
    origin = Origin(weakref.ref(metric), method, is_global)
    for item in value.values() if isinstance(value, Mapping) else [value]:
        if isinstance(item, Tensor):
            key = id(item)
            origins[key] = weakref.ref(item, lambda _, key=key: origins.pop(key, None)), origin  # type: ignore[misc]


def origin_of(value: Any) -> Origin | None:
    """Say where a value came from, if a metric gave it and it was remembered."""
    if _origins is None:
        return None
    reference, origin = _origins.get(id(value), (None, None))
    return origin if reference is not None and reference() is value else None
