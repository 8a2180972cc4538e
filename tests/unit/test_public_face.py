from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import syncmetrics

# Rooms whose __init__ re-exports and does nothing else.
ROOMS = [
    "aggregation",
    "classification",
    "data",
    "diagnose",
    "foreign",
    "logger",
    "metric",
    "plotting",
    "regression",
    "retrieval",
    "schedule",
    "states",
    "sync",
    "testing",
    "wrappers",
]


def imported_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module not in ("__future__", "typing")
        for alias in node.names
    }
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("room", ROOMS)
def test_all_is_what_is_imported(room: str) -> None:
    module = importlib.import_module(f"syncmetrics.{room}")
    assert set(module.__all__) == imported_in(Path(module.__file__ or ""))


@pytest.mark.parametrize("room", [*ROOMS, "transport"])
def test_all_is_sorted_and_there(room: str) -> None:
    module = importlib.import_module(f"syncmetrics.{room}")
    constants = [n for n in module.__all__ if n.isupper()]
    classes = [n for n in module.__all__ if n[0].isupper() and not n.isupper()]
    others = [n for n in module.__all__ if not n[0].isupper()]
    assert module.__all__ == [*sorted(constants), *sorted(classes), *sorted(others)]
    assert all(hasattr(module, n) for n in module.__all__)


def test_the_face_has_every_public_name_and_its_stub_says_the_same() -> None:
    stub = ast.parse((Path(syncmetrics.__file__).parent / "__init__.pyi").read_text())
    told = {
        alias.asname: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    for name, module in told.items():
        assert getattr(syncmetrics, name) is getattr(importlib.import_module(str(module)), name)
    rooms = {name for name, module in told.items() if module == "syncmetrics"}
    assert set(told) - rooms == set(syncmetrics.__all__) - {"__version__"}
    assert {*dir(syncmetrics)} >= set(told)
    package = Path(syncmetrics.__file__).parent
    assert rooms == {p.parent.name for p in package.glob("*/__init__.py")} - {"cli", "family"} | {"errors"}


def test_every_metric_is_on_the_face_and_in_the_module_of_its_family() -> None:
    for family in ("aggregation", "classification", "regression", "retrieval", "wrappers"):
        module = importlib.import_module(f"syncmetrics.{family}")
        assert set(module.__all__) <= set(syncmetrics.__all__)
        assert getattr(syncmetrics, family) is module


def test_every_error_is_on_the_public_face() -> None:
    from syncmetrics import errors

    assert set(errors.__all__) <= set(syncmetrics.__all__)
    assert all(getattr(syncmetrics, name) is getattr(errors, name) for name in errors.__all__)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'MulticlasAccuracy'\. Did you mean `MulticlassAcc"):
        _ = syncmetrics.MulticlasAccuracy  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"torchmetrics has it.*from torchmetrics\.detection import MeanAverage"):
        _ = syncmetrics.MeanAveragePrecision  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        from syncmetrics import Nothing  # type: ignore[attr-defined]  # noqa: F401
    assert not hasattr(syncmetrics, "_private")
    assert not hasattr(syncmetrics, "__wrapped__")


HEAVY = "numpy pandas sklearn scipy matplotlib rich torchmetrics torcheval lightning transformers pytest hypothesis"


@pytest.mark.parametrize("code", ["import syncmetrics", "from syncmetrics import Metric, MulticlassAccuracy, synced"])
def test_the_import_is_light(code: str) -> None:
    # Whatever torch itself imports is no doing of ours.
    program = f"""
import sys, torch, torch.distributed
before = set(sys.modules)
{code}
print(*sorted(({{name.partition('.')[0] for name in set(sys.modules) - before}}) & set({HEAVY.split()!r})))
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_a_room_is_imported_when_it_is_asked_for() -> None:
    program = """
import sys, torch
import syncmetrics
rooms = lambda: {name for name in sys.modules if name.startswith("syncmetrics.")}
assert rooms() == {"syncmetrics.registry"}, rooms()
syncmetrics.StateError
assert rooms() == {"syncmetrics.registry", "syncmetrics.errors"}, rooms()
syncmetrics.classification.MulticlassAccuracy
assert not rooms() & {"syncmetrics.logger", "syncmetrics.foreign", "syncmetrics.frameworks"}, rooms()
"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
