"""What one update asks of torch: operations, and waits for the device, beside those of torchmetrics."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from syncmetrics.states import spec
from tests.natives.native import Native, generator

__all__ = [
    "Counter",
    "of_ours",
    "of_ours_on_device",
    "of_theirs",
    "pretended_device",
    "theirs_of",
    "without_values",
]

FAMILIES = ("classification", "retrieval", "regression", "aggregation", "text", "segmentation", "image", "wrappers")

#: Operations that give a number of the data to Python, or a tensor of a size that the data decides.
_READS = {"_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim"}


class Counter(TorchDispatchMode):
    """Count operations that compute something: a view of a tensor is none."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.waits = 0
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        is_view = func.is_view or name in ("detach", "lift_fresh", "_unsafe_view", "alias")
        if not is_view and not name.startswith("prim::"):
            self.operations += 1
            self.names.append(name)
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(index, Tensor) and index.dtype is torch.bool for index in args[1] if index is not None
        )
        self.waits += name in _READS or by_mask or (name == "bincount")
        return func(*args, **(kwargs or {}))


def theirs_of(row: Native) -> Any:
    """Make the metric of torchmetrics that a row names; None where there is none."""
    for family in FAMILIES:
        found = getattr(importlib.import_module(f"torchmetrics.{family}"), row.name, None)
        if found is not None:
            return found(**row.options)
    return None


def _counted(metric: Any, row: Native, samples: Any) -> Counter:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric.update(*samples, **row.update)  # what a first update does alone is not counted
        with Counter() as counter:
            metric.update(*samples, **row.update)
    return counter


def of_ours(row: Native) -> Counter:
    """Count what our update does on the CPU."""
    return _counted(row.make(), row, row.draw(64, generator(1)))


def pretended_device() -> str | None:
    """Give a device without memory, and so without values: whoever wants to see one waits for it, and fails there.

    None on a torch that has no devices in Python.
    """
    setup = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
    if setup is None:
        return None
    if not hasattr(torch, "pretended"):
        setup("pretended")
    return "pretended:0"


@contextmanager
def without_values() -> Iterator[None]:
    """Let states be moved to the pretended device, and operations on it give shapes alone."""
    move, spec._to = spec._to, _moved
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        spec._to = move


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)


def of_ours_on_device(row: Native) -> Counter | None:
    """Count what our update does on an accelerator; None for text, which is on no device."""
    samples, device, metric = row.draw(64, generator(1)), pretended_device(), row.make()
    if device is None or not all(isinstance(value, Tensor) for value in samples):
        return None
    with without_values():
        batch = [torch.empty(value.shape, dtype=value.dtype, device=device) for value in samples]
        metric.update(*batch, **row.update)
        with Counter() as counter:
            metric.update(*batch, **row.update)
    return counter


def of_theirs(row: Native) -> Counter | None:
    """Count what theirs does."""
    theirs = theirs_of(row)
    return None if theirs is None else _counted(theirs, row, row.draw(64, generator(1)))
