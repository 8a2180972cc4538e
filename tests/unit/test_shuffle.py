"""What a shuffle decides, without ranks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from syncmetrics import BinaryAUROC, SchemaMismatchError
from syncmetrics.shuffle.keys import decode_floats, encode_floats
from syncmetrics.shuffle.plan import Choice, Summary, brings_rows, choose_bounds, decide, sample_places
from syncmetrics.shuffle.rows import Rows
from tests.pages import examples_of

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NUMBERS = [-math.inf, -3e4, -1.5, -1e-40, 0.0, 1e-40, 1e-3, 1.0, 1.5, 6e4, math.inf, math.nan]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_keys_are_in_the_order_of_the_numbers(dtype: torch.dtype) -> None:
    values = torch.tensor(NUMBERS, dtype=dtype)
    keys = encode_floats(values)
    assert keys.dtype is (torch.int64 if dtype is torch.float64 else torch.int32)
    for i in range(len(NUMBERS)):
        for j in range(len(NUMBERS) - 1):
            assert (keys[i] > keys[j]) == (values[i] > values[j] or i == len(NUMBERS) - 1), (values[i], values[j])
    back = decode_floats(keys)
    assert torch.equal(back.to(dtype).nan_to_num(9.0), values.nan_to_num(9.0))


def test_zeros_and_nans_have_one_key_each() -> None:
    assert encode_floats(torch.tensor([0.0, -0.0])).unique().tolist() == [0]
    nans = torch.tensor([math.nan, -math.nan, 0.0]).view(torch.int32)
    nans[2] = -1  # a NaN with other bits
    assert encode_floats(nans.view(torch.float32)).unique().numel() == 1
    assert encode_floats(torch.tensor([3, -1], dtype=torch.int16)).tolist() == [3, -1]


def shares(keys: Tensor, bounds: list[int], parts: int) -> list[int]:
    return (
        torch.searchsorted(torch.tensor(bounds, dtype=keys.dtype), keys, right=True).bincount(minlength=parts).tolist()
    )


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 7])
def test_bounds_of_few_samples(parts: int) -> None:
    for samples in ([], [5], [5, 5, 5], [1, 2], list(range(20)), [1] * 9 + [2] + [3] * 10):
        keys = torch.tensor(samples, dtype=torch.int64)
        bounds = choose_bounds(keys, parts)
        assert bounds == sorted(set(bounds))
        assert len(bounds) <= max(parts - 1, 0)
        found = shares(keys, bounds, parts)
        assert len(found) == parts
        assert max(found) == best_share(samples, parts)


def best_share(samples: list[int], parts: int) -> int:
    """Try every limit: the least one at which runs of equal samples fill that many parts."""
    runs = [samples.count(value) for value in sorted(set(samples))]
    for limit in range(max(runs, default=0), len(samples) + 1):
        filled, used = 0, 1
        for run in runs:
            used, filled = (used, filled + run) if filled + run <= limit else (used + 1, run)
        if used <= parts:
            return limit
    raise AssertionError


def drawn(kind: str, count: int) -> Tensor:
    x = torch.randn(count, generator=torch.Generator().manual_seed(3))
    return {
        "normal": x,
        "skewed": (5 * x).exp(),
        "sorted": x.sort().values,
        "rounded": (100 * x).round(),
        "half constant": torch.where(x > 0, x, -1.0),
        "two clusters": torch.where(x > 0, 1e6 + x, x * 1e-6),
    }[kind]


@pytest.mark.parametrize("spread", ["even", "sorted shards", "all on one"])
@pytest.mark.parametrize("kind", ["normal", "skewed", "sorted", "rounded", "half constant", "two clusters"])
@pytest.mark.parametrize("parts", [2, 4, 8])
def test_shares_are_balanced(kind: str, spread: str, parts: int) -> None:
    count = 200_000
    keys = encode_floats(drawn(kind, count))
    if spread == "sorted shards":
        keys = keys.sort().values
    ranks = [keys] if spread == "all on one" else list(keys.split(-(-count // parts)))
    samples = torch.cat([rank[sample_places(len(rank), count, parts)] for rank in ranks])
    assert len(samples) <= 2048 * parts + parts
    found = shares(keys, choose_bounds(samples.sort().values.long(), parts), parts)
    largest_tie = int(keys.unique(return_counts=True)[1].max())
    assert max(found) <= max(1.3 * count / parts, 1.3 * largest_tie)


def test_samples_of_few_rows_are_all_rows() -> None:
    assert sample_places(5, 100, 2).tolist() == [0, 1, 2, 3, 4]
    assert sample_places(0, 10**9, 2).tolist() == []
    places = sample_places(10**7, 4 * 10**7, 4)
    assert len(places) == 2048
    assert places.diff().min() > 0
    assert places.min() >= 0
    assert places.max() < 10**7


def told(rows: int, *, above: int = 100, world_size: int = 2) -> Summary:
    brought = brings_rows(rows, above, world_size)
    return Summary(above, rows, brought, "cpu", {"x": "float32"}, (("a", 0.5),))


def test_what_becomes_of_the_rows() -> None:
    def choice(*rows: int, above: int = 100) -> Choice:
        return decide("m", [told(n, above=above) for n in rows], 2)

    assert choice(50, 50) is Choice.SHOW
    assert choice(60, 40) is Choice.GATHER
    assert choice(60, 41) is Choice.SHUFFLE
    assert choice(0, 101) is Choice.SHUFFLE
    assert choice(0, 0, above=0) is Choice.SHOW
    assert choice(0, 1, above=0) is Choice.SHUFFLE
    assert choice(500) is Choice.GATHER  # the other rank has joined, and takes no part in a shuffle


def test_refusals() -> None:
    with pytest.raises(SchemaMismatchError, match="100 on rank 0, 7 on rank 1"):
        decide("m", [told(1), told(1, above=7)], 2)
    for wrong in (-1, 1.5, True, "1"):
        with pytest.raises(ValueError, match="`shuffle_above` must be an int of at least 0, or None"):
            BinaryAUROC(shuffle_above=wrong)  # type: ignore[arg-type]


def test_a_summary_travels() -> None:
    assert Summary.of_plain(told(3).as_plain()) == told(3)


def test_rows_are_read_across_batches() -> None:
    parts = [torch.arange(3), torch.zeros(0), torch.tensor(3), torch.arange(4, 9)]
    rows = Rows(parts, torch.float64, torch.device("cpu"), lambda t: 10 * t)
    assert len(rows) == 9
    for start in range(10):
        for stop in range(start, 10):
            assert rows.slice(start, stop).tolist() == [10.0 * i for i in range(start, stop)]
    assert rows.take(torch.tensor([0, 2, 3, 8])).tolist() == [0, 20, 30, 80]
    assert rows.slice(0, 1).dtype is torch.float64
    empty = Rows([], torch.int32, torch.device("cpu"))
    assert (len(empty), empty.slice(0, 5).dtype, empty.take(torch.arange(0)).dtype) == (0, torch.int32, torch.int32)


def test_the_mask_of_the_docs() -> None:
    """That all examples run is tested with those of the other pages."""
    (example,) = (example for example in examples_of("docs/shuffle.md") if "distinct_mask" in example.code)
    found: dict[str, object] = {"__name__": "example"}
    exec(compile(example.code, example.name, "exec"), found)
    assert found["mask"].tolist() == [True, True, False]  # type: ignore[attr-defined]
