"""Code that was written for torchmetrics runs when the import is changed: its own classes, on our `Metric`."""

from __future__ import annotations

import functools
from typing import Any

import pytest

pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")

from syncmetrics.testing import run_ranks
from tests.ranks import on_our_base_bodies as bodies

#: What is not the same, and why: the row, and in which way if not in all.
REASONS = {
    ("MinMaxMetric", "forward"): "after `forward`, torchmetrics computes `raw` of the last batch alone",
}

pytestmark = pytest.mark.timeout(300)


@functools.cache
def _values(ours: bool) -> dict[str, dict[str, Any]]:
    return run_ranks(bodies.one_process, 1, ours, timeout=250)[0]  # type: ignore[no-any-return]


def _same(name: str, found: tuple[str, Any], wanted: tuple[str, Any]) -> bool:
    from tests.ranks.torchmetrics_bodies import same_value

    (error, value), (expected_error, expected) = found, wanted
    if expected_error:  # theirs cannot do it either
        return bool(error) or expected is None
    return not error and same_value(name, value, expected)


def test_the_values_of_one_process() -> None:
    ours, theirs = _values(True), _values(False)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 180
    differing = {
        f"{name}, {way}: {found[0] or found[1]}"
        for name, ways in ours.items()
        for way, found in ways.items()
        if REASONS.keys().isdisjoint([(name, ""), (name, way)]) and not _same(name, found, theirs[name][way])
    }
    assert not differing


def test_the_values_of_two_ranks_are_those_of_one() -> None:
    theirs = {name: ways["update"] for name, ways in _values(False).items()}
    differing = {
        f"{name}, rank {rank}: {found[0] or found[1]}"
        for rank, values in enumerate(run_ranks(bodies.two_ranks, 2, timeout=250))
        for name, found in values.items()
        if (name, "") not in REASONS and not _same(name, found, theirs[name])
    }
    assert not differing


def test_every_reason_still_holds() -> None:
    ours, theirs = _values(True), _values(False)
    for name, way in REASONS:
        ways = [way] if way else list(ours[name])
        same = [_same(name, ours[name][one], theirs[name][one]) for one in ways]
        assert not any(same), f"{name} works: take it off the list"
