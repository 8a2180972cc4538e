"""A Slurm cluster of this machine alone: munged, slurmctld and slurmd, with their files in one folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

DAEMONS = "munged", "slurmctld", "slurmd"
CONFIGURATION = """
ClusterName=syncmetrics
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Give why there can be no cluster here, or None."""
    absent = [name for name in DAEMONS if shutil.which(name) is None]
    if absent:
        return f"Slurm is not installed: {', '.join(absent)} (Debian: apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "only root may start the daemons of Slurm"


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster with one node, and give the environment in which `sbatch` finds it."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    text = CONFIGURATION.format(host=host, folder=folder, controller=_port(), node=_port(), cores=os.cpu_count())
    (folder / "slurm.conf").write_text(text)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    of_munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
    with ExitStack() as running:
        # `--force`: the folder of a test may be writable by others, which munge does not like.
        munged = ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *of_munge]
        _start(running, munged, environment)
        _until(folder, lambda: (folder / "munge.socket").exists())
        _start(running, ["slurmctld", "-D", "-f", str(folder / "slurm.conf")], environment)
        _start(running, ["slurmd", "-D", "-f", str(folder / "slurm.conf"), "-N", host], environment)
        _until(folder, lambda: _idle(environment))
        yield environment


def wait_for_job(job: str, environment: dict[str, str], seconds: float) -> str:
    """Wait until a job has ended, and give its state. `sbatch --wait` looks less and less often."""
    end = time.monotonic() + seconds
    words = ["scontrol", "--oneliner", "show", "job", job]
    while time.monotonic() < end:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=30, check=False)
        state = dict(word.split("=", 1) for word in done.stdout.split() if "=" in word).get("JobState", "UNKNOWN")
        if state not in {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}:
            return state
        time.sleep(0.1)
    return f"not ended after {seconds:g} s"


def _start(running: ExitStack, command: list[str], environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )

    def stop() -> None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    running.callback(stop)


def _idle(environment: dict[str, str]) -> bool:
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%t"], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout.strip() == "idle"


def _until(folder: Path, ready: object, seconds: float = 40.0) -> None:
    assert callable(ready)
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            said = "\n".join(f"{path.name}:\n{path.read_text()[-1500:]}" for path in folder.glob("*.log"))
            raise OSError(f"Slurm did not start in {seconds:g} s.\n{said}")
        time.sleep(0.1)


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
