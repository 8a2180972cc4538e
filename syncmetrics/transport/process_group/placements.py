"""DTensors as the input of a metric: which part of one this rank has to count, so that each sample is counted once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch.distributed as dist
from torch import Tensor

__all__ = ["local_part"]


def local_part(value: Any, name: str, syncing: Collection[int] | None, label: str = "") -> Tensor:
    """Give the part of a DTensor that this rank counts. Other tensors are given as they are. It does not communicate.

    Rows that are sharded over ranks which sync with each other are counted where they are. A replica along a dimension
    over which nothing is synced is counted by each of the groups that sync.

    Args:
        value: The DTensor.
        name: What to call it in an error.
        syncing: Global ranks that the metric is synced over; None if that is not known, or over nobody.
        label: What stands in front of the error.

    Raises:
        ValueError: Its samples would be counted twice, or not at all, or they are not whole.
    """
    try:  # slow to import, and whoever has one has imported it
        from torch.distributed.tensor import DTensor
    except ImportError:
        from torch.distributed._tensor import DTensor  # type: ignore[attr-defined]  # in an older torch it is there

    if hasattr(value, "trigger_wait"):  # an AsyncCollectiveTensor: plain already, and on its way
        return value.wait()  # type: ignore[no-any-return]
    if not isinstance(value, DTensor):
        return value  # type: ignore[no-any-return]
    mesh = value.device_mesh
    for axis, placement in enumerate(value.placements):
        if mesh.size(axis) > 1:
            line = dist.get_process_group_ranks(mesh.get_group(axis))
            is_synced = None if syncing is None else len(set(line) & set(syncing)) > 1
            dim = str(axis) if mesh.mesh_dim_names is None else mesh.mesh_dim_names[axis]
            problem = _problem(placement, value.ndim, name, dim, len(line), is_synced)
            if problem:
                raise ValueError(f"{label}`{name}` is a DTensor that is {problem}")
    return value.to_local()


def _problem(placement: Any, ndim: int, name: str, dim: str, size: int, is_synced: bool | None) -> str:
    """Say why the samples of a DTensor would not be counted once, and what to write instead; nothing if they are.

    Args:
        placement: How it is spread over one dimension of its mesh.
        ndim: How many dimensions it has itself.
        name: What to call it.
        dim: Name of that dimension of the mesh.
        size: How many ranks there are along it.
        is_synced: Whether the metric is synced over these; None if that does not matter.
    """
    over = f" over {dim!r} of its mesh"
    if placement.is_partial():
        return (
            f"Partial(){over}: its values are still to be reduced over ranks. Reduce it before the update,"
            f" {name}.redistribute(placements=...) with Replicate() or Shard(0) in that place."
        )
    if placement.is_replicate():
        return (
            f"Replicate(){over}, and the metric is synced over these ranks too: each sample would be counted {size}"
            " times. Name the dimensions along which ranks hold different data, process_group=syncmetrics.over(mesh,"
            f" ...), without {dim!r}; or, if each copy is to be counted, pass {name}.to_local()."
            if is_synced
            else ""
        )
    if placement.dim % max(ndim, 1) != 0:
        return (
            f"Shard({placement.dim}){over}: no rank has whole rows of it. Bring them together before the update,"
            f" {name}.redistribute(placements=...) with Replicate() in that place; or, if what is sharded are samples"
            f" too, pass {name}.to_local() and name {dim!r} in syncmetrics.over(mesh, ...)."
        )
    return (
        f"Shard(0){over}, and the metric is not synced over these ranks: the samples of the others would not be"
        f" counted. Name {dim!r} too, process_group=syncmetrics.over(mesh, ...); or, if the others are not to be"
        f" counted, pass {name}.to_local()."
        if is_synced is False
        else ""
    )
