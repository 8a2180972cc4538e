"""What a logger refuses, and the end of an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from syncmetrics import MeanMetric, Metric, MetricLogger, MulticlassConfusionMatrix, SumMetric
from syncmetrics.logger import Record
from tests.unit.test_logger import PREDS, TARGET, Kept

# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "error", "match"),
    [
        (lambda log: log.log("x", torch.ones(3)), ValueError, r"shape \(3,\).*weight=number of elements"),
        (lambda log: log.log("x", torch.ones(0)), ValueError, "one element"),
        (lambda log: log.log("x", torch.tensor(1j)), TypeError, "complex64"),
        (lambda log: log.log("x", 1j), TypeError, "complex"),
        (lambda log: log.log("x", "1"), TypeError, "is a str instead"),
        (lambda log: log.log("x", {"y": 1}), TypeError, "is a dict instead"),
        (lambda log: log.log("x", 1, weight=-1), ValueError, "`weight` must be finite and at least 0, but is -1.0"),
        (lambda log: log.log("x", 1, weight=torch.tensor(math.nan)), ValueError, "but is nan"),
        (lambda log: log.step(batch_size=math.inf), ValueError, "`batch_size` must be finite"),
        (lambda log: log.log("x", SumMetric(), weight=2), TypeError, "leave `weight` out"),
        (lambda log: log.log("x", 1, on_step=False, on_epoch=False), ValueError, "on_step=True, on_epoch=True"),
        (lambda log: log.log("epoch", 1), ValueError, "cannot be named `epoch`"),
        (lambda log: log.log("step", SumMetric()), ValueError, "cannot be named `step`"),
        (lambda log: log.log_dict(3), TypeError, "a mapping"),
        (lambda log: log.log_dict(SumMetric()), TypeError, r"log\(name, metric\)"),
        (lambda log: log.track({"x": 1}), TypeError, "`x` must be a metric"),
        (lambda log: MetricLogger([Kept]), TypeError, "`sinks` must have"),
        (lambda log: MetricLogger([print]), TypeError, "`sinks` must have"),
        (lambda log: MetricLogger(log_every_n_steps=0), ValueError, "at least 1"),
        (lambda log: log.draw("x.png"), ValueError, "no epoch"),
    ],
)
def test_refusals(act: Callable[[MetricLogger], Any], error: type[Exception], match: str) -> None:
    logger = MetricLogger()
    with pytest.raises(error, match=match):
        act(logger)
    assert logger.end_epoch() == {}, "what was refused is not there"


def test_a_name_has_one_owner() -> None:
    logger = MetricLogger()
    metric = SumMetric()
    logger.track({"m": metric})
    with pytest.raises(ValueError, match="`m` is the name of another value"):
        logger.log("m", 1.0)
    with pytest.raises(ValueError, match="`m` was logged with another metric in this epoch"):
        logger.log("m", SumMetric())
    logger.log("plain", 1.0)
    with pytest.raises(ValueError, match="`plain` is the name of another value"):
        logger.log("plain", SumMetric())
    logger.end_epoch()
    other = SumMetric()
    other.update(5)
    logger.log("m", other)
    assert logger.end_epoch()["m"].item() == 5.0


def test_names_that_only_compute_reveals() -> None:
    class Late(Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")

        def update(self, x: float) -> None:
            self.total += x

        def compute(self) -> Any:
            return {"x": self.total, "pair": (self.total, [self.total])}

    late = Late()
    late.update(2)
    logger = MetricLogger()
    logger.log("late", late)
    logger.log("late/x", 1.0)
    with pytest.raises(ValueError, match=r"two values are named \['late/x'\]"):
        logger.end_epoch()
    logger = MetricLogger()
    logger.log("late", late)
    assert list(logger.end_epoch()) == ["late/x", "late/pair/0", "late/pair/1/0"]


# ---- the end of an epoch --------------------------------------------------------------------------------------------


class _Fails(SumMetric):
    broken = True

    def compute(self) -> Any:
        if self.broken:
            raise RuntimeError("not yet")
        return super().compute()


def test_an_error_loses_nothing() -> None:
    metric, mean, kept = _Fails(), MeanMetric(), Kept()
    metric.update(2)
    mean.update(3.0)
    logger = MetricLogger([kept])
    logger.log_dict({"mean": mean, "sum": metric, "loss": 1.0})
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not yet"):
            logger.end_epoch()
    assert (logger.epoch, kept.records, mean.update_count) == (0, [], 1)
    metric.broken = False
    assert {name: v.item() for name, v in logger.end_epoch().items()} == {"mean": 3.0, "sum": 2.0, "loss": 1.0}
    assert (logger.epoch, len(kept.records), mean.update_count) == (1, 1, 0)


class _Full(Kept):
    def write(self, record: Record) -> None:
        raise OSError("no space left")


def test_a_sink_that_fails_takes_nothing_from_the_others() -> None:
    kept = Kept()
    logger = MetricLogger([_Full(), kept])
    logger.log("loss", 1.0)
    with pytest.raises(OSError, match="no space"):
        logger.end_epoch()
    assert kept.of("epoch") == [{"loss": 1.0}] == [dict(r.scalars) for r in logger.history]
    assert logger.epoch == 1


def test_the_block_closes_the_sinks_and_keeps_its_error() -> None:
    class Stuck(Kept):
        def close(self) -> None:
            raise OSError("cannot close")

    kept = Kept()
    with MetricLogger([kept]) as logger:
        logger.log("x", 1)
    assert kept.closed == 1
    with pytest.raises(KeyError, match="mine"), MetricLogger([Stuck(), kept]):
        raise KeyError("mine")
    assert kept.closed == 2
    with pytest.raises(OSError, match="cannot close"):
        MetricLogger([Stuck()]).close()


def test_epochs_and_steps_go_on_from_a_checkpoint() -> None:
    kept = Kept()
    logger = MetricLogger([kept])
    logger.epoch, logger.global_step = 4, 400
    logger.log("x", 1, on_step=True)
    logger.step()
    logger.end_epoch()
    assert [(r.kind, r.epoch, r.step) for r in kept.records] == [("step", 5, 401), ("epoch", 5, 401)]


def test_matrices_go_to_pictures_and_history_keeps_the_last() -> None:
    kept, matrix = Kept(), MulticlassConfusionMatrix(2)
    logger = MetricLogger([kept])
    logger.track({"confusion": matrix})
    for _ in range(2):
        matrix.update(PREDS, TARGET)
        logger.log("loss", 1.0)
        logger.end_epoch()
    assert kept.pictures == [("confusion", [[1, 0], [1, 1]])] * 2
    assert [list(record.arrays) for record in logger.history] == [[], ["confusion"]]


def test_drawing(tmp_path: Path) -> None:
    logger = MetricLogger()
    matrix = MulticlassConfusionMatrix(2)
    for value in (2.0, math.nan, 1.0):
        matrix.update(PREDS, TARGET)
        logger.log_dict({"train/loss": value, "val/loss": value + 1, "confusion": matrix})
        logger.end_epoch()
    logger.draw(tmp_path / "new" / "a.png", title="A run")
    logger.draw(tmp_path / "a.svg", panels={"Loss": ["train/loss"]})
    assert (tmp_path / "new" / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert "svg" in (tmp_path / "a.svg").read_text()[:400]
    with pytest.raises(ValueError, match=r"names \['other'\]"):
        logger.draw(tmp_path / "b.png", panels={"Loss": ["other"]})
