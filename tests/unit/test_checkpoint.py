"""Persistent states in a `state_dict`."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from syncmetrics import Metric, dim_zero_cat
from syncmetrics.testing import run_threads
from tests.samples import DTYPES, Outer, Rows, Total, about, bits, local_bits
from tests.strategies import PLAIN, noise, tensors


class Kept(Metric):
    """One state of each kind, all persistent but one."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(2, dtype=torch.float64), "sum", persistent=True)
        self.add_state("rows", [], "cat", persistent=True)
        self.add_state("each", [], None, persistent=True)
        self.add_state("names", [], None, persistent=True)
        self.add_state("scratch", torch.tensor(0.0), "sum")

    def update(self, rows: Tensor, *names: Any) -> None:
        self.total += 1
        self.scratch += 1
        self.rows.append(rows)
        self.each.append(rows)
        self.names.extend(names)

    def compute(self) -> Tensor:
        return dim_zero_cat(self.rows)


KEYS = {"total", "rows", "each", "names", "_about"}


def full() -> Kept:
    metric = Kept()
    metric.update(torch.tensor([[1, 2]]), "a", ("b", None))
    metric.update(torch.zeros(0, 2, dtype=torch.int64), {"k": b"\x00"})
    return metric


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def test_round_trip_through_a_file() -> None:
    metric, twin = full(), Kept()
    state = through_a_file(metric.state_dict())
    assert set(state) == KEYS
    assert all(isinstance(value, Tensor) for value in state.values())
    twin.load_state_dict(state)
    want = metric.metric_state
    want["scratch"] = torch.tensor(0.0)
    assert bits(twin.metric_state) == bits(want)
    assert twin.update_count == 2
    twin.update(torch.tensor([[3, 4]]))
    assert twin.compute().tolist() == [[1, 2], [3, 4]]
    assert len(metric.rows) == 2


def test_lists_without_elements_have_their_keys() -> None:
    state = Kept().state_dict()
    assert set(state) == KEYS
    metric = full()
    metric.load_state_dict(state)
    assert (metric.rows, metric.each, metric.names, metric.update_count) == ([], [], [], 0)


@given(st.lists(tensors(), max_size=3), st.lists(PLAIN, max_size=3))
def test_any_elements(each: list[Tensor], names: list[Any]) -> None:
    metric, twin = Kept(), Kept()
    metric.each, metric.names = each, names
    twin.load_state_dict(through_a_file(metric.state_dict()))
    assert bits([twin.each, twin.names]) == bits([each, names])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_dtype(dtype: torch.dtype) -> None:
    metric, twin = Kept(), Kept()
    metric.rows = [noise(dtype, (3,), 1)]
    metric.total = noise(dtype, (2,), 2)
    twin.load_state_dict(metric.state_dict())
    assert bits([twin.rows, twin.total]) == bits([metric.rows, metric.total])


def test_nothing_is_saved_unless_asked_for() -> None:
    metric = Total()
    assert metric.state_dict() == {}
    metric.persistent(True)
    assert set(metric.state_dict()) == {"total", "_about"}
    metric.persistent(False)
    assert metric.state_dict() == {}
    metric.load_state_dict({})


def test_what_is_saved_is_a_copy_and_what_is_loaded_too() -> None:
    metric = full()
    state = metric.state_dict()
    before = bits(state)
    metric.update(torch.tensor([[9, 9]]), "z")
    assert bits(state) == before
    twin = Kept()
    twin.load_state_dict(state)
    twin.update(torch.tensor([[9, 9]]))
    twin.total += 1
    assert bits(state) == before


def test_strict() -> None:
    state = full().state_dict()
    missing = {key: value for key, value in state.items() if key != "rows"}
    with pytest.raises(RuntimeError, match=r'Missing key\(s\).*"rows"'):
        Kept().load_state_dict(missing)
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\).*"other"'):
        Kept().load_state_dict({**state, "other": torch.zeros(1)})
    metric = Kept()
    found = metric.load_state_dict({**missing, "other": torch.zeros(1)}, strict=False)
    assert found.unexpected_keys == ["other"]
    assert metric.rows == []
    assert metric.names[0] == "a"


def test_states_that_are_not_persistent_here_are_loaded_too() -> None:
    metric = Total()
    metric.load_state_dict({"total": torch.tensor(1.0)})
    assert (metric.compute(), metric.update_count) == (1, 1)
    with pytest.raises(RuntimeError, match="Unexpected"):
        metric.load_state_dict({"total": torch.tensor(1.0), "more": torch.tensor(1.0)})


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(3),
        torch.zeros(5, dtype=torch.uint8),
        torch.full((40,), 7, dtype=torch.uint8),
        torch.tensor([1] + [0] * 15 + [255] * 40, dtype=torch.uint8),
        torch.tensor([2] + [0] * 15 + [255] * 40, dtype=torch.uint8),
        5,
        None,
    ],
    ids=["floats", "short", "unknown", "no bundle", "no plain data", "a number", "nothing"],
)
def test_what_is_no_saved_list_is_told_and_changes_nothing(value: Any) -> None:
    metric = full()
    before = local_bits(metric)
    with pytest.raises(RuntimeError, match=r"state `rows` cannot be loaded"):
        metric.load_state_dict({**full().state_dict(), "rows": value})
    assert local_bits(metric)[0][2] is not None
    assert bits(metric.rows) == dict(before[0][2][1])["rows"]


def test_a_list_as_other_libraries_save_it() -> None:
    metric = Kept()
    state = {"total": torch.ones(2), "rows": [torch.tensor([1.0])], "each": [], "names": ["a"]}
    metric.load_state_dict(state)
    assert bits([metric.rows, metric.names]) == bits([[torch.tensor([1.0])], ["a"]])
    assert metric.update_called


def test_inside_a_module_and_inside_a_metric() -> None:
    def make() -> nn.Module:
        outer = Outer()
        outer.persistent(True)
        outer.inner.persistent(True)
        outer.many[0].persistent(True)
        return nn.ModuleDict({"layer": nn.Linear(1, 1), "metrics": nn.ModuleList([outer])})

    model, twin = make(), make()
    model["metrics"][0].update(torch.tensor([1.0, 2.0]))  # type: ignore[index]
    state = model.state_dict()
    assert {"metrics.0.batches", "metrics.0.inner.total", "metrics.0.many.0.rows", "layer.weight"} <= set(state)
    twin.load_state_dict(through_a_file(state))
    assert local_bits(twin) == local_bits(model)


def test_loading_ends_a_sync_and_forgets_the_value() -> None:
    metric, other = Rows(), Rows()
    metric.persistent(True)
    other.persistent(True)
    metric.update(torch.tensor([1.0]))
    other.update(torch.tensor([2.0]))
    metric.compute()
    metric.sync()
    metric.load_state_dict(other.state_dict())
    metric.update(torch.tensor([3.0]))
    assert metric.compute().tolist() == [2.0, 3.0]


def test_saving_while_synced_saves_the_states_of_all_ranks_and_says_so() -> None:
    def body(rank: int, world_size: int) -> list[Any]:
        metric = Total()
        metric.persistent(True)
        metric.update(torch.tensor([1.0 + rank]))
        with metric.sync_context():
            saved = metric.state_dict()
        return [saved["total"], about(saved), about(metric.state_dict())["states_of"]]

    for rank, (total, said, later) in enumerate(run_threads(body, 2)):
        assert total == 3
        assert later == f"rank {rank} of 2"
        assert said == {
            "format": 1,
            "states_of": "all ranks",
            "update_count": 2,
            "states": {"total": ["sum", "float64", []]},
        }


def test_states_of_all_ranks_count_once_wherever_they_are_loaded() -> None:
    def save(rank: int, world_size: int) -> Any:
        metric = Total()
        metric.persistent(True)
        metric.update(torch.tensor([1.0 + rank]))
        alone = metric.state_dict()
        with metric.sync_context():
            return metric.state_dict(), alone

    def load(rank: int, world_size: int, saved: Any, alone: Any) -> float:
        metric = Total()
        metric.persistent(True)
        metric.load_state_dict(saved)
        value = metric.compute().item()
        with pytest.raises(RuntimeError, match=f"are those of rank 0 of 2 alone, and this is rank {rank} of 3"):
            metric.load_state_dict(alone)
        return value

    assert run_threads(load, 3, *run_threads(save, 2)[0]) == [3.0] * 3
    metric = Total()
    metric.persistent(True)
    metric.load_state_dict(run_threads(save, 2)[0][0])
    assert metric.compute() == 3.0
