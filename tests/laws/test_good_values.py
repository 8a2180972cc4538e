"""Law 5: a value is good as long as its states and its settings are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from syncmetrics import (
    Metric,
    MetricCollection,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    Quantile,
)
from syncmetrics.transport.threads import run_threads
from tests.samples import bits


class Scaled(Metric):
    """A sum, times an attribute in `compute`, of this metric and of one inside; and an offset in `update`."""

    computed = 0

    def __init__(self, inner: Metric | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = 1.0
        self.offset = 0.0
        self.inside = nn.ModuleList([inner] if inner is not None else [])
        self.add_state("t", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Any:
        return "scaled", self.offset

    def update(self, x: float) -> None:
        self.t = self.t + x + self.offset
        for metric in self.inside:
            metric.update(x)

    def compute(self) -> Any:
        Scaled.computed += 1
        return self.scale * self.t, [metric.compute() for metric in self.inside]


ACTS = st.one_of(
    st.tuples(st.sampled_from(["scale", "offset"]), st.integers(0, 3), st.integers(1, 4)),
    st.tuples(st.sampled_from(["update", "forward", "compute", "compute", "compute of", "add"]), st.integers(0, 3)),
)


def metrics(shapes: list[str], **options: Any) -> dict[str, Metric]:
    return {
        f"m{index}": Scaled(Scaled(**options) if shape == "inside" else None, **options)
        for index, shape in enumerate(shapes)
    }


@given(
    st.lists(st.sampled_from(["plain", "plain", "inside"]), min_size=1, max_size=4),
    st.lists(ACTS, max_size=10),
    st.integers(1, 2),
)
def test_a_kept_value_is_the_one_that_would_be_computed(shapes: list[str], acts: list[Any], world: int) -> None:
    def body(rank: int, world_size: int) -> None:
        kept, anew = MetricCollection(metrics(shapes)), MetricCollection(metrics(shapes, compute_with_cache=False))
        for metrics_ in (kept, anew):
            metrics_.update(float(rank))
        for verb, *rest in acts:
            found = [_act(collection, verb, rest, rank) for collection in (kept, anew)]
            assert bits(found[0]) == bits(found[1]), (verb, rest)

    run_threads(body, world)


def _act(collection: MetricCollection, verb: str, rest: list[Any], rank: int) -> Any:
    names = list(collection)
    member: Any = collection[names[rest[0] % len(names)]]
    if verb in ("scale", "offset"):
        for module in list(member.modules())[:: rest[1]]:  # those inside too, sometimes
            if isinstance(module, Scaled):
                setattr(module, verb, float(rest[1]))
        return None
    if verb == "update":
        return collection.update(float(rest[0] + rank))
    if verb == "forward":
        return collection(float(rest[0] + rank))
    if verb == "add":
        member.inside.append(Scaled(compute_with_cache=member.compute_with_cache))
        member.remark = "a ModuleList does not say that it has grown"
        member.update(1.0)
        return None
    return collection.compute() if verb == "compute" else member.compute()


def test_nothing_is_computed_twice() -> None:
    metric = Scaled(Scaled())
    metric.update(1.0)
    Scaled.computed = 0
    for _ in range(3):
        metric.compute()
        metric.inside[0].compute()
    assert Scaled.computed == 2
    metric.scale = 1.0  # it is set, so it may be another one
    metric.compute()
    assert Scaled.computed == 4


def test_the_level_of_a_quantile() -> None:
    q = Quantile(0.5)
    q.update(torch.arange(11.0))
    assert q.compute() == 5
    q.q = 0.9
    assert q.compute() == 9


def test_a_setting_that_cannot_be_is_told() -> None:
    accuracy = MulticlassAccuracy(3)
    accuracy.update(torch.tensor([0, 1]), torch.tensor([0, 2]))
    accuracy.average = "weigthed"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="`average` must be one of"):
        accuracy.compute()


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_setting_that_matters_ends_the_sharing(when: str) -> None:
    labels, targets = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2])

    def make() -> dict[str, Metric]:
        return {"a": MulticlassAccuracy(3), "f": MulticlassF1Score(3), "c": MulticlassConfusionMatrix(3)}

    collection, alone = MetricCollection(make()), make()
    assert len(collection.compute_groups) == 1
    if when == "between":
        for one in (collection, *alone.values()):
            one.update(labels, targets)
    for metric in (collection["f"], alone["f"]):
        metric.ignore_index = 1
    for one in (collection, *alone.values()):
        one.update(labels, targets)
    assert sorted(map(sorted, collection.compute_groups.values())) == [["a", "c"], ["f"]]
    assert bits(collection.compute()) == bits({name: metric.compute() for name, metric in alone.items()})


def test_a_buffer_or_a_module_that_is_set_ends_it_too() -> None:
    class Weighted(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.tensor(2.0))
            self.add_state("t", torch.tensor(0.0), dist_reduce_fx="sum")

        def update(self, x: float) -> None:
            self.t += x

        def compute(self) -> Tensor:
            return self.t * self.weight

    metric = Weighted()
    metric.update(1.0)
    assert metric.compute() == 2
    metric.weight = torch.tensor(3.0)
    assert metric.compute() == 3
    metric.load_state_dict({"weight": torch.tensor(5.0)})
    assert metric.compute() == 5
    metric.register_buffer("weight", torch.tensor(7.0))
    assert metric.compute() == 7
