"""Law 4: nothing handed out is a state, a kept value, or a row of one; nothing handed in changes a state later."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import syncmetrics
from syncmetrics import (
    ClasswiseWrapper,
    Metric,
    MetricCollection,
    MulticlassAccuracy,
    StateError,
    dim_zero_cat,
    gather_ragged,
    sync_and_compute,
    sync_states,
)
from syncmetrics.testing import run_ranks
from syncmetrics.transport.threads import run_threads
from tests.laws import handed_out
from tests.laws.drawn import KINDS, Drawn, Lengths, batch
from tests.samples import Names, Rows, bits

WAYS = tuple(handed_out.WAYS)


@given(
    st.integers(1, 3),
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=4).map(tuple),
    st.lists(st.sampled_from(WAYS), min_size=1, max_size=6),
    st.booleans(),
)
def test_editing_what_was_handed_out_changes_no_value(
    world: int, kinds: tuple[str, ...], ways: list[str], collected: bool
) -> None:
    run_threads(handed_out.edit_all, world, kinds, ways, collected)


def test_on_processes() -> None:
    run_ranks(handed_out.edit_all, 2, KINDS, WAYS, True)


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4).map(tuple), st.booleans())
def test_editing_what_was_handed_in_changes_no_value(kinds: tuple[str, ...], stepped: bool) -> None:
    metric, twin = Drawn(kinds), Drawn(kinds)
    for seed in range(4):
        x = batch(seed)
        (metric if stepped else metric.update)(x)
        x.fill_(-1000.0)
        twin.update(batch(seed))
    other = Drawn(kinds)
    other.update(batch(7))
    metric.merge_state(other)
    other.update(batch(8))
    twin.update(batch(7))
    assert bits(metric.compute()) == bits(twin.compute())


class Keeps(Metric):
    """Binds what it is given, and appends it, as careless users do."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("last", torch.zeros(2), dist_reduce_fx="max")
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, x: Tensor) -> None:
        self.last = x
        self.rows.append(x)

    def compute(self) -> Any:
        return self.last, dim_zero_cat(self.rows)


@pytest.mark.parametrize("verb", ["update", "forward"])
@pytest.mark.parametrize("then", ["compute", "state_dict", "forward", "sync_context"])
def test_a_tensor_that_was_appended_and_then_edited_is_told_by_name(verb: str, then: str) -> None:
    metric = Keeps()
    metric.persistent(True)
    metric.full_state_update = False
    x = torch.ones(2)
    {"update": metric.update, "forward": metric}[verb](torch.zeros(2))
    {"update": metric.update, "forward": metric}[verb](x)
    x.mul_(3)
    if then == "forward":
        metric(torch.ones(2))  # which does not look at what was accumulated
        then = "compute"
    with pytest.raises(StateError, match=r"element 1 of state `rows` was edited in place .*append\(x.clone\(\)\)"):
        metric.sync_context().__enter__() if then == "sync_context" else getattr(metric, then)()
    metric.reset()
    metric.update(torch.ones(2))
    assert metric.compute()[0].tolist() == [1.0, 1.0]


def test_a_bound_tensor_that_is_edited_later_was_copied() -> None:
    metric = Keeps()
    for x in (torch.ones(2), torch.ones(4)[:2], torch.ones(2, 2)[0], torch.ones(2).view(2)):
        metric.update(torch.zeros(2))
        metric.update(x)
        x.mul_(5)
        assert metric.last.tolist() == [1.0, 1.0]
        metric.reset()


def test_plain_data_that_was_appended_is_a_copy() -> None:
    names = Names()
    row: Any = {"boxes": [1, 2], "of": ({"image": 3},)}
    names.update(row)
    row["boxes"].append(3)
    row["of"][0]["image"] = 4
    assert names.compute() == [{"boxes": [1, 2], "of": ({"image": 3},)}]
    names.compute()[0]["boxes"].clear()
    assert names.compute() == [{"boxes": [1, 2], "of": ({"image": 3},)}]


# -- each place by itself


def test_the_cases_that_users_met() -> None:
    rows = Rows()
    rows.update(torch.tensor([1.0, 2.0]))
    rows.compute().mul_(100)
    rows.update(torch.tensor([3.0]))
    assert rows.compute().tolist() == [1.0, 2.0, 3.0]

    own = [torch.ones(2)]
    sync_states({"r": own}, {"r": "cat"})["r"][0].zero_()
    assert own[0].tolist() == [1.0, 1.0]

    accuracy = MulticlassAccuracy(3)
    accuracy.update(torch.tensor([0, 1]), torch.tensor([0, 2]))
    value = accuracy.compute()
    kept = value.clone()
    value *= 100
    assert accuracy.compute() == kept


def test_a_large_value_that_was_edited_is_told_rather_than_given_again() -> None:
    rows = Rows()
    rows.update(torch.ones(1 << 19))
    value = rows.compute()
    assert rows.compute().data_ptr() == value.data_ptr()  # it is not twice in memory
    value.mul_(2)
    with pytest.raises(StateError, match=r"edited in place.*compute\(\).clone\(\)"):
        rows.compute()
    rows.update(torch.ones(1))
    assert rows.compute().sum() == (1 << 19) + 1


def test_the_value_of_a_step_is_kept_whatever_is_done_to_it() -> None:
    for value in (torch.tensor(2.0), torch.tensor([1.0, 2.0])):
        metric = _Gives(value)
        given = metric(torch.zeros(1))
        given.mul_(100)
        assert bits(metric._forward_cache) == bits(value)
        metric._forward_cache.mul_(100)
        assert bits(metric._forward_cache) == bits(value)


class _Gives(Metric):
    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.add_state("state", torch.zeros_like(value), dist_reduce_fx="sum")
        self.value = value.clone()

    def update(self, x: Tensor) -> None:
        self.state = self.state + self.value

    def compute(self) -> Tensor:
        return self.state


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


HELPERS: dict[str, Callable[[Any], Any]] = {
    "sync_states": lambda own: sync_states(own, {"rows": "cat", "total": "sum", "each": None}),
    "gather_ragged": lambda own: [gather_ragged(t) for t in _tensors(own)],
}


@pytest.mark.parametrize("helper", HELPERS)
@pytest.mark.parametrize("world", [1, 2])
def test_helpers_give_nothing_of_what_they_were_given(helper: str, world: int) -> None:
    def body(rank: int, world_size: int) -> None:
        own = {"rows": [torch.ones(2), torch.ones(1)], "total": torch.ones(2), "each": [torch.ones(1, 2)]}
        before = bits(own)
        for value in _tensors(HELPERS[helper](own)):
            value.zero_()
        assert bits(own) == before

    run_threads(body, world)


def test_the_values_of_wrappers() -> None:
    wrapped = ClasswiseWrapper(MulticlassAccuracy(3, average="none"))
    inner = MetricCollection({"w": wrapped})
    inner.update(torch.tensor([0, 1]), torch.tensor([0, 2]))
    kept = bits(inner.compute())
    for value in inner.compute().values():
        value.fill_(9)
    for value in sync_and_compute(inner).values():
        value.fill_(9)
    assert bits(inner.compute()) == kept
    assert syncmetrics.MetricCollection is MetricCollection


def test_metrics_of_a_group_hand_out_nothing_of_each_other() -> None:
    collection = MetricCollection(
        {"a": Drawn(("sum of a vector, edited",)), "b": Lengths(("sum of a vector, edited",))}
    )
    collection.update(batch(1))
    kept = bits(collection.compute())
    collection.compute()["a"][0].zero_()
    assert bits(collection.compute()) == kept


@dataclass(frozen=True)
class Scores:
    """What a user may return from `compute`."""

    total: Tensor
    inside: dict[str, Any]


class Recorded(Metric):
    """Returns its state in an object."""

    def __init__(self, made: Callable[..., Any]) -> None:
        super().__init__()
        self._made = made
        self.add_state("total", torch.zeros(3), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.total += x

    def compute(self) -> Any:
        return self._made(total=self.total, inside={"again": [self.total]})


@pytest.mark.parametrize("made", [Scores, SimpleNamespace, dict])
@pytest.mark.parametrize("world", [1, 2])
def test_whatever_holds_a_value(made: Callable[..., Any], world: int) -> None:
    def body(rank: int, world_size: int) -> None:
        metric = Recorded(made)
        metric.update(torch.ones(3))
        right = torch.full((3,), float(world_size))
        for _ in range(2):  # computed, and given again
            value = metric.compute()
            found = value if isinstance(value, dict) else vars(value)
            for tensor in (found["total"], found["inside"]["again"][0]):
                assert torch.equal(tensor, right)
                tensor.zero_()
        assert torch.equal(metric.metric_state["total"], torch.ones(3))

    run_threads(body, world)
