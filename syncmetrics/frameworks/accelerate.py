"""accelerate: which samples of a batch are new, so that metrics count every sample once without any gather.

So that all processes have as many batches, of one size, accelerate fills up the last ones with samples from the start
of the data set. `gather_for_metrics` drops them after gathering everything; `valid_mask` tells each process which of
its own to drop, and syncmetrics then needs only the sync in `compute`::

    for batch in loader:  # as `accelerator.prepare` gave it
        valid = valid_mask(accelerator, batch)
        metric.update(model(batch["x"])[valid], batch["y"][valid])
    metric.compute()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.data_loader import BatchSamplerShard
from accelerate.state import GradientState, PartialState
from torch import Tensor

__all__ = ["last_batch_mask", "refuse_gathered", "valid_mask"]


def valid_mask(source: Any, batch: Any) -> Tensor:
    """Tell which samples of this process's batch are no repetition. It does not communicate.

    Args:
        source: The accelerator, or the dataloader that it prepared, which is being iterated.
        batch: The batch as the dataloader gave it, or anything with as many rows: a tensor, or a list, tuple or dict
            that has one.

    Returns:
        A bool tensor of shape `(rows of the batch,)`, on the batch's device.

    Raises:
        ValueError: No prepared dataloader is being iterated, its length is not known, or the batch has been gathered.
    """
    loader = _active_loader() if isinstance(source, Accelerator) else source
    if not hasattr(loader, "end_of_dataloader"):
        raise ValueError(
            "`source` must be an Accelerator, or a dataloader that it prepared, but is a"
            f" {type(loader).__name__} instead."
        )
    first = _first_tensor(batch)
    state = PartialState()
    rows = int(first.shape[0])
    refuse_gathered(loader, rows)
    everything = torch.ones(rows, dtype=torch.bool, device=first.device)
    if state.num_processes == 1 or not loader.end_of_dataloader or not _is_filled_up(loader):
        return everything
    if loader.remainder < 0:
        raise ValueError(
            "the data set has no length, so that accelerate does not say how many samples of the last batch are"
            " repetitions; give the data set a `__len__`, or prepare it with `drop_last=True`."
        )
    return last_batch_mask(rows, int(loader.remainder), state.process_index).to(first.device)


def last_batch_mask(rows: int, remainder: int, process_index: int) -> Tensor:
    """Tell which samples of a process's last batch are no repetition.

    Args:
        rows: Number of samples in the batch, the same in every process.
        remainder: Number of samples that were left for the last batches of all processes; 0 if they came out even.
        process_index: Which process.

    Returns:
        A bool tensor of shape `(rows,)`.
    """
    if remainder == 0:
        return torch.ones(rows, dtype=torch.bool)
    return torch.arange(rows) + process_index * rows < remainder


def refuse_gathered(loader: Any, rows: int) -> None:
    """Refuse a batch of a size that the dataloader does not give, as of data which `gather_for_metrics` has gathered.

    A metric that were updated with these on every process, and then synced, would count every sample once per process.

    Args:
        loader: The prepared dataloader.
        rows: Number of samples in the batch.

    Raises:
        ValueError: The size is another.
    """
    processes = PartialState().num_processes
    total = getattr(loader, "total_batch_size", None)
    if processes == 1 or not isinstance(total, int):
        return
    own = total // processes
    even = isinstance(getattr(loader, "batch_sampler", None), BatchSamplerShard) and _is_filled_up(loader)
    if rows > own or (even and rows != own):
        raise ValueError(
            f"the batch must have {'' if even else 'at most '}{own} rows, as the dataloader gives them to one process,"
            f" but has {rows} instead. If it comes from `gather_for_metrics`, every process has the samples of all"
            f" {processes}, and a sync would count each of them {processes} times: update with the batch of this"
            " process, and leave out the gather."
        )


def _is_filled_up(loader: Any) -> bool:
    """Tell whether accelerate repeats samples to make the last batches even."""
    if getattr(loader, "_drop_last", False):
        return False
    return bool(getattr(getattr(loader, "batch_sampler", None), "even_batches", True))


def _active_loader() -> Any:
    gradient_state = GradientState()
    if not gradient_state.in_dataloader:
        raise ValueError(
            "no prepared dataloader is being iterated; call this inside of `for batch in loader`, with a loader from"
            " `accelerator.prepare`."
        )
    return gradient_state.active_dataloader


def _first_tensor(batch: Any) -> Tensor:
    found = _find_tensor(batch)
    if found is None:
        raise ValueError(f"`batch` must have a tensor with a row a sample, but is a {type(batch).__name__} instead.")
    return found


def _find_tensor(batch: Any) -> Tensor | None:
    if isinstance(batch, Tensor):
        return batch if batch.dim() > 0 else None
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, Sequence) and not isinstance(batch, (str, bytes)):
        return next((found for item in batch if (found := _find_tensor(item)) is not None), None)
    return None
