"""Law: a sync that looks at the packets of all ranks at once gives what one that goes rank by rank gives."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.simulated import RepeatingTransport
from syncmetrics import Metric, exact_add
from syncmetrics.sync import alike, memory
from syncmetrics.sync.engine import sync_parts
from syncmetrics.sync.memory import Known
from syncmetrics.sync.packet import HEADER_BYTES, shared_bytes
from syncmetrics.sync.route import Route
from syncmetrics.transport.threads import run_threads
from tests.samples import bits

DTYPES = {
    "sum": (torch.int64, torch.float64, torch.float32, torch.int32),
    "exact_sum": (torch.float32, torch.float64),
    "min": (torch.int64, torch.float32, torch.float64, torch.uint8),
    "max": (torch.int64, torch.float32, torch.float64, torch.int32),
    "cat": (torch.int64, torch.float32, torch.bfloat16, torch.bool),
    "mean": (torch.float64,),
}
NUMBERS = (0.0, -0.0, 1.0, -1.0, 1e30, 1e-30, 0.1, 3.0)
STATE = st.sampled_from([(fx, dtype) for fx, dtypes in DTYPES.items() for dtype in dtypes])


class Kept(Metric):
    """States of given kinds, which hold what they are told."""

    full_state_update = False

    def __init__(self, kinds: Any, start: float = 0.0) -> None:
        super().__init__()
        for index, (fx, dtype) in enumerate(kinds):
            default = [] if fx == "cat" else torch.full((2,), start if fx == "sum" else 0, dtype=dtype)
            self.add_state(f"s{index}", default, dist_reduce_fx=fx)
        self.kinds = list(kinds)

    def update(self, values: Tensor) -> None:
        for index, (fx, dtype) in enumerate(self.kinds):
            own = values[index].to(dtype)
            if fx == "cat":
                getattr(self, f"s{index}").append(own)
            elif fx == "exact_sum":
                setattr(self, f"s{index}", exact_add(getattr(self, f"s{index}"), own))
            else:
                setattr(self, f"s{index}", own)

    def compute(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.metric_state}


def _values(kinds: Any, picks: list[float], rank: int) -> Tensor:
    count = 2 * len(kinds)
    numbers = [picks[(rank * 7 + index) % len(picks)] for index in range(count)]
    return torch.tensor(numbers, dtype=torch.float64).clamp(-100, 100).view(len(kinds), 2)


@given(
    st.lists(STATE, min_size=1, max_size=4),
    st.lists(st.sampled_from(NUMBERS), min_size=3, max_size=8),
    st.integers(2, 5),
    st.sampled_from([0.0, 3.0]),
    st.sampled_from([0, 32]),
)
def test_the_same_bits_as_rank_by_rank(kinds: Any, picks: list[float], world: int, start: float, few: int) -> None:
    def body(rank: int, world_size: int) -> tuple[Any, int]:
        metric = Kept(kinds, start)
        for _ in range(1 + rank % 2):
            metric.update(_values(kinds, picks, rank))
        with metric.sync_context():
            return bits(metric.compute()), metric.update_count

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alike, "FEW", few)
        at_once = run_threads(body, world)
        patch.setattr(Known, "lay_columns", lambda *args: None)
        one_by_one = run_threads(body, world)
    assert at_once == one_by_one


def test_the_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    inner = memory.columns_of
    monkeypatch.setattr(memory, "columns_of", lambda *args: taken.append(inner(*args)) or taken[-1])

    def body(rank: int, world_size: int) -> None:
        metric = Kept([("sum", torch.int64), ("max", torch.float32), ("cat", torch.float32)])
        metric.update(torch.ones(3, 2))
        metric.compute()

    run_threads(body, 3)
    assert len(taken) == 3
    assert all(found is not None for found in taken)


@given(st.integers(1, 5), st.integers(2, 40), st.data(), st.sampled_from([0, 64]))
def test_every_other_byte_is_seen(parts: int, world: int, data: st.DataObject, few: int) -> None:
    runs = data.draw(st.integers(1, parts))
    size, manifest_bytes = 1024, 8 + 16 * parts + 8 * runs + data.draw(st.integers(1, 200))
    outgoing, mine = shared_bytes(size)
    incoming, arrived = shared_bytes(world * size)
    mine.copy_(torch.randint(0, 255, (size,), dtype=torch.uint8))
    counts = slice(HEADER_BYTES + 8, HEADER_BYTES + 8 + 8 * (parts + runs))
    mine[counts] = torch.arange(1, parts + runs + 1).view(torch.uint8)
    packets = arrived.view(world, size)
    packets.copy_(mine.expand(world, size))
    at = data.draw(st.integers(0, size - 1))
    packets[data.draw(st.integers(0, world - 1)), at] += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alike, "FEW", few)
        found = alike.counts_if_alike(packets, mine, incoming, outgoing, manifest_bytes, parts, runs)
    is_free = alike.ENTERED <= at < HEADER_BYTES or counts.start <= at < counts.stop
    assert (found is not None) == (is_free or at >= HEADER_BYTES + manifest_bytes)
    if found is not None:
        updates, told = found
        assert updates == [sum(int(row[index]) for row in told) for index in range(parts)]
        assert [len(row) for row in told] == [parts + runs] * world


def test_no_work_grows_in_python_with_the_ranks() -> None:
    """Counted, not timed: lines that Python runs in a sync of 64 and of 4,096 ranks."""

    def lines(world_size: int) -> int:
        count = 0
        metric = Kept([("sum", torch.int64), ("min", torch.int64), ("cat", torch.float32)])
        metric.update(torch.ones(3, 2))
        transport = RepeatingTransport(world_size)

        def sync() -> None:
            node = metric._nodes()[0]
            sync_parts([node.local_part()], Route(transport, None), label="x")

        def tracer(frame: Any, event: str, arg: Any) -> Any:
            nonlocal count
            count += event == "line"
            return tracer

        sync()
        before = sys.gettrace()
        sys.settrace(tracer)
        try:
            sync()
        finally:
            sys.settrace(before)
        return count

    few, many = lines(64), lines(4096)
    assert many <= few + 20, (few, many)
