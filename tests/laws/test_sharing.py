"""Law 1: sharing cannot be seen. A member of a collection has the value that the same metric has alone."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncmetrics import MetricCollection, MulticlassAccuracy, MulticlassF1Score
from syncmetrics.testing import run_ranks
from syncmetrics.transport.threads import run_threads
from tests.laws import TIMES, sharing
from tests.laws.drawn import KINDS
from tests.samples import Rows, bits

pytestmark = pytest.mark.filterwarnings("ignore:.*before any update")

MEMBER = st.integers(0, 3)
SEED = st.integers(0, 40)
OPS = st.one_of(
    st.tuples(st.sampled_from(["update", "forward"]), SEED),
    st.tuples(st.just("reset")),
    st.tuples(st.sampled_from(["update of", "forward of", "merge into", "load into"]), MEMBER, SEED),
    st.tuples(st.sampled_from(["reset of", "set on", "clone of"]), MEMBER),
)
RANK = st.lists(OPS, max_size=4)


@st.composite
def plans(draw: Any) -> sharing.Plan:
    world = draw(st.integers(1, 3))
    pool = draw(st.lists(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3).map(tuple), min_size=1, max_size=2))
    members = draw(st.lists(st.tuples(st.sampled_from(pool), st.booleans()), min_size=2, max_size=4))
    rounds = draw(st.lists(st.lists(RANK, min_size=world, max_size=world), min_size=1, max_size=3))
    return sharing.Plan(world, tuple(members), tuple(tuple(map(tuple, ranks)) for ranks in rounds))


@settings(max_examples=150 * TIMES)
@given(plans())
@example(sharing.Plan(2, ((("sum, edited",), False), (("sum, edited",), True)), (((("update of", 0, 3),), ()),)))
def test_a_member_has_the_value_of_the_metric_alone(plan: sharing.Plan) -> None:
    run_threads(sharing.compare, plan.world, plan)


def test_on_processes() -> None:
    run_ranks(sharing.compare_some, 2, SOME)


SOME = [
    sharing.Plan(
        2,
        tuple((kinds, other) for kinds in (("sum, bound anew", "cat of rows"), ("max",)) for other in (False, True)),
        rounds,
    )
    for rounds in (
        (((("update of", 0, 3), ("update of", 1, 3)), ()), ((), (("update", 5),))),
        (((("forward", 3), ("reset of", 1)), (("update", 9), ("forward of", 2, 4))), ((("reset",),), (("reset",),))),
        (((("merge into", 1, 7),), (("load into", 3, 2), ("update", 1))), ((("clone of", 0),), (("update", 2),))),
    )
]


@pytest.mark.parametrize("act", ["update", "forward", "reset", "merge", "load"])
def test_members_that_one_rank_treats_one_by_one(act: str) -> None:
    run_threads(sharing.one_by_one, 2, act)


@pytest.mark.parametrize("uneven", [False, True])
def test_synced_steps_where_one_rank_has_members_apart(uneven: bool) -> None:
    run_threads(sharing.steps_apart, 2, uneven)


def test_an_untouched_group_is_one_entry_of_one_exchange() -> None:
    assert all(run_threads(sharing.records, 2, apart) == [1 + apart] * 2 for apart in (False, True))


def test_deep_copies_share_as_the_originals_do() -> None:
    collection = MetricCollection({"a": MulticlassAccuracy(3), "f": MulticlassF1Score(3)})
    for twin in (copy.deepcopy(collection), collection.clone(), copy.copy(collection)):
        assert twin.compute_groups == {0: ["a", "f"]}
        assert twin["a"]._holder.store is not collection["a"]._holder.store


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_copy_goes_on_as_the_original_does(copied: Any) -> None:
    """Of the objects that it was copied from it knows nothing: neither ids of rows, nor what is on its way."""
    members = {"a": MulticlassAccuracy(3), "f": MulticlassF1Score(3), "rows": Rows(), "more": Rows()}
    collection = MetricCollection({name: members[name] for name in ("a", "f")})
    rows = MetricCollection({name: members[name] for name in ("rows", "more")})
    for _ in range(2):
        collection.update(torch.tensor([0, 1]), torch.tensor([0, 2]))
        rows.update(torch.ones(2).add_(1))  # edited before it was appended
    pending = collection.compute_async()
    twin, other = copied(collection), copied(rows)
    pending.wait()
    twin["a"].note = "a setting that no `update` reads"  # type: ignore[assignment]
    assert twin.compute_groups == {0: ["a", "f"]}
    assert not other["rows"]._holder.store.appended
    assert bits(twin.compute()) == bits(collection.compute())
    assert bits(other.compute()) == bits(rows.compute())
    for one in (collection, twin):
        one.update(torch.tensor([2]), torch.tensor([2]))
    other.update(torch.zeros(1))
    rows.update(torch.zeros(1))
    assert bits(twin.compute()) == bits(collection.compute())
    assert bits(other.compute()) == bits(rows.compute())
