from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from syncmetrics.data import EvalSampler, valid_mask

WORLDS = (1, 2, 3, 4, 8)
LENGTHS = range(1, 18)


def _values(length: int) -> torch.Tensor:
    return torch.arange(length, dtype=torch.float64) ** 2


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("length", [0, *LENGTHS])
def test_shards_hold_every_sample_once(length: int, world: int, shuffle: bool) -> None:
    samplers = [EvalSampler(range(length), world, rank, shuffle=shuffle) for rank in range(world)]
    shards = [list(sampler) for sampler in samplers]
    assert sorted(index for shard in shards for index in shard) == list(range(length))
    assert [len(sampler) for sampler in samplers] == [len(shard) for shard in shards]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("length", LENGTHS)
def test_shards_are_those_of_distributed_sampler_without_its_padding(length: int, world: int, shuffle: bool) -> None:
    for rank in range(world):
        ours = EvalSampler(range(length), world, rank, shuffle, 3)
        theirs = DistributedSampler(range(length), world, rank, shuffle, 3)  # type: ignore[arg-type]  # has a length
        for epoch in (0, 5):
            ours.set_epoch(epoch)
            theirs.set_epoch(epoch)
            shard, padded = list(ours), list(theirs)
            assert shard == padded[: len(shard)]
            assert len(padded) - len(shard) <= 1


def test_an_epoch_has_its_own_permutation() -> None:
    sampler = EvalSampler(range(50), 2, 0)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("length", LENGTHS)
def test_masked_padding_leaves_every_sample_once(length: int, world: int, shuffle: bool) -> None:
    values = _values(length)
    for batch_size in (1, 3, 20):
        kept: list[int] = []
        padded = 0
        for rank in range(world):
            sampler = DistributedSampler(range(length), world, rank, shuffle)  # type: ignore[arg-type]
            shard = torch.tensor(list(sampler))
            for index, batch in enumerate(shard.split(batch_size)):
                mask = valid_mask(length, batch_index=index, batch_size=batch_size, rank=rank, world_size=world)
                assert mask.dtype is torch.bool
                kept += batch[mask].tolist()
                padded += len(batch)
        assert sorted(kept) == list(range(length))
        assert padded >= length
        assert values[kept].sum() / len(kept) == values.mean()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("length", LENGTHS)
def test_mean_over_shards_is_that_of_one_process(length: int, world: int) -> None:
    values = _values(length)
    shards = [values[list(EvalSampler(range(length), world, rank))] for rank in range(world)]
    assert sum(shard.sum() for shard in shards) / sum(len(shard) for shard in shards) == values.mean()


def test_the_padding_sampler_alone_is_wrong() -> None:
    """What the two are for: a mean over padded shards is not the mean."""
    values = _values(5)
    shards = [values[list(DistributedSampler(range(5), 4, rank))] for rank in range(4)]  # type: ignore[arg-type]
    assert torch.cat(shards).mean() != values.mean()


@pytest.mark.parametrize("workers", [0, 1])
def test_in_a_data_loader(workers: int) -> None:
    data = TensorDataset(torch.arange(11))
    seen: list[int] = []
    for rank in range(3):
        loader = DataLoader(data, batch_size=2, sampler=EvalSampler(data, 3, rank), num_workers=workers)
        assert len(loader) == 2
        for (batch,) in loader:
            seen += batch.tolist()
    assert sorted(seen) == list(range(11))


def test_mask_in_a_data_loader() -> None:
    data = TensorDataset(torch.arange(11))
    seen: list[int] = []
    for rank in range(4):
        loader = DataLoader(data, batch_size=2, sampler=DistributedSampler(data, 4, rank))
        for index, (batch,) in enumerate(loader):
            seen += batch[valid_mask(11, batch_index=index, batch_size=2, rank=rank, world_size=4)].tolist()
    assert sorted(seen) == list(range(11))


def test_without_a_process_group_one_rank_has_all() -> None:
    assert list(EvalSampler(range(5), shuffle=False)) == [0, 1, 2, 3, 4]
    assert valid_mask(5, batch_index=1, batch_size=3).tolist() == [True, True]


def test_drop_last_is_refused_with_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"Write `EvalSampler\(dataset\)`"):
        EvalSampler(range(5), 2, 0, drop_last=True)


@pytest.mark.parametrize(("replicas", "rank"), [(0, 0), (2, 2), (2, -1)])
def test_ranks_outside_the_world_are_refused(replicas: int, rank: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        EvalSampler(range(5), replicas, rank)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"dataset_length": -1}, "dataset_length"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_index": -1}, "batch_index"),
        ({"batch_index": 2}, "batch_index"),
        ({"dataset_length": 0}, "batch_index"),
        ({"rank": 2}, "rank"),
        ({"world_size": 0}, "world_size"),
    ],
)
def test_mask_refuses_numbers_out_of_range(change: dict[str, int], name: str) -> None:
    good = {"dataset_length": 7, "batch_index": 1, "batch_size": 2, "rank": 1, "world_size": 2}
    assert valid_mask(**good).tolist() == [True, False]  # type: ignore[misc]
    with pytest.raises(ValueError, match=f"^`{name}` must be"):
        valid_mask(**(good | change))  # type: ignore[misc]
