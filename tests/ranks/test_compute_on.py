"""One rank computes, the others receive the value."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given

from syncmetrics import MetricCollection, PacketError
from syncmetrics.schedule.one_rank import decode_value, encode_value
from syncmetrics.testing import run_ranks
from syncmetrics.testing.ranks import run_ranks_outcomes
from syncmetrics.transport.threads import run_threads
from tests.ranks import compute_on_bodies
from tests.ranks.compute_on_bodies import VALUES
from tests.samples import DTYPES, Total, bits
from tests.strategies import PLAIN

pytestmark = pytest.mark.one_core

CPU = torch.device("cpu")


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_rank_gets_the_value_bit_by_bit(world_size: int) -> None:
    run_threads(compute_on_bodies.every_value, world_size)


def test_every_rank_gets_the_value_bit_by_bit_on_processes() -> None:
    run_ranks(compute_on_bodies.every_value, 3)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_a_collection_gives_what_it_gives_when_every_rank_computes(world_size: int) -> None:
    found = run_threads(compute_on_bodies.as_on_all, world_size)
    assert all(values == found[0] for values in found)


def test_a_collection_gives_what_it_gives_when_every_rank_computes_on_processes() -> None:
    found = run_ranks(compute_on_bodies.as_on_all, 3)
    assert all(values == found[0] for values in found)


def test_ranks_that_do_not_compute_never_hold_what_is_gathered() -> None:
    world_size, rows = 6, 500_000
    own = 4 * rows
    needed = run_threads(compute_on_bodies.memory, world_size, rows)
    for rank, (one, everyone) in enumerate(needed):
        assert everyone >= world_size * own
        if rank == 1:
            assert one >= world_size * own
        else:
            assert one < 3 * own  # its own rows, as they are packed and as threads hand them over


def test_a_long_compute_runs_nobody_into_the_timeout() -> None:
    run_ranks(compute_on_bodies.long_compute, 3)


def test_a_rank_that_fails_to_compute_tells_the_others() -> None:
    for texts in (run_threads(compute_on_bodies.failing, 3), run_ranks(compute_on_bodies.failing, 3)):
        assert texts[0] == texts[2]
        assert len(texts[0]) == 4
        assert texts[1] == []


@pytest.mark.parametrize("who", [1, 2])
def test_a_rank_that_is_gone_is_named(who: int) -> None:
    outcomes = run_ranks_outcomes(compute_on_bodies.dies, 3, who)
    assert [o.value for o in outcomes if o.rank != who] == [(who,), (who,)], outcomes
    assert outcomes[who].exit_code == 7


def test_options_of_the_metrics_inside() -> None:
    run_threads(compute_on_bodies.mixed, 3)


# ---- one process -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [-1, 1.0, True, "0"])
def test_it_must_be_a_rank(wrong: Any) -> None:
    with pytest.raises(ValueError, match="`compute_on` must be a rank"):
        Total(compute_on=wrong)
    with pytest.raises(ValueError, match="`compute_on` must be a rank"):
        MetricCollection([Total()], compute_on=wrong)
    with pytest.raises(ValueError, match="collection inside"):
        MetricCollection({"inner": MetricCollection([Total()], compute_on=0)})


@pytest.mark.parametrize("index", range(len(VALUES)))
def test_values_travel(index: int) -> None:
    assert bits(decode_value(encode_value(VALUES[index], "it"), CPU)) == bits(VALUES[index])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_dtype_travel(dtype: torch.dtype) -> None:
    value = {"x": torch.arange(16, dtype=torch.uint8).view(dtype)}
    assert bits(decode_value(encode_value(value, "it"), CPU)) == bits(value)


@given(PLAIN)
def test_plain_values_travel(value: Any) -> None:
    assert bits(decode_value(encode_value(value, "it"), CPU)) == bits(value)


def test_bytes_of_something_else_are_no_value() -> None:
    for wrong in (torch.zeros(64, dtype=torch.uint8), torch.ones(3, dtype=torch.uint8)):
        with pytest.raises(PacketError):
            decode_value(wrong, CPU)
