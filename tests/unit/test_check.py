"""What every rank reads in the packets, and the verdict: the text names the state, the ranks, and both sides."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syncmetrics import PacketError, PeerError, SchemaMismatchError
from syncmetrics.states.epoch import LAST, NEW, after_reset, after_sync, after_try, agree, is_fresh, tag_of
from syncmetrics.states.spec import declare_state
from syncmetrics.sync.check import (
    check_failures,
    check_manifests,
    describe_difference,
    encode_schema,
    mean_the_same,
    threads_fit,
)
from syncmetrics.sync.manifest import Form, Manifest, Part, Record, Schema, Status, schema_of
from syncmetrics.sync.packet import Header


def schema(merge: Any = None, path: str = "acc", **declared: Any) -> Schema:
    specs = {name: declare_state(name, *arguments) for name, arguments in declared.items()}
    return schema_of([Part(path, specs, {}, 1, torch.device("cpu"), merge)])


def manifest(record: Record, count: int = 1, label: str = "Acc") -> Manifest:
    return Manifest(Status.OK, 1, 2, label, (count,), (record,))


def rows(*shape: int, dtype: torch.dtype = torch.float32) -> Record:
    return Record(Form.ROWS, dtype, shape)


def dense(*shape: int, dtype: torch.dtype = torch.float32) -> Record:
    return Record(Form.DENSE, dtype, shape)


SYNCED = after_sync(NEW)
SUM, CAT, KEEP = (torch.tensor(0.0), "sum"), ([], "cat"), ([], None)
NOTHING, BUNDLE, PLAIN = Record(Form.NOTHING), Record(Form.BUNDLE), Record(Form.PLAIN)


def entering(*ranks: tuple[int, int, str, int]) -> bool:
    heads = [Header(Status.OK, sequence, fingerprint, 0) for sequence, fingerprint, _, _ in ranks]
    manifests = [Manifest(Status.OK, n, f, label, (1,), (), (epoch,)) for n, f, label, epoch in ranks]
    return mean_the_same(heads, manifests)


def test_ranks_that_mean_the_same_sync() -> None:
    same = (1, 2, "Acc", SYNCED)
    assert entering(same, same)
    for other in ((2, 2, "Acc", SYNCED), (1, 3, "Acc", SYNCED), (1, 2, "F1", SYNCED), (1, 2, "Acc", NEW)):
        assert not entering(same, same, other)


def test_a_rank_that_has_joined_means_every_sync() -> None:
    heads = [Header(Status.OK, 5, 2, 0), Header(Status.JOINED, 1, 0, 0)]
    assert mean_the_same(heads, [manifest(dense()), Manifest(Status.JOINED, 1, 0, "join")])


FITTING: list[tuple[Any, list[tuple[Record, int]]]] = [
    (SUM, [(dense(2), 1), (dense(2), 1)]),
    (SUM, [(dense(2), 1), (dense(), 0)]),
    (SUM, [(dense(2), 1), (dense(2, dtype=torch.int64), 1)]),
    (CAT, [(rows(2, 3), 1), (rows(0), 1), (NOTHING, 0)]),
    (CAT, [(rows(2), 1), (rows(3, dtype=torch.int64), 1)]),
    (CAT, [(NOTHING, 0), (NOTHING, 0)]),
    (KEEP, [(BUNDLE, 1), (NOTHING, 0)]),
    (KEEP, [(PLAIN, 1), (NOTHING, 0), (PLAIN, 2)]),
]


@pytest.mark.parametrize(("declared", "held"), FITTING)
def test_what_fits(declared: Any, held: list[tuple[Record, int]]) -> None:
    check_manifests("Acc", schema(x=declared), [manifest(*pair) for pair in held])


MISMATCHES: dict[str, tuple[Any, list[tuple[Record, int]], list[str]]] = {
    "shapes": (
        SUM,
        [(dense(2), 1), (dense(3), 1), (dense(2), 1)],
        ["`acc.x` of `Acc`", "different shapes", "'sum'", "(2,) on ranks 0, 2", "(3,) on rank 1", "num_classes"],
    ),
    "shapes of untouched defaults do not count, those of touched ones do": (
        SUM,
        [(dense(), 0), (dense(2), 1), (dense(3), 1)],
        ["(2,) on rank 1", "(3,) on rank 2"],
    ),
    "trailing shapes": (
        CAT,
        [(rows(2, 3), 1), (rows(9, 3), 1), (rows(1, 4), 1)],
        ["`acc.x`", "trailing shapes", "(3,) on ranks 0, 1", "(4,) on rank 2", "Pad", "dist_reduce_fx=None"],
    ),
    "kinds": (
        KEEP,
        [(BUNDLE, 1), (PLAIN, 1), (NOTHING, 0)],
        ["`acc.x`", "tensors on rank 0", "plain data on rank 1", "nothing on rank 2"],
    ),
    "dtypes": (
        CAT,
        [(rows(1, dtype=torch.uint16), 1), (rows(1, dtype=torch.int32), 1)],
        ["`acc.x`", "torch.uint16 on rank 0", "torch.int32 on rank 1", "convert them in `update`"],
    ),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_what_does_not_fit(case: str) -> None:
    declared, held, words = MISMATCHES[case]
    with pytest.raises(SchemaMismatchError) as caught:
        check_manifests("Acc", schema(x=declared), [manifest(*pair) for pair in held])
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_metric_that_merges_itself_may_have_any_shapes() -> None:
    check_manifests("Acc", schema(lambda a, b: a, x=SUM), [manifest(dense(2)), manifest(dense(3))])


def test_failures_are_told_with_their_ranks() -> None:
    failed = [Manifest(Status.ERROR, 1, 2, "Acc", message=f"TypeError: no {r}") for r in range(2)]
    with pytest.raises(PeerError) as caught:
        check_failures([failed[0], manifest(dense()), failed[1]])
    assert caught.value.failures == {0: "TypeError: no 0", 2: "TypeError: no 1"}
    assert "`Acc` failed on 2 of 3 ranks" in str(caught.value)
    assert "rank 0: TypeError: no 0" in str(caught.value)
    assert "rank 2: TypeError: no 1" in str(caught.value)
    check_failures([manifest(dense()), manifest(dense())])


def test_epochs_that_ranks_can_be_in() -> None:
    """A rank that tries a sync again is in another epoch than one that had its value, and was reset since."""
    one, other = tag_of("group", 1), tag_of("group", 2)
    assert one != other
    tried, had = after_try(NEW, one), after_sync(after_try(NEW, one))
    ahead = after_reset(had)
    assert is_fresh(NEW)
    assert is_fresh(tried)
    assert not is_fresh(had)
    assert is_fresh(ahead)
    assert after_reset(tried) == NEW
    later = after_try(ahead, other)
    for epochs in ([NEW, tried], [NEW, ahead], [had, had], [ahead, later], [tried, after_try(NEW, other)]):
        assert agree(set(epochs)), epochs
    for epochs in ([NEW, had], [tried, had], [tried, ahead], [tried, later]):
        assert not agree(set(epochs)), epochs
    assert 0 <= after_try(after_sync(after_try(NEW, (1 << 31) - 1)), (1 << 31) - 1) <= LAST


def test_what_is_said_of_ranks_in_different_epochs() -> None:
    tried = after_try(NEW, 7)
    ahead = after_reset(after_sync(tried))
    text = difference((1, "Acc", ONE), (1, "Acc", ONE), (1, "Acc", ONE), epochs=(tried, ahead, ahead))
    assert "`acc` had a value in a sync that gave none on rank 0, and was reset since on ranks 1, 2" in text
    assert "these ranks are in different epochs" in text


def difference(*sides: tuple[int, str, Schema], epochs: Any = (NEW,) * 40, notes: Any = ()) -> str:
    heads = [Header(Status.OK, sequence, side.fingerprint, 0) for sequence, _, side in sides]
    texts = []
    for rank, (_, label, side) in enumerate(sides):
        part = Part("acc", {}, {}, 1, torch.device("cpu"), epoch=epochs[rank])
        texts.append(encode_schema(label, side, [part], notes, "", (), None))
    return str(describe_difference(heads, texts))


ONE = schema(x=SUM)


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        ([(1, "Acc", ONE), (1, "F1", ONE)], ["they sync `Acc` on rank 0, `F1` on rank 1"]),
        ([(1, "Acc", ONE), (3, "Acc", ONE)], ["sync number 1 on rank 0, sync number 3 on rank 1", "left one out"]),
        ([(1, "Acc", ONE), (1, "Acc", schema(x=SUM, y=CAT))], ["state `acc.y` exists on rank 1 only"]),
        ([(1, "Acc", schema(path="a", x=SUM)), (1, "Acc", schema(path="b", x=SUM))], ["`a.x`", "`b.x`", "rank 0 only"]),
        (
            [(1, "Acc", ONE), (1, "Acc", schema(x=(torch.tensor(0), "max"))), (1, "Acc", ONE)],
            ["`acc.x` is a tensor reduced with 'sum' on ranks 0, 2, a tensor reduced with 'max' on rank 1"],
        ),
        ([(1, "Acc", ONE), (1, "Acc", schema(x=CAT))], ["a tensor reduced with 'sum'", "a list reduced with 'cat'"]),
    ],
    ids=["labels", "sequence", "missing state", "paths", "reduction", "kind"],
)
def test_differences(sides: list[tuple[int, str, Schema]], words: list[str]) -> None:
    text = difference(*sides)
    assert [word for word in words if word not in text] == []


def test_many_differences_and_many_ranks_are_not_all_listed() -> None:
    many = schema(**{f"s{i:02}": SUM for i in range(20)})
    text = difference(*[(1, "Acc", ONE)] * 12, (1, "Acc", many))
    assert "and 13 more states differ" in text
    assert "rank 12 only" in text
    assert text.count("\n") < 15


def test_ranks_in_different_epochs() -> None:
    text = difference(*[(1, "Acc", ONE)] * 3, epochs=(NEW, SYNCED, NEW))
    assert "`acc` was reset since its last sync on ranks 0, 2, but not on rank 1" in text


def test_what_the_ranks_did_before_is_told() -> None:
    assert "ranks 0, 1 did: sync 1 of `F1`, then a barrier" in difference(
        (1, "Acc", ONE), (2, "Acc", ONE), notes=["sync 1 of `F1`", "a barrier"]
    )


def test_a_difference_in_the_way_of_merging_is_told() -> None:
    one, other = schema(lambda a, b: a, x=SUM), ONE
    assert "`acc.x`" in difference((1, "Acc", one), (1, "Acc", other))


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), lambda x: st.lists(x, max_size=9))
SAID = st.one_of(JSON, st.lists(JSON, min_size=9, max_size=9)).map(lambda body: json.dumps(body).encode())


@given(st.binary(max_size=40) | SAID)
def test_what_a_peer_says_is_read_or_named(text: bytes) -> None:
    good = encode_schema("m", schema_of([]), [], [], "", (), None)
    heads = [Header(Status.OK, 1, 2, 3)] * 2
    found = []
    for call in (lambda: threads_fit([good, text]), lambda: describe_difference(heads, [good, text])):
        try:
            call()
        except PacketError as error:
            found.append(str(error))
    assert all("rank 1" in words for words in found)
