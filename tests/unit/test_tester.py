"""What `assert_matches_single_process` answers, and what it finds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from syncmetrics import MeanMetric, Metric, assert_matches_single_process

GENERATOR = torch.Generator().manual_seed(0)
BATCHES = [torch.rand(50, generator=GENERATOR) for _ in range(7)]


class Single(Metric):
    """A float32 sum of many fractions, whose last bits depend on the order."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("t", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.t += x.sum()

    def compute(self) -> Tensor:
        return self.t


def test_a_difference_by_rounding_says_what_to_pass() -> None:
    batches = [batch * 10**power for power, batch in enumerate(BATCHES)]
    with pytest.raises(AssertionError, match=r"another order: accumulate in float64.*rtol=1e-6"):
        assert_matches_single_process(Single, batches)
    assert_matches_single_process(Single, batches, rtol=1e-6)


class Undeclared(Metric):
    def __init__(self, inside: bool = False, grown: bool = False) -> None:
        super().__init__()
        self.seen = 0
        self.rows: list[Tensor] = []
        self.grown = grown
        if inside:
            self.inner = Undeclared()
        self.add_state("t", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        if hasattr(self, "inner"):
            self.inner.update(x)
        if self.grown:
            self.rows.append(x)
        else:
            self.seen += 1
        self.t += x.double().sum()

    def compute(self) -> Any:
        inner = self.inner.compute() if hasattr(self, "inner") else 0
        return self.t / (self.seen + len(self.rows)) + inner


@pytest.mark.parametrize(
    ("options", "name"), [({}, "`self.seen`"), ({"grown": True}, "`self.rows`"), ({"inside": True}, "Undeclared.seen")]
)
def test_an_attribute_that_no_state_holds_is_named(options: dict[str, bool], name: str) -> None:
    with pytest.raises(AssertionError, match="no state holds, so that it is neither synced nor merged") as caught:
        assert_matches_single_process(lambda: Undeclared(**options), BATCHES)
    assert name in str(caught.value)


class Largest(Metric):
    def __init__(self) -> None:
        super().__init__()
        self.add_state("t", torch.tensor(0.0), dist_reduce_fx="max")

    def update(self, x: Tensor) -> None:
        self.t = torch.maximum(self.t, x.max())

    def compute(self) -> Tensor:
        return self.t


def test_only_a_reference_can_tell_what_is_wrong_on_one_process_too() -> None:
    negative = [-1 - batch for batch in BATCHES]
    assert_matches_single_process(Largest, negative)
    with pytest.raises(AssertionError, match="one process differs from the reference"):
        assert_matches_single_process(Largest, negative, reference=torch.max)
    assert_matches_single_process(Largest, BATCHES, reference=torch.max)


def test_a_reference_is_called_as_update_is() -> None:
    seen: list[Any] = []

    def mean(value: Tensor, weight: Tensor) -> Tensor:
        seen.append((value.shape, weight.shape))
        return (value * weight).sum() / weight.sum()

    batches = [{"value": batch, "weight": batch + 1} for batch in BATCHES]
    assert_matches_single_process(MeanMetric, batches, reference=mean, rtol=1e-6)
    assert_matches_single_process(MeanMetric, [(b["value"], b["weight"]) for b in batches], reference=mean, rtol=1e-6)
    assert seen == [((350,), (350,))] * 2
