"""One table of what can be written wrongly: the error, and the words that must be in its text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from syncmetrics import (
    ClasswiseWrapper,
    Metric,
    MetricCollection,
    StateError,
    gather_ragged,
    sync_and_compute,
    sync_states,
    synced,
)
from syncmetrics.testing import run_ranks
from syncmetrics.transport.threads import run_threads
from tests.ranks import bad_group_bodies
from tests.samples import Accuracy, Names, Outer, PerClass, Rows, Total

ZERO, X = torch.tensor(0), torch.tensor([1.0])
SPARSE = torch.zeros(2, 2).to_sparse()


class Declared(Metric):
    """Declares what it is told to."""

    limit = 5

    def __init__(self, *states: tuple[Any, ...]) -> None:
        super().__init__()
        self.scale = 1.0
        self.net = nn.Linear(1, 1)
        for state in states:
            self.add_state(*state)

    def update(self) -> None: ...
    def compute(self) -> None: ...


class Early(Metric):
    def __init__(self) -> None:
        self.add_state("x", ZERO, "sum")


class Silent(Total):
    compute = Metric.compute


def declare(*state: Any) -> Callable[[], Any]:
    return lambda: Declared(state)


def fed(metric: Any, *args: Any) -> Any:
    metric.update(*(args or (X,)))
    return metric


def while_synced(act: Callable[[Metric], Any]) -> Callable[[], Any]:
    def call() -> None:
        metric = fed(Total())
        with metric.sync_context():
            act(metric)

    return call


def set_to_float() -> None:
    Total().total = 1.0


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], list[str]]] = {
    # declarations
    "unknown reduction": (
        declare("x", ZERO, "avg"),
        StateError,
        ["`Declared`", "`x`", "'avg'", "'sum', 'exact_sum'", "callable"],
    ),
    "bool sum": (
        declare("x", torch.tensor(False), "sum"),
        StateError,
        ["`Declared`", "`x`", "bool", "torch.int64", "'max'"],
    ),
    "integer mean": (
        declare("x", ZERO, "mean"),
        StateError,
        ["`x`", "torch.int64", "torch.float64", "divide in `compute`"],
    ),
    "name of a method": (declare("update", ZERO, "sum"), StateError, ["`Declared`", "`update`", "taken"]),
    "name of a class attribute": (declare("limit", ZERO, "sum"), StateError, ["`limit`", "taken", "another"]),
    "name of an attribute": (declare("scale", ZERO, "sum"), StateError, ["`scale`", "taken"]),
    "name of a module": (declare("net", ZERO, "sum"), StateError, ["`net`", "taken"]),
    "name of a property": (declare("device", ZERO, "sum"), StateError, ["`device`", "taken"]),
    "name of another state": (
        lambda: Declared(("x", ZERO, "sum"), ("x", ZERO, "sum")),
        StateError,
        ["`x`", "declared twice"],
    ),
    "no identifier": (declare("a b", ZERO, "sum"), StateError, ["'a b'", "identifier"]),
    "full list": (declare("x", [X], "cat"), StateError, ["`x`", "empty list", "1 elements", "`update`"]),
    "list with sum": (declare("x", [], "sum"), StateError, ["`x`", "'sum'", "'cat', None or a callable"]),
    "default is a float": (declare("x", 0.0, "sum"), StateError, ["`x`", "float", "torch.tensor(0.0)"]),
    "default is a list of floats": (declare("x", [0.0], "sum"), StateError, ["`x`", "empty list"]),
    "default is None": (declare("x", None, "sum"), StateError, ["`x`", "NoneType"]),
    "uint16 sum": (
        declare("x", torch.zeros(1, dtype=torch.uint16), "sum"),
        StateError,
        ["`x`", "torch.uint16", "torch.int64"],
    ),
    "float8 max": (
        declare("x", torch.zeros(1, dtype=torch.float8_e5m2), "max"),
        StateError,
        ["`x`", "compare", "float8", "'cat'"],
    ),
    "complex min": (
        declare("x", torch.zeros(1, dtype=torch.complex64), "min"),
        StateError,
        ["`x`", "compare", "complex64"],
    ),
    "sparse default": (declare("x", SPARSE, "sum"), StateError, ["`Declared`", "`x`", "sparse", "to_dense()"]),
    "before super().__init__()": (Early, StateError, ["`Early`", "super().__init__()", "'x'"]),
    # the life of a metric
    "update while synced": (while_synced(lambda m: m.update(X)), StateError, ["`Total`", "`update`", "unsync()"]),
    "forward while synced": (while_synced(lambda m: m(X)), StateError, ["`Total`", "`forward`", "unsync()"]),
    "merge while synced": (while_synced(lambda m: m.merge_state(Total())), StateError, ["`merge_state`", "unsync()"]),
    "sync twice": (while_synced(lambda m: m.sync()), StateError, ["`Total`", "synced already", "unsync()"]),
    "sync_context twice": (while_synced(lambda m: m.sync_context()), StateError, ["`Total`", "synced already"]),
    "unsync unsynced": (lambda: Total().unsync(), StateError, ["`Total`", "not synced", "sync()"]),
    "no JSON": (lambda: fed(Names(), {1}), TypeError, ["`Names`", "`names`", "builtins.set", "str, int, float"]),
    "no JSON inside": (lambda: fed(Names(), [1j]), TypeError, ["`names`", "complex", "inside"]),
    "numpy number": (
        lambda: fed(Names(), __import__("numpy").float64(1)),
        TypeError,
        ["`names`", "numpy.float64", "`.item()`"],
    ),
    "a tensor beside objects": (lambda: fed(Names(), "a", X), TypeError, ["`names`", "Tensor", "either tensors, or"]),
    "an object beside tensors": (lambda: fed(fed(Rows()), 1.0), TypeError, ["`rows`", "float", "torch.as_tensor"]),
    "sparse row": (lambda: fed(Rows(), SPARSE), TypeError, ["`rows`", "sparse"]),
    "a state set to a float": (set_to_float, TypeError, ["`Total`", "`total`", "float", "torch.as_tensor"]),
    "a state deleted": (lambda: delattr(Total(), "total"), StateError, ["`total`", "reset()"]),
    "no compute": (Silent, TypeError, ["`Silent`", "`compute`"]),
    "no update": (Metric, TypeError, ["`Metric`", "`update`"]),
    "merge another class": (lambda: Total().merge_state(Rows()), StateError, ["`Total`", "`Rows`", "same class"]),
    "merge another size": (
        lambda: fed(PerClass(2), ZERO[None]).merge_state(fed(PerClass(3), ZERO[None])),
        StateError,
        ["`counts`", "shape"],
    ),
    "merge other states": (lambda: Total().merge_state({"sum": X}), StateError, ["['total']", "['sum']"]),
    "merge a list": (lambda: Total().merge_state([Total()]), (StateError, TypeError), ["`Total`"]),
    "keyword of the metric": (lambda: Total(compute_on_cpu=True), TypeError, ["compute_on_cpu"]),
    # groups
    "group is a number": (
        lambda: Total(process_group=5),
        TypeError,
        ["`process_group`", "ProcessGroup", "DeviceMesh", "int"],
    ),
    "group is a string": (lambda: Total(process_group="world"), TypeError, ["`process_group`", "str"]),
    "group is a class": (lambda: Total(process_group=nn.Module), TypeError, ["`process_group`"]),
    "rank outside": (lambda: Total(process_group=-100), ValueError, ["`process_group`", "part of", "-100", "leave"]),
    "pair without a mesh": (
        lambda: Total(process_group=("mesh", "dp")),
        TypeError,
        ["`process_group`", "(mesh, 'dim')"],
    ),
    # helpers
    "no reduction": (lambda: sync_states({"x": X}, {}), StateError, ["`reductions`", "['x']", "[]"]),
    "one reduction too many": (lambda: sync_states({"x": X}, {"x": "sum", "y": "sum"}), StateError, ["['x', 'y']"]),
    "unknown reduction in a helper": (lambda: sync_states({"x": X}, {"x": "avg"}), StateError, ["`x`", "'avg'"]),
    "a float in a helper": (lambda: sync_states({"x": 1.0}, {"x": "sum"}), (StateError, TypeError), ["`x`", "float"]),
    "a bool sum in a helper": (lambda: sync_states({"x": X > 0}, {"x": "sum"}), StateError, ["`x`", "bool"]),
    "wrong dst": (lambda: sync_states({"x": X}, {"x": "sum"}, dst=1), ValueError, ["`dst`", "0 to 0", "1"]),
    "negative dst": (lambda: gather_ragged(X, dst=-1), ValueError, ["`dst`", "-1"]),
    "gather a list": (lambda: gather_ragged([X]), TypeError, ["`tensor`", "list"]),
    "gather a sparse tensor": (lambda: gather_ragged(SPARSE), TypeError, ["`tensor`", "sparse"]),
    "sync a number": (lambda: sync_and_compute(5), TypeError, ["Metric", "int"]),
    "sync a module": (lambda: sync_and_compute([nn.Linear(1, 1)]), TypeError, ["Metric", "Linear"]),
    "sync a string": (lambda: synced("ab").__enter__(), TypeError, ["Metric", "str"]),
    # collections and wrappers
    "nothing of a metric": (lambda: MetricCollection({"a": 5}), TypeError, ["`a`", "int"]),
    "keyword of no one": (lambda: fed(MetricCollection([Total()])).update(y=X), TypeError, ["'y'", "`update`"]),
    "wrapper of a number": (lambda: ClasswiseWrapper(5), TypeError, ["`metric`", "int"]),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong(what: str) -> None:
    call, error, words = WRONG[what]
    with pytest.raises(error) as caught:
        call()
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)
    assert "AssertionError" not in repr(caught.value)


def test_none_is_the_world() -> None:
    assert fed(Total(process_group=None)).compute() == 1

    def body(rank: int, world_size: int) -> float:
        return float(fed(Total(process_group=None)).compute())

    assert run_threads(body, 3) == [3.0] * 3


def test_groups_of_torch() -> None:
    for found in run_ranks(bad_group_bodies.wrong_groups, 2):
        for what, (kind, text, words) in found.items():
            assert kind == "ValueError", what
            assert [word for word in words if word not in text] == [], (what, text)


def test_a_helper_that_fails_on_one_rank_is_told_on_all() -> None:
    """What only the values can tell is told to the others, who would wait."""

    def body(rank: int, world_size: int) -> list[str]:
        found = []
        calls: list[Callable[[], Any]] = [
            lambda: sync_states({"x": X if rank else X > 0}, {"x": "sum"}),
            lambda: sync_states({"x": X if rank else SPARSE}, {"x": "sum"}),
            lambda: gather_ragged(X if rank else SPARSE),
        ]
        for call in calls:
            try:
                call()
                found.append("nothing")
            except Exception as error:
                found.append(type(error).__name__)
        return found

    assert run_threads(body, 2, timeout=5)[1] == ["PeerError"] * 3


def test_a_failing_declaration_leaves_the_metric_as_it_was() -> None:
    metric = Accuracy()
    for state in (("x", 5, "sum"), ("correct", ZERO, "sum"), ("y", ZERO, "avg")):
        with pytest.raises(StateError):
            metric.add_state(*state)  # type: ignore[arg-type]
    assert set(metric.metric_state) == {"correct", "count"}
    assert not hasattr(metric, "x")


def test_an_error_in_an_inner_metric_names_it() -> None:
    class Around(Outer):
        def update(self, x: Tensor) -> None:
            self.many[0].rows.append(object())
            self.many[0].update(x)

    with pytest.raises(TypeError, match=r"`Rows`: state `rows`"):
        fed(Around())
