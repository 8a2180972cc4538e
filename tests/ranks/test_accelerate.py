"""accelerate: every sample is counted once, on its own dataloaders; gathered batches are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncmetrics.testing import run_ranks

pytest.importorskip("accelerate", reason="accelerate is not installed")

from syncmetrics.frameworks.accelerate import last_batch_mask
from tests.ranks import hf_bodies


@pytest.mark.parametrize("world_size", [2, 3])
def test_every_sample_is_counted_once(world_size: int) -> None:
    for wrong in run_ranks(hf_bodies.every_sample_once, world_size, timeout=100):
        assert wrong == []


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_the_arithmetic(world_size: int, rows: int) -> None:
    for count in range(1, 18):
        remainder = count % (world_size * rows)
        kept = sum(int(last_batch_mask(rows, remainder, process).sum()) for process in range(world_size))
        assert kept == (remainder or world_size * rows)


def test_what_was_gathered_is_refused_with_the_reason() -> None:
    for found in run_ranks(hf_bodies.refusals, 2):
        *gathered, outside, unprepared, empty = found
        assert len(gathered) == 3
        for text in gathered:
            assert "must have 4 rows" in text
            assert "gather_for_metrics" in text
        assert "no prepared dataloader is being iterated" in outside
        assert "but is a DataLoader instead" in unprepared
        assert "must have a tensor" in empty


def test_what_is_registered_is_saved_for_all_and_loaded_anywhere(tmp_path: Path) -> None:
    run_ranks(hf_bodies.registered, 2, str(tmp_path), "save", timeout=100)
    for world_size in (2, 3):
        for rows, logged, total in run_ranks(hf_bodies.registered, world_size, str(tmp_path), "load", timeout=100):
            assert rows == {"rows": [0, 1, 10, 11]}
            assert logged == {"loss": 1.5}
            assert total == 3.0


def test_the_examples_run() -> None:
    run_ranks(
        hf_bodies.run_page,
        2,
        "other-frameworks.md",
        hf_bodies.examples("other-frameworks.md", "accelerate"),
        timeout=100,
    )
