from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from syncmetrics import StateError
from syncmetrics.states.reductions import cat_rows, check_arithmetic, promote, resolve_reduction, wide_dtype
from tests.samples import DTYPES, bits

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def over_ranks(name: Any, *values: Tensor, counts: Any = None, offset: Tensor | None = None) -> Tensor:
    return resolve_reduction(name).over_ranks(values, counts or [1] * len(values), offset)


def over_time(
    name: Any, a: Tensor, b: Tensor, counts: tuple[int, int] = (1, 1), offset: Tensor | None = None
) -> Tensor:
    merge = resolve_reduction(name).over_time
    assert merge is not None
    return merge(a, b, counts, offset)


def first(stack: Tensor) -> Tensor:
    return stack[0]


class Last:
    def __call__(self, stack: Tensor) -> Tensor:
        return stack[-1]


# ---- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sum", "mean", "min", "max", "cat"])
def test_names(name: str) -> None:
    assert resolve_reduction(name).name == name


def test_the_name_of_a_callable_is_where_it_is_written() -> None:
    assert resolve_reduction(first).name == f"{__name__}.first"
    assert resolve_reduction(functools.partial(first)).name == f"{__name__}.first"
    assert resolve_reduction(Last()).name == f"{__name__}.Last"
    assert resolve_reduction(torch.sum).name.endswith("sum")
    assert resolve_reduction(None).name == "none"


@pytest.mark.parametrize("wrong", ["Sum", "avg", "", 1, 0.5, ["sum"], b"sum"])
def test_what_is_no_reduction(wrong: Any) -> None:
    with pytest.raises(StateError, match=r"'sum', 'exact_sum', 'mean', 'min', .* or a callable, but is"):
        resolve_reduction(wrong)


def test_only_cat_none_and_callables_are_for_lists() -> None:
    assert [n for n in ("sum", "mean", "min", "max", "cat", None) if resolve_reduction(n).for_lists] == ["cat", None]
    assert resolve_reduction(first).for_lists


# ---- sum ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-(1 << 40), 1 << 40), min_size=1, max_size=6), st.integers(-5, 5))
def test_sum_counts_from_its_default(added: list[int], default: int) -> None:
    offset = torch.tensor(default) if default else None
    values = [torch.tensor(default + n) for n in added]
    assert bits(over_ranks("sum", *values, offset=offset)) == bits(torch.tensor(default + sum(added)))
    running = values[0]
    for value in values[1:]:
        running = over_time("sum", running, value, offset=offset)
    assert bits(running) == bits(torch.tensor(default + sum(added)))


def test_sum_of_floats_is_wide_and_in_rank_order() -> None:
    tenth = torch.tensor(0.1, dtype=torch.float32)
    wide = sum([tenth.double()] * 10, torch.tensor(0.0, dtype=torch.float64))
    assert bits(over_ranks("sum", *[tenth] * 10)) == bits(wide.float())
    half = [torch.tensor(x, dtype=torch.float16) for x in (2048.0, 1.0, 1.0)]
    assert over_ranks("sum", *half).item() == 2050.0  # 2048 + 1 is 2048 in float16
    big = [torch.tensor(x, dtype=torch.float64) for x in (1e17, 1.0, -1e17)]
    assert over_ranks("sum", *big).item() == (1e17 + 1.0) - 1e17


def test_sum_of_nan_and_inf() -> None:
    assert over_ranks("sum", torch.tensor(1.0), torch.tensor(float("nan"))).isnan()
    assert over_ranks("sum", torch.tensor(float("inf")), torch.tensor(1.0)).item() == float("inf")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32], ids=str)
def test_a_sum_that_its_dtype_cannot_hold_is_told(dtype: torch.dtype) -> None:
    top = torch.tensor([0, torch.iinfo(dtype).max], dtype=dtype)
    with pytest.raises(StateError, match=rf"reaches {2 * torch.iinfo(dtype).max}, which {dtype} cannot hold; .*int64"):
        over_ranks("sum", top, top)
    assert bits(over_ranks("sum", top, torch.zeros_like(top))) == bits(top)


# ---- mean, min, max -------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(-100, 100), st.integers(0, 4)), min_size=1, max_size=6))
def test_mean_is_weighted_by_updates(drawn: list[tuple[int, int]]) -> None:
    values = [torch.tensor(float(v), dtype=torch.float64) for v, _ in drawn]
    counts = [n for _, n in drawn]
    got = over_ranks("mean", *values, counts=counts)
    if sum(counts) == 0:
        assert bits(got) == bits(values[0])
    else:
        exact = sum(v * n for v, n in drawn) / sum(counts)
        assert got.item() == pytest.approx(exact, rel=1e-15, abs=1e-15)
    if sum(n > 0 for n in counts) == 1:
        assert bits(got) == bits(next(v for v, n in zip(values, counts, strict=True) if n))


def test_mean_ignores_what_ranks_without_updates_hold() -> None:
    nan = torch.tensor(float("nan"))
    assert over_ranks("mean", nan, torch.tensor(3.0), counts=[0, 2]).item() == 3.0
    assert over_time("mean", nan, torch.tensor(3.0), counts=(0, 1)).item() == 3.0


@pytest.mark.parametrize(("name", "pick"), [("min", min), ("max", max)])
@pytest.mark.parametrize("dtype", [*FLOATS, *INTS, torch.bool], ids=str)
def test_min_and_max(name: str, pick: Any, dtype: torch.dtype) -> None:
    values = [torch.tensor([a, b]).to(dtype) for a, b in ((1, 0), (0, 5), (3, 1))]
    want = torch.tensor([pick(v[i].item() for v in values) for i in range(2)]).to(dtype)
    assert bits(over_ranks(name, *values)) == bits(want)
    assert bits(over_time(name, over_time(name, *values[:2]), values[2])) == bits(want)


@pytest.mark.parametrize("name", ["min", "max"])
def test_nan_stays(name: str) -> None:
    nan, one = torch.tensor(float("nan")), torch.tensor(1.0)
    assert over_ranks(name, one, nan, one).isnan()
    assert over_time(name, nan, one).isnan()


# ---- cat, None, callables -------------------------------------------------------------------------------------------


def test_rows_of_a_rank_without_rows_bring_neither_dtype_nor_shape() -> None:
    labels = torch.tensor([[1, 2]])
    assert bits(over_ranks("cat", torch.zeros(0), labels, torch.zeros(0, 5))) == bits(labels)
    assert bits(over_ranks("cat", torch.zeros(0, 3), torch.zeros(0))) == bits(torch.zeros(0, 3))


def test_a_scalar_is_a_row_and_dtypes_promote() -> None:
    assert bits(cat_rows([torch.tensor(1), torch.tensor([2.5])])) == bits(torch.tensor([1.0, 2.5]))


def test_rows_that_do_not_fit() -> None:
    with pytest.raises(StateError, match=r"one trailing shape, but have \(2,\) and \(3,\); pad .*dist_reduce_fx=None"):
        cat_rows([torch.zeros(1, 2), torch.zeros(1, 3)])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_can_be_concatenated_and_stacked(dtype: torch.dtype) -> None:
    a, b = (torch.tensor([[x, 1]]).to(torch.float32).to(dtype) for x in (0, 1))
    flat = torch.cat([a.view(torch.uint8), b.view(torch.uint8)]).view(dtype)
    assert bits(over_ranks("cat", a, b)) == bits(flat)
    assert bits(over_ranks(None, a, b)) == bits(flat.view(torch.uint8).reshape(2, 1, -1).view(dtype))


def test_none_stacks_and_cannot_be_merged_over_time() -> None:
    assert resolve_reduction(None).over_time is None
    assert over_ranks(None, torch.zeros(2, 3), torch.ones(2, 3)).shape == (2, 2, 3)


def test_a_callable_sees_the_stack() -> None:
    seen: list[Tensor] = []

    def fx(stack: Tensor) -> Tensor:
        seen.append(stack)
        return stack.prod(0)

    assert over_ranks(fx, *(torch.tensor([x, 2.0]) for x in (1.0, 3.0, 5.0))).tolist() == [15.0, 8.0]
    assert over_time(fx, torch.tensor(2.0), torch.tensor(3.0)).item() == 6.0
    assert [tuple(s.shape) for s in seen] == [(3, 2), (2,)]


# ---- dtypes ---------------------------------------------------------------------------------------------------------


def test_wide() -> None:
    cpu, mps = torch.device("cpu"), torch.device("mps")
    assert [wide_dtype(d, cpu) for d in FLOATS] == [torch.float64] * 4
    assert [wide_dtype(d, cpu) for d in INTS] == [torch.int64] * 5
    assert wide_dtype(torch.complex64, cpu) is torch.complex128
    assert wide_dtype(torch.float32, mps) is torch.float32


def test_promotion() -> None:
    assert promote([torch.int64, torch.float16, torch.float32]) is torch.float32
    assert promote([torch.uint16, torch.uint16]) is torch.uint16
    with pytest.raises(StateError, match=r"cannot promote torch.uint16 and torch.int32.*convert them in `update`"):
        promote([torch.uint16, torch.int32])


REFUSED = [
    ("sum", torch.bool, "torch.int64 to count"),
    ("mean", torch.int64, "sum it and divide in `compute`"),
    ("mean", torch.bool, "torch.float64"),
    ("sum", torch.float8_e4m3fn, "cannot add torch.float8_e4m3fn"),
    ("max", torch.float8_e5m2, "cannot compare torch.float8_e5m2"),
    ("min", torch.complex64, "cannot compare torch.complex64"),
]


@pytest.mark.parametrize(("name", "dtype", "words"), REFUSED)
def test_arithmetic_that_torch_lacks(name: Any, dtype: torch.dtype, words: str) -> None:
    with pytest.raises(StateError, match=words):
        check_arithmetic(name, torch.zeros(2, dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["sum", "mean", "min", "max"])
def test_what_passes_the_check_can_be_reduced(name: Any, dtype: torch.dtype) -> None:
    zeros = torch.zeros(2, dtype=dtype)
    try:
        check_arithmetic(name, zeros)
    except StateError:
        return
    assert bits(over_ranks(name, zeros, zeros)) == bits(zeros)
    assert bits(over_time(name, zeros, zeros)) == bits(zeros)
