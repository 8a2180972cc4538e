"""What changes the value is compared: ranks that differ in it have one error with its name, and in nothing else."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from syncmetrics import Metric, MetricCollection, SchemaMismatchError, join
from syncmetrics.states.spec import declare_state, say_default
from syncmetrics.transport.threads import run_threads
from tests.samples import Total

#: How an attribute is used: the code that reads or sets it, and whether it changes the value.
USES: dict[str, tuple[str, bool]] = {
    "read in update": ("update", True),
    "read in compute": ("compute", True),
    "read in a method that compute calls": ("helper", True),
    "read in a property": ("prop", True),
    "read in a comprehension": ("inner", True),
    "read nowhere": ("", False),
    "read of something else": ("other", False),
    "set in update": ("set update", False),
    "set in compute": ("set compute", False),
    "set in reset": ("set reset", False),
    "private": ("private", False),
}
VALUES = st.sampled_from([0, 1, 0.5, True, None, "a", "b", (1, 2), (1, 3), torch.float32, torch.int64])


def made(uses: list[str]) -> type[Metric]:
    """Give a class whose attributes a0, a1, ... are used so."""
    kinds = [USES[use][0] for use in uses]

    def names(kind: str) -> list[str]:
        return [f"a{index}" for index, one in enumerate(kinds) if one == kind]

    def line(kind: str, write: bool = False) -> str:
        return "; ".join(f"self.{name} = 1" if write else f"self.{name}" for name in names(kind)) or "pass"

    private = "; ".join(f"self._a{index}" for index, one in enumerate(kinds) if one == "private") or "pass"
    other = "; ".join(f"other.{name}" for name in names("other")) or "pass"
    source = f"""
class Made(Metric):
    def update(self, x):
        {line("update")}
        {line("set update", write=True)}
        {private}
        other = types.SimpleNamespace(**dict.fromkeys([f"a{{i}}" for i in range(9)]))
        {other}
        self.total = self.total + x
    def helper(self):
        {line("helper")}
    @property
    def prop(self):
        {line("prop")}
    def compute(self):
        {line("compute")}
        {line("set compute", write=True)}
        self.helper(); self.prop
        [(0, {", ".join(f"self.{name}" for name in names("inner"))}) for _ in "x"]
        return self.total.clone()
    def reset(self):
        super().reset()
        {line("set reset", write=True)}
"""
    space: dict[str, Any] = {"Metric": Metric, "types": types}
    exec(source, space)
    return space["Made"]  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:.*before any update")
@given(
    st.lists(st.tuples(st.sampled_from(sorted(USES)), VALUES, VALUES), min_size=1, max_size=4),
    st.integers(2, 3),
    st.booleans(),
)
@example([("read in compute", 0.1, 0.9)], 2, False)
@example([("set in update", 1, 2), ("private", 1, 2), ("read nowhere", 1, 2)], 2, True)
def test_what_is_read_is_compared_and_nothing_else(
    attributes: list[tuple[str, Any, Any]], world: int, collected: bool
) -> None:
    cls = made([use for use, _, _ in attributes])
    differing = {f"a{i}" for i, (use, a, b) in enumerate(attributes) if USES[use][1] and repr(a) != repr(b)}

    def body(rank: int, world_size: int) -> str:
        metric: Any = cls()
        metric.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        for index, (use, first, other) in enumerate(attributes):
            setattr(metric, f"_a{index}" if use == "private" else f"a{index}", first if rank == 0 else other)
        for _ in range(rank):  # a rank without data, too
            metric.update(1.0)
        try:
            (MetricCollection({"m": metric}) if collected else metric).compute()
        except SchemaMismatchError as error:
            return str(error)
        return ""

    texts = set(run_threads(body, world))
    assert len(texts) == 1
    (text,) = texts
    assert {name for name in (f"a{index}" for index in range(len(attributes))) if f"`{name}`" in text} == differing


DEFAULTS = st.one_of(
    st.builds(lambda n, d: torch.tensor(n).to(d), st.integers(0, 3), st.sampled_from([torch.int64, torch.float64])),
    st.builds(lambda n, size: torch.full((size,), float(n)), st.integers(0, 2), st.integers(1, 3)),
    st.builds(lambda *n: torch.tensor(n, dtype=torch.float32), st.integers(0, 1), st.integers(0, 1)),
    st.builds(lambda n: torch.full((5000,), n, dtype=torch.int32), st.integers(0, 1)),
)


@given(DEFAULTS, DEFAULTS)
def test_defaults_say_the_same_exactly_if_they_add_the_same(a: torch.Tensor, b: torch.Tensor) -> None:
    one, other = (say_default(declare_state("x", value, "sum").default) for value in (a, b))
    if a.shape == b.shape:
        assert (one == other) == bool((a.double() == b.double()).all())
    elif one != other:  # a difference of shapes has an error of its own, which says more
        assert not bool((a.flatten()[0] == b.flatten()).all() and (a.flatten() == b.flatten()[0]).all())


@pytest.mark.filterwarnings("ignore:.*before any update")
@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=3),
    st.lists(st.integers(0, 4), min_size=2, max_size=3),
    st.sampled_from(["each step", "every second", "a collection"]),
)
@example([1, 2], [2, 2], "a collection")
@example([1, 2], [2, 2], "every second")
def test_epochs_of_join_may_have_any_numbers_of_steps(first: list[int], second: list[int], kind: str) -> None:
    world = min(len(first), len(second))

    def body(rank: int, world_size: int) -> float:
        metric = Total(dist_sync_on_step=kind == "each step", sync_every=2 if kind == "every second" else None)
        host: Any = MetricCollection({"m": metric}, sync_every=2) if kind == "a collection" else metric
        for steps in (first, second):
            with join(host):
                for step in range(steps[rank]):
                    value = host(torch.ones(1))
                    if kind != "each step" and step % 2:  # of the ranks that have this step
                        value = value["m"] if kind == "a collection" else value
                        assert value == sum(step < count for count in steps[:world_size])
        return metric.compute().item()

    assert run_threads(body, world) == [float(sum(first[:world]) + sum(second[:world]))] * world
