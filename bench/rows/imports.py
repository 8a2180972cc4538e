"""What it takes to import the package, for whoever has torch already."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.cases import Built, Case, Contender, Row, Scale
from bench.ours import origin

__all__ = ["ROWS"]

_BENCH = Path(__file__).resolve().parents[2]
_SECONDS = 120.0
_RUNS = 5
_CODE = """
import sys, time
import torch
from bench.ours import ours, stay_in_this_tree
stay_in_this_tree()
start = time.perf_counter()
import syncmetrics
for name in sys.argv[1:]:
    ours(name)
print(time.perf_counter() - start, syncmetrics.__file__)
"""
#: What most programs take next. A package may import it only then, which would be no gain for them.
_USED = ("MetricCollection", "MulticlassAccuracy")


def _cases(scale: Scale) -> list[Case]:
    fewest = 0 if scale.quick else _RUNS
    kinds: list[tuple[str, tuple[str, ...]]] = [("after torch", ()), ("after torch, with a collection", _USED)]
    return [
        Case("import", world, label, {"syncmetrics": "ours"}, {"names": names}, fewest=fewest)
        for world in scale.pick(1)
        for label, names in kinds
    ]


def _fresh(names: Sequence[str]) -> float:
    """Give the seconds of the import, and of the look-up of names, in an interpreter that has just started."""
    folder = Path(origin()).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(_BENCH)))}
    command = [sys.executable, "-c", _CODE, *names]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip() or "no text").splitlines()[-1])
    seconds, _, file = done.stdout.strip().partition(" ")
    assert Path(file).resolve() == Path(origin()), f"{file} was imported in place of {origin()}"
    return float(seconds)


def _build(case: Case, rank: int) -> Built:
    compileall.compile_dir(Path(origin()).parent, quiet=2)  # as whoever installs it does
    return {"syncmetrics": Contender(partial(_fresh, case.params["names"]), self_timed=True)}


ROWS = (Row("import", "import syncmetrics in a fresh interpreter", _cases, _build),)
