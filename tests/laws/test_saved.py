"""Law 7: a saved state says what it is: that of one rank, or of all."""

from __future__ import annotations

import copy
import io
import pickle
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syncmetrics import MetricCollection, dim_zero_cat, synced
from syncmetrics.transport.threads import run_threads
from tests.laws.drawn import KINDS, Drawn, batch
from tests.samples import Rows, Welford, about, bits

KIND = st.lists(st.sampled_from(KINDS), min_size=1, max_size=4).map(tuple)


def _around(metric: Any, how: str) -> Any:
    return synced(metric) if how == "synced" else metric.sync_context()


def _value(metric: Drawn) -> Any:
    """Give the states; rows as one tensor, for a list of all ranks may be joined in another way."""
    return [dim_zero_cat(v) if k.startswith("cat") else v for k, v in zip(metric.kinds, metric.compute(), strict=True)]


@pytest.mark.filterwarnings("ignore:.*before any update")
@given(
    st.integers(1, 3),
    KIND,
    st.sampled_from(["sync_context", "synced"]),
    st.booleans(),
    st.lists(st.integers(0, 9), max_size=3),
)
def test_what_is_saved_while_synced_is_that_of_all_ranks(
    world: int, kinds: tuple[str, ...], how: str, collected: bool, idle: list[int]
) -> None:
    def body(rank: int, world_size: int) -> Any:
        metric = Drawn(kinds)
        metric.persistent(True)
        for seed in range(0 if rank in idle else 1 + rank):
            metric.update(batch(10 * rank + seed))
        local, own = copy.deepcopy(metric.state_dict()), bits(metric.metric_state)
        who = MetricCollection({"m": metric}) if collected else metric
        with _around(who, how):
            saved = who.state_dict()
            wanted = bits(_value(metric))
        prefix = "m." if collected else ""
        assert about(saved, prefix)["states_of"] == "all ranks"
        assert about(local)["states_of"] == (f"rank {rank} of {world_size}" if world_size > 1 else "all ranks")
        assert bits(metric.metric_state) == own
        assert bits(dict(metric.state_dict())) == bits(dict(local))
        return saved, wanted, local

    for saved, wanted, local in run_threads(body, world):
        for states, value in ((saved, wanted), (local, None)):
            again: Any = Drawn(kinds, sync_on_compute=False)
            again.persistent(True)
            target = MetricCollection({"m": again}) if collected and value is not None else again
            file = io.BytesIO()
            torch.save(states, file)
            file.seek(0)
            loaded = torch.load(file, weights_only=True)
            if value is None and world > 1 and about(loaded)["update_count"] > 0:
                with pytest.raises(RuntimeError, match=r"those of rank \d of \d alone, and this is rank 0 of 1"):
                    target.load_state_dict(loaded)
                continue
            target.load_state_dict(loaded)
            if value is not None:
                assert bits(_value(again)) == value


@given(KIND, st.integers(0, 4))
def test_what_is_loaded_goes_on_as_it_would_have(kinds: tuple[str, ...], count: int) -> None:
    metric = Drawn(kinds)
    metric.persistent(True)
    for seed in range(count):
        metric.update(batch(seed))
    again, pickled = Drawn(kinds), pickle.loads(pickle.dumps(metric))
    again.load_state_dict(metric.state_dict())
    for one in (metric, again, pickled):
        one.update(batch(17))
    assert bits(_value(again)) == bits(_value(metric)) == bits(_value(pickled))
    assert again.update_count == metric.update_count == count + 1


@pytest.mark.parametrize("ways", [1, 2])
def test_what_is_saved_is_no_more_than_what_the_metric_has(ways: int) -> None:
    """A row that is a slice of something large is saved as the slice."""

    def body(rank: int, world_size: int) -> list[int]:
        metric, large = Rows(), torch.rand(100_000)
        metric.persistent(True)
        for start in range(3):
            metric.update(large[start : start + 2])
        sizes = [saved(metric)]
        metric.compute()
        metric.sync_async().wait()
        sizes.append(saved(metric))
        with metric.sync_context():
            state = metric.state_dict()
            sizes += [saved(metric), saved(state)]
        other = Rows()
        other.persistent(True)
        other.load_state_dict(state)
        return [*sizes, saved(other), saved(copy.deepcopy(other))]

    def saved(what: Any) -> int:
        file = io.BytesIO()
        torch.save(what, file)
        return file.getbuffer().nbytes

    for sizes in run_threads(body, ways):
        assert max(sizes) < 20_000, sizes


def test_a_metric_is_freed_though_it_was_synced() -> None:
    def body(rank: int, world_size: int) -> bool:
        metric = Welford()
        metric.update(torch.ones(3))
        metric.compute()
        MetricCollection({"m": metric}).compute()
        seen = weakref.ref(metric)
        del metric
        return seen() is None  # at once, by no garbage collection

    assert run_threads(body, 2) == [True, True]
