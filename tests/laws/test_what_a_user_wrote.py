"""Law 3: what a user wrote runs, whoever does the verb: a collection, a metric around it, a logger."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

from syncmetrics import Metric, MetricCollection, MetricLogger, SchemaMismatchError
from syncmetrics.transport.threads import run_threads
from tests.samples import bits

VERBS = ("update", "forward", "compute", "reset", "state_dict")


class Plain(Metric):
    """A sum, and what the verbs of a class that overrides them write down, in plain attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, int] = dict.fromkeys(VERBS, 0)
        self.add_state("t", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum", persistent=True)

    @property
    def compute_group(self) -> Any:
        return "plain"  # such metrics may share, unless something speaks against it

    def update(self, x: Tensor) -> None:
        self.t += x

    def compute(self) -> Any:
        return self.t.clone(), tuple(self.seen.values())


def written(verbs: frozenset[str]) -> type[Plain]:
    """Give a class that overrides these verbs."""
    own: dict[str, Any] = {}

    def update(self: Any, x: Tensor) -> None:
        self.seen["update"] += 1
        super(cls, self).update(2 * x)

    def forward(self: Any, x: Tensor) -> Any:
        self.seen["forward"] += 1
        return "own", super(cls, self).forward(x + 1)

    def compute(self: Any) -> Any:
        return "own", super(cls, self).compute()

    def reset(self: Any) -> None:
        self.seen["reset"] += 1
        self.seen["update"] = 0
        super(cls, self).reset()

    def get_extra_state(self: Any) -> Any:
        return dict(self.seen)

    def set_extra_state(self: Any, state: Any) -> None:
        self.seen = {**state, "state_dict": state["state_dict"] + 1}

    found = {"update": update, "forward": forward, "compute": compute, "reset": reset}
    own = {name: function for name, function in found.items() if name in verbs}
    if "state_dict" in verbs:
        own |= {"get_extra_state": get_extra_state, "set_extra_state": set_extra_state}
    cls: Any = type("Written", (Plain,), own)
    return cls  # type: ignore[no-any-return]


class Around(Metric):
    """A metric that hands everything to one inside."""

    def __init__(self, inner: Metric) -> None:
        super().__init__()
        self.inside = nn.ModuleDict({"inner": inner})

    def update(self, x: Tensor) -> None:
        self.inside["inner"].update(x)

    def compute(self) -> Any:
        return self.inside["inner"].compute()


STEPS = st.lists(
    st.tuples(st.sampled_from(["update", "forward", "compute", "reset", "save and load"]), st.integers(1, 9)),
    max_size=8,
)


def _do(who: Any, step: tuple[str, int]) -> Any:
    verb, number = step
    if verb in ("update", "forward"):
        return (who if verb == "forward" else who.update)(torch.tensor(float(number), dtype=torch.float64))
    if verb == "save and load":
        who.load_state_dict(who.state_dict())
        return None
    return getattr(who, verb)()


@pytest.mark.filterwarnings("ignore:.*before any update")
@given(st.lists(st.frozensets(st.sampled_from(VERBS)), min_size=1, max_size=3), STEPS)
@example([frozenset({"reset"})], [("update", 1), ("reset", 0), ("update", 4), ("compute", 0)])
@example([frozenset({"update"})], [("update", 1), ("forward", 2)])
def test_in_a_collection(overridden: list[frozenset[str]], steps: list[tuple[str, int]]) -> None:
    classes = [written(verbs) for verbs in overridden]
    made = [cls for cls in classes for _ in range(2)]  # two of a class could share
    collection = MetricCollection({f"m{index}": cls() for index, cls in enumerate(made)})
    alone = {f"m{index}": cls() for index, cls in enumerate(made)}
    for step in steps:
        found = _do(collection, step)
        wanted = {name: _do(metric, step) for name, metric in alone.items()}
        if found is not None:
            assert bits(found) == bits(wanted)
        for name, metric in alone.items():
            assert collection[name].seen == metric.seen, step


class Scaled(Metric):
    """A sum, whose `update` asks the class for a method, a property, a number and something static."""

    factor = 2.0

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.add_state("t", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Any:
        return "scaled"

    @property
    def offset(self) -> float:
        return 1.0

    @staticmethod
    def sign(x: Tensor) -> Tensor:
        return x

    def scaled(self, x: Tensor) -> Tensor:
        return x * self.factor + self.offset

    def update(self, x: Tensor) -> None:
        self.t += sum(self.sign(self.scaled(part)) for part in [x])

    def compute(self) -> Any:
        return self.t.clone(), self.calls


def _scaled(self: Any, x: Tensor) -> Tensor:
    self.calls += 1
    return x * 10


PARTS = {
    "factor": 3.0,
    "offset": property(lambda self: 7.0),
    "sign": staticmethod(lambda x: -x),
    "scaled": _scaled,
    "compute": lambda self: ("own", Scaled.compute(self)),
    "beside": lambda self: 1,
    "compute_group": property(lambda self: "scaled"),
}


@given(st.lists(st.frozensets(st.sampled_from(sorted(PARTS))), min_size=1, max_size=4))
@example([frozenset(), frozenset({"scaled"})])
@example([frozenset(), frozenset({"offset"}), frozenset({"beside"})])
@example([frozenset({"factor", "compute_group"}), frozenset({"compute_group"})])
def test_what_update_calls(overridden: list[frozenset[str]]) -> None:
    if any({"scaled", "compute_group"} <= parts for parts in overridden):
        return  # they say of code which counts its calls that it can be left out
    classes: list[type[Metric]] = [
        type("Other", (Scaled,), {name: PARTS[name] for name in parts}) for parts in overridden
    ]
    made = [cls for cls in (Scaled, *classes) for _ in range(2)]
    collection = MetricCollection({f"m{index}": cls() for index, cls in enumerate(made)})
    alone = {f"m{index}": cls() for index, cls in enumerate(made)}
    for number in (1.0, 2.0):
        x = torch.tensor(number, dtype=torch.float64)
        collection.update(x)
        for metric in alone.values():
            metric.update(x)
    assert bits(collection.compute()) == bits({name: metric.compute() for name, metric in alone.items()})
    assert len(collection.compute_groups) < len(made)  # and those that can share do


@pytest.mark.filterwarnings("ignore:.*before any update")
@given(st.frozensets(st.sampled_from([v for v in VERBS if v != "forward"])), STEPS)
def test_inside_another_metric(verbs: frozenset[str], steps: list[tuple[str, int]]) -> None:
    steps = [(verb if verb != "forward" else "update", number) for verb, number in steps]
    around, alone = Around(written(verbs)()), written(verbs)()
    for step in steps:
        assert bits(_do(around, step)) == bits(_do(alone, step))


class Rate(Metric):
    """A sum over a count that is no state, but begun anew by a `reset` of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.k = 0
        self.add_state("t", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, x: float) -> None:
        self.t += x
        self.k += 1

    def compute(self) -> Tensor:
        return self.t / self.k

    def reset(self) -> None:
        super().reset()
        self.k = 0


@pytest.mark.parametrize("around", ["alone", "collection", "collection of two", "inside"])
def test_the_reset_of_a_metric_in_whatever(around: str) -> None:
    metric: Any = {
        "alone": Rate,
        "collection": lambda: MetricCollection({"m": Rate()}),
        "collection of two": lambda: MetricCollection({"m": Rate(), "n": Rate()}),
        "inside": lambda: MetricCollection({"m": Around(Rate())}),
    }[around]()
    metric.update(1.0)
    metric.reset()
    metric.update(4.0)
    value = metric.compute()
    assert (value if around == "alone" else value["m"]) == 4


def test_over_the_epochs_of_a_logger() -> None:
    def body(rank: int, world_size: int) -> list[float]:
        metric, collection = Rate(), MetricCollection({"n": Rate()})
        logger = MetricLogger([])
        found = []
        for epoch in range(3):
            for step in range(2):
                metric.update(float(epoch))
                collection.update(float(step + epoch))
                logger.log("m", metric)
                logger.log_dict(collection)
                logger.step()
            values = logger.end_epoch()
            found += [float(values["m"]), float(values["n"])]
        return found

    assert run_threads(body, 1)[0] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


# -- compute may have arguments


class Level(Metric):
    computed = 0

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, x: Tensor) -> None:
        self.rows.append(x)

    def compute(self, q: float = 0.5, *, scale: float = 1.0) -> Tensor:
        Level.computed += 1
        return torch.cat(list(self.rows)).quantile(q) * scale


def test_compute_takes_what_the_user_declared() -> None:
    def body(rank: int, world_size: int) -> list[float]:
        metric = Level()
        metric.update(torch.arange(5.0) + 5 * rank)
        values = [metric.compute(), metric.compute(1.0), metric.compute(0.0), metric.compute(q=1.0, scale=2.0)]
        return [float(value) for value in (*values, metric.compute(), metric.compute(1.0))]

    assert run_threads(body, 2) == [[4.5, 9.0, 0.0, 18.0, 4.5, 9.0]] * 2


def test_each_set_of_arguments_has_a_value_that_is_kept() -> None:
    metric = Level()
    metric.update(torch.arange(5.0))
    Level.computed = 0
    for _ in range(3):
        for q in (0.25, 0.5, 1.0):
            metric.compute(q)
        metric.compute()
    assert Level.computed == 4
    metric.update(torch.arange(5.0))
    metric.compute(0.25)
    assert Level.computed == 5


def test_a_collection_hands_arguments_on() -> None:
    collection = MetricCollection({"a": Level(), "b": Level()})
    collection.update(torch.arange(5.0))
    assert {name: float(value) for name, value in collection.compute(1.0).items()} == {"a": 4.0, "b": 4.0}


def test_ranks_that_ask_for_other_values_are_told() -> None:
    def body(rank: int, world_size: int) -> None:
        metric = Level()
        metric.update(torch.arange(5.0))
        with pytest.raises(SchemaMismatchError, match=r"compute\(0\.5\)|compute\(0\.9\)"):
            metric.compute(0.5 if rank else 0.9)

    run_threads(body, 2)


# -- a count that does not lag


class First(Metric):
    def __init__(self) -> None:
        super().__init__()
        self.counts: list[int] = []
        self.add_state("t", torch.tensor(0.0), dist_reduce_fx="sum")

    full_state_update = False

    def update(self, x: float) -> None:
        self.counts.append(self.update_count)
        if self.update_count == 1:
            self.first = x
        self.t += x

    def compute(self) -> Any:
        return self.first


@pytest.mark.parametrize("how", ["update", "forward", "collection", "collection forward"])
def test_the_count_includes_the_update_under_way(how: str) -> None:
    metric = First()
    who: Any = MetricCollection({"m": metric}) if how.startswith("collection") else metric
    for x in (3.0, 4.0):
        (who if how.endswith("forward") else who.update)(x)
    assert metric.counts == ([1, 1] if how.endswith("forward") else [1, 2])
    assert metric.update_count == 2
    with pytest.raises(TypeError):
        metric.update()  # type: ignore[call-arg]
    assert metric.update_count == 2
