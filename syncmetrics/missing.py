"""What to say of a public name that is not there."""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["error_for"]


def error_for(name: str, known: Sequence[str]) -> AttributeError:
    """Make the error for a name that the package does not have: what is near it, and whether torchmetrics has it.

    Args:
        name: What was asked for.
        known: All public names.
    """
    text = f"module 'syncmetrics' has no attribute {name!r}."
    lower = {other.lower(): other for other in known}
    near = [lower[other] for other in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.7)]
    if near:
        text += f" Did you mean {' or '.join(f'`{other}`' for other in near)}?"
    theirs = next((module for module, names in _torchmetrics() if name in names), None)
    if theirs is not None:
        text += (
            f" torchmetrics has it, and theirs works in our collection and over our engine: `from {theirs} import"
            f" {name}`, then `syncmetrics.MetricCollection` or `syncmetrics.synced` takes it."
        )
    return AttributeError(text, name=name)


def _torchmetrics() -> Iterator[tuple[str, set[str]]]:
    """Give the modules of torchmetrics and the names they export, if it is installed. It is read, not imported."""
    spec = importlib.util.find_spec("torchmetrics")
    for folder in [] if spec is None else spec.submodule_search_locations or []:
        root = Path(folder)
        for file in [root / "__init__.py", *sorted(root.glob("*/__init__.py"))]:
            module = ".".join(("torchmetrics", *file.parent.relative_to(root).parts))
            if module not in ("torchmetrics.functional", "torchmetrics.utilities"):
                yield module, _exported(file)


def _exported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Assign, ast.AugAssign)) and isinstance(node.value, ast.List):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                names |= {str(item.value) for item in node.value.elts if isinstance(item, ast.Constant)}
    return names
