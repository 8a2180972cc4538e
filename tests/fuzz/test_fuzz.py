"""A small, fixed part of what `scripts/fuzz` runs: values are those of one process, and bugs are found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import syncmetrics
from tests.fuzz.mutants import MUTANTS, Mutant, apply, hunt
from tests.fuzz.programs import WEIGHTS, program_of
from tests.fuzz.run import Tally, batch_of, fuzz, thresholds_of

#: Found within a few syncs: each takes an interpreter of its own.
QUICK = ("a layout kept from the last sync", "the last rank dropped from rows")


def _check(tally: Tally, syncs: int) -> None:
    assert not tally.failures, "\n".join(f"{failure.program}: {failure.text}" for failure in tally.failures[:10])
    assert tally.syncs >= syncs


@pytest.mark.one_core
@pytest.mark.parametrize("world", [2, 3])
def test_values_on_threads(world: int) -> None:
    _check(fuzz(1, 150, world, "threads"), 150)


@pytest.mark.parametrize("world", [2, 3])
def test_values_on_processes(world: int) -> None:
    _check(fuzz(2, 60, world, "gloo"), 60)


@pytest.mark.one_core
def test_one_program_is_replayed_after_those_before_it() -> None:
    first = fuzz(1, 150, 2, "threads")
    again = fuzz(1, 0, 2, "threads", program=1_000_000)
    _check(again, 1)
    assert again.programs == 1 < first.programs


def test_the_programs_have_every_kind_of_sync() -> None:
    tally = Tally()
    for number in range(4):
        for seed in batch_of(3, number, 60):
            tally.add(program_of(seed, 3, thresholds_of(seed)))
    without = {"update", "member", "reset", "clone", "pickle", "reload", "merge", "wait"}
    assert set(tally.verbs) == set(WEIGHTS) - without
    assert {"inside", "edge", "beyond", "direct", "chunks (small)"} <= set(tally.sizes)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_to_the_code_as_it_is(mutant: Mutant, tmp_path: Path) -> None:
    source = Path(syncmetrics.__file__).parent / mutant.file
    (tmp_path / mutant.file).parent.mkdir()
    shutil.copy(source, tmp_path / mutant.file)
    apply(mutant, tmp_path)
    compile((tmp_path / mutant.file).read_text(), mutant.file, "exec")


def test_a_stale_mutant_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "plan.py").write_text("nothing")
    with pytest.raises(ValueError, match="it is there 0 times"):
        apply(Mutant("stale", "plan.py", "something", "else"), tmp_path)


@pytest.mark.parametrize("name", QUICK)
def test_a_mutant_is_caught(name: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    assert hunt(mutant, budgets=[("threads", 3, 100)]).where == "threads"
