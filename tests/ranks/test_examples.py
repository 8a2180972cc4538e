"""The stories in `examples/` end well, on one process and on two, and `docs/stories.md` says what they print."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from syncmetrics.testing import run_ranks

pytest.importorskip("lightning", reason="lightning is not installed")

from tests.ranks.story_bodies import WRONG_ON_PURPOSE, story

pytestmark = pytest.mark.ranks_import("torchmetrics", "lightning.pytorch")
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "stories.md").read_text()
SCRIPTS = sorted(path.name for path in (ROOT / "examples").glob("[a-z]_*.py"))
BLOCKS = re.findall(r"```text\n\$ python examples/(\S+) --devices (\d)\n(.*?)```", PAGE, re.DOTALL)
NUMBER = re.compile(r"\d+\.\d{4}\b")
FLOAT32_EPSILON = 2.0**-23

#: Right on one process: what stands in the lists of the only process is all there is. It is wrong on two.
RIGHT_ON_ONE_PROCESS = {"d_own_metric.py"}


@dataclass(frozen=True, slots=True)
class Outcome:
    status: int
    text: str
    content: dict[str, Any]

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.content["rows"]]


def _run(directory: Path, script: str, devices: int) -> Outcome:
    """Run a script in ranks that have Lightning imported."""
    output, numbers = directory / f"{devices}.txt", directory / f"{devices}.json"
    found = run_ranks(story, devices, str(ROOT / "examples" / script), str(numbers), str(output), timeout=55)
    return _outcome(max(found), output, numbers)


def _run_command(directory: Path, script: str, devices: int) -> Outcome:
    """Run a script, every warning an error, and leave no process behind: a failing rank 0 does not end the other."""
    output, numbers = directory / f"{devices}.txt", directory / f"{devices}.json"
    environment = {key: value for key, value in os.environ.items() if key not in ("WORLD_SIZE", "LOCAL_RANK", "RANK")}
    environment |= {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": f"error,ignore:{WRONG_ON_PURPOSE},ignore:The `srun` command is available",
    }
    command = [sys.executable, str(ROOT / "examples" / script), "--devices", str(devices), "--json", str(numbers)]
    with output.open("w") as file:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(timeout=55)
        finally:
            _kill_all(process.pid)
            process.wait()
    return _outcome(status, output, numbers)


def _outcome(status: int, output: Path, numbers: Path) -> Outcome:
    text = output.read_text()
    assert numbers.exists(), text
    return Outcome(status, text, json.loads(numbers.read_text()))


def _kill_all(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # all have ended
        os.killpg(group, signal.SIGKILL)


def test_there_are_five_stories() -> None:
    assert [script[0] for script in SCRIPTS] == list("abcde")
    assert sorted((script, devices) for script, devices, _ in BLOCKS) == [(s, d) for s in SCRIPTS for d in "12"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_story_ends_well(tmp_path: Path, script: str) -> None:
    one, two = outcomes = [_run(tmp_path, script, devices) for devices in (1, 2)]
    for devices, outcome in enumerate(outcomes, start=1):
        assert outcome.status == 0, outcome.text
        assert outcome.content["devices"] == devices
        for row in outcome.content["rows"]:
            assert row["right"] == pytest.approx(row["expected"], rel=FLOAT32_EPSILON, abs=0), row
            naive_is_right = row["naive"] == pytest.approx(row["expected"], rel=FLOAT32_EPSILON, abs=0)
            assert naive_is_right == (devices == 1 and script in RIGHT_ON_ONE_PROCESS), row
    assert one.column("name") == two.column("name")
    assert one.column("right") == pytest.approx(two.column("right"), rel=1e-12, abs=0)
    assert one.column("expected") == pytest.approx(two.column("expected"), rel=1e-12, abs=0)
    _check_page(script, outcomes)


def test_lightning_starts_the_second_process_of_a_story(tmp_path: Path) -> None:
    command = _run_command(tmp_path, SCRIPTS[2], 2)
    assert command.status == 0, command.text
    (printed,) = (text for name, devices, text in BLOCKS if (name, devices) == (SCRIPTS[2], "2"))
    assert printed == command.text


def _check_page(script: str, outcomes: list[Outcome]) -> None:
    printed = {devices: text for name, devices, text in BLOCKS if name == script}
    assert printed == {str(devices): outcome.text for devices, outcome in enumerate(outcomes, start=1)}
    (section,) = (section for section in PAGE.split("\n## ") if f"$ python examples/{script} " in section)
    quoted = set(NUMBER.findall(section))
    assert quoted
    assert quoted <= set(NUMBER.findall("".join(outcome.text for outcome in outcomes)))
