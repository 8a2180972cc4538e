"""What torch can communicate with, and how long its groups wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import constants

__all__ = ["Backends", "Group", "backends_of_torch", "groups_of_process"]


@dataclass(frozen=True, slots=True)
class Backends:
    """What torch can communicate with.

    Attributes:
        available: The backends that this torch was built with.
        by_device: Which of them `init_process_group()` takes for the devices that are here, if it is not told.
        timeouts: Seconds that a group waits for the other ranks unless it is told, by backend.
        nccl: Version of NCCL; None where there is none.
    """

    available: tuple[str, ...]
    by_device: Mapping[str, str]
    timeouts: Mapping[str, float]
    nccl: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A process group of this process.

    Attributes:
        name: What torch calls it.
        backends: Which backend serves which device: `"cpu:gloo,cuda:nccl"`.
        size: Number of its ranks.
        timeout: Seconds that it waits for the other ranks; None if it does not say.
    """

    name: str
    backends: str
    size: int
    timeout: float | None


def backends_of_torch() -> Backends:
    """Ask torch what it can communicate with."""
    if not dist.is_available():
        return Backends((), {}, {})
    found = tuple(name for name in ("gloo", "nccl", "xccl", "mpi", "ucc") if _is_available(name))
    devices = ["cpu", *(kind for kind in ("cuda", "xpu") if getattr(torch, kind).is_available())]
    by_default = dist.Backend.default_device_backend_map
    by_device = {device: by_default[device] for device in devices if by_default.get(device) in found}
    timeouts = {"gloo": constants.default_pg_timeout.total_seconds()}
    nccl = getattr(constants, "default_pg_nccl_timeout", None)  # None where torch has no NCCL
    if nccl is not None:
        timeouts["nccl"] = nccl.total_seconds()
    return Backends(found, by_device, timeouts, _nccl_version())


def _is_available(name: str) -> bool:
    ask = getattr(dist, f"is_{name}_available", None)
    return bool(ask is not None and ask())


def _nccl_version() -> str | None:
    if not (_is_available("nccl") and torch.cuda.is_available()):
        return None
    version: Any = torch.cuda.nccl.version  # which torch has not typed
    return ".".join(map(str, version()))


def groups_of_process() -> list[Group]:
    """Give the process groups that this process is part of; none where `torch.distributed` is not up."""
    if not (dist.is_available() and dist.is_initialized()):
        return []
    return [
        Group(str(name), str(dist.get_backend_config(group)), dist.get_world_size(group), _timeout_of(group))
        for group, name in dist.distributed_c10d._world.pg_names.items()
        if dist.get_rank(group) >= 0
    ]


def _timeout_of(group: Any) -> float | None:
    """Give the least timeout of the backends of a group. Torch has no public way to ask."""
    found = []
    for kind in ("cpu", "cuda"):
        try:
            timeout = group._get_backend(torch.device(kind)).options._timeout
        except (AttributeError, RuntimeError):
            continue
        if isinstance(timeout, timedelta):
            found.append(timeout.total_seconds())
    return min(found, default=None)
