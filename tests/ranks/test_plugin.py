"""The plugin of pytest, in a project of a user's: a folder and processes of its own."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

PLUGIN = "syncmetrics.testing.plugin"
ROOT = str(Path(__file__).parents[2])

OWN = """
import os
import pathlib
import threading

import torch
from syncmetrics import Metric


class Accuracy(Metric):
    def __init__(self):
        super().__init__()
        self.add_state("correct", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds, target):
        self.correct += (preds == target).sum()
        self.total += target.numel()

    def compute(self):
        return self.correct / self.total


def synced(rank, world_size):
    metric = Accuracy()
    for _ in range(rank):
        metric.update(torch.tensor([1, 2]), torch.tensor([1, 0]))
    print("printed on", rank)
    return float(metric.compute())


def noted(rank, world_size, folder):
    (pathlib.Path(folder) / f"{os.getppid()}").touch()


def stuck(rank, world_size):
    if rank == 1:
        threading.Event().wait()
"""

TESTS = """
import os
import pathlib

import own
import pytest
import torch


def asserting(rank, world_size):
    sizes = {"loss": rank + 1}
    print("printed on", rank)
    os.write(2, b"written on %d" % rank)
    assert rank != 1 or sizes["loss"] == 5
    torch.distributed.barrier()


def test_one_value(assert_matches_single_process):
    batches = [(torch.tensor([1, 2]), torch.tensor([1, 0])), (torch.tensor([3]), torch.tensor([3]))]
    assert_matches_single_process(own.Accuracy, batches)


def test_threads(ranks):
    assert not ranks.as_processes
    assert ranks(lambda rank, world_size: os.getpid(), 3) == [os.getpid()] * 3
    assert ranks(own.synced, 3) == [0.5] * 3


@pytest.mark.rank_processes(timeout=50, backend="gloo")
@pytest.mark.parametrize("time", range(4))
def test_processes(ranks, time, worker_id):
    folder = pathlib.Path(__file__).parent / worker_id
    folder.mkdir(exist_ok=True)
    ranks(own.noted, 2, str(folder))
    assert ranks(own.synced, 2) == [0.5] * 2


@pytest.mark.rank_processes
def test_a_rank_fails(ranks):
    ranks(asserting, 3)


def test_a_thread_fails(ranks):
    def body(rank, world_size):
        print("printed on", rank)
        own.synced(rank, world_size)
        assert rank + 1 != 3

    ranks(body, 3)


@pytest.mark.rank_processes
def test_fails_later(ranks):
    assert ranks(own.synced, 2) == [1, 1]


@pytest.mark.timeout(7)
@pytest.mark.rank_processes
def test_hangs(ranks):
    ranks(own.stuck, 2)


@pytest.mark.rank_processes(4)
def test_wrong_marker(ranks):
    ranks(own.synced, 2)
"""

DOCS = re.findall(r"```python\n# (\w+)\.py\n(.*?)```", (Path(ROOT) / "docs/testing.md").read_text(), flags=re.DOTALL)
OPTION = """
import own


def test_it(ranks):
    assert ranks.as_processes
    assert ranks(own.synced, 2) == [0.5] * 2
"""


@pytest.fixture(autouse=True)
def _project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ROOT)
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(own=OWN)


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", PLUGIN, "--strict-markers", "-W", "error", *options, timeout=110)


def report_of(text: str, test: str) -> str:
    """Give what the report says of one test."""
    parts = re.split(r"\n_+ (\w+) _+\n", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[test].split("\n====")[0]


def test_a_project_on_two_workers(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_own=TESTS)
    result = run(pytester, "-n", "2", "-rN")
    result.assert_outcomes(passed=6, failed=5)
    said = {name: report_of(result.stdout.str(), name) for name in re.findall(r"def (test_\w+)", TESTS)[3:]}

    # The rank that failed first, with its own traceback, its values and its output; of the others a line.
    pytest.LineMatcher(said["test_a_rank_fails"].splitlines()).fnmatch_lines(
        [
            "*ranks(asserting, 3)",
            "*RanksFailedError: 3 of 3 ranks failed: 1, *first failure first*",
            "*Rank 1 raised:",
            '*test_own.py", line *, in asserting',
            '*assert rank != 1 or sizes[[]"loss"[]] == 5',
            "*AssertionError: assert (1 != 1 or 2 == 5)",
            "*Rank ? raised: *Error: *",
            "*Captured stdout of rank 1 call*",
            "printed on 1",
            "*Captured stderr of rank 1 call*",
            "written on 1",
        ]
    )
    assert said["test_a_rank_fails"].count("Traceback (most recent call last)") == 1
    for foreign in ("printed on 0", "written on 2", "child.py", "testing/plugin.py"):
        assert foreign not in said["test_a_rank_fails"]

    pytest.LineMatcher(said["test_a_thread_fails"].splitlines()).fnmatch_lines(
        [
            "*assert rank + 1 != 3",
            "*assert (2 + 1) != 3",
            "*Captured stdout of rank 2 call*",
            "printed on 2",
            "*Captured ranks call*",
            "Rank 2 of 3 *",
        ]
    )
    for foreign in ("printed on 1", "threads.py", "threaded.py"):
        assert foreign not in said["test_a_thread_fails"]

    for rank in range(2):
        assert re.search(rf"Captured stdout of rank {rank} call -+\nprinted on {rank}(\n|$)", said["test_fails_later"])

    assert "1 of 2 ranks failed: 1 (first failure first); returned: 0." in said["test_hangs"]
    assert re.search(r"Rank 1 had not finished after [1-4]\.?\d* s and was killed", said["test_hangs"])
    assert "in stuck" in said["test_hangs"]
    assert "child.py" not in said["test_hangs"]
    assert "`rank_processes` takes `timeout=` and `backend=` alone, both by name." in said["test_wrong_marker"]

    # Each worker has one server for the module, and takes it with it.
    servers = [{int(path.name) for path in folder.iterdir()} for folder in pytester.path.glob("gw*")]
    assert servers
    assert all(len(pids) == 1 for pids in servers)
    until = time.monotonic() + 20
    while any(is_there(pid) for pids in servers for pid in pids):
        assert time.monotonic() < until, "a server is still there"
        time.sleep(0.02)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_all_as_processes_and_shown_while_they_write(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_own=OPTION)
    result = run(pytester, "-n", "0", "-s", "--ranks-as=processes")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines_random(["*printed on 0", "*printed on 1"])


def test_the_example_of_the_docs(pytester: pytest.Pytester) -> None:
    assert [name for name, _ in DOCS] == ["my_metrics", "test_my_metrics"]
    pytester.makepyfile(**dict(DOCS))
    run(pytester, "-n", "0").assert_outcomes(passed=3)


def test_twice_is_once_and_nothing_heavy_is_imported(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(f"pytest_plugins = [{PLUGIN!r}]")
    pytester.makepyfile(
        test_light="import sys\n\ndef test_it():\n    assert not {'torch', 'numpy', 'hypothesis'} & set(sys.modules)\n"
    )
    result = run(pytester, "-p", PLUGIN, "-p", "no:hypothesispytest", "-n", "0")
    result.assert_outcomes(passed=1)


def test_the_entry_point_has_the_name_of_the_module_so_that_both_are_one() -> None:
    text = (Path(ROOT) / "pyproject.toml").read_text()
    assert f'[project.entry-points.pytest11]\n"{PLUGIN}" = "{PLUGIN}"\n' in text
