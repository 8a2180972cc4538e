"""Law: an exact sum is the true sum, rounded once, whatever the batches, the order and the ranks."""

from __future__ import annotations

import contextlib
import math
import struct
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from syncmetrics import Metric, StateError, exact_add, exact_value, load_state, save_state
from syncmetrics.states import exact_sum
from syncmetrics.transport.threads import run_threads

_EVERY = st.floats(allow_nan=False, allow_infinity=False)
_NEAR = st.builds(lambda m, e: math.ldexp(m, e), st.floats(-1, 1), st.sampled_from([-1070, -40, 0, 3, 900]))
_SINGLE = st.floats(width=32, allow_nan=False, allow_infinity=False)


class Total(Metric):
    def __init__(self, default: Tensor | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        zero = torch.zeros((), dtype=torch.float64) if default is None else default
        self.add_state("total", zero, dist_reduce_fx="exact_sum", persistent=True)

    def update(self, values: Tensor) -> None:
        self.total = exact_add(self.total, values)

    def compute(self) -> Tensor:
        return exact_value(self.total)


def _true(values: list[float]) -> float:
    """Give what `math.fsum` does, which gives up where a sum in between is beyond every float."""
    whole = sum(map(Fraction, values), Fraction(0))
    try:
        value = float(whole)
    except OverflowError:
        return math.inf if whole > 0 else -math.inf
    with contextlib.suppress(OverflowError):
        assert math.fsum(values) == value
    return value


def _bits(value: float) -> bytes:
    return struct.pack("d", value + 0.0)


@given(st.lists(st.one_of(_EVERY, _NEAR), max_size=40), st.data())
def test_batches_do_not_matter(values: list[float], data: st.DataObject) -> None:
    metric = Total()
    shuffled = data.draw(st.permutations(values))
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        batch, shuffled = shuffled[:size], shuffled[size:]
        assert _bits(float(metric(torch.tensor(batch, dtype=torch.float64)))) == _bits(_true(batch))
    if values:
        assert _bits(float(metric.compute())) == _bits(_true(values))


@given(st.lists(st.one_of(_SINGLE, _SINGLE.map(lambda v: v * 2.0**-100)), min_size=1, max_size=40))
def test_the_narrow_kind(values: list[float]) -> None:
    given_ = torch.tensor(values)  # the products above are rounded to float32 here
    metric = Total(torch.zeros(()))
    metric.update(given_)
    assert metric.total.shape == (13,)
    assert _bits(float(metric.compute())) == _bits(_true(given_.double().tolist()))


@pytest.mark.filterwarnings("ignore:.*before any update")
@given(st.lists(st.tuples(_EVERY, st.integers(0, 3)), max_size=24), st.sampled_from([2, 3, 4]))
def test_ranks_do_not_matter(values: list[tuple[float, int]], world_size: int) -> None:
    def body(rank: int, world_size: int) -> tuple[float, float]:
        metric = Total()
        mine = [v for v, where in values if where % world_size == rank]
        if mine:
            metric.update(torch.tensor(mine, dtype=torch.float64))
        value = float(metric.compute())
        other = Total()
        load_state(other, save_state(metric))
        return value, float(other.compute())

    found = run_threads(body, world_size)
    assert {_bits(v) for pair in found for v in pair} == {_bits(_true([v for v, _ in values]))}


@given(st.lists(st.sampled_from([math.nan, math.inf, -math.inf, 1.0, 0.0, -2.5]), min_size=1, max_size=6))
def test_not_numbers(values: list[float]) -> None:
    metric = Total()
    metric.update(torch.tensor(values, dtype=torch.float64))
    wanted = sum(values)
    assert torch.equal(metric.compute(), torch.tensor(wanted, dtype=torch.float64)) or math.isnan(wanted)
    assert math.isnan(float(metric.compute())) == math.isnan(wanted)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [0, 1, 7, 40_000])
def test_columns(rows: int, kind: torch.dtype) -> None:
    values = torch.randn(rows, 3, dtype=kind, generator=torch.Generator().manual_seed(rows)) * 2.0**20
    metric = Total(torch.tensor([0.0, 1.0, -0.5], dtype=kind))
    metric.update(values)
    wanted = [math.fsum([start, *column]) for start, column in zip([0.0, 1.0, -0.5], values.T.tolist(), strict=True)]
    assert metric.compute().tolist() == wanted


@given(st.lists(st.one_of(_EVERY, _NEAR), min_size=1, max_size=20))
def test_an_accelerator_adds_the_same(values: list[float]) -> None:
    """There nobody looks at the numbers: they are taken apart by their bits, and what is carried by rules."""
    column = torch.tensor(values, dtype=torch.float64).unsqueeze(1)
    digits = exact_sum._taken_apart(column, 70)
    right = exact_sum.carried(digits)
    assert float(exact_value(right)[0]) == _true(values)
    assert torch.equal(right, exact_add(exact_sum.encode_default(torch.zeros(1, dtype=torch.float64)), column))
    assert torch.equal(_carried_there(digits), right)


@given(st.lists(st.sampled_from([0, 1, -1, 2**32 - 1, -(2**32), 2**62, -(2**62), 7]), min_size=10, max_size=10))
def test_what_ripples_through_all_digits(digits: list[int]) -> None:
    total = torch.tensor([1, 2, 3, *digits])
    right = exact_sum.carried(total)
    assert all(0 <= digit < 2**32 for digit in right.tolist()[3:-1])
    assert torch.equal(_carried_there(total), right)
    weights = [2 ** (32 * k) for k in range(10)]
    assert sum(w * d for w, d in zip(weights, right.tolist()[3:], strict=True)) == sum(
        w * d for w, d in zip(weights, digits, strict=True)
    )


def _carried_there(total: Tensor) -> Tensor:
    """Do what an accelerator does, here."""

    class There(Tensor):
        is_cpu = False

    return exact_sum.carried(total.as_subclass(There)).as_subclass(Tensor)


def test_subnormal_numbers_are_no_zeros() -> None:
    torch.set_flush_denormal(True)
    try:
        metric = Total()
        metric.update(torch.tensor([5e-324] * 3, dtype=torch.float64))
        digits = metric.total.clone()
    finally:
        torch.set_flush_denormal(False)
    assert float(exact_value(digits)) == 3 * 5e-324


def test_what_does_not_fit_is_told() -> None:
    metric = Total(torch.zeros(()))
    with pytest.raises(StateError, match="float64 do not fit"):
        metric.update(torch.zeros(2, dtype=torch.float64))
    with pytest.raises(StateError, match=r"exact_add\(self.total, values\)"):
        metric.total = metric.total + 0.5
    with pytest.raises(StateError, match="integers are summed exactly by"):
        Total(torch.zeros((), dtype=torch.int64))
    with pytest.raises(StateError, match="int64 tensor of digits"):
        exact_value(torch.zeros(3))
    with pytest.raises(StateError, match=r"or \(N, 2\)"):
        Total(torch.zeros(2)).update(torch.zeros(3))
