"""What the ranks of test_nothing_mutates.py do, as threads or as processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from syncmetrics import (
    Metric,
    MetricCollection,
    PeerError,
    SchemaMismatchError,
    gather_ragged,
    sync_and_compute,
    sync_states,
    synced,
)
from tests.samples import Names, Outer, PerClass, Rows, Total, local_bits

X = torch.tensor([1.0, 2.0])


def explode(stack: Any) -> Any:
    raise ArithmeticError("no such reduction")


class Touchy(Metric):
    """Edits what it sees in `compute`, and then may fail."""

    def __init__(self, error: type[BaseException] | None = None, fx: Any = "sum") -> None:
        super().__init__()
        self._error = error
        self.add_state("total", torch.tensor(0.0), fx)
        self.add_state("rows", [], "cat")
        self.add_state("names", [])
        self.inner = Total()

    def update(self, x: Tensor) -> None:
        self.total = self.total + x.sum()
        self.rows.append(x)
        self.names.append({"x": x.tolist()})
        self.inner.update(x)

    def compute(self) -> Tensor:
        value = self.total + self.inner.compute()
        self.total += 1
        self.rows[0] += 1
        self.rows = []
        self.names.clear()
        self.inner.total.zero_()
        if self._error is not None:
            raise self._error("on purpose")
        return value


def in_step(rank: int, world_size: int) -> None:
    """Assert that the group still works."""
    probe = Total()
    probe.update(torch.tensor([10.0**rank]))
    assert probe.compute() == sum(10.0**r for r in range(world_size))


def raised(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def failing(rank: int, world_size: int, who: list[int], how: str) -> tuple[str, str]:
    """Let something fail on some ranks; give what was raised here. Nothing has changed, and the next sync works."""
    metric = Touchy(fx=explode if how == "reduction" and rank in who else later if how == "reduction" else "sum")
    other = Total()
    for m in (metric, other):
        m.update(X + rank)
    collection = MetricCollection({"a": other, "b": metric})
    before, kept = local_bits(collection), metric.rows
    if rank in who and how in ERRORS:
        metric._error = ERRORS[how]
    found = []
    calls = (metric.compute, collection.compute, lambda: sync_and_compute([metric, other]), lambda: within(metric))
    for call in calls:
        try:
            call()
            found.append("nothing")
        except BaseException as error:
            found.append(f"{type(error).__name__}: {error}")
        assert local_bits(collection) == before
        assert metric.rows is kept
        in_step(rank, world_size)
        metric._books.forget()
    assert len(set(found)) == 1, found
    metric._error = None
    if how != "reduction":
        total = sum((X + r).sum().item() for r in range(world_size))
        assert metric.compute() == 2 * total
        assert collection.compute()["a"] == total
        metric.update(X)
        assert metric.compute() == 2 * (total + 3 * world_size)
    return found[0].partition(":")[0], found[0]


def later(stack: Tensor) -> Tensor:
    return stack.sum(0)


later.__qualname__ = explode.__qualname__  # the same reduction as far as the schema can tell


def within(metric: Metric) -> None:
    with synced(metric):
        metric.compute()


ERRORS = {"ValueError": ValueError, "KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}


def sparse(metric: Outer) -> None:
    metric.inner.total = torch.eye(2).to_sparse()


def hidden_object(metric: Outer) -> None:
    metric.many[0].rows.append(object())


def a_float(metric: Outer) -> None:
    metric.inner._holder.store.states["total"] = 1.5  # type: ignore[assignment]


def gone(metric: Outer) -> None:
    del metric.inner._holder.store.states["total"]


def ragged(metric: Outer) -> None:
    metric.many[0].rows.append(torch.zeros(1, 2))


def on_meta(metric: Outer) -> None:
    metric.inner.total = torch.zeros((), dtype=torch.float64, device="meta")


SPOILERS = {f.__name__: f for f in (sparse, hidden_object, a_float, gone, ragged, on_meta)}


def describing(rank: int, world_size: int, who: list[int], how: str) -> tuple[str, dict[int, str]]:
    """Spoil a state on some ranks; give the error of this one."""
    metric = Outer()
    metric.update(X)
    if rank in who:
        SPOILERS[how](metric)
    before = repr(metric._nodes()[1].store.states), metric.update_count
    for call in (metric.compute, metric.sync, lambda: within(metric), MetricCollection({"Outer": metric}).compute):
        error = raised(call)
        assert isinstance(error, PeerError), error
        assert f"failed on {len(who)} of {world_size} ranks" in str(error)
        assert (error.__cause__ is not None) == (rank in who)
        assert (repr(metric._nodes()[1].store.states), metric.update_count) == before
        in_step(rank, world_size)
    metric.reset()
    metric.update(X)
    assert metric.compute()["total"] == 3 * world_size
    return str(raised_again(rank, who, how)), error.failures


def raised_again(rank: int, who: list[int], how: str) -> BaseException:
    metric = Outer()
    metric.update(X)
    if rank in who:
        SPOILERS[how](metric)
    return raised(metric.compute)


# ---- what differs between ranks: (what this rank syncs, which error) ------------------------------------------------


def _rows(*shape: int, dtype: torch.dtype = torch.float32) -> Rows:
    metric = Rows()
    metric.update(torch.zeros(shape, dtype=dtype))
    return metric


def _fed(metric: Any, *args: Any) -> Any:
    metric.update(*args)
    return metric


LABELS = torch.tensor([0, 1])
MISMATCHES: dict[str, Callable[[bool], Callable[[], Any]]] = {
    "metrics": lambda odd: _fed(Total() if odd else Rows(), X).compute,
    "collections": lambda odd: MetricCollection({"b" if odd else "a": _fed(Total(), X)}).compute,
    "more metrics": lambda odd: MetricCollection({n: _fed(Total(), X) for n in ("abc" if odd else "ab")}).compute,
    "prefixes": lambda odd: MetricCollection([_fed(Total(), X)], prefix="test" if odd else "val").compute,
    "reductions": lambda odd: lambda: sync_states({"x": X}, {"x": "max" if odd else "sum"}),
    "kinds": lambda odd: lambda: sync_states({"x": [X] if odd else X}, {"x": "cat"}),
    "shapes": lambda odd: lambda: sync_states({"x": torch.zeros(2 + odd)}, {"x": "sum"}),
    "large shapes": lambda odd: lambda: sync_states({"x": torch.zeros(90_000 + odd)}, {"x": "sum"}),
    "classes": lambda odd: _fed(PerClass(3 if odd else 2), LABELS).compute,
    "trailing shapes": lambda odd: _rows(1, 3 if odd else 2).compute,
    "large trailing shapes": lambda odd: _rows(90_000, 3 if odd else 2).compute,
    "dtypes": lambda odd: _rows(2, dtype=torch.uint16 if odd else torch.int32).compute,
    "data": lambda odd: (_fed(Rows(None), X) if odd else _fed(Names(), "a")).compute,
    "forms": lambda odd: lambda: sync_states({"x": [X] if odd else ["a"]}, {"x": None}),
    "calls": lambda odd: (lambda: gather_ragged(X)) if odd else (lambda: sync_states({"x": X}, {"x": "sum"})),
    "long manifests": lambda odd: (
        MetricCollection({f"{'b' if odd else 'a'}{i}": _fed(Total(), X) for i in range(900)}).compute
    ),
    "long and short": lambda odd: (
        MetricCollection({f"a{i}": _fed(Total(), X) for i in range(900 if odd else 1)}).compute
    ),
}


def mismatch(rank: int, world_size: int, how: str) -> str:
    """Enter a sync with something else than the others; give the text."""
    error = raised(MISMATCHES[how](rank == world_size - 1))
    assert isinstance(error, SchemaMismatchError), repr(error)
    in_step(rank, world_size)
    return str(error)


def all_mismatches(rank: int, world_size: int) -> dict[str, str]:
    return {how: mismatch(rank, world_size, how) for how in MISMATCHES}


def all_failures(rank: int, world_size: int) -> dict[str, Any]:
    """Do everything on real processes, one after another in one group."""
    found: dict[str, Any] = {}
    for how in (*ERRORS, "reduction"):
        for who in ([0, 1], [1]):
            found[f"{how} on {who}"] = failing(rank, world_size, who, how)[0]
    for how in SPOILERS:
        found[f"{how} described"] = describing(rank, world_size, [1], how)
    found["mismatches"] = all_mismatches(rank, world_size)
    return found
