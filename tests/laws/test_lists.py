"""Law 10: a list is the list of one process: the same elements in rank order, however they travelled."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from syncmetrics import Metric, MetricCollection, dim_zero_cat, gather_ragged, sync_states
from syncmetrics.states.joined import JoinedRows
from syncmetrics.testing import run_ranks
from syncmetrics.transport.threads import run_threads
from tests.laws import lists
from tests.samples import bits

DTYPES = [torch.float32, torch.float64, torch.int64, torch.bool, torch.float16]


@st.composite
def elements(draw: Any, tail: tuple[int, ...], dtypes: list[torch.dtype]) -> list[Tensor]:
    """Rows of a few kinds: scalars and empty ones among them; most of one size, as batches are."""
    found = []
    for _ in range(draw(st.integers(0, 3))):
        rows = draw(st.sampled_from([None, 0, 1, 2, 2, 5] if not tail else [0, 1, 2, 2, 5]))
        shape = (*(() if rows is None else (rows,)), *tail)
        dtype = draw(st.sampled_from(dtypes))
        for _ in range(draw(st.integers(1, 4))):
            found.append(torch.full(shape, draw(st.integers(0, 9))).to(dtype))
    return found


@st.composite
def worlds(draw: Any) -> list[list[Tensor]]:
    tail = draw(st.sampled_from([(), (), (3,), (0,)]))
    dtypes = draw(st.lists(st.sampled_from(DTYPES), min_size=1, max_size=2, unique=True))
    return draw(st.lists(elements(tail, dtypes), min_size=1, max_size=3))  # type: ignore[no-any-return]


@given(worlds(), st.sampled_from(["cat", None]))
@example([[torch.tensor(1.0), torch.tensor(2.0)], [torch.tensor(3.0), torch.tensor(6.0)]], "cat")
def test_the_elements_are_those_of_one_process(world: list[list[Tensor]], fx: Any) -> None:
    wanted = [item for rank in world for item in rank]
    found = run_threads(lists.elements, len(world), world, fx)
    for seen, joined in found:
        assert len(seen) == len(wanted)
        for a, b in zip(seen, wanted, strict=True):
            assert a.shape == b.shape
            assert torch.equal(a.to(torch.float64), b.to(torch.float64))
            assert a.dtype == b.dtype
        if joined is not None:
            assert bits(joined) == bits(lists.joined(wanted))


def test_on_processes() -> None:
    world = [[torch.tensor(1.0), torch.tensor(2.0), torch.ones(3)], [torch.tensor(3.0)], [torch.zeros(0)]]
    for seen, _ in run_ranks(lists.elements, 3, world, "cat"):
        assert [tuple(item.shape) for item in seen] == [(), (), (3,), (), (0,)]


class Mean(Metric):
    """Asks how many elements there are, as people do."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("s", [], dist_reduce_fx="cat")

    def update(self, x: float) -> None:
        self.s.append(torch.tensor(x))

    def compute(self) -> Tensor:
        return sum(self.s) / len(self.s)  # type: ignore[no-any-return]


def test_the_mean_that_was_met() -> None:
    def body(rank: int, world_size: int) -> list[float]:
        values = []
        for make in (Mean, lambda: MetricCollection([Mean()])):
            metric: Any = make()
            for x in ((1.0, 2.0), (3.0, 6.0))[rank]:
                metric.update(x)
            value = metric.compute()
            values.append(float(value["Mean"] if isinstance(value, dict) else value))
        return values

    assert run_threads(body, 2) == [[3.0, 3.0]] * 2


def test_joining_costs_nothing_and_taking_apart_happens_when_asked() -> None:
    seen = []

    class Rows(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("rows", [], dist_reduce_fx="cat")

        def update(self, x: Tensor) -> None:
            self.rows.append(x)

        def compute(self) -> Tensor:
            rows = self.rows
            assert isinstance(rows, JoinedRows)
            seen.append((len(rows), rows._runs is None))
            value = dim_zero_cat(rows)
            seen.append((len(rows), rows._runs is None))
            assert value.data_ptr() == torch.cat(rows).data_ptr() or rows._runs is not None
            return value

    def body(rank: int, world_size: int) -> None:
        metric = Rows()
        for _ in range(1000):
            metric.update(torch.ones(4))
        assert metric.compute().shape == (8000,)

    run_threads(body, 2)
    assert set(seen) == {(2000, False)}


# -- a list that was joined is a list


USES: dict[str, Callable[[list[Any]], Any]] = {
    "len": len,
    "iterate": list,
    "enumerate": lambda rows: list(enumerate(rows)),
    "index": lambda rows: [rows[0], rows[-1]],
    "slice": lambda rows: rows[1:3],
    "reversed": lambda rows: list(reversed(rows)),
    "sum": lambda rows: sum(x.sum() for x in rows),
    "cat": lambda rows: torch.cat([x.reshape(-1) for x in rows]),
    "torch.cat": lambda rows: torch.cat(rows) if all(x.dim() for x in rows) else None,
    "torch.stack": lambda rows: torch.stack(rows) if len({x.shape for x in rows}) == 1 else None,
    "torch.hstack": lambda rows: torch.hstack(rows),
    "unpack": lambda rows: [*rows],
    "add": lambda rows: operator.add(rows, [torch.ones(1)]),
    "radd": lambda rows: operator.add([torch.ones(1)], rows),
    "mul": lambda rows: rows * 2,
    "copy": lambda rows: rows.copy(),
    "copy.copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda rows: pickle.loads(pickle.dumps(rows)),
    "zip": lambda rows: [a for a, _ in zip(rows, range(100), strict=False)],
    "map": lambda rows: list(map(torch.sum, rows)),
    "bool": bool,
    "isinstance": lambda rows: isinstance(rows, list),
    "append": lambda rows: (rows.append(torch.ones(1)), list(rows))[1],
    "extend": lambda rows: (rows.extend([torch.ones(1)]), list(rows))[1],
    "insert": lambda rows: (rows.insert(0, torch.ones(1)), list(rows))[1],
    "pop": lambda rows: (rows.pop(), list(rows)),
    "iadd": lambda rows: list(rows.__iadd__([torch.ones(1)])),
    "set": lambda rows: (rows.__setitem__(0, torch.zeros(1)), list(rows))[1],
    "del": lambda rows: (rows.__delitem__(0), list(rows))[1],
    "clear": lambda rows: (rows.clear(), len(rows))[1],
    "reverse": lambda rows: (rows.reverse(), list(rows))[1],
    "sort": lambda rows: (rows.sort(key=lambda x: -float(x.sum())), list(rows))[1],
    "eq": lambda rows: rows == [1],
    "tuple": tuple,
    "repr": repr,
    "pad_sequence": lambda rows: torch.nn.utils.rnn.pad_sequence([x.reshape(-1) for x in rows]),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("scalars", [False, True])
def test_every_use_of_a_list_is_that_of_a_plain_one(use: str, scalars: bool) -> None:
    def make() -> list[Tensor]:
        return [torch.tensor(float(n)) if scalars else torch.arange(1.0 + n % 3) + n for n in range(5)]

    def body(rank: int, world_size: int) -> Any:
        result = sync_states({"rows": make()[: 3 + rank]}, {"rows": "cat"})["rows"]
        return bits(USES[use](result))

    plain = [*make()[:3], *make()[:4]]
    assert run_threads(body, 2) == [bits(USES[use](plain))] * 2


# -- rows of plain data travel fast enough


def test_what_helpers_give() -> None:
    def body(rank: int, world_size: int) -> None:
        own = {"rows": [torch.full((2,), float(rank)), torch.full((1,), 5.0)]}
        rows = sync_states(own, {"rows": "cat"})["rows"]
        assert [tuple(x.tolist()) for x in rows] == [(0.0, 0.0), (5.0,), (1.0, 1.0), (5.0,)]
        assert [x.tolist() for x in gather_ragged(torch.ones(rank + 1))] == [[1.0], [1.0, 1.0]]

    run_threads(body, 2)
