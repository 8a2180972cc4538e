"""Law 6: `forward` equals `update`, also for metrics whose `update` reads its states."""

from __future__ import annotations

import random
import warnings
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from syncmetrics import Metric, MetricCollection
from syncmetrics.metric import step
from tests.laws.drawn import KINDS, Drawn, batch
from tests.samples import Counts, PerClass, Rows, Total, Welford, bits

#: What `update` does with a state that it reads, beside those of `KINDS`, which are only added to.
READING = {
    "exponential mean": lambda m, n, x: setattr(
        m, n, x.mean() if m.update_count == 1 else 0.9 * getattr(m, n) + 0.1 * x.mean()
    ),
    "mean so far": lambda m, n, x: setattr(m, n, getattr(m, n) + (x.mean() - getattr(m, n)) / m.update_count),
    "only what is new": lambda m, n, x: setattr(m, n, torch.maximum(getattr(m, n), x.max()) + 1),
    "times so far": lambda m, n, x: setattr(m, n, getattr(m, n) * 2 + x.sum()),
    "the last": lambda m, n, x: setattr(m, n, x[-1].clone()),
    "an attribute": lambda m, n, x: setattr(m, n, getattr(m, n) + m.count_up() * x.sum()),
    "random": lambda m, n, x: setattr(m, n, getattr(m, n) * torch.rand(()) + random.random() * x.sum()),
}


class Reads(Drawn):
    """A metric with states that `update` reads, and an attribute that it counts."""

    def __init__(self, kinds: tuple[str, ...], reading: tuple[str, ...]) -> None:
        super().__init__(kinds)
        self.reading = reading
        self.count = 0
        self.seen: dict[str, list[int]] = {"sizes": []}
        for index in range(len(reading)):
            self.add_state(f"r{index}", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> None:
        return None

    def count_up(self) -> int:
        self.count += 1
        return self.count

    def update(self, x: Tensor) -> None:
        self.seen["sizes"].append(len(x))
        super().update(x)
        for index, name in enumerate(self.reading):
            READING[name](self, f"r{index}", x)


def fresh_class() -> type[Reads]:
    """Give a class of which nothing has been found out yet."""
    return type("Fresh", (Reads,), {})


@pytest.mark.filterwarnings("ignore:.*reads its states in `update`", "ignore:.*declares no state")
@given(
    st.lists(st.sampled_from(KINDS), max_size=3).map(tuple),
    st.lists(st.sampled_from(sorted(READING)), max_size=3).map(tuple),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["forward", "forward", "update"])), max_size=12),
    st.booleans(),
)
@example((), ("exponential mean",), [(0, "forward"), (1, "forward"), (2, "forward"), (3, "forward")], False)
def test_states_and_attributes_are_those_of_update(
    kinds: tuple[str, ...], reading: tuple[str, ...], steps: list[tuple[int, str]], collected: bool
) -> None:
    cls = fresh_class()
    stepped, updated = cls(kinds, reading), cls(kinds, reading)
    who: Any = MetricCollection({"a": Total(), "m": stepped, "b": Total()}) if collected else stepped
    for metric, act in ((updated, updated.update), (stepped, None)):
        torch.manual_seed(3)
        random.seed(3)
        for seed, verb in steps:
            if act is not None:
                act(batch(seed))
            else:
                (who if verb == "forward" else who.update)(batch(seed))
        metric.after = torch.rand(()).item(), random.random()
    assert stepped.update_count == updated.update_count == len(steps)
    assert (stepped.count, stepped.seen) == (updated.count, updated.seen)
    assert stepped.after == updated.after
    for name, value in updated.metric_state.items():
        found = stepped.metric_state[name]
        if name.startswith("r") or isinstance(value, Tensor):
            torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-9)
        elif kinds[int(name[1:])] != "cat of a buffer":
            assert bits(found) == bits(value)
        else:
            assert bits(torch.cat(found or [batch(0)])) == bits(torch.cat(value or [batch(0)]))


def _step(metric: Metric, batches: list[float]) -> None:
    for x in batches:
        metric(x)


def test_the_case_that_was_met() -> None:
    class Smooth(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("e", torch.tensor(0.0), dist_reduce_fx="mean")
            self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")

        def update(self, x: float) -> None:
            self.e = torch.as_tensor(x) if self.n == 0 else 0.9 * self.e + 0.1 * x
            self.n = self.n + 1

        def compute(self) -> Tensor:
            return self.e

    metric = Smooth()
    with pytest.warns(UserWarning, match="`Smooth` reads its states in `update`"):
        _step(metric, [0.0, 1.0, 2.0, 3.0])
    assert metric.compute().item() == pytest.approx(0.561)
    again = Smooth()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is told once
        for x in range(4):
            again(float(x))
    assert again.compute().item() == pytest.approx(0.561)


class Often(Metric):
    """Reads its state in one update of many."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("t", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, x: float) -> None:
        self.t = torch.tensor(100.0) if self.t + x > 20 else self.t + x

    def compute(self) -> Tensor:
        return self.t


def test_what_reads_now_and_then_is_found_out_later_and_told() -> None:
    metric = Often()
    with pytest.warns(UserWarning, match="found out after 32 updates .* call reset"):
        _step(metric, [1.0] * 40)
    metric.reset()
    updated = Often()
    for _ in range(40):
        metric(1.0)
        updated.update(1.0)
    assert metric.compute() == updated.compute()


@pytest.mark.parametrize("cls", [Total, Rows, Welford, lambda: Counts(3), lambda: PerClass(3)])
def test_no_metric_that_only_adds_is_taken_for_one_that_reads(cls: Any) -> None:
    metric = cls()
    x = torch.tensor([0, 1]) if isinstance(metric, PerClass) else torch.tensor([0.5, 1.5])
    for _ in range(20):
        metric(x)
    assert type(metric) not in step._in_full
    assert metric.update_count == 20


def test_a_trial_costs_nothing_where_the_class_says() -> None:
    runs = []

    class Says(Total):
        full_state_update = False

        def update(self, x: Tensor) -> None:
            runs.append(x)
            super().update(x)

    class Unsaid(Says):
        full_state_update = None

    for cls, wanted in ((Says, 100), (Unsaid, 100 + len([1, 2, 3, 4, 8, 16, 32, 64]))):
        runs.clear()
        metric = cls()
        for _ in range(100):
            metric(torch.ones(1))
        assert len(runs) == wanted
        assert metric.compute() == 100


@pytest.mark.parametrize("full", [True, False])
def test_what_compute_sets_stays(full: bool) -> None:
    """As in a metric that remembers its largest value so far."""

    class Largest(Total):
        full_state_update = full
        largest, batches = 0.0, 0

        def update(self, x: Tensor) -> None:
            self.batches += 1
            super().update(x)

        def compute(self) -> Tensor:
            self.largest = max(self.largest, self.total.item())
            return self.total.clone()

    metric = Largest()
    for x in (1.0, 5.0, 2.0):
        metric(torch.tensor(x))
    assert (metric.largest, metric.batches) == (5.0, 3)
    assert metric.compute() == 8
    assert metric.largest == 8


def test_a_compute_that_edits_what_it_sees() -> None:
    class Edits(Metric):
        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.edit = True
            self.count = 0
            self.add_state("t", torch.zeros(2), dist_reduce_fx="sum")

        def update(self, x: Tensor) -> None:
            self.count += 1
            self.t = self.t + x

        def compute(self) -> Tensor:
            return self.t.mul_(2) if self.edit else self.t.clone()

    for late in (False, True):
        metric = Edits()
        metric.edit = not late
        metric(torch.ones(2))
        metric.edit = True
        for _ in range(3):
            assert metric(torch.ones(2)).tolist() == [2.0, 2.0]
        metric.edit = False
        assert metric.compute().tolist() == [4.0, 4.0]


def test_a_batch_without_rows_is_no_sign_of_reading_states() -> None:
    buffered = Drawn(("cat of a buffer",))
    for count in (2, 0, 1, 0, 3):
        buffered(torch.arange(count))
    assert torch.cat(list(buffered.s0)).tolist() == [0, 1, 0, 0, 1, 2]
    assert not step._is_in_full(buffered)
