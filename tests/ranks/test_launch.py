"""The recipes of `launch/` for one machine, Slurm, Open MPI and Ray start ranks with the real launcher.

The metrics of all ranks have the value of one process. A test whose launcher is not installed here is skipped, and says
so. `launch/train.py` is slow to import, so most recipes are given a smaller script.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.ranks.clusters import missing, slurm, wait_for_job
from tests.ranks.launched import BODY, ENVIRONMENT, LAUNCH, LONGEST, SAMPLES, check, run

pytestmark = [
    pytest.mark.timeout(LONGEST + 30),
    pytest.mark.skipif(sys.platform != "linux", reason="the recipes are for Linux"),
]


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def check_train(path: Path) -> None:
    found = json.loads(path.read_text())
    assert found["ranks"] == 2
    assert [epoch["samples"] for epoch in found["epochs"]] == [SAMPLES]
    assert found["epochs"][0]["accuracy"] > 0.5, "the network has learnt nothing"


def test_torchrun(tmp_path: Path) -> None:
    train = ["launch/train.py", "--epochs", "1", "--out", str(tmp_path)]
    said = run(["bash", str(LAUNCH / "torchrun.sh"), *train], tmp_path, RANKS="2", LOGS=str(tmp_path / "logs"))
    check_train(tmp_path / "values.json")
    assert "[default1]:rank 1 of 2" in said, "what a rank prints is shown with its number"
    logs = {path.parent.name: path.read_text() for path in (tmp_path / "logs").rglob("stdout.log")}
    assert {name: text.splitlines()[0].split(" on ")[0] for name, text in logs.items()} == {
        "0": "rank 0 of 2",
        "1": "rank 1 of 2",
    }


def test_slurm(tmp_path: Path) -> None:
    reason = missing()
    if reason:
        pytest.skip(reason)
    with slurm(tmp_path) as environment:
        words = ["sbatch", "--parsable", f"--output={tmp_path}/job.log", "launch/slurm.sh", BODY, str(tmp_path), "sync"]
        job = run(words, tmp_path, **{**environment, **ENVIRONMENT}, LOGS=str(tmp_path / "logs")).strip()
        state = wait_for_job(job, environment, LONGEST)
        assert state == "COMPLETED", (tmp_path / "job.log").read_text()
    check(tmp_path)
    logs = [path.read_text() for path in sorted((tmp_path / "logs").glob("rank-*.log"))]
    assert logs == [f"rank {rank} of 2 has 50.0\n" for rank in range(2)]


def test_mpirun(tmp_path: Path) -> None:
    if shutil.which("mpirun") is None:
        pytest.skip("Open MPI is not installed (Debian: apt-get install openmpi-bin)")
    as_here = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",  # there may be one core
        "TMPDIR": "/tmp",  # the names of its sockets have to be short
    }
    words = ["bash", str(LAUNCH / "mpirun.sh"), BODY, str(tmp_path), "sync"]
    run(words, tmp_path, MASTER_PORT=free_port(), LOGS=str(tmp_path / "logs"), **as_here)
    check(tmp_path)
    logs = {path.parent.name: path.read_text() for path in (tmp_path / "logs").rglob("stdout")}
    assert logs.keys() == {"rank.0", "rank.1"}
    assert all(f"{name.replace('.', ' ')} of 2 has 50.0" in text for name, text in logs.items())


def test_ray(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed (pip install 'syncmetrics[ray]')")
    words = [sys.executable, str(LAUNCH / "ray_train.py"), "--epochs", "1", "--out", str(tmp_path), "--interface", "lo"]
    run(words, tmp_path, RAY_USAGE_STATS_ENABLED="0")
    check_train(tmp_path / "values.json")
