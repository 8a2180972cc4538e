"""ignite through the engine: even, uneven and empty ranks; and metrics of syncmetrics on its engines."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from syncmetrics.testing import run_ranks, run_ranks_outcomes
from tests.ranks import hf_bodies

pytest.importorskip("ignite", reason="pytorch-ignite is not installed")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tests.ranks import ignite_bodies as bodies


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_values_are_those_of_one_process_and_ignite_is_silent(world_size: int) -> None:
    assert run_ranks(bodies.table, world_size) == [[]] * world_size


def test_an_epoch_metric_with_uneven_ranks_fails_by_itself() -> None:
    outcomes = run_ranks_outcomes(bodies.epoch_metric_plain, 2, timeout=6)
    values = [outcome.value for outcome in outcomes if outcome.status == "returned"]
    assert len(values) < 2, "it gave a value on every rank"


def test_an_exception_in_the_block_and_a_metric_given_twice() -> None:
    assert run_ranks(bodies.raising, 2) == [("StateError", True, True)] * 2


def test_what_nothing_reduces_is_refused_with_the_reason() -> None:
    for text in run_ranks(bodies.refused, 2):
        assert "RunningAverage of ignite keeps" in text
        assert "register_adapter" in text


def test_the_page_lists_what_is_refused() -> None:
    page = (Path(__file__).parents[2] / "docs" / "other-frameworks.md").read_text()
    (listed,) = re.findall(r"is refused with the name of the attribute: (.*?)\.\s", page, flags=re.DOTALL)
    refused, made = bodies.refused_classes()
    assert re.findall(r"`(\w+)`", listed) == refused
    assert made > 50


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_attach_gives_the_value_of_all_ranks_each_epoch(world_size: int) -> None:
    total = float(sum((rank + 1) ** 2 for rank in range(world_size)))
    for found in run_ranks(bodies.on_an_engine, world_size):
        for values in found:
            assert values == {"total": total, "both": {"a": total, "b": total}, "a": total, "b": total}
            assert all(isinstance(value, float) for value in (values["total"], values["a"]))


def test_the_examples_run() -> None:
    run_ranks(
        hf_bodies.run_page, 2, "other-frameworks.md", hf_bodies.examples("other-frameworks.md", "ignite"), timeout=100
    )
