from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from syncmetrics.testing import run_ranks, run_threads
from tests.ranks import logger_bodies
from tests.ranks.test_collectives import counted


def assert_same_bits(values: dict[str, Any], others: dict[str, Any]) -> None:
    assert values.keys() == others.keys()
    for name, value in values.items():
        torch.testing.assert_close(value, others[name], rtol=0, atol=0)


def one_process() -> dict[str, Any]:
    """Compute what is wanted without a logger."""
    preds, target = (torch.cat(parts) for parts in zip(*logger_bodies.batches(), strict=True))
    metrics, auroc = logger_bodies.make_metrics(), logger_bodies.BinaryAUROC()
    metrics.update(preds, target)
    auroc.update(preds[:, 0], (target == 0).long())
    filled = [batch.double() for batch, _ in logger_bodies.batches()]
    last = torch.stack([batch.sum() / 3 for batch in filled]).mean()
    return {**metrics.compute(), "auroc": auroc.compute(), "loss": preds.double().mean(), "last": last}


def check(found: list[list[dict[str, Any]]], dealt: int) -> None:
    wanted = one_process()
    for rank, both in enumerate(found):
        for index, values in enumerate(both):
            assert_same_bits(values, found[0][index])
            assert values.get("rank 1 alone") == (5.0 if dealt > 1 else None), f"rank {rank}"
            assert values.keys() - {"rank 1 alone"} == wanted.keys()
            for name, value in wanted.items():
                exact = name not in ("loss", "last")  # sums of floats in another order
                torch.testing.assert_close(values[name], value, rtol=0 if exact else 1e-14, atol=0)


@pytest.mark.parametrize(("world_size", "dealt"), [(1, 1), (2, 2), (3, 3), (3, 2), (2, 1), (8, 8)])
def test_epochs_are_those_of_one_process(world_size: int, dealt: int) -> None:
    check(run_threads(logger_bodies.on_threads, world_size, dealt), dealt)


def test_epochs_on_processes_and_rank_0_writes(tmp_path: Path) -> None:
    found = run_ranks(logger_bodies.on_processes, 3, 2, str(tmp_path))
    values = found[0][1]
    assert [path.name for path in tmp_path.iterdir()] == ["0"], "rank 0 alone makes files"
    lines = [json.loads(line) for line in (tmp_path / "0" / "run.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["step", "step", "step", "epoch"] * 2
    assert lines[-1]["values"] == {name: value.tolist() for name, value in values.items()}
    assert len((tmp_path / "0" / "run.csv").read_text().splitlines()) == 3
    check(found, 2)


def test_an_epoch_is_one_exchange_and_a_step_none() -> None:
    pytest.importorskip("torcheval", reason="torcheval is not installed")
    for calls in run_ranks(logger_bodies.counted, 2):
        assert calls["steps"] == {}
        assert counted(calls["epoch"]) == {"_allgather_base": 1}


def test_plain_values_may_differ_between_ranks() -> None:
    found = run_threads(logger_bodies.values_alone, 4)
    assert {name: value.item() for name, value in found[0].items()} == {
        "all": pytest.approx((0.1 * 1 + 0.2 * 2 + 0.3 * 3) / 6, rel=1e-15),
        "of 0": 0.0,
        "of 1": 1.0,
        "of 2": 2.0,
    }
    for values in found:
        assert_same_bits(values, found[0])


def test_metrics_may_not_differ_and_nothing_is_lost() -> None:
    found = run_threads(logger_bodies.not_tracked, 3)
    texts = {text for text, _, _ in found}
    assert len(texts) == 1
    (text,) = texts
    assert "only/here" in text
    assert "logger.track(...)" in text
    for _, first, second in found:
        assert {name: value.item() for name, value in first.items()} == {"loss": (0 + 2 + 6) / 6, "only/here": 4.0}
        assert second == {}


def test_ranks_in_different_epochs_are_told() -> None:
    texts = run_threads(logger_bodies.other_epochs, 2)
    assert texts[0] == texts[1]
    assert "epoch 1" in texts[0]
    assert "epoch 2" in texts[0]


def test_a_rank_that_fails_takes_nothing_from_the_others() -> None:
    found = run_threads(logger_bodies.peer_fails, 3)
    assert [("no more data" in text, "rank 1" in text) for text, _ in found] == [
        (True, True),
        (True, False),
        (True, True),
    ]
    for _, values in found:
        assert {name: value.item() for name, value in values.items()} == {"sum": 6.0, "x": 1.0}


def test_a_subgroup_writes_from_its_first_rank(tmp_path: Path) -> None:
    _, *found = run_ranks(logger_bodies.in_a_subgroup, 3, str(tmp_path))
    for values in found:
        assert {name: value.item() for name, value in values.items()} == {"sum": 3.0, "x": pytest.approx(5 / 3)}
    assert [path.name for path in tmp_path.iterdir()] == ["1.jsonl"]
