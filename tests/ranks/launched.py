"""Starts launchers for tests, with a script that is slower to start than to run, and looks at what it has counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
BODY = str(Path(__file__).with_name("launched_body.py"))
SAMPLES = 101
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in {"RANK", "WORLD_SIZE", "GLOO_SOCKET_IFNAME"}},
    "OMP_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
    "PYTHON": sys.executable,
}
LONGEST = 240.0  # seconds; a few, unless the machine is busy


class Started:
    """A launcher that runs, in a session of its own, and what it has printed."""

    def __init__(self, command: Sequence[str], log: Path, **environment: str) -> None:
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**ENVIRONMENT, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self, code: int | None = 0) -> str:
        """Wait until it ends, and give what it printed; code None is any but 0."""
        try:
            found = self.process.wait(LONGEST)
        finally:
            self.kill()
        text = self.log.read_text()
        assert (found != 0) if code is None else (found == code), text
        return text

    def kill(self) -> None:
        """End what is left of it. A launcher that is asked to end ends its ranks, which have sessions of their own."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)


def run(command: Sequence[str], folder: Path, **environment: str) -> str:
    return Started(command, folder / "launcher.log", **environment).said()


def check(folder: Path, ranks: int = 2) -> list[dict[str, Any]]:
    """Check that every rank has counted all samples once; give what each has said."""
    said = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(ranks)]
    for one in said:
        assert one["ranks"] == ranks
        assert one["found"] == {"rows": list(range(SAMPLES)), "mean": sum(range(SAMPLES)) / SAMPLES}
    return said
