"""`doctor`, `bench` and `demo` on real ranks."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from syncmetrics.cli.bench import print_measured
from syncmetrics.cli.demo import print_demonstration
from syncmetrics.diagnose import Diagnosis, Finding
from syncmetrics.testing import run_ranks
from syncmetrics.testing.demo import demonstrate
from tests.ranks import diagnose_bodies as bodies

ROOT = Path(__file__).parents[2]


def about(diagnosis: Diagnosis, name: str, area: str = "") -> Finding:
    (found,) = [one for one in diagnosis.findings if one.about == name and one.area.startswith(area)]
    return found


def test_all_ranks_come_to_one_diagnosis_and_time_exchanges() -> None:
    first, *others = run_ranks(bodies.examined, 3)
    assert all(other.findings == first.findings for other in others)
    assert [report.rank for report in first.ranks] == [0, 1, 2]
    assert [len(other.ranks) for other in others] == [1, 1]
    assert first.exchange is not None
    assert (first.exchange.shared is not None) == (sys.platform == "linux")
    assert about(first, "differences").level == about(first, "clocks").level == "ok"
    assert about(first, "group 0").text.startswith("Group 0 of 3 ranks serves cpu:gloo")


def test_what_differs_is_told_with_the_ranks_and_nothing_is_left_behind() -> None:
    (first, second), _ = run_ranks(bodies.with_differences, 2)
    assert about(first, "NCCL_ALGO differs").text == "not there on rank 0; Ring on rank 1."
    assert "rank 1 by +3600.0 s" in about(first, "clocks").text
    assert second.exchange is not None
    assert about(second, "/dev/shm").level == "note"


def test_ranks_of_a_launcher_form_a_group_for_a_while() -> None:
    first, second = run_ranks(bodies.launched, 2, 1)
    assert second.findings == first.findings
    assert first.exchange is not None
    assert about(first, "variables").text.startswith("RANK=0, WORLD_SIZE=2")


def test_no_group_is_formed_that_cannot_come_about() -> None:
    first, *others = run_ranks(bodies.launched, 3, 2)
    assert all(other.findings == first.findings for other in others)
    assert "on ranks 1-2," in about(first, "gloo", "between ranks").text
    assert "No group was formed" in about(first, "group", "exchange").text
    assert first.level == "problem"


def test_a_rank_that_fails_is_named_and_the_others_are_not_kept() -> None:
    first, second = run_ranks(bodies.one_fails, 2)
    texts = [finding.text for finding in first.findings if finding.level == "problem" and finding.area == "exchange"]
    assert any("on rank 1: RuntimeError: this rank has no network" in text for text in texts), texts
    assert second.findings == first.findings


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, *words]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=110, check=False)


def test_under_torchrun_rank_0_alone_prints() -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2")
    done = run(*launcher, "-m", "syncmetrics", "doctor", "--json", GLOO_SOCKET_IFNAME="lo")
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["world_size"] == len(told["ranks"]) == 2
    assert told["exchange"]["bare"] > 0
    assert done.returncode == (told["level"] == "problem"), done.stderr


def test_an_interface_that_is_not_there_is_told_before_ranks_wait_for_it() -> None:
    done = run("-m", "syncmetrics", "doctor", GLOO_SOCKET_IFNAME="nothing")
    assert done.returncode == 1, done.stderr
    assert "GLOO_SOCKET_IFNAME=nothing names no interface" in done.stdout
    assert done.stderr == ""


def test_without_its_libraries_the_command_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise ImportError('there is none')")
    done = run("-m", "syncmetrics", "doctor", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 1
    assert "pip install syncmetrics[cli]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(find_spec("torchmetrics") is None, reason="torchmetrics is not installed")
@pytest.mark.ranks_import("torchmetrics.classification")
def test_the_bench_compares_equal_values_and_counts_collectives() -> None:
    found, _ = run_ranks(bodies.measured, 2)
    assert {one.name: one.collectives for one in found.timed} == {
        "syncmetrics": 1,
        "torchmetrics": 198,
        "bare all_gather": 1,
    }
    assert found.are_equal is True
    out = io.StringIO()
    print_measured([found], Console(file=out, width=80))
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "The 18 values of both are the same." in out.getvalue()


def test_the_demonstration_is_right_and_shows_what_is_not() -> None:
    shown = demonstrate(3)
    assert shown.is_right
    assert (shown.sizes, shown.repeated, shown.collectives) == ((17, 8, 0), 2, 1)
    accuracy, *_ = shown.rows
    assert len({accuracy.alone, accuracy.padded, accuracy.averaged}) == 3
    out = io.StringIO()
    print_demonstration(shown, Console(file=out, width=80))
    assert out.getvalue().count(" same ") == len(shown.rows)
