"""The Trainer of transformers: one process and two give the same values, and logits are not gathered."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncmetrics.testing import run_ranks

pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from tests.ranks import hf_bodies

pytestmark = pytest.mark.ranks_import("transformers.trainer", "transformers.models.bert.modeling_bert")


@pytest.mark.parametrize("count", [7, 12])
def test_a_trainer_on_two_processes_gives_the_values_of_one(count: int, tmp_path: Path) -> None:
    ((single, _),) = run_ranks(hf_bodies.trainer, 1, str(tmp_path), count, timeout=100)
    assert single[0]["eval_rows"] == count * 4
    assert single[0] == single[1]
    for values, gathered in run_ranks(hf_bodies.trainer, 2, str(tmp_path), count, timeout=100):
        assert values == single
        assert gathered == [((count,), "uint8")] * 2


def test_the_callables_mask_shift_and_reset() -> None:
    for small, before, values in run_ranks(hf_bodies.callables, 2):
        assert small == [0, 0]
        assert before == {}
        assert values == {"rows": 6}


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_trainer_that_goes_on_from_a_checkpoint(world_size: int, tmp_path: Path) -> None:
    """It is stopped behind the fifth step, and goes on from the fourth."""
    whole = run_ranks(hf_bodies.resumed, world_size, str(tmp_path / "whole"), 0, False, timeout=100)
    assert len(whole[0][2]) == 7 * 2 * world_size
    run_ranks(hf_bodies.resumed, world_size, str(tmp_path / "run"), 5, False, timeout=100)
    assert (tmp_path / "run" / "checkpoint-4" / "syncmetrics.pt").exists()
    again = run_ranks(hf_bodies.resumed, world_size, str(tmp_path / "run"), 0, True, timeout=100)
    assert again == whole


def test_the_examples_run() -> None:
    run_ranks(
        hf_bodies.run_page,
        2,
        "other-frameworks.md",
        hf_bodies.examples("other-frameworks.md", "The Trainer"),
        timeout=100,
    )
