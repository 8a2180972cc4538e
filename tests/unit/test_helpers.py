"""The sync helpers in a world of one; tests/ranks has them with more ranks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from syncmetrics import (
    ClasswiseWrapper,
    MetricCollection,
    StateError,
    gather_ragged,
    sync_and_compute,
    sync_states,
    synced,
)
from syncmetrics.transport.threads import run_threads
from tests.samples import Accuracy, Outer, PerClass, Rows, Total, bits, local_bits

X = torch.tensor([1.0, 2.0])


def fed(metric: Any, *args: Any) -> Any:
    metric.update(*(args or (X,)))
    return metric


def test_sync_states_gives_new_states_and_leaves_the_given_ones() -> None:
    states = {"a": torch.ones(2), "b": [X], "c": ["x"]}
    before = bits(states)
    got = sync_states(states, {"a": "sum", "b": "cat", "c": None})
    assert bits(got) == before
    got["a"] += 1  # type: ignore[operator]
    got["b"].append(X)  # type: ignore[union-attr]
    assert bits(states) == before


def test_sync_states_over_ranks() -> None:
    def body(rank: int, world_size: int) -> Any:
        states = {"count": torch.tensor(rank), "rows": [torch.arange(rank)], "names": [("r", rank)], "avg": X * rank}
        reductions = {"count": "sum", "rows": "cat", "names": None, "avg": "mean"}
        return sync_states(states, reductions, update_count=rank)  # type: ignore[arg-type]

    for got in run_threads(body, 3):
        assert bits(got["count"]) == bits(torch.tensor(3))
        assert bits(got["rows"]) == bits([torch.arange(rank) for rank in range(3)])
        assert got["names"] == [("r", 0), ("r", 1), ("r", 2)]
        torch.testing.assert_close(got["avg"], X * 5 / 3)


def test_gather_ragged_gives_tensors_of_its_own() -> None:
    x = torch.ones(2, requires_grad=True)
    (got,) = gather_ragged(x)
    assert not got.requires_grad
    got += 1
    assert x.sum() == 2


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_gather_ragged_takes_a_column(rows: int) -> None:
    def body(rank: int, world_size: int) -> Any:
        return gather_ragged(torch.arange(rows * 3).view(rows, 3)[:, rank])

    for got in run_threads(body, 2):
        assert bits(got) == bits([torch.arange(rows * 3).view(rows, 3)[:, rank] for rank in range(2)])


def test_sync_and_compute_keeps_the_structure() -> None:
    total, rows = fed(Total()), fed(Rows())
    assert sync_and_compute(total) == 3
    assert bits(sync_and_compute([total, rows])) == bits([total.compute(), X])
    assert bits(sync_and_compute((total, {"r": rows}))) == bits((total.compute(), {"r": X}))
    collection = MetricCollection({"t": total}, prefix="p_")
    assert bits(sync_and_compute({"c": collection, "l": [rows]})) == bits({"c": {"p_t": total.compute()}, "l": [X]})


def test_sync_and_compute_takes_a_named_tuple() -> None:
    from collections import namedtuple

    pair = namedtuple("pair", "a b")(fed(Total()), fed(Rows()))
    assert sync_and_compute(pair).a == 3


def test_synced_shows_everyones_states_and_puts_back() -> None:
    def body(rank: int, world_size: int) -> None:
        total, rows = fed(Total()), fed(Rows())
        wrapped, outer = fed(ClasswiseWrapper(PerClass(2)), torch.tensor([rank])), fed(Outer())
        collection = MetricCollection({"acc": fed(Accuracy(), X, X)})
        everything = torch.nn.ModuleList([total, rows, wrapped, outer, collection])
        before = local_bits(everything)
        with synced(total, [rows, {"w": wrapped}], (outer,), collection):
            assert total.total == outer.inner.total == 3 * world_size
            assert total.update_count == world_size
            assert total.compute() == 3 * world_size
            assert bits(wrapped.compute()) == bits(
                dict(zip(wrapped.output_names, torch.tensor([0.5, 0.5]).double(), strict=True))
            )
            assert collection["acc"].count == 2 * world_size
            with pytest.raises(StateError, match="is synced"):
                total.update(X)
        assert local_bits(everything) == before

    run_threads(body, 2)


def test_one_metric_given_twice() -> None:
    total = fed(Total())
    with synced(total, total):
        assert total.compute() == 3
    assert sync_and_compute([total, total]) == [3, 3]


def test_local_metrics_are_synced_when_asked_for() -> None:
    def body(rank: int, world_size: int) -> Any:
        metric = fed(Total(sync_on_compute=False))
        return metric.compute().item(), sync_and_compute(metric).item(), metric.compute().item()

    assert run_threads(body, 2) == [(3.0, 6.0, 3.0)] * 2


def test_what_is_synced_already_is_refused_before_anything_is_shown() -> None:
    total, rows = fed(Total()), fed(Rows())
    rows.sync()
    with pytest.raises(StateError, match="synced already"), synced(total, rows):
        pass
    rows.unsync()
    with synced(total), pytest.raises(StateError, match="synced already"), synced(rows, total):
        pass
    assert total.compute() == 3


def test_an_exception_puts_back() -> None:
    total = fed(Total())
    before = local_bits(total)

    def use() -> None:
        with synced(total):
            total.total += 1
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert local_bits(total) == before


def test_two_worlds_in_one_call_are_put_back_together() -> None:
    """The second sync fails: what the first one showed is put back."""
    from syncmetrics import SchemaMismatchError
    from syncmetrics.transport import resolve_transport
    from syncmetrics.transport.threads import ThreadsTransport, ThreadsWorld

    other = ThreadsWorld(2, timeout=10)

    def body(rank: int, world_size: int) -> None:
        own = ThreadsTransport(other, rank)
        good = fed(Total(process_group=resolve_transport()))
        bad = fed(PerClass(2 + rank, process_group=own), torch.tensor([0]))
        collection = MetricCollection({"a": good, "b": bad})
        before = local_bits(collection)
        calls = (collection.sync, collection.compute, lambda: sync_and_compute([good, bad]))
        for call in calls:
            with pytest.raises(SchemaMismatchError, match="num_classes"):
                call()
            assert local_bits(collection) == before
            good.update(X)
            before = local_bits(collection)
        assert good.compute() == 24

    run_threads(body, 2, timeout=10)
