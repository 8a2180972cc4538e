"""Metrics over a part of the dimensions of a mesh, on real processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from syncmetrics.testing import run_ranks
from tests.ranks import mesh_bodies as bodies

CHECKS = [
    bodies.dimensions,
    bodies.outside_none,
    bodies.outside_broadcast,
    bodies.ranks_beside_the_mesh,
    bodies.replicas,
    bodies.all_ways_in,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_on_eight_ranks(check: Callable[[int, int], Any]) -> None:
    run_ranks(check, 8)


def test_a_dtensor_is_counted_once_or_refused() -> None:
    counted = run_ranks(bodies.spread_inputs, 8, 0, 4, 10)
    assert len(set(counted)) == 1
    assert 10 <= counted[0] <= 35


def test_what_cannot_be_meant_is_refused_with_what_to_write() -> None:
    wrong = run_ranks(bodies.wrong, 8)
    words = {
        "no mesh": "TypeError: `mesh` must be a torch.distributed DeviceMesh, but is a str instead.",
        "no dimension": "`dims` must name dimensions of the mesh, which has ['dp', 'tp', 'pp'], but names 'cp'.",
        "no number": "but names 3.",
        "twice": "must name a dimension once, but name ['pp'] more often",
        "no index": "`only` must give one index of 'pp', -2 to 1, but gives 2 instead.",
        "outside": "`outside` must be 'none' or 'broadcast', but is 'all' instead.",
        "two dimensions": "process_group=syncmetrics.over(mesh, ('dp', ...)) for several; the mesh has ['dp', 'tp'",
        "elsewhere": "make it here and set `metric.process_group = over(mesh, ...)`.",
    }
    for said in wrong:
        assert {what: words[what] in text or text for what, text in said.items()} == dict.fromkeys(words, True)
