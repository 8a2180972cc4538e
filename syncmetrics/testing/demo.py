"""A demonstration: uneven data on ranks, the same data in one process, and what two common mistakes make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler, TensorDataset

from syncmetrics.aggregation import MaxMetric, MeanMetric
from syncmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score
from syncmetrics.metric import MetricCollection, sync_and_compute
from syncmetrics.sync import trace
from syncmetrics.testing.ranks import run_ranks

__all__ = ["Demonstration", "Row", "computed_on_rank", "demonstrate", "shard_sizes"]

_SAMPLES, _CLASSES = 25, 3


@dataclass(frozen=True, slots=True)
class Row:
    """One value, computed in four ways.

    Attributes:
        name: What it is.
        alone: In one process, on all samples.
        together: On the ranks, synced.
        padded: On the samples that a `DistributedSampler` gives to the ranks, of which some are repeated.
        averaged: The mean of what each rank with data computes by itself.
    """

    name: str
    alone: float
    together: float
    padded: float
    averaged: float


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What came out.

    Attributes:
        sizes: Samples of each rank.
        repeated: How many samples a `DistributedSampler` would have repeated.
        rows: The values.
        collectives: Operations of the one sync.
        bytes_sent: What each rank put into them.
    """

    sizes: tuple[int, ...]
    repeated: int
    rows: tuple[Row, ...]
    collectives: int
    bytes_sent: int

    @property
    def is_right(self) -> bool:
        """Whether every value of the ranks is that of one process, to the last bit."""
        return all(row.together == row.alone for row in self.rows)


def demonstrate(world_size: int = 4, *, timeout: float = 60.0) -> Demonstration:
    """Compute metrics on ranks with uneven data, and in this process, from the same samples.

    Args:
        world_size: How many ranks to start.
        timeout: Seconds that they may take.
    """
    sizes = shard_sizes(world_size)
    together, collectives, bytes_sent = run_ranks(computed_on_rank, world_size, timeout=timeout)[0]
    everything = list(range(_SAMPLES))
    alone = _values(everything)
    data = TensorDataset(torch.tensor(everything))
    indices: list[int] = []
    for rank in range(world_size):
        indices += DistributedSampler(data, world_size, rank, shuffle=False)
    padded = _values(indices)
    parts = [_values(_shard(rank, sizes)) for rank in range(world_size) if sizes[rank]]
    rows = tuple(
        Row(name, alone[name], together[name], padded[name], sum(part[name] for part in parts) / len(parts))
        for name in alone
    )
    return Demonstration(sizes, len(indices) - _SAMPLES, rows, collectives, bytes_sent)


def shard_sizes(world_size: int) -> tuple[int, ...]:
    """Spread the samples unevenly: each rank has fewer than the one before, and the last of several has none.

    Example:
        >>> shard_sizes(4), shard_sizes(1)
        ((13, 8, 4, 0), (25,))
    """
    shares = [world_size - 1 - rank for rank in range(world_size)] if world_size > 1 else [1]
    rest = [_SAMPLES * share // sum(shares) for share in shares[1:]]
    return (_SAMPLES - sum(rest), *rest)


def computed_on_rank(rank: int, world_size: int) -> tuple[dict[str, float], int, int]:
    """Compute on this rank's samples, synced. Collective: every rank of the group must call this.

    Returns:
        The values, the collectives that the sync took, and the bytes that this rank sent.
    """
    with trace() as record:
        values = _values(_shard(rank, shard_sizes(world_size)))
    return values, record.collectives, record.bytes_sent


def _shard(rank: int, sizes: Sequence[int]) -> list[int]:
    start = sum(sizes[:rank])
    return list(range(start, start + sizes[rank]))


def _values(indices: Sequence[int]) -> dict[str, float]:
    """Compute all values from these samples, and from those of the other ranks if there are any, by one sync."""
    scores, target, losses = _samples()
    metrics: list[MetricCollection] = [
        MetricCollection(
            {
                "accuracy": MulticlassAccuracy(num_classes=_CLASSES, average="micro"),
                "F1, macro": MulticlassF1Score(num_classes=_CLASSES),
                "AUROC": MulticlassAUROC(num_classes=_CLASSES),
            }
        ),
        MetricCollection({"mean loss": MeanMetric(exact=True), "largest loss": MaxMetric()}),
    ]
    for start in range(0, len(indices), 4):
        batch = torch.tensor(indices[start : start + 4])
        metrics[0].update(scores[batch], target[batch])
        metrics[1].update(losses[batch])
    return {name: float(value) for values in sync_and_compute(metrics) for name, value in values.items()}


def _samples() -> tuple[Tensor, Tensor, Tensor]:
    """Give scores of shape (samples, classes), labels and losses: the same in every process."""
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(_CLASSES, (_SAMPLES,), generator=generator)
    logits = torch.randn(_SAMPLES, _CLASSES, generator=generator)
    logits[torch.arange(_SAMPLES), target] += 1.0
    losses = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    return logits.softmax(dim=1), target, losses
