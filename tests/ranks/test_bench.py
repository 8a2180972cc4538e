"""The bench on real ranks: a quick run from the command line, and contenders that fail in every way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

pytest.importorskip("torcheval", reason="the peers are not installed")

from bench.cases import Built, Case, Contender, Row, Scale
from bench.counting import counted
from bench.crew import crews
from bench.difference import FEWEST
from bench.readme import BEGIN, END
from bench.sides import Side, SideError
from bench.verdict import outcome
from syncmetrics.testing import run_ranks
from syncmetrics.testing.servers import start_first_server

ROOT = Path(__file__).parents[2]
NAMES: Any = {
    "sound": "ours",
    "raises": "peer",
    "raises on one": "raw",
    "dies": "raw",
    "sleeps": "raw",
    "after": "other",
}


@pytest.fixture(autouse=True)
def _first_server() -> None:
    """Have the server of all ranks run before the bench would start one with the peers imported, for all to come."""
    start_first_server()


def reduce_one() -> None:
    dist.all_reduce(torch.ones(4))


def build_faults(case: Case, rank: int) -> Built:
    """Make contenders that fail, between two that do not."""

    def raises() -> None:
        raise ValueError("on every rank")

    def raises_on_one() -> None:
        if rank == 1:
            raise ValueError("on rank 1")

    def dies() -> None:
        if rank == 1:
            os._exit(7)
        reduce_one()

    def sleeps() -> None:
        if rank == 1:
            time.sleep(60)
        reduce_one()

    acts = (reduce_one, raises, raises_on_one, dies, sleeps, reduce_one)
    return {name: Contender(act) for name, act in zip(case.contenders, acts, strict=True)}


def build_wrongly(case: Case, rank: int) -> Built:
    """Fail before there is a contender."""
    raise RuntimeError("cannot be built")


def no_cases(scale: Scale) -> list[Case]:
    return []


def test_who_fails_is_recorded_and_the_others_are_measured() -> None:
    scale = Scale("quick", rounds=3, budget=0.2)
    case = Case("faults", 2, "all of them", NAMES, limit=8.0)
    wrong = Case("faults", 2, "none", {"sound": "ours"}, limit=10.0)
    with crews(scale) as held:
        result = outcome(case, "", held.measure(Row("faults", "", no_cases, build_faults), case))
        unbuilt = outcome(wrong, "", held.measure(Row("faults", "", no_cases, build_wrongly), wrong))
    found = result["contenders"]
    assert {name: found[name]["failed"] for name in ("sound", "raises", "raises on one", "after")} == {
        "sound": None,
        "raises": "ValueError: on every rank",
        "raises on one": "ValueError: on rank 1",
        "after": None,
    }
    assert "exit code 7" in found["dies"]["failed"] or "rank 0" in found["dies"]["failed"]  # whoever is heard first
    assert found["sleeps"]["failed"].startswith("no answer from rank(s)")
    assert found["sound"]["rounds"] == found["after"]["rounds"] > 0
    assert found["sound"]["calls"] == {"all_reduce": 1}
    assert found["sound"]["sent"] == 2 * 16
    assert "cannot be built" in unbuilt["contenders"]["sound"]["failed"]


@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore")  # what the peers warn of while they are imported
def test_a_quick_run_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {name: str(tmp_path / name) for name in ("found.json", "found.png", "README.md")}

    def bench(*arguments: str) -> str:
        command = [sys.executable, "-m", "bench", *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def again(*arguments: str) -> str:
        from bench.cli import main

        monkeypatch.setenv("COLUMNS", "200")
        assert main(arguments) == 0
        return capsys.readouterr().out

    stored = ["--json", paths["found.json"]]
    text = bench("--quick", "--rows", "compute,one-add,memory", *stored, "--picture", paths["found.png"])
    assert "targets reached" in text
    found = json.loads(Path(paths["found.json"]).read_text(encoding="utf-8"))
    assert found["facts"]["torch"] == torch.__version__
    by_row = {result["row"]: result for result in found["results"]}
    assert list(by_row) == ["compute", "one-add", "memory"]
    contenders = by_row["compute"]["contenders"]
    assert all(contender["failed"] is None for contender in contenders.values())
    assert contenders["syncmetrics"]["calls"] == {"all_gather": 1}
    assert contenders["one all_gather"]["sent"] == 2 * 8192
    assert contenders["torchmetrics"]["calls"]["all_gather"] > 18
    assert by_row["compute"]["ratios"].keys() == {"peer", "raw"}
    assert Path(paths["found.png"]).read_bytes().startswith(b"\x89PNG")

    Path(paths["README.md"]).write_text(f"{BEGIN}{END}", encoding="utf-8")
    again("table", *stored, "--readme", paths["README.md"])
    assert "| compute() of 18 classification metrics: 18 metrics | 2 |" in Path(paths["README.md"]).read_text("utf-8")
    assert "targets reached" in again("show", *stored)


def build_one(case: Case, rank: int) -> Built:
    return {"sound": Contender(reduce_one)}


def test_a_case_may_want_rounds_whatever_the_budget() -> None:
    cases = [Case("rounds", 2, str(fewest), {"sound": "ours"}, fewest=fewest) for fewest in (0, 5)]
    with crews(Scale("quick", rounds=9, budget=0.0)) as held:
        found = [held.measure(Row("rounds", "", no_cases, build_one), case)["sound"] for case in cases]
    assert [[len(rank.samples) for rank in by_rank] for by_rank in found] == [[0, 0], [5, 5]]


@pytest.mark.timeout(300)  # three processes import all peers
def test_a_working_tree_is_compared_with_a_commit(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in ("bench", "syncmetrics"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)

    # What the commit lacks shows that its own package is at work there.
    face = tmp_path / "syncmetrics" / "__init__.py"
    text = face.read_text(encoding="utf-8")
    assert text.count('        "synced",\n') == 1
    face.write_text(text.replace('        "synced",\n', ""), encoding="utf-8")
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@x")
    for arguments in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "--message=before")):
        assert run(*git, *arguments).returncode == 0
    face.write_text(text, encoding="utf-8")

    done = run(
        sys.executable, "-m", "bench", "--compare", "HEAD", "--quick", "--rows", "sync,one-add", "--json", "found.json"
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    stored = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    by_row = {case["row"]: case for case in stored["cases"]}
    assert list(by_row["sync"]["failed"]) == ["there"]
    assert "has no attribute 'synced'" in by_row["sync"]["failed"]["there"]
    assert by_row["one-add"]["failed"] == {}
    assert by_row["one-add"]["first"]["rounds"] >= FEWEST
    assert done.returncode == int(stored["counts"]["worse"] > 0)  # how long it took is nobody's business here
    assert "2 compared with" in done.stdout
    assert "1 could not be compared" in done.stdout


def test_a_side_with_the_package_of_another_tree_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "bench", tmp_path / "bench")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    side = Side("there", tmp_path)
    try:
        with pytest.raises(SideError, match="the side there must import the package of"):
            side.greet()
    finally:
        side.close()


def traffic(rank: int, world_size: int) -> dict[str, tuple[dict[str, int], int]]:
    """Count one collective of each kind; the last one is not counted any more."""
    x = torch.zeros(4)
    parts = [torch.zeros(4) for _ in range(world_size)]
    found = {}

    def send() -> None:
        if rank == 0:
            dist.send(x, 1)
        else:
            dist.recv(x, 0)

    acts: dict[str, Any] = {
        "list": lambda: dist.all_gather(parts, x),
        "tensor": lambda: dist.all_gather_into_tensor(torch.zeros(4 * world_size), x),
        "reduce": lambda: dist.all_reduce(x),
        "broadcast": lambda: dist.broadcast(x, src=0),
        "gather": lambda: dist.gather(x, parts if rank == 0 else None),
        "barrier": dist.barrier,
        "send": send,
    }
    for name, act in acts.items():
        with counted() as seen:
            act()
        found[name] = dict(seen.calls), seen.sent
    with counted() as seen:
        dist.all_gather_object([None] * world_size, "x")
    found["object"] = dict(seen.calls), 0
    dist.all_reduce(x)
    return found


def test_collectives_and_bytes_are_counted() -> None:
    first, second = run_ranks(traffic, 2)
    same = {
        "list": ({"all_gather": 1}, 16),
        "tensor": ({"all_gather": 1}, 16),
        "reduce": ({"all_reduce": 1}, 16),
        "gather": ({"gather": 1}, 16),
        "barrier": ({"barrier": 1}, 0),
        "object": ({"all_gather": 2}, 0),
    }
    assert first == {**same, "broadcast": ({"broadcast": 1}, 16), "send": ({"send": 1}, 16)}
    assert second == {**same, "broadcast": ({"broadcast": 1}, 0), "send": ({"recv": 1}, 0)}
