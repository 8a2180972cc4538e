"""What examples of pages define, used on ranks: the metrics of `docs/port.md`, the step of `docs/tokens.md`."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from syncmetrics.transport import patience

Batch = tuple[Tensor, Tensor]


def batches(sizes: tuple[int, ...]) -> list[Batch]:
    """Give batches of 8 classes, the same on every rank."""
    torch.manual_seed(0)
    return [(torch.randn(size, 8), torch.randint(8, (size,))) for size in sizes]


def made_by(code: str, name: str, page: str = "docs/port.md") -> Any:
    """Give a class that an example defines."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, page, "exec"), names)
    return names[name]


def value_of(code: str, data: list[Batch]) -> dict[str, Tensor]:
    """Give what the metric computes of these batches, on all ranks if there are any."""
    metric = made_by(code, "TopK")()
    for logits, target in data:
        metric.update(logits, target)
    return dict(metric.compute())


def on_a_shard(rank: int, world_size: int, code: str, shards: tuple[tuple[int, ...], ...]) -> dict[str, Tensor]:
    """Give what the metric computes when this rank has its shard: sizes of batches."""
    data, before = batches(sum(shards, ())), sum(map(len, shards[:rank]))
    return value_of(code, data[before : before + len(shards[rank])])


def gradient_of(rank: int, world_size: int, code: str) -> tuple[list[Tensor], Tensor]:
    """Give the gradient of a step of `docs/tokens.md`, and the loss per token."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "docs/tokens.md", "exec"), names)
    return [parameter.grad for parameter in names["model"].parameters()], names["loss_per_token"].compute()


def run_examples(rank: int, world_size: int, folder: str, codes: list[tuple[str, str]]) -> None:
    """Run the examples of a page one after the other, each by itself."""
    os.chdir(folder)  # where files may be written
    for name, code in codes:
        patience._patience = None  # an example may set it for its process
        exec(compile(code, name, "exec"), {"__name__": "example"})
