"""What one update asks of torch: operations, and waits for the device, beside those of torchmetrics."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from syncmetrics.testing.verification.probes import pretended_device, without_values
from tests.natives import ROWS
from tests.natives.native import Native, generator

__all__ = [
    "Counter",
    "of_ours",
    "of_ours_on_device",
    "of_theirs",
    "page",
    "pretended_device",
    "without_values",
]

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


def of_ours_on_device(row: Native) -> Counter | None:
    """Count what our update does on an accelerator; None for text, which is on no device."""
    samples, device, metric = row.draw(64, generator(1)), pretended_device(), row.make()
    if device is None or not row.on_device or not all(isinstance(value, Tensor) for value in samples):
        return None
    with without_values():
        batch = [torch.empty(value.shape, dtype=value.dtype, device=device) for value in samples]
        metric.update(*batch, **row.update)
        with Counter() as counter:
            metric.update(*batch, **row.update)
    return counter


def of_theirs(row: Native) -> Counter | None:
    """Count what theirs does."""
    theirs = row.make_peer()
    return None if theirs is None else _counted(theirs, row, row.draw(64, generator(1)))


_HEAD = """\
# What an update asks of torch

To see what a metric costs in a training step, look for it below: the operations that one `update` of 64 samples issues,
and how often it waits for the device, ours beside torchmetrics {version}. Operations are what reaches a kernel: views
are not counted. "On a CPU" and "on an accelerator" are two ways of ours: on a CPU labels are read and wrong ones raise
at once; on an accelerator nobody waits for the data, so what is wrong is counted in a state, which takes a few
operations more, and `compute` names it. A wait stops the host until the device has done all that was asked of it
before, which costs more than many operations.

Where ours are more, that buys one of these: sums in float64 of inputs in any dtype (an operation for the conversion, in
regression and images); states of a fixed size where torchmetrics keeps all samples until `compute` (calibration, Dice,
cosine similarity); a copy of what is kept, so that the caller may reuse its tensors (curves, ranks, ranked lists); or
both readings of scores, as probabilities and as logits, so that the value does not depend on the batches.

In all: ours {cpu} operations on a CPU and {device} on an accelerator, without a wait; those of torchmetrics {theirs},
with {waits} waits. Ours are not more in {fewer} of {rows} rows on a CPU. This page is made by `scripts/metrics
operations`; that nothing waits is a test (`tests/laws/test_natives.py`), and so is it that no row gets worse than this
page says (`tests/laws/test_operations.py`).

| metric | ours, on a CPU | ours, on an accelerator | torchmetrics | their waits |
|---|---|---|---|---|
"""


def table() -> list[tuple[str, int, int | None, int, int]]:
    """Give, for each row that both have: its call, our operations on a CPU and elsewhere, theirs, and their waits."""
    found = []
    for row in ROWS:
        if not row.peer:
            continue
        theirs = of_theirs(row)
        if theirs is not None:
            device = of_ours_on_device(row)
            cells = (of_ours(row).operations, None if device is None else device.operations)
            found.append((row.call, *cells, theirs.operations, theirs.waits))
    return found


def page() -> str:
    """Give the text of the page."""
    import torchmetrics

    rows = table()
    head = _HEAD.format(
        version=torchmetrics.__version__,
        cpu=sum(cpu for _, cpu, *_ in rows),
        device=sum(cpu if device is None else device for _, cpu, device, *_ in rows),
        theirs=sum(theirs for *_, theirs, _ in rows),
        waits=sum(waits for *_, waits in rows),
        fewer=sum(cpu <= theirs for _, cpu, _, theirs, _ in rows),
        rows=len(rows),
    )
    lines = [
        f"| `{call}` | {cpu} | {'' if device is None else device} | {theirs} | {waits} |"
        for call, cpu, device, theirs, waits in rows
    ]
    return head + "\n".join(lines) + "\n"
