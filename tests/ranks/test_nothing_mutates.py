"""Whatever goes wrong in a sync, and wherever: nothing local has changed, and the group works on."""

from __future__ import annotations

from typing import Any

import pytest

from syncmetrics.testing import run_ranks
from syncmetrics.transport.threads import run_threads
from tests.ranks import mutation_bodies as bodies

pytestmark = pytest.mark.one_core

KINDS = {**{name: name for name in bodies.ERRORS}, "reduction": "ArithmeticError"}


@pytest.mark.parametrize("who", [[0, 1, 2], [1]], ids=["all ranks", "one rank"])
@pytest.mark.parametrize("how", KINDS)
def test_failing_after_the_exchange(how: str, who: list[int]) -> None:
    found = run_threads(bodies.failing, 3, who, how)
    assert [kind for kind, _ in found] == [KINDS[how] if rank in who else "nothing" for rank in range(3)]


WORDS = {
    "sparse": "sparse",
    "hidden_object": "holds a object beside tensors",
    "a_float": "is a float",
    "gone": "KeyError",
    "ragged": "trailing shape",
    "on_meta": "meta",
}


@pytest.mark.parametrize("who", [[0, 1, 2], [1]], ids=["all ranks", "one rank"])
@pytest.mark.parametrize("how", bodies.SPOILERS)
def test_failing_before_the_exchange_is_told_on_every_rank(how: str, who: list[int]) -> None:
    found = run_threads(bodies.describing, 3, who, how, timeout=10)
    assert len({text for text, _ in found}) == 1
    for text, failures in found:
        assert sorted(failures) == who
        assert all(WORDS[how] in message for message in failures.values()), failures
        assert f"failed on {len(who)} of 3 ranks" in text
        assert "rank 1:" in text


MISMATCH_WORDS: dict[str, list[str]] = {
    "metrics": ["`Rows` on ranks 0, 1, `Total` on rank 2", "`rows` exists on ranks 0, 1 only"],
    "collections": ["`a.total` exists on ranks 0, 1 only", "`b.total` exists on rank 2 only"],
    "more metrics": ["`c.total` exists on rank 2 only"],
    "prefixes": ["`val` on ranks 0, 1, `test` on rank 2"],
    "reductions": ["'sum' on ranks 0, 1", "'max' on rank 2"],
    "kinds": ["a tensor reduced with 'cat' on ranks 0, 1", "a list"],
    "shapes": ["`x`", "(2,) on ranks 0, 1, (3,) on rank 2"],
    "large shapes": ["(90000,) on ranks 0, 1, (90001,) on rank 2"],
    "classes": ["`num_classes` is 2 on ranks 0, 1, 3 on rank 2"],
    "trailing shapes": ["`rows` of `Rows`", "(2,) on ranks 0, 1, (3,) on rank 2"],
    "large trailing shapes": ["(2,) on ranks 0, 1, (3,) on rank 2"],
    "dtypes": ["torch.int32 on ranks 0, 1, torch.uint16 on rank 2"],
    "data": ["`Names` on ranks 0, 1, `Rows` on rank 2"],
    "forms": ["plain data on ranks 0, 1, tensors on rank 2"],
    "calls": ["`sync_states` on ranks 0, 1, `gather_ragged` on rank 2"],
    "long manifests": ["more states differ"],
    "long and short": ["more states differ"],
}


@pytest.mark.parametrize("how", bodies.MISMATCHES)
def test_what_differs_is_told_with_the_same_words_on_every_rank(how: str) -> None:
    texts = run_threads(bodies.mismatch, 3, how, timeout=10)
    assert len(set(texts)) == 1
    assert [word for word in MISMATCH_WORDS[how] if word not in texts[0]] == [], texts[0]


def test_all_of_it_on_real_processes() -> None:
    first, second = run_ranks(bodies.all_failures, 2, timeout=60)
    for how, kind in KINDS.items():
        assert [r[f"{how} on [0, 1]"] for r in (first, second)] == [kind, kind]
        assert [r[f"{how} on [1]"] for r in (first, second)] == ["nothing", kind]
    for how in bodies.SPOILERS:
        assert first[f"{how} described"] == second[f"{how} described"]
        assert list(first[f"{how} described"][1]) == [1]
    assert first["mismatches"] == second["mismatches"]


def skipping(rank: int, world_size: int) -> tuple[str, Any]:
    """One rank has cached a value that the others have not: its next sync meets theirs."""
    from tests.samples import Rows, Total

    metric, other = Total(), Rows()
    metric.update(bodies.X)
    other.update(bodies.X)
    metric.compute()
    if rank != 1:
        metric.update(bodies.X)
    error = bodies.raised(other.compute if rank == 1 else metric.compute)
    texts = f"{type(error).__name__}: {error}"
    return texts, metric.total.item()


def test_a_sync_that_one_rank_leaves_out_is_told_at_the_next() -> None:
    found = run_threads(skipping, 3, timeout=10)
    assert {text for text, _ in found} == {found[0][0]}
    assert "SchemaMismatchError" in found[0][0]
    assert "`Total` on ranks 0, 2, `Rows` on rank 1" in found[0][0]
    assert [total for _, total in found] == [6.0, 3.0, 6.0]
