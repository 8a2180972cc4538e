"""Law: an update asks no more of torch than docs/operations.md says; and the page of all metrics is up to date."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.natives import ROWS
from tests.natives.operations import of_ours, of_theirs
from tests.natives.page import page

pytest.importorskip("torchmetrics")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.jit", "ignore::UserWarning")
DOCS = Path(__file__).parents[2] / "docs"


def _told() -> dict[str, int]:
    lines = (DOCS / "operations.md").read_text().splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| `")]
    return {row[0][3:-1]: int(row[1]) for row in rows}


def test_an_update_asks_no_more_than_is_told() -> None:
    told = _told()
    both = [row for row in ROWS if row.peer and row.call in told]
    assert len(both) > 300
    found = {row.call: of_ours(row).operations for row in both[::7]}
    assert {call: count for call, count in found.items() if count > told[call]} == {}


def test_a_family_that_counts_asks_less_than_torchmetrics() -> None:
    names = ("BinaryAccuracy", "MulticlassAccuracy", "MulticlassF1Score", "MultilabelPrecision", "BinaryCohenKappa")
    for name in names:
        row = next(row for row in ROWS if row.name == name and row.peer)
        theirs = of_theirs(row)
        assert theirs is not None
        assert of_ours(row).operations <= theirs.operations, name


@pytest.mark.skipif(torch.__version__ < "2.13", reason="the page was made with another torch")
def test_the_page_of_all_metrics_is_what_the_code_says() -> None:
    assert (DOCS / "metrics.md").read_text() == page(), "write it anew: scripts/metrics page"
