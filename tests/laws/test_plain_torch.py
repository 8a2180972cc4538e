"""Law 8: plain torch around it: autocast, dtypes, meta device, inference mode, TorchScript, containers, copies."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import syncmetrics
from syncmetrics import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    CatMetric,
    MaxMetric,
    MeanAbsoluteError,
    MeanMetric,
    MeanSquaredError,
    Metric,
    MetricCollection,
    MinMetric,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
    Quantile,
    RetrievalMAP,
    RetrievalMRR,
    SpearmanCorrCoef,
    StateError,
    SumMetric,
    join,
    sync_and_compute,
    synced,
    trace,
)
from syncmetrics.transport.threads import run_threads
from tests.laws.drawn import KINDS, Drawn, batch
from tests.natives import wrappers
from tests.samples import Outer, Rows, Total, Welford, bits


def _labels(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, (8,), generator=generator), torch.randint(3, (8,), generator=generator)


def _scores(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(8, generator=generator, dtype=torch.float32), torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])


def _numbers(seed: int) -> tuple[Tensor]:
    return (torch.rand(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float32),)


def _pairs(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(8, generator=generator, dtype=torch.float32), torch.rand(
        8, generator=generator, dtype=torch.float32
    )


def _queries(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    return (*_scores(seed), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2]))


#: Every metric there is, with batches for it.
METRICS: dict[str, tuple[Callable[[], Metric], Callable[[int], tuple[Any, ...]]]] = {
    **{
        cls.__name__: (lambda cls=cls: cls(3), _labels)  # type: ignore[misc]
        for cls in (MulticlassAccuracy, MulticlassPrecision, MulticlassRecall, MulticlassF1Score)
    },
    "MulticlassConfusionMatrix": (lambda: MulticlassConfusionMatrix(3), _labels),
    **{
        cls.__name__: (cls, _scores)  # type: ignore[dict-item]
        for cls in (BinaryAccuracy, BinaryAUROC, BinaryAveragePrecision)
    },
    **{
        cls.__name__: (cls, _numbers)  # type: ignore[dict-item]
        for cls in (SumMetric, MeanMetric, MaxMetric, MinMetric, CatMetric, Quantile, Total, Outer, Welford)
    },
    **{
        cls.__name__: (cls, _pairs)  # type: ignore[dict-item]
        for cls in (MeanSquaredError, MeanAbsoluteError, SpearmanCorrCoef)
    },
    **{cls.__name__: (cls, _queries) for cls in (RetrievalMAP, RetrievalMRR)},  # type: ignore[dict-item]
    "Drawn": (lambda: Drawn(KINDS), lambda seed: (batch(seed),)),
    **{row.name: (row.make, row.batch) for row in reversed(wrappers.ROWS)},
}
EACH = pytest.mark.parametrize("name", METRICS)


def test_every_metric_is_here() -> None:
    families = ("aggregation", "classification", "regression", "retrieval", "wrappers")
    metrics = {name for room in families for name in syncmetrics._ROOMS[room]} - {"MetricTracker"}
    assert metrics <= METRICS.keys()


def _value(name: str, how: Callable[[], Any] | None = None) -> Any:
    """Give the value of three batches, some of which are given in a context."""
    make, batches = METRICS[name]
    metric = make()
    for seed in range(3):
        with how() if how is not None and seed else _nothing():
            metric.update(*batches(seed)) if seed % 2 else metric(*batches(seed))
    with how() if how is not None else _nothing():
        return metric.compute()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


CONTEXTS: dict[str, Callable[[], Any]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
    "grad": torch.enable_grad,
    "deterministic": lambda: _deterministic(),
    "float64": lambda: _default_dtype(torch.float64),
}


@contextmanager
def _deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@EACH
@pytest.mark.parametrize("context", CONTEXTS)
def test_the_value_is_the_same_in_every_context(name: str, context: str) -> None:
    plain, inside = _value(name), _value(name, CONTEXTS[context])
    if context != "float64":
        assert bits(inside) == bits(plain)
        return
    for a, b in zip(_leaves(plain), _leaves(inside), strict=True):  # the default dtype is that of values
        torch.testing.assert_close(torch.as_tensor(a).double(), torch.as_tensor(b).double(), rtol=1e-6, atol=0)


def _leaves(value: Any) -> list[Any]:
    leaves = torch.utils._pytree.tree_leaves(value)
    return [leaf for leaf in leaves if isinstance(leaf, (Tensor, int, float))]


# -- half precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fx", ["sum", "mean"])
@pytest.mark.parametrize("how", ["declared", "default", "bound", "set_dtype", "cast", "loaded"])
def test_a_sum_never_stands_still(dtype: torch.dtype, fx: str, how: str) -> None:
    class Adds(Metric):
        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.add_state("t", torch.tensor(0.0, dtype=dtype if how == "declared" else None), dist_reduce_fx=fx)
            self.persistent(True)

        def update(self, x: float) -> None:
            if how == "bound":
                self.t = (self.t + x).float() if self.t.dtype is torch.float32 else self.t + x
            else:
                self.t += x

        def compute(self) -> Tensor:
            return self.t

    with _default_dtype(dtype if how == "default" else torch.float32):
        metric = Adds()
    if how == "set_dtype":
        metric.set_dtype(dtype)
    if how == "cast":
        metric.to(dtype)
    if how == "loaded":
        metric.load_state_dict({"t": torch.tensor(0.0, dtype=dtype)})
    for _ in range(1000):
        metric.update(1.0)
    assert metric.compute() == 1000


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "name", ["SumMetric", "MeanMetric", "MeanSquaredError", "MulticlassAccuracy", "BinaryAccuracy"]
)
def test_metrics_under_a_default_of_half_precision(name: str, dtype: torch.dtype) -> None:
    make, batches = METRICS[name]
    with _default_dtype(dtype):
        metric = make()
        for _ in range(1000):
            metric.update(*batches(1))
        value = metric.compute()
    expected = make()
    for _ in range(1000):
        expected.update(*batches(1))
    torch.testing.assert_close(value.double(), expected.compute().double(), rtol=1e-2, atol=0)


# -- devices


@EACH
def test_meta_device_and_to_empty(name: str) -> None:
    make, batches = METRICS[name]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.metric = make()
            self.metrics = MetricCollection({"m": make()})
            self.layer = nn.Linear(2, 2)

    with torch.device("meta"):
        net = Net()
    assert net.layer.weight.is_meta
    net.to_empty(device="cpu")
    for metric in (net.metric, net.metrics["m"]):
        metric.update(*batches(0))
        twin = make()
        twin.update(*batches(0))
        assert bits(metric.compute()) == bits(twin.compute())
        metric.reset()
        metric.update(*batches(0))
        assert bits(metric.compute()) == bits(twin.compute())


def test_what_cannot_be_on_the_meta_device_is_told() -> None:
    class OnMeta(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("t", torch.zeros(2, device="meta"), dist_reduce_fx="sum")

        def update(self) -> None: ...

        def compute(self) -> None: ...

    with pytest.raises(StateError, match=r"meta device.*device='cpu'"):
        OnMeta()


# -- TorchScript


class Model(nn.Module):
    def __init__(self, metric: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.metric = metric

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@EACH
@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_model_that_holds_a_metric_is_scripted(name: str) -> None:
    make, batches = METRICS[name]
    for metric in (make(), MetricCollection({"m": make()})):
        metric.update(*batches(0))
        metric(*batches(1))
        model = Model(metric)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            scripted, traced = torch.jit.script(model), torch.jit.trace(model, torch.ones(1, 2))
            file = io.BytesIO()
            torch.jit.save(scripted, file)
            file.seek(0)
            loaded = torch.jit.load(file)
        for one in (scripted, traced, loaded):
            assert torch.equal(one(torch.ones(1, 2)), model(torch.ones(1, 2)))
        metric.update(*batches(2))
        metric.compute()


# -- containers


CONTAINERS: dict[str, Callable[[Metric, Metric], Any]] = {
    "ModuleDict": lambda a, b: nn.ModuleDict({"a": a, "b": b}),
    "ModuleList": lambda a, b: nn.ModuleList([a, b]),
    "dict": lambda a, b: {"a": a, "b": b},
    "list": lambda a, b: [a, b],
    "tuple": lambda a, b: (a, b),
    "collection": lambda a, b: MetricCollection({"a": a, "b": b}),
    "nested": lambda a, b: {"x": nn.ModuleList([a]), "y": [nn.ModuleDict({"z": b})]},
}


def _computed(container: Any, value: Any) -> list[Any]:
    """Give the values in order, in whatever shape they came."""
    return [leaf.item() for leaf in torch.utils._pytree.tree_leaves(value)]


@pytest.mark.parametrize("shape", CONTAINERS)
def test_containers_of_torch_are_taken_wherever_metrics_are(shape: str) -> None:
    def body(rank: int, world_size: int) -> None:
        a, b = MeanMetric(), SumMetric()
        container = CONTAINERS[shape](a, b)
        with join(container), trace():
            a.update(float(rank))
            b.update(2.0 * rank + 1)
        assert _computed(container, sync_and_compute(container)) == [0.5, 4.0]
        with synced(container):
            assert [a.compute().item(), b.compute().item()] == [0.5, 4.0]

    run_threads(body, 2)


def test_a_collection_of_a_container() -> None:
    for container in (nn.ModuleDict({"a": Total(), "b": Total()}), nn.ModuleList([Total(), MeanMetric()])):
        collection = MetricCollection(container)
        collection.update(torch.ones(2))
        assert len(collection.compute()) == 2


def test_what_is_no_metric_in_a_container_is_told() -> None:
    for things in (nn.ModuleDict({"a": nn.Linear(1, 1)}), nn.ModuleList([nn.ReLU()]), [3], {"a": "text"}):
        with pytest.raises(TypeError, match=r"Linear|ReLU|int|str"):
            sync_and_compute(things)


# -- copies


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda m: m.clone()])
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4).map(tuple), st.booleans())
def test_a_copy_has_states_of_its_own(copied: Callable[[Any], Any], kinds: tuple[str, ...], collected: bool) -> None:
    metric: Any = MetricCollection({"a": Drawn(kinds), "b": Drawn(kinds)}) if collected else Drawn(kinds)
    metric.update(batch(1))
    before = bits(metric.compute())
    twin = copied(metric)
    assert bits(twin.compute()) == before
    twin.update(batch(2))
    assert bits(metric.compute()) == before
    metric.update(batch(2))
    assert bits(twin.compute()) == bits(metric.compute())
    twin.reset()
    twin.update(batch(1))
    assert bits(twin.compute()) == before


def test_a_copy_of_a_metric_with_one_inside() -> None:
    metric = Outer()
    metric.update(torch.ones(2))
    twin = copy.copy(metric)
    twin.update(torch.ones(3))
    assert metric.compute()["total"] == 2
    assert twin.compute()["total"] == 5


def test_replicas_of_data_parallel_are_refused() -> None:
    model = Model(Total())
    replica = model.metric._replicate_for_data_parallel()
    with pytest.raises(StateError, match=r"DataParallel.*outside of the module's forward"):
        replica.update(torch.ones(1))
    with pytest.raises(StateError, match="DataParallel"):
        replica(torch.ones(1))
    model.metric.update(torch.ones(1))
    assert model.metric.compute() == 1


@pytest.mark.filterwarnings("ignore:.*is deprecated")  # what some versions of the compiler import
@pytest.mark.parametrize("verb", ["compute", "update", "forward", "all"])
@pytest.mark.parametrize("collected", [False, True])
def test_a_verb_inside_of_torch_compile_is_a_graph_break(verb: str, collected: bool) -> None:
    metric: Any = MetricCollection({"a": Total(), "b": Rows()}) if collected else Total()
    x = torch.ones(3)
    if verb == "compute":
        metric.update(x)

    def step(x: Tensor) -> tuple[Tensor, Any]:
        value = None
        doubled = x * 2
        if verb in ("update", "all"):
            metric.update(x)
        if verb in ("forward", "all"):
            value = metric(x)
        if verb in ("compute", "all"):
            value = metric.compute()
        return doubled + 1, value

    torch._dynamo.reset()
    compiled = torch.compile(step, backend="eager")
    for _ in range(2):
        found, value = compiled(x)
        assert found.tolist() == [3.0] * 3
    if verb == "compute":
        assert bits(value) == bits(metric.compute())
    updates = {"compute": 1, "update": 2, "forward": 2, "all": 4}[verb]
    total = metric["a"] if collected else metric
    assert total.compute() == 3.0 * updates
