"""torcheval through the engine: every class, on even, uneven and empty ranks; its toolkit; what it gets wrong alone."""

from __future__ import annotations

import warnings

import pytest

from syncmetrics.testing import run_ranks, run_ranks_outcomes
from tests.ranks import hf_bodies

pytest.importorskip("torcheval", reason="torcheval is not installed")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses torch.jit.script
    import torcheval.metrics as tm

    from tests.ranks import torcheval_bodies as bodies

#: These need models that have to be downloaded, or torchaudio.
LEFT_OUT = {"FrechetAudioDistance", "Metric"}


def test_the_table_has_every_class() -> None:
    classes = {name for name in tm.__all__ if isinstance(getattr(tm, name), type)}
    assert classes - set(bodies.ROWS) == LEFT_OUT


@pytest.mark.parametrize("world_size", [2, 3])
def test_every_class_gives_the_value_of_one_process(world_size: int) -> None:
    for wrong in run_ranks(bodies.table, world_size, timeout=100):
        assert wrong == {}


@pytest.mark.parametrize("world_size", [2, 3])
def test_install_routes_the_toolkit_in_one_exchange(world_size: int) -> None:
    found = run_ranks(bodies.collection, world_size, timeout=100)
    for plain, routed, differ, _, restored in found:
        assert len(plain) > 2
        assert len(routed) <= 3
        assert set(differ) <= {"Cat", "HitRate", "ReciprocalRank"}  # their rows, in another order on each rank
        assert restored
    assert all(row[3] == found[0][3] for row in found)


def test_the_toolkit_returns_what_it_did() -> None:
    found = run_ranks(bodies.toolkit_functions, 3)
    for rank, (merged, many, state, states, inside) in enumerate(found):
        assert merged == [0.0, 1.0, 2.0, 9.0]
        assert many == {"b": ("torch.float32", [0.0, 1.0, 2.0]), "a": ("torch.float32", 2.0)}
        assert state["'dim'"] == 0
        assert states == {"'a'": state}
        assert inside == ([0.0, 1.0] if rank < 2 else "The current process is not part of the process group")


def test_without_a_group_the_toolkit_gives_the_metric_itself() -> None:
    assert bodies.without_group() == (True, 2.0)


def test_what_torcheval_gets_wrong_by_itself() -> None:
    first, second = run_ranks(bodies.failures_of_plain, 2)
    right = {"a": 1.0, "b": 2.0}
    assert first["keys"] == second["keys"] == right
    assert first["keys, plain"] == {"a": 3.0}  # the value of "b" comes under "a"
    assert second["keys, plain"] == {"b": 3.0}
    assert first["order"] == second["order"] == [0.0, 1.0]
    assert first["order, plain"] != second["order, plain"]
    assert first["dtypes"] == second["dtypes"] == ("torch.float32", [1.0, 1.125])


def test_torcheval_alone_fails_on_other_dtypes() -> None:
    outcomes = run_ranks_outcomes(bodies.half_plain, 2, timeout=8)
    right = ("torch.float32", [1.0, 1.125])
    assert any(outcome.status != "returned" or outcome.value != right for outcome in outcomes)


def test_a_metric_given_twice_and_an_exception_in_the_block() -> None:
    assert run_ranks(bodies.twice_and_raising, 2) == [(3.0, "StateError", True, 3.0)] * 2


def test_the_examples_run() -> None:
    run_ranks(hf_bodies.run_page, 2, "torcheval.md", hf_bodies.examples("torcheval.md"), timeout=100)
