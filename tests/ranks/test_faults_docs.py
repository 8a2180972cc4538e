"""`docs/faults.md` says to users what the table of scenarios says to the tests."""

from __future__ import annotations

import re

import pytest

from syncmetrics.testing.ranks import run_ranks_outcomes
from tests.pages import examples_of, text_of
from tests.ranks import faults_gone
from tests.ranks.faults import SCENARIOS

PAGE = text_of("docs/faults.md")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
CODE = [example.code for example in examples_of("docs/faults.md")]


def test_rows_and_scenarios_are_the_same() -> None:
    head, *rows = ROWS
    assert head == ["scenario", "what happens", "what every rank sees", "how long it takes", "what is kept"]
    assert [row[0] for row in rows] == [scenario.name for scenario in SCENARIOS]
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    assert all(len(row) == 5 and all(row) for row in rows)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_row_names_the_error_of_its_scenario(scenario: object) -> None:
    (row,) = (row for row in ROWS if row[0] == scenario.name)  # type: ignore[attr-defined]
    named = set(re.findall(r"`(\w+Error)`", row[2]))
    error = scenario.error  # type: ignore[attr-defined]
    assert named == (set() if error is None else {error.__name__})
    if error is None:
        assert "right value" in row[2]
    elif scenario.missing is not None:  # type: ignore[attr-defined]
        assert "`.missing`" in row[2]
    if not scenario.lives:  # type: ignore[attr-defined]
        assert "the group" not in row[4]


def test_the_recovery_works() -> None:
    (code,) = (code for code in CODE if "compute_or_recover" in code)
    outcomes = run_ranks_outcomes(faults_gone.recovery_as_written, 4, code, timeout=60)
    assert [o.status for o in outcomes] == ["returned", "returned", "died", "returned"], [o.error for o in outcomes]
    assert [o.value for o in outcomes if o.rank != 2] == [[0, 1, 3]] * 3
