"""Elastic jobs, by torchrun: workers and a host are lost in the middle of an epoch, and no value is another one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = [str(ROOT / "launch" / "elastic.py"), "--epochs", "2"]
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # or workers that start again find the addresses of those before
    **({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}),
}


def _start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _said(process: subprocess.Popen[str], returncode: int = 0) -> str:
    try:
        said, _ = process.communicate(timeout=100)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == returncode, said
    return said


def _torchrun(*options: str) -> list[str]:
    return ["-m", "torch.distributed.run", "--max-restarts", "2", *options, *SCRIPT]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give the values of one process that lost nothing."""
    out = tmp_path_factory.mktemp("undisturbed")
    _said(_start(*SCRIPT, "--out", str(out)))
    return json.loads((out / "values.json").read_text())


def _check(out: Path, undisturbed: Any) -> None:
    found = json.loads((out / "values.json").read_text())
    assert len(found) == len(undisturbed) == 2
    for epoch, right in zip(found, undisturbed, strict=True):
        assert epoch["rows"] == sorted(range(len(epoch["rows"]))), "each sample counts once"
        assert epoch.pop("loss") == pytest.approx(right["loss"], rel=1e-12), "a plain sum of floats, in another order"
        assert epoch == {name: value for name, value in right.items() if name != "loss"}, "to the bit"


@pytest.mark.timeout(150)
def test_workers_that_are_killed(tmp_path: Path, undisturbed: Any) -> None:
    kills = ["--kill", "3:12", "--kill", "1:17"]
    said = _said(_start(*_torchrun("--standalone", "--nproc-per-node", "4"), "--out", str(tmp_path), *kills))
    assert [line for line in said.splitlines() if "go on from" in line] == [
        "4 ranks go on from epoch 0, step 0",
        "4 ranks go on from epoch 1, step 10",
        "4 ranks go on from epoch 1, step 15",
    ]
    _check(tmp_path, undisturbed)


@pytest.mark.timeout(150)
def test_a_host_that_is_lost(tmp_path: Path, undisturbed: Any) -> None:
    """Three ranks on one, a fourth on another, which goes with its launcher: the three go on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = ["--nnodes", "1:2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "job"]
    common += ["--local-addr", "127.0.0.1"]
    patience = "last_call_timeout=8,keep_alive_interval=1,keep_alive_max_attempt=3"
    job = ["--out", str(tmp_path), "--lose", "3:12"]
    # Both have the address of the store, and the one that is to be lost must not be the one that keeps it.
    hosts = [
        _start(*_torchrun(*common, "--rdzv-conf", f"{patience},is_host={keeps}", "--nproc-per-node", count), *job)
        for keeps, count in (("true", "3"), ("false", "1"))
    ]
    with hosts[1]:
        try:
            said = _said(hosts[0])
        except BaseException:
            hosts[1].kill()
            raise
        _said(hosts[1], -9)
    assert [line for line in said.splitlines() if "go on from" in line] == [
        "4 ranks go on from epoch 0, step 0",
        "3 ranks go on from epoch 1, step 10",
    ]
    assert "PeerLostError: a process or a connection was lost in sync" in said
    _check(tmp_path, undisturbed)
