"""Imports go one way: a room imports those that stand before it. The files are read, not imported."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "syncmetrics"
FILES = sorted(PACKAGE.rglob("*.py"))

# Every import of our own counts, inside of a function or for type checkers too.
ROOMS = (
    "errors optional registry | states | transport | sync | schedule | checkpoint | metric | foreign | shuffle |"
    " family | aggregation classification image regression retrieval segmentation text wrappers | data plotting |"
    " logger | frameworks | testing | diagnose | cli | __main__ missing"
)
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS.split("|")) for room in rooms.split()}
#: A room that may know but one file of another.
ONLY = {("sync", "transport"): {"base"}}


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


def ours(path: Path) -> list[tuple[str, ...]]:
    return [name[1:] for name in imports_of(path) if name[0] == "syncmetrics"]


def ids(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


INSIDE = [path for path in FILES if module_of(path)]


@pytest.mark.parametrize("path", INSIDE, ids=ids)
def test_a_room_imports_what_stands_before_it(path: Path) -> None:
    mine = module_of(path)[0]
    for name in ours(path):
        assert name, "import from a room, not from the public face"
        assert name[0] == mine or FLOOR[name[0]] < FLOOR[mine], f"imports {'.'.join(name)}"
        assert name[1:2] == () or name[1] in ONLY.get((mine, name[0]), {name[1]}), f"imports {'.'.join(name)}"


def test_the_files_of_a_room_do_not_import_each_other_in_a_circle() -> None:
    files = {module_of(path) for path in INSIDE}
    edges: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for path in INSIDE:
        found = edges.setdefault(module_of(path), set())
        for name in ours(path):
            target = name if name in files else name[:-1]
            if path.name != "__init__.py" and target != module_of(path):
                found.add(target)
    while edges:
        free = [name for name, before in edges.items() if not before & edges.keys()]
        assert free, f"a circle: {edges}"
        for name in free:
            del edges[name]


def uses_distributed(path: Path) -> bool:
    if any(name[:2] == ("torch", "distributed") for name in imports_of(path)):
        return True
    return any(isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.distributed" for node in nodes_of(path))


#: `testing` starts ranks. `diagnose` looks at torch.distributed itself, and compares a sync with what it does.
WITH_DISTRIBUTED = {"testing", "diagnose"}


def test_only_the_process_group_transport_and_testing_know_torch_distributed() -> None:
    users = {module_of(path)[:2] for path in FILES if uses_distributed(path)}
    users = {user for user in users if not {*user[:1]} & WITH_DISTRIBUTED}
    assert users == {("transport", "process_group")}


#: Rooms of other libraries, and those that draw and write with libraries which are extras.
WITH_OTHERS, WITH_EXTRAS = {"foreign", "frameworks", "testing", "cli"}, ("plotting", "logger")


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_the_package_needs_torch_alone(path: Path) -> None:
    roots = {name[0] for name in imports_of(path)}
    assert not roots & {"launch", "scripts", "tests"}
    if not {*WITH_OTHERS, *WITH_EXTRAS} & set(module_of(path)[:1]):
        assert roots - set(sys.stdlib_module_names) <= {"torch", "syncmetrics"}


@pytest.mark.parametrize("room", WITH_EXTRAS)
def test_extras_are_imported_where_they_are_used(room: str) -> None:
    for path in (path for path in FILES if module_of(path)[:1] == (room,)):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
            assert roots <= {"torch", "syncmetrics"}, f"{path.name} imports {roots} as soon as it is imported"


def test_no_class_is_cut_in_the_middle() -> None:
    """A part of a class that does not know what it is part of takes `self: Any`."""
    for path in FILES:
        classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
        for method in (node for cls in classes for node in cls.body if isinstance(node, ast.FunctionDef)):
            kind = method.args.args[0].annotation if method.args.args else None
            assert kind is None or ast.unparse(kind) != "Any", f"{path.name}: {method.name}"


def test_no_core_room_names_a_framework() -> None:
    core = {room for room, floor in FLOOR.items() if floor <= FLOOR["metric"]} - {"registry"}
    names = ("lightning", "torcheval", "ignite", "accelerate", "transformers")
    for path in (path for path in FILES if module_of(path)[:1] and module_of(path)[0] in core):
        tree = ast.parse(path.read_text())
        used = {node.id.lower() for node in ast.walk(tree) if isinstance(node, ast.Name)}
        used |= {part for name in imports_of(path) for part in name}
        assert not {name for name in used if any(framework in name for framework in names)}, path.name
