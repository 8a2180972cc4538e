"""Find what the rows measure, wherever a version of the package has it: one bench measures many versions."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Any

__all__ = ["origin", "ours", "stay_in_this_tree"]

#: Where public names have been, the present places first: flat; metrics by task; adapters of frameworks.
_ROOMS = (
    "",
    *("classification", "aggregation", "regression", "retrieval", "metrics"),
    *("foreign", "frameworks", "integrations"),
)


def stay_in_this_tree() -> None:
    """Forget editable installs: they would put in, out of the tree that is installed, what this version lacks."""
    sys.meta_path[:] = [f for f in sys.meta_path if not getattr(f, "__module__", "").startswith("__editable__")]


def origin() -> str:
    """Give the file of the package that this process has imported."""
    return str(Path(str(importlib.import_module("syncmetrics").__file__)).resolve())


def ours(name: str) -> Any:
    """Give a public name of the package.

    Args:
        name: That of a class or a function, with its module if that matters: "MulticlassAccuracy", "ignite.attach".

    Raises:
        AttributeError: This version has it nowhere.
        ImportError: This version has it, but it needs something that is not installed.
    """
    package = importlib.import_module("syncmetrics")
    inside = {"", *(module.name for module in pkgutil.iter_modules(package.__path__))}
    inner, _, last = name.rpartition(".")
    for room in _ROOMS:
        path = ".".join(filter(None, (room, inner)))
        if path.partition(".")[0] not in inside:
            continue
        try:
            module = importlib.import_module(f"syncmetrics.{path}".rstrip("."))
        except ModuleNotFoundError as error:
            if error.name != f"syncmetrics.{path}":
                raise  # the module is there, and something that it imports is not
            continue
        if hasattr(module, last):
            return getattr(module, last)
    raise AttributeError(f"`syncmetrics` has no `{name}`, neither at its top nor in {', '.join(_ROOMS[1:])}")
