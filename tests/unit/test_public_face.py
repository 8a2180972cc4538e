from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import syncmetrics

# A package whose __init__ holds code of its own has private imports too; the others re-export and do nothing else.
FACES = ["syncmetrics", "syncmetrics.logger", "syncmetrics.metrics", "syncmetrics.sync", "syncmetrics.testing"]


def imported_in(module: str) -> set[str]:
    tree = ast.parse(Path(importlib.import_module(module).__file__ or "").read_text())
    names = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", FACES)
def test_all_is_what_is_imported(name: str) -> None:
    assert set(importlib.import_module(name).__all__) - {"__version__"} == imported_in(name)


@pytest.mark.parametrize("name", [*FACES, "syncmetrics.transport"])
def test_all_is_sorted_and_there(name: str) -> None:
    module = importlib.import_module(name)
    constants = [n for n in module.__all__ if n.isupper()]
    classes = [n for n in module.__all__ if n[0].isupper() and not n.isupper()]
    others = [n for n in module.__all__ if not n[0].isupper()]
    assert module.__all__ == [*sorted(constants), *sorted(classes), *sorted(others)]
    assert all(hasattr(module, n) for n in module.__all__)


def test_every_error_is_on_the_public_face() -> None:
    from syncmetrics import errors

    assert set(errors.__all__) <= set(syncmetrics.__all__)
    assert all(getattr(syncmetrics, name) is getattr(errors, name) for name in errors.__all__)


@pytest.mark.parametrize("module", ["syncmetrics", "syncmetrics.metrics"])
def test_the_import_is_light(module: str) -> None:
    heavy = "numpy pandas sklearn scipy matplotlib rich torchmetrics torcheval lightning transformers pytest hypothesis"
    # Whatever torch itself imports is no doing of ours.
    code = f"""
import sys, torch, torch.distributed
before = set(sys.modules)
import {module}
print(*sorted(({{name.partition('.')[0] for name in set(sys.modules) - before}}) & set({heavy.split()!r})))
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []
