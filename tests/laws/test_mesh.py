"""Whatever a mesh looks like, and along whichever of its dimensions the data differ: each sample counts once.

Ranks are threads here: who syncs with whom is found from the shape of the mesh, for real processes as for these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from syncmetrics import (
    MaxMetric,
    MeanMetric,
    Metric,
    MetricCollection,
    PeerError,
    ReplicaMismatchError,
    SumMetric,
    share_errors,
)
from syncmetrics.transport.base import Role
from syncmetrics.transport.local import OutsideTransport
from syncmetrics.transport.spread import Grid, Spread, spread
from syncmetrics.transport.threads import ThreadsTransport, ThreadsWorld, run_threads
from tests.laws import TIMES
from tests.samples import bits


@dataclass(frozen=True)
class Case:
    """A mesh, and what is said of it.

    Attributes:
        grid: The mesh, in a world that may have more ranks.
        world_size: How many ranks there are in all.
        over: The dimensions along which data differ.
        only: By dimension the index where there are any.
        broadcast: Whether the ranks outside get the value too.
    """

    grid: Grid
    world_size: int
    over: tuple[int, ...]
    only: dict[int, int]
    broadcast: bool

    @property
    def others(self) -> tuple[int, ...]:
        return tuple(sorted(set(range(self.world_size)) - set(self.grid.ranks)))

    def spread(self, rank: int) -> Spread:
        return spread(self.grid, rank, self.over, self.only, others=self.others, broadcast=self.broadcast)

    def place(self, rank: int) -> tuple[int, ...] | None:
        return next((place for place, one in self.grid.places().items() if one == rank), None)

    def has_data(self, rank: int) -> bool:
        place = self.place(rank)
        return place is not None and all(place[axis] == index for axis, index in self.only.items())

    def shard(self, rank: int) -> tuple[int, ...]:
        """Give what tells apart the data of ranks that have any."""
        place = self.place(rank)
        assert place is not None
        return tuple(place[axis] for axis in sorted(self.over))

    @property
    def shards(self) -> list[tuple[int, ...]]:
        return sorted({self.shard(rank) for rank in self.grid.ranks if self.has_data(rank)})


@st.composite
def cases(draw: st.DrawFn) -> Case:
    shape: list[int] = []
    for _ in range(draw(st.integers(1, 3))):
        shape.append(draw(st.integers(1, min(4, 8 // math.prod(shape)))))
    size = math.prod(shape)
    world_size = draw(st.integers(size, min(8, size + 2)))
    ranks = tuple(draw(st.permutations(range(world_size)))[:size])
    kinds = draw(st.lists(st.sampled_from(["over", "only", "alike"]), min_size=len(shape), max_size=len(shape)))
    over = tuple(axis for axis, kind in enumerate(kinds) if kind == "over")
    only = {a: draw(st.integers(0, shape[a] - 1)) for a, kind in enumerate(kinds) if kind == "only"}
    return Case(Grid(tuple("abc"[: len(shape)]), tuple(shape), ranks), world_size, over, only, draw(st.booleans()))


@given(cases())
def test_ranks_agree_on_who_syncs_and_each_sample_is_in_each_group_once(case: Case) -> None:
    found = {rank: case.spread(rank) for rank in range(case.world_size)}
    for rank, one in found.items():
        if not (case.has_data(rank) or case.broadcast):
            assert one.ranks == ()
            continue
        assert (rank in one.ranks[: one.inside]) == case.has_data(rank)
        assert rank in one.ranks
        assert all(found[other].ranks == one.ranks for other in one.ranks)
        assert [case.shard(other) for other in one.ranks[: one.inside]] == case.shards
        assert all(found[other].whole == one.whole for other in one.whole)
        assert set(one.ranks) <= set(one.whole)
        for same in one.replicas:
            assert len({case.shard(other) for other in same}) == 1
    groups = {one.ranks: one for one in found.values() if one.ranks}
    assert sorted(rank for ranks in groups for rank in ranks) == sorted(r for r, one in found.items() if one.ranks)
    assert sum(one.is_first for one in groups.values()) == 1
    replicas = [one.replicas for one in groups.values()]
    assert all(len(some) == (len(case.shards) if len(groups) > 1 else 0) for some in replicas)


class Kept(Metric):
    """A tensor that is stacked over ranks, rows in rank order, and a reduction of the user's own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("last", torch.tensor(-1.0), dist_reduce_fx=None)
        self.add_state("product", torch.tensor(1.0), dist_reduce_fx=lambda stacked: stacked.prod(0))
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, values: Tensor) -> None:
        self.last = values.sum()
        self.product = self.product * values.prod()
        self.rows.append(values)

    def compute(self) -> Any:
        return self.last.reshape(-1).tolist(), float(self.product), [rows.tolist() for rows in self.rows]


def metrics(transport: Any) -> MetricCollection:
    named = {"sum": SumMetric(), "mean": MeanMetric(), "max": MaxMetric(), "kept": Kept()}
    return MetricCollection(named, process_group=transport)


class Threads:
    """The transports of all ranks of a mesh, as threads."""

    def __init__(self, case: Case, *, compared: bool = False) -> None:
        self._case, self._worlds, self._compared = case, dict[Any, ThreadsWorld](), compared
        for rank in range(case.world_size):
            found = case.spread(rank)
            if found.ranks:
                self._worlds.setdefault(found.ranks, ThreadsWorld(len(found.ranks), 20.0))
                self._worlds.setdefault(("whole", found.whole), ThreadsWorld(len(found.whole), 20.0))

    def of(self, rank: int) -> Any:
        found = self._case.spread(rank)
        if not found.ranks:
            return OutsideTransport()
        transport: Any = ThreadsTransport(self._worlds[found.ranks], found.ranks.index(rank))
        whole = ThreadsTransport(self._worlds["whole", found.whole], found.whole.index(rank))
        sets = tuple(tuple(map(found.whole.index, some)) for some in found.replicas)
        names = tuple(f"global rank {one}" for one in found.whole)
        compared = self._compared and bool(sets)
        transport.role = Role(not self._case.has_data(rank), whole if compared else None, sets, names)
        return transport


def run(case: Case, body: Callable[[int, Any], Any], *, compared: bool = False) -> list[Any]:
    threads = Threads(case, compared=compared)
    return run_threads(lambda rank, _: body(rank, threads.of(rank)), case.world_size)


@pytest.mark.one_core
@settings(max_examples=30 * TIMES)
@given(cases(), st.data())
def test_the_value_is_that_of_one_process_on_all_distinct_samples(case: Case, data: st.DataObject) -> None:
    numbers = st.lists(st.sampled_from([0.5, 1.0, 2.0, -1.0]), min_size=1, max_size=3)
    batches = {shard: data.draw(st.lists(numbers, min_size=1, max_size=2)) for shard in case.shards}

    def body(rank: int, transport: Any) -> Any:
        mine = metrics(transport)
        if case.has_data(rank):
            for batch in batches[case.shard(rank)]:
                mine.update(torch.tensor(batch))
        return None if isinstance(transport, OutsideTransport) else bits(mine.compute())

    expected = metrics(None)
    for shard in case.shards:
        for batch in batches[shard]:
            expected.update(torch.tensor(batch))
    value = expected.compute()
    last = [sum(batches[shard][-1]) for shard in case.shards]
    value["kept"] = (last, value["kept"][1], value["kept"][2])
    wanted = bits(value)
    for rank, found in enumerate(run(case, body)):
        assert found == (wanted if case.has_data(rank) or case.broadcast else None), rank


@pytest.mark.one_core
@settings(max_examples=40 * TIMES)
@given(cases(), st.data())
def test_replicas_that_differ_are_named_alike_on_all_ranks(case: Case, data: st.DataObject) -> None:
    inside = [rank for rank in range(case.world_size) if case.has_data(rank)]
    odd = data.draw(st.sampled_from(inside))
    how = data.draw(st.sampled_from(["none", "value", "updates", "raises"]))

    def body(rank: int, transport: Any) -> Any:
        if isinstance(transport, OutsideTransport):
            return None
        mine = MetricCollection({"sum": SumMetric()}, process_group=transport)
        try:
            with share_errors(process_group=transport):
                if case.has_data(rank):
                    mine.update(torch.tensor(2.0 if (rank, how) == (odd, "value") else 1.0))
                    if (rank, how) == (odd, "updates"):
                        mine.update(torch.tensor(0.0))
                    if (rank, how) == (odd, "raises"):
                        raise OSError("no such file")
                return "value", float(mine.compute()["sum"])
        except (ReplicaMismatchError, PeerError, OSError) as error:
            return type(error).__name__, str(error)

    taking_part = [rank for rank in range(case.world_size) if case.spread(rank).ranks]
    found = run(case, body, compared=True)
    said = {found[rank] for rank in taking_part}
    if how == "raises":
        assert found[odd] == ("OSError", "no such file")
        # Where nothing is compared, the groups know nothing of each other.
        told = taking_part if case.spread(odd).replicas else case.spread(odd).ranks
        others = {found[rank] for rank in told if rank != odd}
        assert len(others) <= 1
        assert all(kind == "PeerError" and "no such file" in text for kind, text in others)
        return
    assert len(said) == 1, said
    ((kind, text),) = said
    if how == "none" or not case.spread(odd).replicas:
        assert kind == "value"
    else:
        assert kind == "ReplicaMismatchError"
        assert f"global rank {odd}" in text
        assert ("`sum.sum_value`" in text) == (how == "value")
        assert "`sum.update_count`" in text or how == "value"


def test_a_mesh_of_pipeline_tensor_and_data_parallel_ranks() -> None:
    grid = Grid(("pp", "dp", "tp"), (2, 2, 2), tuple(range(8)))
    last = spread(grid, 5, [1], {0: 1}, broadcast=True)
    assert last == Spread((5, 7, 1, 3), 2, tuple(range(8)), ((4, 5), (6, 7)), is_first=False)
    assert spread(grid, 1, [1], {0: 1}).ranks == ()
    assert spread(grid, 0, [0, 1], {}).ranks == (0, 2, 4, 6)


def named(spec: Sequence[int]) -> Grid:
    return Grid(tuple(map(str, range(len(spec)))), tuple(spec), tuple(range(math.prod(spec))))


def test_no_dimension_with_data_is_a_world_of_one() -> None:
    assert spread(named([2, 2]), 3, [], {}) == Spread((3,), 1, (0, 1, 2, 3), ((0, 1, 2, 3),), is_first=False)
