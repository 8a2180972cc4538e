from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from launch import digits
from syncmetrics.testing import run_ranks

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "digits.py"


def _run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    command = [sys.executable, *command]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=110, check=False)


def _content(directory: Path) -> dict[str, Any]:
    content = json.loads((directory / "metrics.json").read_text())
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("ranks", [1, 2])
def test_values_on_ranks_are_those_of_one_process(tmp_path: Path, ranks: int) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    done = _run([*launcher, str(SCRIPT), "--epochs", "1", "--batch-size", "64", "--out", "here"], cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    content = _content(tmp_path / "here")
    assert content["world_size"] == ranks
    assert content["shard_sizes"] == ([225, 224] if ranks == 2 else [449])
    assert content["equal"] is True
    (epoch,) = content["epochs"]
    assert epoch["ranks"].keys() == epoch["one_process"].keys() == epoch["equal"].keys()
    assert {f"accuracy_of_{digit}" for digit in range(10)} < epoch["ranks"].keys()
    for name in epoch["ranks"].keys() - {"loss"}:
        assert epoch["ranks"][name] == epoch["one_process"][name], name
    assert sum(map(sum, epoch["ranks"]["confusion"])) == 449, "a sample was counted twice, or not at all"
    assert epoch["ranks"]["accuracy_micro"] > 0.3, "the network has learnt nothing, so the comparison says little"
    assert "equal" in done.stdout
    assert done.stdout.count("train/loss") == 1, "one rank alone writes"
    lines = [json.loads(line) for line in (tmp_path / "here" / "log.jsonl").read_text().splitlines()]
    (logged,) = [line["values"] for line in lines if line["kind"] == "epoch"]
    assert {name: logged[name] for name in epoch["ranks"]} == epoch["ranks"]
    assert {name.removeprefix("train/"): v for name, v in logged.items() if "/" in name} == epoch["train"]
    assert (tmp_path / "here" / "digits.png").stat().st_size > 10_000


def _values(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    values = {"accuracy": torch.tensor(0.75, dtype=torch.float64), "loss": torch.tensor(0.3, dtype=torch.float64)}
    return {**values, **changes}


def test_equal_means_to_the_bit() -> None:
    nearly = torch.nextafter(_values()["accuracy"], torch.tensor(1.0, dtype=torch.float64))
    assert [row.equal for row in digits.compare(_values(), _values())] == [True, True]
    assert [row.equal for row in digits.compare(_values(), _values(accuracy=nearly))] == [False, True]


def test_other_dtypes_and_shapes_are_not_equal() -> None:
    value = _values()["accuracy"]
    for other in (value.float(), value.reshape(1)):
        assert [row.equal for row in digits.compare(_values(), _values(accuracy=other))] == [False, True]


@pytest.mark.parametrize(("factor", "equal"), [(1 + 1e-13, True), (1 + 1e-11, False), (float("nan"), False)])
def test_loss_has_a_tolerance(factor: float, equal: bool) -> None:
    rows = digits.compare(_values(), _values(loss=_values()["loss"] * factor))
    assert [row.equal for row in rows] == [True, equal]


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="one process computed"):
        digits.compare(_values(), _values(more=torch.tensor(1.0)))


def verdict(rank: int, world_size: int, wrong: bool) -> bool:
    """Only rank 0 has compared anything."""
    values = _values(accuracy=torch.tensor(0.5, dtype=torch.float64)) if wrong else _values()
    rows = digits.compare(_values(), values) if rank == 0 else ()
    return digits.differs_on_any_rank([digits.Report({}, rows)])


@pytest.mark.parametrize("wrong", [False, True])
def test_every_rank_hears_of_a_difference(wrong: bool) -> None:
    assert run_ranks(verdict, 3, wrong) == [wrong] * 3


@pytest.mark.parametrize(("difference", "code"), [(False, 0), (True, 1)])
def test_a_difference_is_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, difference: bool, code: int
) -> None:
    """One process is the whole world here, so both columns come from it; one of them is then made wrong."""
    real = digits.compare

    def compare(ranks: dict[str, torch.Tensor], one_process: dict[str, torch.Tensor]) -> Any:
        wrong = {"f1_macro": one_process["f1_macro"] * 0.5} if difference else {}
        return real(ranks, {**one_process, **wrong})

    monkeypatch.setattr(digits, "compare", compare)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert digits.main(["--epochs", "1", "--batch-size", "128", "--out", str(tmp_path)]) == code
    content = _content(tmp_path)
    assert content["equal"] is not difference
    assert content["epochs"][0]["equal"]["f1_macro"] is not difference
    assert content["epochs"][0]["equal"]["accuracy_micro"] is True
