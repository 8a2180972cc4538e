"""Shards of an evaluation set that hold every sample exactly once.

`torch.utils.data.DistributedSampler` repeats samples until all ranks have equally many, which biases every metric that
is computed over them. Two ways out: `EvalSampler` in its place, or `valid_mask` beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized

import torch
from torch import Tensor
from torch.utils.data import Sampler

__all__ = ["EvalSampler", "valid_mask"]


class EvalSampler(Sampler[int]):
    """A drop-in for `DistributedSampler` that repeats no sample and leaves none out.

    Rank `r` of `n` takes positions `r`, `r + n`, `r + 2n`, ... of the sample list; sizes differ by at most one, and a
    rank has none when there are fewer samples than ranks. Arguments, their order and their defaults are those of
    `DistributedSampler`, `shuffle=True` included, so that changing the name changes the padding and nothing else: for
    the same seed and epoch the permutation is the same one.

    Ranks may have different numbers of batches. The metrics of this package do not mind, but a forward pass that
    communicates does: evaluate `ddp_model.module`, not `ddp_model`.

    Args:
        dataset: Anything with a length.
        num_replicas: How many ranks; by default the size of the world, or 1 without a process group.
        rank: Which of them this is; by default this rank in the world, or 0 without a process group.
        shuffle: Permute the samples, with another permutation each epoch.
        seed: Seed of the permutation; the same on all ranks.
        drop_last: Here only because `DistributedSampler` has it. Must be False.

    Raises:
        ValueError: `drop_last` is true, or `rank` is not a rank of `num_replicas`.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if drop_last:
            raise ValueError(
                "`drop_last` must be False, but is True instead: an EvalSampler leaves no sample out. Write "
                "`EvalSampler(dataset)`, or `DistributedSampler(dataset, drop_last=True)` if the last samples may go."
            )
        self.dataset = dataset
        self.rank, self.num_replicas = _resolve(rank, num_replicas, rank_name="rank", size_name="num_replicas")
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        total = len(self.dataset)
        if not self.shuffle:
            return iter(range(self.rank, total, self.num_replicas))
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: list[int] = torch.randperm(total, generator=generator).tolist()
        return iter(order[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return len(range(self.rank, len(self.dataset), self.num_replicas))

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation. Call this with the same number on all ranks before each epoch.

        Args:
            epoch: The epoch.
        """
        self.epoch = epoch


def valid_mask(
    dataset_length: int,
    *,
    batch_index: int,
    batch_size: int,
    rank: int | None = None,
    world_size: int | None = None,
) -> Tensor:
    """Tell the samples of a local batch from the repetitions that a padding `DistributedSampler` added.

    Position `j` of a rank's shard is position `j * world_size + rank` of the padded sample list, shuffled or not, and
    the padding is what lies past the end: pure arithmetic, no communication. For `DistributedSampler(drop_last=False)`
    read in order by a `DataLoader` that drops no batch (a batch that is dropped has no mask to ask for).

    ::

        for index, (x, y) in enumerate(loader):
            real = valid_mask(len(dataset), batch_index=index, batch_size=loader.batch_size)
            metric.update(model(x)[real], y[real])

    Args:
        dataset_length: Number of samples in the whole data set.
        batch_index: Which batch of this rank, from 0.
        batch_size: The loader's batch size.
        rank: As given to the sampler; by default this rank in the world.
        world_size: The sampler's `num_replicas`; by default the size of the world.

    Returns:
        Bool tensor of shape `(samples in that batch,)`: true where the sample counts.

    Raises:
        ValueError: A number is out of its range; in particular, the rank has no batch `batch_index`.
    """
    rank, world_size = _resolve(rank, world_size, rank_name="rank", size_name="world_size")
    _check_at_least("dataset_length", dataset_length, 0)
    _check_at_least("batch_size", batch_size, 1)
    shard = -(-dataset_length // world_size)
    batches = -(-shard // batch_size)
    if not 0 <= batch_index < batches:
        raise ValueError(
            f"`batch_index` must be in [0, {batches}), but is {batch_index} instead: {dataset_length} samples on "
            f"{world_size} ranks are {shard} a rank, in {batches} batches of {batch_size}."
        )
    start = batch_index * batch_size
    local = torch.arange(start, min(start + batch_size, shard))
    return local * world_size + rank < dataset_length


def _resolve(rank: int | None, size: int | None, *, rank_name: str, size_name: str) -> tuple[int, int]:
    """Fill in what was not given, and check both."""
    if rank is None or size is None:
        from syncmetrics.transport import resolve_transport  # late: a caller who gives both needs no transport

        world = resolve_transport()
        rank = world.rank if rank is None else rank
        size = world.world_size if size is None else size
    _check_at_least(size_name, size, 1)
    if not 0 <= rank < size:
        raise ValueError(f"`{rank_name}` must be in [0, {size}), as `{size_name}` is {size}, but is {rank} instead.")
    return rank, size


def _check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"`{name}` must be at least {least}, but is {value} instead.")
