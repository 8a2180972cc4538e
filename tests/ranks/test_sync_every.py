"""Per-step values of all ranks in every n-th step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from syncmetrics import MetricCollection
from syncmetrics.testing import run_ranks
from syncmetrics.transport.threads import run_threads
from tests.ranks import step_bodies
from tests.ranks.test_collectives import ONE, counted
from tests.samples import Total


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_third_step_is_that_of_all_ranks(world_size: int) -> None:
    run_threads(step_bodies.metric_steps, world_size)


def test_a_collection_takes_one_exchange_in_every_second_step_and_none_in_the_others() -> None:
    for found in run_ranks(step_bodies.counts, 2):
        assert [counted(calls) for calls in found] == [{}, ONE, {}, ONE, {}] * 2


def test_metrics_of_one_collection_may_step_differently() -> None:
    run_threads(step_bodies.other_periods, 3)


def test_inside_join() -> None:
    run_threads(step_bodies.joined, 3)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_it_must_be_a_number_of_steps(wrong: Any) -> None:
    with pytest.raises(ValueError, match="`sync_every` must be a positive integer"):
        Total(sync_every=wrong)
    with pytest.raises(ValueError, match="`sync_every` must be a positive integer"):
        MetricCollection([Total()], sync_every=wrong)
    with pytest.raises(ValueError, match="collection inside"):
        MetricCollection({"inner": MetricCollection([Total()], sync_every=2)})


def test_a_copy_goes_on_counting() -> None:
    metric = Total(sync_every=2)
    metric(torch.ones(1))
    assert metric.clone()._books.steps == 1
