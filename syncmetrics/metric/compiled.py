"""Updates in code that torch.compile has made: one operator of the graph, which runs the update as it always runs.

What an `update` does to its books is no part of a graph, and what it does with data may not be one either. So the whole
of it stands in the graph as one operator: nothing is guarded on, nothing is compiled again when states change, and
all-or-nothing, checks and counts hold as everywhere.
"""

from __future__ import annotations

import ast
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["know", "update_in_graph"]

#: Whoever can be updated by the number that stands for it in a graph.
_alive: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

#: The operator is said to change this tensor, so that none is left out, and all stay in their order.
_ORDER = torch.zeros(())

_MARK = "\0tensor"

# torch.library has no types.
_library: Any = torch.library.Library("syncmetrics", "DEF")  # type: ignore[no-untyped-call]
_library.define("update(Tensor(a!) order, SymInt number, Tensor[] tensors, str layout) -> ()")


def know(metric: Any) -> None:
    """Note that a metric or collection is there."""
    _alive[id(metric)] = metric


def update_in_graph(metric: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Put the update of a metric or collection into the graph that is being made.

    Args:
        metric: Whose.
        args: What it is called with: tensors, plain data, and lists, tuples and dicts of these.
        kwargs: Likewise.
    """
    tensors: list[Tensor] = []
    layout = _written([list(args), dict(kwargs)], tensors)
    torch.ops.syncmetrics.update(_ORDER, id(metric), [tensor.detach() for tensor in tensors], layout)


def _written(value: Any, tensors: list[Tensor]) -> str:
    """Write a value as text, with numbers in place of its tensors, which are put into a list."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return f"({_MARK!r}, {len(tensors) - 1})"
    if isinstance(value, dict):
        return "{" + "".join(f"{key!r}: {_written(item, tensors)}, " for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inside = "".join(f"{_written(item, tensors)}, " for item in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    return repr(value)


def _read(value: Any, tensors: Sequence[Tensor]) -> Any:
    """Give the value again that was written."""
    if isinstance(value, tuple) and len(value) == 2 and value[0] == _MARK:
        return tensors[value[1]]
    if isinstance(value, dict):
        return {key: _read(item, tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_read(item, tensors) for item in value)
    return value


def _update(order: Tensor, number: int, tensors: list[Tensor], layout: str) -> None:
    # A copy of each: compiled code uses the memory of what it has passed on for other things.
    args, kwargs = _read(ast.literal_eval(layout), [tensor.clone() for tensor in tensors])
    _alive[number].update(*args, **kwargs)


def _update_nothing(order: Tensor, number: int, tensors: list[Tensor], layout: str) -> None:
    """Do nothing, where a graph is made."""


_library.impl("update", _update, "CompositeExplicitAutograd")
_library.impl("update", _update_nothing, "Meta")
