"""Law 2: all or nothing. A verb that raises, at any member, leaves every state of every member as it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from syncmetrics import Metric, MetricCollection, MulticlassAccuracy, PeerError, RowBuffer, StateError
from syncmetrics.transport.threads import run_threads
from tests.laws.drawn import KINDS, Drawn, batch
from tests.samples import Names, bits, local_bits


class BrokenError(Exception):
    pass


class Breaks(Drawn):
    """Raises where it is told to: after so many states were changed, or in `compute`, or in a merge."""

    breaks: tuple[str, int] | None = None

    @property
    def compute_group(self) -> Any:
        return self.kinds, self.breaks

    def update(self, x: Tensor) -> None:
        verb, after = self.breaks or ("", 0)
        kinds, self.__dict__["kinds"] = self.kinds, self.kinds[:after] if verb == "update" else self.kinds
        try:
            super().update(x)
        finally:
            self.__dict__["kinds"] = kinds
        if verb == "update":
            raise BrokenError

    def compute(self) -> Any:
        value = super().compute()
        if self.breaks and self.breaks[0] == "compute":
            raise BrokenError
        return value


class Around(Metric):
    """A metric with another one inside."""

    def __init__(self, inner: Metric) -> None:
        super().__init__()
        self.inner = nn.ModuleList([inner])
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.count += 1
        self.inner[0].update(x)

    def compute(self) -> Any:
        return self.count.clone(), self.inner[0].compute()


@st.composite
def members(draw: Any) -> tuple[MetricCollection, list[Breaks]]:
    kinds = st.lists(st.sampled_from(KINDS), min_size=1, max_size=4).map(tuple)
    found: dict[str, Metric] = {}
    breaking = []
    for index in range(draw(st.integers(1, 4))):
        shape = draw(st.sampled_from(["good", "breaks", "breaks", "inside"]))
        metric = (Drawn if shape == "good" else Breaks)(draw(kinds))
        if isinstance(metric, Breaks):
            breaking.append(metric)
        found[f"m{index}"] = Around(metric) if shape == "inside" else metric
    return MetricCollection(found), breaking


@given(members(), st.lists(st.integers(0, 9), max_size=5), st.data())
def test_a_verb_that_raises_changes_nothing(drawn: Any, seeds: list[int], data: st.DataObject) -> None:
    collection, breaking = drawn
    for seed in seeds:
        collection.update(batch(seed)) if seed % 2 else collection(batch(seed))
    if not breaking:
        return
    broken = data.draw(st.sampled_from(breaking))
    verb = data.draw(st.sampled_from(["update", "compute"]))
    act = data.draw(st.sampled_from(["update", "forward"] if verb == "update" else ["compute", "forward"]))
    broken.breaks = (verb, data.draw(st.integers(0, len(broken.kinds))))
    who = data.draw(st.sampled_from([collection, *collection.values()]))
    if all(module is not broken for module in who.modules()):
        who = collection
    before = local_bits(collection)
    with (
        pytest.warns(UserWarning, match="before any update") if act == "compute" and not seeds else nullcontext(),
        pytest.raises(BrokenError),
    ):
        {"update": who.update, "forward": who}[act](batch(50)) if act != "compute" else who.compute()
    assert local_bits(collection) == before
    broken.breaks = None
    collection.update(batch(51))
    twin = MetricCollection({name: _again(metric) for name, metric in collection.items()})
    for seed in [*seeds, 51]:
        twin.update(batch(seed))
    assert bits(collection.compute()) == bits(twin.compute())


def _again(metric: Metric) -> Metric:
    return Around(_again(metric.inner[0])) if isinstance(metric, Around) else type(metric)(metric.kinds)  # type: ignore[call-arg,arg-type]


class CountsSamples(Metric):
    """Edits its state in place, as people do."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        self.n += len(target)

    def compute(self) -> Tensor:
        return self.n.clone()


@pytest.mark.parametrize("verb", ["update", "forward"])
@pytest.mark.parametrize("order", [("seen", "acc"), ("acc", "seen")])
def test_half_a_batch_is_counted_by_no_member(verb: str, order: tuple[str, str]) -> None:
    made = {"seen": CountsSamples(), "acc": MulticlassAccuracy(3)}
    collection = MetricCollection({name: made[name] for name in order})
    with pytest.raises(ValueError, match=r"0\.\.2"):
        {"update": collection.update, "forward": collection}[verb](torch.tensor([0, 1]), torch.tensor([0, 7]))
    assert [metric.update_count for metric in collection.values()] == [0, 0]
    assert made["seen"].n == 0
    collection.update(torch.tensor([0, 1]), torch.tensor([0, 1]))
    assert {name: float(v) for name, v in collection.compute().items()} == {"seen": 2.0, "acc": 1.0}


# -- edits in place: what is copied, and what is told


class Table(Metric):
    """Edits a tensor of any size in place, and fails if it is told to."""

    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("table", torch.zeros(size), dist_reduce_fx="sum")
        self.add_state("other", torch.zeros(size), dist_reduce_fx="sum")

    def update(self, fail: bool) -> None:
        self.table[0] += 1
        if fail:
            raise BrokenError

    def compute(self) -> Tensor:
        return self.table[0]


def _notes(error: BaseException) -> str:
    return " ".join(getattr(error, "__notes__", []))


@pytest.mark.parametrize("updates", [0, 1, 3])
@pytest.mark.parametrize(("size", "atomic", "kept"), [(10, None, True), (5000, None, False), (5000, True, True)])
@pytest.mark.filterwarnings("ignore:.*had edited state")  # before Python 3.11 there are no notes
def test_an_edit_in_place_is_undone_or_told(size: int, atomic: bool | None, kept: bool, updates: int) -> None:
    table = Table(size, atomic=atomic)
    for _ in range(updates):
        table.update(False)
    with pytest.raises(BrokenError) as caught:
        table.update(True)
    assert table.compute_with_cache
    assert table.update_count == updates
    assert table.table[0] == updates + (not kept)
    told = _notes(caught.value)
    assert ("`table`" in told and "atomic=True" in told) is not kept
    assert "`other`" not in told


def test_numbers_of_any_dtype_are_put_back_to_the_bit() -> None:
    dtypes = [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64]
    values = {
        torch.int64: (1 << 62) + 1,
        torch.float64: 0.1,
        torch.float32: float("nan"),
        torch.complex64: 1 - 2j,
        torch.uint64: (1 << 64) - 3,
        torch.float8_e4m3fn: 0.875,
    }
    for dtype in [*dtypes, torch.complex64, torch.uint64, torch.float8_e4m3fn]:
        for shape in ((), (1,), (1, 1)):
            metric = _Fills(torch.zeros(shape).to(dtype))
            exact = None if dtype.itemsize == 1 else dtype
            metric.state = torch.tensor(values.get(dtype, 1), dtype=exact).to(dtype).reshape(shape)
            before = bits(metric.state)
            for _ in range(2):  # the second time there is something to be ready for
                with pytest.raises(BrokenError):
                    metric.update()
                assert bits(metric.state) == before, (dtype, shape)


class _Fills(Metric):
    def __init__(self, default: Tensor) -> None:
        super().__init__()
        self.add_state("state", default, dist_reduce_fx=lambda x: x[0])
        self._holder.store.update_count = 1
        self._holder.store.is_ready = True

    def update(self) -> None:
        self.state.zero_()
        raise BrokenError

    def compute(self) -> Tensor:
        return self.state.clone()


# -- lists


EDITS: dict[str, Callable[[list[Any]], Any]] = {
    "append": lambda rows: rows.append(rows[0]),
    "pop": lambda rows: rows.pop(0),
    "clear": lambda rows: rows.clear(),
    "reverse": lambda rows: rows.reverse(),
    "set": lambda rows: rows.__setitem__(0, rows[-1]),
    "delete": lambda rows: rows.__delitem__(slice(0, 2)),
}


class Lists(Metric):
    def __init__(self, default: list[Any]) -> None:
        super().__init__()
        self.add_state("rows", default, dist_reduce_fx="cat")
        self.act: Callable[[list[Any]], Any] | None = None

    def update(self, x: Tensor) -> None:
        if self.act is not None:
            self.act(self.rows)
            raise BrokenError
        self.rows.append(x)

    def compute(self) -> Any:
        return len(self.rows)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("count", [2, 40, 100])
@pytest.mark.parametrize("make", [list, RowBuffer])
@pytest.mark.filterwarnings("ignore:.*had edited state")
def test_a_list_is_put_back_whatever_was_done_to_it(edit: str, count: int, make: Any) -> None:
    metric = Lists(make())
    for index in range(count):
        metric.update(torch.full((2,), float(index)))
    before = bits(list(metric.rows))
    metric.act = EDITS[edit]
    with pytest.raises(BrokenError) as caught:
        metric.update(torch.ones(2))
    kept = bits(list(metric.rows)) == before
    assert kept or (len(metric.rows) < 1000 and "`rows`" in _notes(caught.value))
    if count <= 40 or make is RowBuffer or edit == "append":
        assert kept


def test_what_cannot_be_merged_or_loaded_changes_nothing() -> None:
    metric = Drawn(KINDS)
    metric.persistent(True)
    metric.update(batch(1))
    before = local_bits(metric)
    bad = metric.metric_state | {"s0": torch.zeros(2).to_sparse()}
    with pytest.raises(StateError, match="`s0`"):
        metric.merge_state(bad)
    assert local_bits(metric) == before
    saved = metric.state_dict()
    saved["s6"] = [torch.ones(1), "text"]
    with pytest.raises((RuntimeError, TypeError), match="s6"):
        metric.load_state_dict(saved)
    assert local_bits(metric) == before


class BadMerge(Names):
    def merge_states(self, a: Any, b: Any) -> Any:
        return {"name": a["names"] + b["names"]}


def test_a_merge_of_the_users_that_forgets_a_state_is_told() -> None:
    metric = BadMerge()
    metric.update("a")
    other = BadMerge()
    other.update("b")
    with pytest.raises(StateError, match=r"must give \['names'\]"):
        metric.merge_state(other)
    assert metric.names == ["a"]


def test_one_rank_that_cannot_reduce_leaves_all_as_they_were() -> None:
    def body(rank: int, world_size: int) -> None:
        metric = Drawn(("cat of rows", "sum, edited"))
        metric.update(batch(rank))
        metric.s0.append(torch.ones(2, 2) if rank else torch.ones(2, 3))
        before = local_bits(metric)
        with pytest.raises(PeerError, match="s0"):
            metric.compute()
        assert local_bits(metric) == before

    run_threads(body, 2)
