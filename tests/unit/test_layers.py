"""Imports go one way. The files are read, not imported."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "syncmetrics"
FILES = sorted(PACKAGE.rglob("*.py"))

# A module may import its own layer and those above it. `transport` stands beside them; see its own test.
LAYERS = (
    {"autograd", "errors", "optional"},
    {"plain", "reductions", "rows"},
    {"states"},
    {"sync"},
    {"bookkeeping", "checkpoint", "guest", "returned", "session"},
    {"stateful"},
    {"background", "cadence", "computing", "delegate", "pending", "metric"},
    {
        "adapted",
        "collected",
        "grouped",
        "adapters",
        "naming",
        "sharing",
        "collection",
        "wrappers",
        "helpers",
        "faults",
        "joining",
        "shuffle",
    },
    {"metrics"},
    {"drawing", "logger"},
    {"integrations", "testing", "data"},
)
SYNC, METRIC = 3, 6


def module_of(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imports_of(path: Path) -> Iterator[tuple[str, ...]]:
    """Give every imported name in full, as parts; `from a import b` gives a.b, for b may be a module."""
    package = ("syncmetrics", *(module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]))
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            yield from ((*module, alias.name) for alias in node.names)


def layer_of(name: str) -> int:
    found = [index for index, layer in enumerate(LAYERS) if name in layer]
    assert found, f"`syncmetrics.{name}` has no layer: give it one in {Path(__file__).name}"
    return found[0]


def ours(path: Path) -> list[tuple[str, ...]]:
    return [name[1:] for name in imports_of(path) if name[0] == "syncmetrics"]


def ids(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


INSIDE = [path for path in FILES if module_of(path) and module_of(path)[0] != "transport"]


@pytest.mark.parametrize("path", INSIDE, ids=ids)
def test_a_module_imports_only_what_stands_above_it(path: Path) -> None:
    mine = layer_of(module_of(path)[0])
    for name in ours(path):
        assert name, "import from a module, not from the public face"
        if name[0] == "transport":
            assert mine >= METRIC or (mine >= SYNC and name[1:2] == ("base",)), f"imports {'.'.join(name)}"
        else:
            assert layer_of(name[0]) <= mine, f"imports {'.'.join(name)}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "transport").rglob("*.py")), ids=ids)
def test_a_transport_knows_errors_and_transports_alone(path: Path) -> None:
    assert {name[0] for name in ours(path)} <= {"errors", "transport"}


def test_modules_of_one_layer_do_not_import_each_other_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for path in INSIDE:
        mine = module_of(path)[0]
        edges.setdefault(mine, set()).update(n[0] for n in ours(path) if n[0] not in (mine, "transport"))
    while edges:
        free = [name for name, above in edges.items() if not above & edges.keys()]
        assert free, f"a circle: {edges}"
        for name in free:
            del edges[name]


def uses_distributed(path: Path) -> bool:
    if any(name[:2] == ("torch", "distributed") for name in imports_of(path)):
        return True
    return any(isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.distributed" for node in nodes_of(path))


def test_only_the_process_group_transport_and_testing_know_torch_distributed() -> None:
    users = {module_of(path)[:2] for path in FILES if uses_distributed(path) and module_of(path)[:1] != ("testing",)}
    assert users == {("transport", "process_group")}


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_the_package_needs_torch_alone(path: Path) -> None:
    roots = {name[0] for name in imports_of(path)}
    assert not roots & {"launch", "scripts", "tests"}
    if not {"integrations", "testing", *WITH_EXTRAS} & set(module_of(path)[:1]):
        assert roots - set(sys.stdlib_module_names) <= {"torch", "syncmetrics"}


#: Rooms that draw and write with libraries which are extras: they import these where they use them.
WITH_EXTRAS = ("drawing", "logger")


@pytest.mark.parametrize("room", WITH_EXTRAS)
def test_extras_are_imported_where_they_are_used(room: str) -> None:
    for path in (path for path in FILES if module_of(path)[:1] == (room,)):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
            assert roots <= {"torch", "syncmetrics"}, f"{path.name} imports {roots} as soon as it is imported"
