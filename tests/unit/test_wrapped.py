"""What each wrapper gives, by itself and around a metric of another library, on one rank and on several."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import syncmetrics
from syncmetrics import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryF1Score,
    BinaryPrecision,
    BinaryRecall,
    BinaryTargetTransformer,
    BootStrapper,
    CatMetric,
    ClasswiseWrapper,
    LambdaInputTransformer,
    Metric,
    MetricCollection,
    MetricInputTransformer,
    MetricTracker,
    MinMaxMetric,
    MulticlassAccuracy,
    MultioutputWrapper,
    MultitaskWrapper,
    Running,
    StateError,
    SumMetric,
    load_state,
    save_state,
)
from syncmetrics.transport.threads import run_threads
from tests.samples import Counts, Total, Welford, bits, local_bits

pytestmark = pytest.mark.filterwarnings("ignore:.*before any update", "ignore:.*, so the area is")


class Raw(Total):
    """A sum whose value may be NaN, which may have a gradient."""

    is_differentiable = True
    higher_is_better = True
    full_state_update = False


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def batch(seed: int, count: int = 6) -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=gen), torch.arange(count) % 2


def _theirs() -> Any:
    return pytest.importorskip("torchmetrics").classification.BinaryAccuracy()


class Both(MultitaskWrapper):
    """Two tasks with the same batch."""

    def update(self, preds: Any, target: Any) -> None:
        super().update({"a": preds, "b": preds}, {"a": target, "b": target})


def _tasks(inner: Any) -> Metric:
    return Both({"a": inner, "b": MetricCollection([BinaryPrecision(), BinaryRecall()])})


def _flip(preds: Tensor) -> Tensor:
    return 1 - preds


WRAPPED: dict[str, Callable[[Any], Any]] = {
    "MinMaxMetric": MinMaxMetric,
    "Running": lambda inner: Running(inner, window=3),
    "Running of all": lambda inner: Running(inner, window=9),
    "MultioutputWrapper": lambda inner: MultioutputWrapper(inner, 1, squeeze_outputs=True, output_dim=-1),
    "MultitaskWrapper": _tasks,
    "BootStrapper": lambda inner: BootStrapper(inner, 4),
    "LambdaInputTransformer": lambda inner: LambdaInputTransformer(inner, _flip),
    "BinaryTargetTransformer": BinaryTargetTransformer,
    "MetricInputTransformer": MetricInputTransformer,
    "nested": lambda inner: MinMaxMetric(MetricInputTransformer(LambdaInputTransformer(inner, _flip))),
    "composition": lambda inner: 1 - 2 * inner,
    "Running of a composition": lambda inner: Running(1 - inner, 3),
}
INNER: dict[str, Callable[[], Any]] = {"ours": BinaryAccuracy, "of rows": BinaryAUROC, "torchmetrics": _theirs}
CASES = [(name, inner) for name in WRAPPED for inner in INNER]
EACH = pytest.mark.parametrize(("name", "inner"), CASES, ids=[f"{name}, {inner}" for name, inner in CASES])


def make(name: str, inner: str) -> Any:
    is_of_theirs = (name, inner) in (("composition", "torchmetrics"), ("Running of a composition", "torchmetrics"))
    return WRAPPED[name](MetricInputTransformer(INNER[inner]()) if is_of_theirs else INNER[inner]())


def given(name: str, seed: int) -> tuple[Tensor, Tensor]:
    preds, target = batch(seed)
    return (preds[:, None], target[:, None]) if name == "MultioutputWrapper" else (preds, target)


def updated(name: str, inner: str, seeds: range | list[int]) -> Any:
    metric = make(name, inner)
    for seed in seeds:
        metric.update(*given(name, seed))
    return metric


@EACH
def test_forward_gives_the_value_of_the_batch_and_counts_it_once(name: str, inner: str) -> None:
    metric = make(name, inner)
    for seed in range(5):
        value = metric(*given(name, seed))
        if name != "BootStrapper":  # which draws otherwise in another place
            assert bits(value) == bits(updated(name, inner, [seed]).compute())
    assert metric.update_count == 5
    assert bits(metric.compute()) == bits(updated(name, inner, range(5)).compute())
    metric.reset()
    assert metric.update_count == 0
    if name not in ("MinMaxMetric", "nested"):
        metric.update(*given(name, 7))
        assert bits(metric.compute()) == bits(updated(name, inner, [7]).compute())


@EACH
def test_copies(name: str, inner: str) -> None:
    metric = updated(name, inner, range(4))
    right, more = (bits(updated(name, inner, range(n)).compute()) for n in (4, 5))
    for twin in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric)), metric.clone(), metric.to("cpu")):
        twin.to("cpu").update(*given(name, 4))
        if twin is not metric:
            assert bits(twin.compute()) == more
            assert metric.update_count == 4
    assert bits(metric.compute()) == more != right


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("inner", ["ours", "of rows"])
def test_state_dicts_and_merging(name: str, inner: str) -> None:
    metric, twin = updated(name, inner, range(4)), make(name, inner)
    for one in (metric, twin):
        one.persistent(True)
    twin.load_state_dict(metric.state_dict())
    assert bits(twin.compute()) == bits(metric.compute())
    twin.update(*given(name, 4))
    if name not in ("MinMaxMetric", "nested"):  # the range has the value of before in it
        assert bits(twin.compute()) == bits(updated(name, inner, range(5)).compute())
    if not name.startswith("Running") and name != "BootStrapper":
        first, second = updated(name, inner, [0, 1]), updated(name, inner, [2, 3])
        first.merge_state(second)
        assert bits(first.compute()) == bits(updated(name, inner, range(4)).compute())


@EACH
def test_one_exchange_serves_it_in_a_collection(name: str, inner: str) -> None:
    if name == "MultioutputWrapper":
        return  # its batches fit no other metric

    def collection() -> MetricCollection:
        return MetricCollection({"wrapped": make(name, inner), "plain": BinaryF1Score()})

    def run(rank: int, world_size: int) -> Any:
        metric = collection()
        for seed in range(2):
            metric.update(*batch(10 * rank + seed))
        return metric.compute(), metric.compute()

    with syncmetrics.trace() as trace:
        values = run_threads(run, 3)
    assert len(trace.syncs) == 3 * 1
    assert all(bits(value) == bits(values[0]) for value in values)
    one = collection()
    for seed in (0, 1, 10, 11, 20, 21):
        one.update(*batch(seed))
    if name not in ("BootStrapper", "Running", "Running of a composition"):  # which are by rank
        assert bits(values[0][0]) == bits(one.compute())


# -- each


def test_the_range_of_values() -> None:
    metric = MinMaxMetric(Raw())
    assert metric.higher_is_better
    for value in (1.0, 5.0, math.nan, 3.0):
        metric.update(numbers(value))
        found = metric.compute()
        assert found["raw"].item() == value or math.isnan(value)
        metric.reset()
    assert (found["min"], found["max"]) == (1, 5)
    found = metric(numbers(9.0))  # of the batch too, which is forgotten
    assert (found["raw"], found["min"], found["max"]) == (9, 1, 9)
    found = metric(numbers(-4.0))
    assert (found["raw"], found["min"], found["max"]) == (-4, -4, 5)
    found = metric.compute()
    assert (found["raw"], found["min"], found["max"]) == (5, 1, 5)
    metric.reset_range()
    assert metric.compute()["min"] == 5
    metric.update(numbers(math.nan))
    assert metric.compute()["min"] == 5
    counts = MinMaxMetric(Counts(2)[1])
    counts.update(torch.tensor([1, 1]))
    assert bits(counts.compute()["min"]) == bits(numbers(1.0)[0])
    with pytest.raises(ValueError, match=r"one number, but `PerClass` gave shape \(2,\)"):
        _computed(MinMaxMetric(_per_class()))


def _per_class() -> Metric:
    from tests.samples import PerClass

    return PerClass(2)


def _computed(metric: Any) -> Any:
    metric.update(torch.tensor([0, 1]))
    return metric.compute()


def test_the_range_is_that_of_the_values_of_all_ranks() -> None:
    def run(rank: int, world_size: int) -> Any:
        metric = MinMaxMetric(Raw())
        found = []
        for value in (1.0, 5.0, -1.0):
            metric.update(numbers(value * (rank + 1)))
            found.append(metric.compute())
            metric.reset()
        return found, save_state(metric)

    for found, saved in run_threads(run, 2):
        assert [(v["raw"].item(), v["min"].item(), v["max"].item()) for v in found] == [
            (3, 3, 3),
            (15, 3, 15),
            (-3, -3, 15),
        ]
        metric = MinMaxMetric(Raw())
        load_state(metric, saved)
        metric.update(numbers(2.0))
        assert [metric.compute()[name].item() for name in ("raw", "min", "max")] == [2, -3, 15]


def test_the_last_updates() -> None:
    metric, rows = Running(SumMetric(), window=3), Running(CatMetric(), window=3)
    for number in range(1, 8):
        assert metric(numbers(number)) == number
        rows.update(numbers(number))
        last = list(range(max(1, number - 2), number + 1))
        assert metric.compute() == sum(last)
        assert rows.compute().reshape(-1).tolist() == last
    welford, plain = Running(Welford(), window=2), Welford()
    for seed in range(4):
        welford.update(batch(seed)[0])
        plain.update(batch(seed)[0]) if seed > 1 else None
    torch.testing.assert_close(welford.compute(), plain.compute())

    class Kept(Total):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("last", torch.tensor(0.0), dist_reduce_fx=None)

    with pytest.raises(StateError, match=r"state `last` of `Kept` is a tensor with dist_reduce_fx=None"):
        Running(Kept())
    with pytest.raises(ValueError, match="`window` must be at least 1"):
        Running(SumMetric(), window=0)


def test_the_last_updates_of_ranks_that_have_seen_other_numbers_of_batches() -> None:
    def run(rank: int, world_size: int) -> Any:
        metric = Running(SumMetric(), window=2)
        values = []
        for epoch in range(2):
            for number in range(1, 4 + 2 * rank + epoch):
                metric.update(numbers(number))
            values.append(metric.compute().item())
        return values, save_state(metric)

    results = run_threads(run, 2)
    assert [values for values, _ in results] == [[2 + 3 + 4 + 5, 3 + 4 + 5 + 6]] * 2
    metric = Running(SumMetric(), window=2)
    load_state(metric, results[0][1])
    assert metric.compute() == 18
    assert metric.base_metric.update_count > 0


def test_an_update_that_fails_leaves_the_window_as_it_was() -> None:
    metric = Running(BinaryAccuracy(), window=2)
    for seed in range(3):
        metric.update(*batch(seed))
    before = local_bits(metric)
    with pytest.raises(ValueError, match="labels"):
        metric.update(batch(0)[0], torch.full((6,), 7))
    assert local_bits(metric) == before


def test_several_outputs() -> None:
    preds, target = torch.tensor([[1.0, 0.0], [1.0, math.nan]]), torch.tensor([[1, 1], [0, 1]])
    metric = MultioutputWrapper(BinaryAccuracy(), 2)
    metric.update(preds, target=target)
    assert metric.compute().tolist() == [0.5, 0.0]
    each = MultioutputWrapper(ClasswiseWrapper(MulticlassAccuracy(2, average=None)), 2, output_dim=0, remove_nans=False)
    each.update(torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0, 1], [0, 1]]))
    assert {name: value.tolist() for name, value in each.compute().items()} == {
        "multiclassaccuracy_0": [1.0, 0.0],
        "multiclassaccuracy_1": [1.0, 1.0],
    }
    with pytest.raises(
        ValueError, match=r"`target` must have 2 outputs along dimension -1, but has the shape \(2, 3\)"
    ):
        metric.update(preds, target=torch.zeros(2, 3))
    with pytest.raises(ValueError, match="`num_outputs` must be at least 1"):
        MultioutputWrapper(BinaryAccuracy(), 0)


def test_several_tasks() -> None:
    Counts.updates = 0
    metric = MultitaskWrapper(
        {"few": Counts(2), "many": MetricCollection({"all": Counts(2), "largest": Counts(2)})},
        prefix="p/",
        postfix="_q",
    )
    assert list(metric.keys()) == ["p/few_q", "p/many_all_q", "p/many_largest_q"]
    assert list(metric.keys(flatten=False)) == ["p/few_q", "p/many_q"] == list(metric.output_names)
    labels = {"few": torch.tensor([0, 1]), "many": torch.tensor([1, 1])}
    with pytest.raises(ValueError, match=r"`task_targets` must have an entry for each of the tasks \['few', 'many'\]"):
        metric.update(labels, {})
    with pytest.raises(TypeError, match="must be a dict of metrics by task"):
        MultitaskWrapper([Counts(2)])  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="differ in `sync_timeout`"):
        MultitaskWrapper({"a": Total(), "b": Total(sync_timeout=3.0)})
    with pytest.raises(ValueError, match="must have no `sync_every`"):
        MultitaskWrapper({"a": MetricCollection([Total()], sync_every=2)})
    assert list(metric.clone(prefix="r/").keys(flatten=False)) == ["r/few_q", "r/many_q"]


def test_a_collection_in_a_task_shares_its_states_on_all_ranks_or_on_some() -> None:
    def run(rank: int, world_size: int) -> Any:
        metric = MultitaskWrapper({"a": MetricCollection([BinaryPrecision(), BinaryRecall(), BinaryF1Score()])})
        alone = MetricCollection([BinaryPrecision(), BinaryRecall(), BinaryF1Score()], compute_groups=False)
        for seed in range(3):
            preds, target = batch(10 * rank + seed)
            metric.update({"a": preds}, {"a": target})
            alone.update(preds, target)
            if rank == 1 and seed == 1:
                for one in (metric.task_metrics["a"], alone):
                    one["BinaryRecall"].update(preds, target)  # type: ignore[index]  # torch types it as a Module
        groups = len(metric.task_metrics["a"].compute_groups)  # type: ignore[arg-type]  # likewise
        value, right = metric.compute(), alone.compute()
        step = metric({"a": preds}, {"a": target}), alone(preds, target)
        metric.reset()
        metric.update({"a": preds}, {"a": target})
        return groups, value, right, step, metric.compute()

    results = run_threads(run, 2)
    assert [groups for groups, *_ in results] == [1, 2]
    for _, value, right, (step, right_step), _ in results:
        assert bits(value["a"]) == bits(right)
        assert bits(step["a"]) == bits(right_step)


def _bootstrap(ids: list[int], split: int, **options: Any) -> Any:
    metric = BootStrapper(BinaryAccuracy(), 8, raw=True, generator=5, **options)
    gen = torch.Generator().manual_seed(1)
    preds, target = torch.rand(60, generator=gen), torch.randint(0, 2, (60,), generator=gen)
    for start in range(0, len(ids), split):
        some = ids[start : start + split]
        metric.update(preds[some], target[some], ids=some)
    return metric


def test_resampling_depends_on_the_ids_alone() -> None:
    right = _bootstrap(list(range(60)), 60).compute()
    assert list(right) == ["mean", "std", "raw"]
    assert right["raw"].shape == (8,)
    assert right["raw"].unique().numel() > 3
    for world_size, split in ((1, 7), (2, 10), (3, 1), (5, 60)):
        order = torch.randperm(60, generator=torch.Generator().manual_seed(split)).tolist()
        shares = [order[rank::world_size] for rank in range(world_size)]
        for found in run_threads(
            lambda rank, _, shares=shares, split=split: _bootstrap(shares[rank], split).compute(), world_size
        ):
            assert bits(found) == bits(right)


def test_ids_go_to_whoever_takes_them() -> None:
    ids = list(range(6))
    collection = MetricCollection({"plain": BinaryRecall(), "mean": 1 * BootStrapper(BinaryAccuracy())["mean"]})
    collection.update(*batch(0), ids=ids)
    right = BootStrapper(BinaryAccuracy())
    right.update(*batch(0), ids=ids)
    assert bits(collection.compute()["mean"]) == bits(right.compute()["mean"])


def test_resampling_without_ids_goes_by_rank_and_place() -> None:
    def run(rank: int, world_size: int, step: bool = False) -> Any:
        before = torch.get_rng_state()
        metric = BootStrapper(BinaryAccuracy(), 6, raw=True)
        for seed in range(3):
            metric(*batch(seed)) if step else metric.update(*batch(seed))
        assert torch.equal(before, torch.get_rng_state())
        return [one.metric_state for one in metric.metrics]  # type: ignore[operator]  # torch types it as a Module

    first, second = run_threads(run, 2)
    assert bits(first) == bits(run_threads(run, 2)[0]) == bits(run(0, 1, step=True))
    assert bits(first) != bits(second)


def test_what_is_given_of_resampled_values() -> None:
    options = {"quantile": torch.tensor([0.05, 0.95]), "mean": False, "sampling_strategy": "multinomial"}
    metric = BootStrapper(SumMetric(), 300, **options, generator=torch.Generator().manual_seed(4))  # type: ignore[arg-type]  # of several types
    assert (metric.seed, metric.num_bootstraps, metric.output_names) == (4, 300, ("std", "quantile"))
    metric.update(torch.arange(100.0))
    value = metric.compute()
    # The sum of 100 draws from 0..99 has the mean 4950 and the deviation 10 * sqrt(9999 / 12) = 288.7.
    assert abs(value["std"] - 288.7) < 40
    torch.testing.assert_close(value["quantile"], numbers(4950 - 475, 4950 + 475), rtol=0, atol=90)
    words = BootStrapper(syncmetrics.WordErrorRate(), 3)
    words.update(["a b", "c"] * 5, ["a b", "d"] * 5)
    assert words.compute()["mean"] <= 1


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: BootStrapper(nn.Linear(1, 1)), TypeError, "`base_metric` must be a syncmetrics.Metric.*Linear"),
    (lambda: BootStrapper(Total(), 0), ValueError, "`num_bootstraps` must be at least 1"),
    (lambda: BootStrapper(Total(), sampling_strategy="jackknife"), ValueError, "'poisson', 'multinomial'"),
    (lambda: BootStrapper(Total(), quantile=1.5), ValueError, r"`quantile` must be in 0\.\.1"),
    (lambda: BootStrapper(Total(), generator="x"), TypeError, "`generator` must be an int"),  # type: ignore[arg-type]  # that is the point
    (lambda: BootStrapper(Total()).update(1.0), ValueError, "nothing that `update` was given has samples"),
    (lambda: BootStrapper(Total()).update(numbers(1), ids=[1, 2]), ValueError, r"`ids` must have the shape \(1,\)"),
    (lambda: BootStrapper(Total()).update(numbers(1), ids=numbers(1)), TypeError, "`ids` must be whole numbers"),
    (
        lambda: BootStrapper(Total()).update(numbers(1), ids=torch.zeros(1, dtype=torch.int64, device="meta")),
        ValueError,
        "`ids` must be on the CPU",
    ),
    (lambda: LambdaInputTransformer(Total(), 3), TypeError, "`transform_pred` must be a function"),  # type: ignore[arg-type]  # likewise
    (lambda: BinaryTargetTransformer(Total(), "x"), TypeError, "`threshold` must be a number"),  # type: ignore[arg-type]  # likewise
    (lambda: MetricTracker(nn.Linear(1, 1)), TypeError, "`metric` must be"),
    (lambda: MetricTracker(Total()), ValueError, "`Total` has no `higher_is_better`"),
    (lambda: MetricTracker(Total(), [True]), TypeError, "True or False for one metric"),
    (lambda: MetricTracker(MetricCollection([Total()]), [True] * 2), ValueError, "1 answers, .* but has 2"),
    (lambda: MetricTracker(Raw()).compute(), ValueError, r"call increment\(\) first"),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_wrong_arguments(call: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_transformed_inputs() -> None:
    both = MetricCollection([BinaryAccuracy(), BinaryRecall()])
    metric = BinaryTargetTransformer(both, threshold=2)
    metric.update(torch.tensor([1.0, 0.0]), torch.tensor([3, 1]))
    metric.update(preds=torch.tensor([1.0, 0.0]), target=torch.tensor([1, 3]))
    assert {name: value.item() for name, value in metric.compute().items()} == {
        "BinaryAccuracy": 0.5,
        "BinaryRecall": 0.5,
    }
    # What it is given is not what the others are given, so it shares no state with them.
    collection = MetricCollection({"plain": BinaryRecall(), "above": BinaryTargetTransformer(BinaryRecall(), 0.5)})
    assert collection.compute_groups == {0: ["plain"], 1: ["above"]}


# -- a tracker


def _tracked(values: list[Any], metric: Any = None, **options: Any) -> MetricTracker:
    tracker = MetricTracker(Raw() if metric is None else metric, **options)
    for value in values:
        tracker.increment()
        tracker.update(numbers(value))
    return tracker


def test_the_best_of_several_steps() -> None:
    tracker = _tracked([2.0, math.nan, 7.0, 3.0])
    assert tracker.n_steps == 4
    torch.testing.assert_close(tracker.compute_all(), numbers(2, math.nan, 7, 3), equal_nan=True)
    assert tracker.best_metric() == 7
    assert tracker.best_metric(return_step=True) == (7, 2)
    assert _tracked([2.0, math.nan, 7.0], maximize=False).best_metric(return_step=True) == (2, 0)
    assert tracker(numbers(1.0)) == 1
    assert tracker.compute() == 4
    tracker.reset()
    assert tracker.compute() == 0
    with pytest.warns(UserWarning, match="no best value of the metric, for every value is NaN"):
        assert _tracked([math.nan]).best_metric(return_step=True) == (None, None)
    tracker = MetricTracker(_per_class(), maximize=True)
    tracker.increment()
    tracker.update(torch.tensor([0, 1]))
    with pytest.warns(UserWarning, match="its value is not one number"):
        assert tracker.best_metric() is None
    tracker.reset_all()
    assert tracker[0].update_count == 0  # type: ignore[union-attr]  # it is a metric


def test_a_tracker_of_a_collection() -> None:
    collection = MetricCollection({"high": Raw(), "low": Total(), "range": MinMaxMetric(Raw())}, prefix="p/")
    tracker = _tracked([3.0, 8.0, 5.0], collection, maximize=[True, False, True])
    assert {name: value.tolist() for name, value in tracker.compute_all().items()}["p/low"] == [3, 8, 5]
    values, steps = tracker.best_metric(return_step=True)
    assert values == {"p/high": 8, "p/low": 3, "raw": 8, "max": 8, "min": 8} or values["p/raw"] == 8
    assert (steps["p/high"], steps["p/low"]) == (1, 0)
    theirs = MetricTracker(_theirs())
    theirs.increment()
    theirs.update(*batch(0))
    assert theirs.best_metric() == theirs.compute()


@pytest.mark.parametrize("several", [False, True])
def test_one_exchange_serves_all_steps(several: bool) -> None:
    def run(rank: int, world_size: int) -> Any:
        metric = MetricCollection([BinaryPrecision(), BinaryRecall()]) if several else BinaryPrecision()
        tracker = MetricTracker(metric)
        for step in range(4):
            tracker.increment()
            tracker.update(*batch(10 * rank + step))
        first = tracker.compute_all()
        tracker.increment()
        tracker.update(*batch(10 * rank + 4))
        saved = save_state(tracker)
        loaded = MetricTracker(copy.deepcopy(metric))
        load_state(loaded, saved)
        return first, tracker.compute_all(), tracker.best_metric(), loaded.compute_all()

    with syncmetrics.trace() as trace:
        results = run_threads(run, 2)
    assert len(trace.syncs) == 2 * 4  # two of compute_all, that of save_state, and that of what was loaded
    assert all(bits(found) == bits(results[0]) for found in results)
    first, second, _, loaded = results[0]
    pairs = [(first[name], second[name]) for name in first] if several else [(first, second)]
    assert all(torch.equal(a, b[:4]) for a, b in pairs)
    assert bits(loaded) == bits(second)


def test_a_tracker_in_a_state_dict() -> None:
    tracker = _tracked([2.0, 7.0, 3.0])
    tracker.compute_all()
    twin = _tracked([1.0])
    twin.load_state_dict(tracker.state_dict())
    assert twin.compute_all().tolist() == [2, 7, 3]
    twin.increment()
    twin.update(numbers(9.0))
    assert twin.best_metric(return_step=True) == (9, 3)
    assert copy.deepcopy(twin).compute_all().tolist() == pickle.loads(pickle.dumps(twin)).compute_all().tolist()
    model = nn.ModuleDict({"tracker": tracker})
    other = nn.ModuleDict({"tracker": MetricTracker(Raw())})
    other.load_state_dict(model.state_dict())
    assert other["tracker"].compute_all().tolist() == [2, 7, 3]
    assert tracker.to("cpu").best_metric() == 7


# -- the other ways to a value of all ranks


@EACH
def test_all_ways_lead_to_one_value(name: str, inner: str) -> None:
    def run(rank: int, world_size: int) -> Any:
        metric = make(name, inner)
        for seed in range(2 * rank):  # rank 0 has no data
            metric.update(*given(name, 10 * rank + seed))
        before = local_bits(metric)
        found = [metric.compute_async().wait(), metric.compute()]
        with metric.sync_context():
            found.append(metric.compute())
        with syncmetrics.synced(metric):
            found.append(metric.compute())
        if "MinMax" not in name and name != "nested":
            assert local_bits(metric) == before
        return [bits(value) for value in found]

    results = run_threads(run, 2)
    assert all(value == results[0][0] for found in results for value in found)


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("inner", ["ours", "of rows"])
def test_steps_of_all_ranks_and_a_value_that_one_rank_computes(name: str, inner: str) -> None:
    cls = BinaryAccuracy if inner == "ours" else BinaryAUROC
    if name == "MultitaskWrapper":
        return  # whose other metrics are synced otherwise

    def run(rank: int, world_size: int) -> Any:
        metric = WRAPPED[name](cls(dist_sync_on_step=True, compute_on=1))
        assert metric.dist_sync_on_step
        steps = [metric(*given(name, 10 * rank + seed)) for seed in range(3)]
        return [bits(step) for step in steps], bits(metric.compute())

    results = run_threads(run, 2)
    assert results[0] == results[1]
    if name != "BootStrapper":
        for seed in range(3):
            one = make(name, inner)
            for rank in range(2):
                one.update(*given(name, 10 * rank + seed))
            if not name.startswith("Running"):
                assert results[0][0][seed] == bits(one.compute())
