"""What a user writes in the first hour: mistakes, with what is to be written instead; and code from torchmetrics."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import syncmetrics
from syncmetrics import (
    BinaryAccuracy,
    MaxMetric,
    MeanMetric,
    MeanSquaredError,
    Metric,
    MetricCollection,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    Quantile,
    StateError,
    SumMetric,
)
from tests.samples import Rows, Total

LABELS = torch.tensor([0, 1, 2, 1])


class Half(Metric):
    """Adds halves to a state of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")

    def update(self) -> None:
        self.n += 0.5

    def compute(self) -> Tensor:
        return self.n


class ModuleTooEarly(Metric):
    def __init__(self) -> None:
        self.inner = MeanMetric()
        super().__init__()

    def update(self) -> None: ...

    def compute(self) -> None: ...


class StateTooEarly(Metric):
    def __init__(self) -> None:
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")
        super().__init__()

    def update(self) -> None: ...

    def compute(self) -> None: ...


class NeverInit(Metric):
    def __init__(self) -> None:
        pass

    def update(self) -> None: ...

    def compute(self) -> None: ...


class NoCompute(Metric):
    def update(self) -> None: ...


class NoUpdate(Metric):
    def compute(self) -> None: ...


def _one_hot(dtype: torch.dtype) -> Tensor:
    return nn.functional.one_hot(LABELS, 3).to(dtype)


MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], list[str]]] = {
    "an argument is missing": (
        lambda: MulticlassAccuracy(),  # type: ignore[call-arg]
        TypeError,
        ["`MulticlassAccuracy` needs `num_classes`", "MulticlassAccuracy(num_classes=...)"],
    ),
    "an argument is misspelt": (
        lambda: MulticlassAccuracy(3, avg="micro"),
        TypeError,
        ["`MulticlassAccuracy` has no argument `avg`", "did you mean `average`"],
    ),
    "in a class of one's own": (
        lambda: type("Mine", (MulticlassAccuracy,), {})(3, ignore_indx=1),
        TypeError,
        ["`Mine` has no argument `ignore_indx`", "did you mean `ignore_index`"],
    ),
    "an attribute before super": (
        ModuleTooEarly,
        StateError,
        ["`ModuleTooEarly`", "super().__init__() before `self.inner"],
    ),
    "a state before super": (StateTooEarly, StateError, ["`StateTooEarly`", "super().__init__() before add_state('n'"]),
    "no super": (lambda: NeverInit().update(), StateError, ["`NeverInit` has no states yet", "super().__init__()"]),
    "no compute": (NoCompute, TypeError, ["`NoCompute` must have a `compute` method"]),
    "no update": (NoUpdate, TypeError, ["`NoUpdate` must have an `update` method"]),
    "halves in integers": (lambda: Half().update(), StateError, ["`Half`", "`n` (torch.int64)", "torch.tensor(0.0)"]),
    "halves in integers, forward": (lambda: Half()(), StateError, ["`Half`", "`n` (torch.int64)", "torch.tensor(0.0)"]),
    "one-hot targets": (
        lambda: MulticlassAccuracy(3).update(LABELS, _one_hot(torch.int64)),
        ValueError,
        ["MulticlassAccuracy", "`target`", "target.argmax(1)"],
    ),
    "one-hot targets and scores": (
        lambda: MulticlassAccuracy(3).update(torch.rand(4, 3), _one_hot(torch.int64)),
        TypeError,
        ["MulticlassAccuracy", "target.argmax(1)"],
    ),
    "one-hot targets that are floats": (
        lambda: MulticlassAccuracy(3).update(torch.rand(4, 3), _one_hot(torch.float32)),
        TypeError,
        ["MulticlassAccuracy", "`target`", "target.argmax(1)"],
    ),
    "a column of targets": (
        lambda: MulticlassAccuracy(3).update(LABELS, LABELS[:, None]),
        ValueError,
        ["`target`", "target.squeeze(-1)"],
    ),
    "a column of targets and scores": (
        lambda: MulticlassAccuracy(3).update(torch.rand(4, 3), LABELS[:, None]),
        ValueError,
        ["`target`", "target.squeeze(-1)"],
    ),
    "a column of binary targets": (
        lambda: BinaryAccuracy().update(torch.rand(4), torch.tensor([[0], [1], [1], [0]])),
        ValueError,
        ["target.squeeze(-1)"],
    ),
    "a column of binary scores": (
        lambda: BinaryAccuracy().update(torch.rand(4, 1), torch.tensor([0, 1, 1, 0])),
        ValueError,
        ["preds.squeeze(-1)"],
    ),
    "a column of numbers": (
        lambda: MeanSquaredError().update(torch.rand(4), torch.rand(4, 1)),
        ValueError,
        ["target.squeeze(-1)"],
    ),
    "a misspelt name": (
        lambda: syncmetrics.MulticlasAccuracy,
        AttributeError,
        ["no attribute 'MulticlasAccuracy'", "`MulticlassAccuracy`"],
    ),
    "a name of torchmetrics": (
        lambda: syncmetrics.ROUGEScore,
        AttributeError,
        ["torchmetrics has it", "works in our collection", "from torchmetrics"],
    ),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_answered_with_what_to_write(what: str) -> None:
    call, error, words = MISTAKES[what]
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)
    assert not re.search(r"[\w)]\._[a-z]", str(caught.value))  # no private name


def test_a_type_error_of_the_users_own_code_stays_what_it_is() -> None:
    class Mine(Metric):
        def __init__(self, size: int) -> None:
            super().__init__()
            len(size)  # type: ignore[arg-type]

        def update(self) -> None: ...

        def compute(self) -> None: ...

    with pytest.raises(TypeError, match="object of type 'int' has no len"):
        Mine(3)


def test_a_metric_without_states_tells_once_what_it_sets() -> None:
    class Counts(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.n = 0
            self.rows: list[int] = []

        def update(self, x: int) -> None:
            self.n += x
            self.rows.append(x)

        def compute(self) -> int:
            return self.n

    with pytest.warns(UserWarning, match=r"`Counts` declares no state, but its `update` sets `self.n` and `self.rows`"):
        Counts().update(3)
    Counts().update(3)


# -- values


def test_values_of_one_element_have_no_dimensions() -> None:
    class Sums(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("n", torch.zeros(1), dist_reduce_fx="sum")

        def update(self, x: float) -> None:
            self.n += x

        def compute(self) -> Any:
            return self.n

    metric = Sums()
    assert f"{metric(0.5):.3f}" == "0.500"
    assert f"{metric.compute():.3f}" == "0.500"
    assert metric.compute_async().wait().shape == ()
    assert f"{MetricCollection([metric]).compute()['Sums']:.1f}" == "0.5"
    quantile = Quantile([0.5])
    quantile.update(torch.arange(3.0))
    assert quantile.compute().shape == ()
    rows = Rows()
    rows.update(torch.ones(1))
    assert rows.compute().shape == ()


def test_the_value_of_a_batch_keeps_its_graph_and_the_states_never_do() -> None:
    class Squares(Metric):
        is_differentiable = True

        def __init__(self) -> None:
            super().__init__()
            self.add_state("t", torch.tensor(0.0), dist_reduce_fx="sum")
            self.add_state("rows", [], dist_reduce_fx="cat")

        def update(self, x: Tensor) -> None:
            self.t = self.t + (x**2).sum()
            self.rows.append(x)

        def compute(self) -> Tensor:
            return self.t

    for make in (Squares, lambda: MetricCollection({"m": Squares(), "n": Total()})):
        who: Any = make()
        x = torch.ones(2, requires_grad=True)
        for step in range(1, 4):
            value = who(x)
            (value["m"] if isinstance(value, dict) else value).backward()
            assert x.grad is not None
            assert x.grad.tolist() == [2.0 * step] * 2
        metric = who["m"] if isinstance(who, MetricCollection) else who
        assert not metric.t.requires_grad
        assert not any(row.requires_grad for row in metric.rows)
        assert metric.compute() == 6
        with torch.no_grad():
            assert not (who(x)["m"] if isinstance(who, MetricCollection) else who(x)).requires_grad


def test_a_gradient_that_is_lost_is_told_once() -> None:
    class Says(Total):
        is_differentiable = None

    x = torch.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="`Says` was called with tensors that require a gradient"):
        Says()(x)
    Says()(x)


# -- code that comes over


def test_attributes_and_arguments_of_torchmetrics() -> None:
    metric = MeanMetric(dist_sync_on_step=None)
    assert metric.dtype is torch.float32
    assert metric.set_dtype(torch.float64) is metric
    assert metric.dtype is torch.float64
    assert metric.set_dtype("float32").dtype is torch.float32
    metric.update(2.0)
    assert (metric._is_synced, metric._update_count, metric._computed) == (False, 1, None)
    assert set(metric._defaults) == set(metric._reductions) == {"mean_value", "weight", "invalid"}
    with metric.sync_context(dist_sync_fn=None, process_group=None, should_sync=True, should_unsync=True):
        assert metric.compute() == 2
    with metric.sync_context(should_sync=False):
        assert not metric._is_synced
    with metric.sync_context(should_unsync=False):
        assert metric._is_synced
    metric.unsync(should_unsync=False)
    assert metric._is_synced
    metric.unsync()
    metric.sync(should_sync=False)
    metric.sync(distributed_available=lambda: False)
    assert not metric._is_synced
    assert metric._computed == 2


def test_a_collection_is_the_mapping_that_it_is_there() -> None:
    collection = MetricCollection({"a": MulticlassAccuracy(3), "f": MulticlassF1Score(3)}, compute_groups=[["a", "f"]])
    assert collection.compute_groups == {0: ["a", "f"]}
    collection["x"] = SumMetric()
    assert list(collection) == ["a", "f", "x"]
    collection["a"] = MulticlassConfusionMatrix(3)
    assert list(collection) == ["a", "f", "x"]
    assert isinstance(collection["a"], MulticlassConfusionMatrix)
    assert isinstance(collection.pop("x"), SumMetric)
    assert [name for name, _ in collection.items(keep_base=True, copy_state=False)] == ["a", "f"]
    assert len(list(collection.values(copy_state=False))) == 2
    assert list(collection.keys(keep_base=True)) == ["a", "f"]
    assert MetricCollection({"a": MeanMetric(), "b": MeanMetric()}, compute_groups=False).compute_groups == {
        0: ["a"],
        1: ["b"],
    }
    with pytest.raises(KeyError, match="no metric `z`"):
        collection["z"]
    with pytest.raises(ValueError, match="`compute_groups` names \\['z'\\]"):
        MetricCollection({"a": MeanMetric()}, compute_groups=[["z"]])
    with pytest.raises(TypeError, match=r"must be a syncmetrics\.Metric"):
        collection["y"] = nn.Linear(1, 1)
    assert list(collection) == ["a", "f"]


def test_states_that_are_not_persistent_are_loaded_all_the_same() -> None:
    metric, other = SumMetric(), SumMetric()
    metric.persistent(True)
    metric.update(5.0)
    other.load_state_dict(metric.state_dict())
    assert other.compute() == 5


def test_metrics_of_theirs_and_ours_wrap_each_other() -> None:
    theirs = pytest.importorskip("torchmetrics")
    preds, target = torch.tensor([0, 1, 2, 1]), torch.tensor([0, 1, 1, 1])
    tracker = theirs.MetricTracker(MetricCollection([MeanMetric(), SumMetric()]), maximize=True)
    for epoch in range(3):
        tracker.increment()
        tracker.update(torch.tensor(float(epoch)))
        tracker(torch.tensor(float(epoch)))
    assert {name: value.tolist() for name, value in tracker.compute_all().items()} == {
        "MeanMetric": [0.0, 1.0, 2.0],
        "SumMetric": [0.0, 2.0, 4.0],
    }
    assert tracker.best_metric(return_step=True)[1] == {"MeanMetric": 2, "SumMetric": 2}
    running = theirs.wrappers.Running(SumMetric(), window=2)
    assert [running(torch.tensor(float(step))).item() for step in range(4)] == [0.0, 1.0, 2.0, 3.0]
    assert running.compute() == 5
    classwise = theirs.wrappers.ClasswiseWrapper(MulticlassAccuracy(3, average=None))
    ours = syncmetrics.ClasswiseWrapper(theirs.classification.MulticlassAccuracy(3, average=None))
    for wrapper in (classwise, ours):
        wrapper.update(preds, target)
        assert [round(float(v), 4) for v in wrapper.compute().values()] == [1.0, 0.6667, 0.0]


@pytest.mark.parametrize(("container", "advice"), [(list, "ModuleList"), (tuple, "ModuleList"), (dict, "ModuleDict")])
def test_metrics_in_a_plain_container_are_told_of(container: type, advice: str) -> None:
    class Several(Metric):
        def __init__(self) -> None:
            super().__init__()
            found = {"mean": MeanMetric(), "max": MaxMetric()}
            self.parts: Any = found if container is dict else container(found.values())

        def update(self, x: Tensor) -> None:
            for part in self.parts.values() if container is dict else self.parts:
                part.update(x)

        def compute(self) -> int:
            return 0

    with pytest.warns(UserWarning, match=rf"`self\.parts`: they are not reset.*torch\.nn\.{advice}"):
        Several().update(torch.ones(2))
    Several().update(torch.ones(2))  # once
