"""`docs/port.md` brings a metric written by hand over in few lines, and the metric is right where it was not."""

from __future__ import annotations

import difflib
import itertools
import re

import pytest
import torch

from syncmetrics.testing import assert_matches_single_process, run_ranks
from syncmetrics.testing.ranks import run_ranks_outcomes
from tests.pages import blocks_of, text_of
from tests.ranks import page_bodies as bodies

PAGE = text_of("docs/port.md")
BLOCKS = [block for block in blocks_of(PAGE) if block.language == "python"]
PAIRS = [
    (before.text, after.text)
    for before, after in itertools.pairwise(BLOCKS)
    if (before.title, after.title) == ("before.py", "after.py")
]
BEFORE, AFTER = PAIRS[0]
LINES_OF = [[int(n) for n in found.split()] for found in re.findall(r'title="after.py" hl_lines="(.*?)"', PAGE)]


def changed(before: str, after: str) -> tuple[list[str], list[int]]:
    """Give all lines that were taken out or put in, and the numbers of the latter."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    numbers, out, number = [], [], 0
    for line in lines:
        number += line[0] in " +"
        if line[0] == "+":
            numbers.append(number)
        if line[0] in "+-":
            out.append(line)
    return out, numbers


def test_under_twenty_lines_change() -> None:
    lines, _ = changed(BEFORE, AFTER)
    assert len(lines) < 20, lines
    assert "dist" not in AFTER.replace("dist_reduce_fx", "")
    assert BEFORE.partition("def update")[2].partition("def compute")[0] in AFTER, "`update` stays as it is"


def test_new_lines_are_marked() -> None:
    pairs = [PAIRS[0], None, *PAIRS[1:]]  # the second is changed by one import, which it shows as a comment
    assert len(pairs) == len(LINES_OF)
    for pair, marked in zip(pairs, LINES_OF, strict=True):
        if pair is not None:
            assert changed(*pair)[1] == marked


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_value_is_the_one_it_had(world_size: int) -> None:
    shards = tuple((4, 4) for _ in range(world_size))
    before = run_ranks(bodies.on_a_shard, world_size, BEFORE, shards)
    assert run_ranks(bodies.on_a_shard, world_size, AFTER, shards) == before


@pytest.mark.parametrize("shards", [((5,), (3, 2, 1)), ((4, 4), (), (1,))], ids=["uneven", "empty"])
def test_it_is_right_where_it_was_not(shards: tuple[tuple[int, ...], ...]) -> None:
    alone = bodies.value_of(AFTER, bodies.batches(sum(shards, ())))
    for found in run_ranks(bodies.on_a_shard, len(shards), AFTER, shards):
        assert found.keys() == alone.keys()
        assert all(torch.equal(found[name], alone[name]) for name in alone)


def test_a_rank_without_a_batch_ends_the_one_written_by_hand() -> None:
    outcomes = run_ranks_outcomes(bodies.on_a_shard, 2, BEFORE, ((4,), ()), timeout=10)
    assert "expected a non-empty list" in str(outcomes[1].error)
    assert outcomes[0].status != "returned"


def test_on_any_number_of_ranks() -> None:
    data = bodies.batches((4, 7, 1, 3))
    assert_matches_single_process(bodies.made_by(AFTER, "TopK"), data, world_sizes=(1, 2, 3, 6))


@pytest.mark.filterwarnings("ignore")  # what these libraries warn of as they are imported
def test_those_of_other_libraries_give_what_they_gave() -> None:
    pytest.importorskip("torcheval")
    pytest.importorskip("ignite")
    scores, target = torch.randn(6, 3), torch.randint(3, (6,))
    for (before, after), name in zip(PAIRS[1:], ("MaxError", "ErrorRate"), strict=True):
        theirs, ours = bodies.made_by(before, name)(), bodies.made_by(after, name)()
        given = (scores[:, 0], scores[:, 1]) if name == "MaxError" else (scores, target)
        theirs.update(*given) if name == "MaxError" else theirs.update(given)
        ours.update(*given)
        assert ours.compute() == pytest.approx(float(theirs.compute()))
