"""Metrics in checkpoints of `torch.distributed.checkpoint`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

from syncmetrics import MetricLogger, StateError, StatefulMetrics, SumMetric, save_state
from syncmetrics.testing import run_ranks
from tests.ranks import dcp_bodies

SAVED = [0, 2, 3]  # the batches of ranks 0 and 1, in order
LATER = [21, 22, 23, 24]


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """Let torch say to this process that it saves and loads without a group, and what it deprecates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


@pytest.mark.parametrize(("kind", "is_async"), [("plain", False), ("ddp", False), ("fsdp2", False), ("plain", True)])
def test_saved_on_two_ranks_and_loaded_on_others(tmp_path: Path, kind: str, is_async: bool) -> None:
    path = str(tmp_path / "checkpoint")
    run_ranks(dcp_bodies.save, 2, path, kind, is_async)
    weights = float(sum(p.abs().sum() for p in dcp_bodies._model("plain").parameters()))
    for world_size in (1, 3) if kind == "plain" else (4,):
        order = [key for rank in range(world_size) for key in LATER[rank::world_size]]
        for one_by_one in (True, False):
            args = (path, kind, one_by_one, LATER)
            here = [dcp_bodies.load(0, 1, *args)] if world_size == 1 else run_ranks(dcp_bodies.load, world_size, *args)
            for values, total in here:
                assert values == _right(world_size, order)
                assert total == pytest.approx(weights)


def _right(world_size: int, order: list[int]) -> Any:
    """Give the values of one process; rows stand by rank, so each rank's come behind those that it was dealt."""
    shares = [range(rank * 2 // world_size, (rank + 1) * 2 // world_size) for rank in range(world_size)]
    of_rank = [[0], [2, 3]]
    keys = []
    for rank, share in enumerate(shares):
        keys += [key for before in share for key in of_rank[before]] + LATER[rank::world_size]
    assert sorted(keys) == sorted(SAVED + order)
    return dcp_bodies.once(keys)


def test_the_helpers_for_state_dicts_know_every_key() -> None:
    (keys, _) = run_ranks(dcp_bodies.persistent, 2)
    of_metrics = ["rows._about", "rows.value", "total._about", "total.invalid", "total.sum_value"]
    assert keys == ["layer.bias", "layer.weight", *of_metrics]


def test_what_was_added_since_stays_as_it_is(tmp_path: Path) -> None:
    total, new = SumMetric(), SumMetric()
    total.update(torch.tensor(2.0))
    dcp.save({"total": total}, checkpoint_id=tmp_path)
    new.update(torch.tensor(5.0))
    total.reset()
    planner = dcp.DefaultLoadPlanner(allow_partial_load=True)
    dcp.load({"total": total, "new": new}, checkpoint_id=tmp_path, planner=planner)
    assert (total.compute(), new.compute()) == (2.0, 5.0)


@pytest.mark.parametrize("make", [SumMetric, MetricLogger, lambda: StatefulMetrics([SumMetric()])])
def test_something_else_is_told(make: Any) -> None:
    metric = make()
    with pytest.raises(StateError, match="cannot be read"):
        metric.load_state_dict({"syncmetrics": b"something else"})


def test_a_metric_and_a_logger_load_what_save_state_gave() -> None:
    total, again, logger, other = SumMetric(), SumMetric(), MetricLogger(), MetricLogger()
    total.update(torch.tensor(2.0))
    logger.log("loss", 3.0)
    again.load_state_dict(save_state(total))
    other.load_state_dict(save_state(logger))
    assert again.compute() == 2.0
    assert other.end_epoch() == {"loss": 3.0}
    assert total.state_dict() == {}, "whoever is not a checkpointer gets that of a module"
