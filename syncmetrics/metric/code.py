"""What a user wrote: the function inside of ours, and the code that an `update` runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

__all__ = ["raw_function", "updating_code"]

_NOTHING = object()


def raw_function(method: Callable[..., Any]) -> Callable[..., Any]:
    """Give the user's own `update` or `compute` inside of ours; decorators of the user's stay on."""
    wrapper, function = getattr(method, "_wraps", (None, method))
    return function if wrapper is method else method  # functools.wraps copies the mark to what is around


def updating_code(cls: Any, ours: tuple[type, ...], states: type) -> tuple[type, frozenset[tuple[str, int]]]:
    """Give the lowest class that has a part in the `update` of a class, and what is equal for equal code.

    A name that occurs in the code of `update`, or in that of a method or property which is found so, is taken for one
    of the class if the class has it.

    Args:
        cls: The class.
        ours: Classes whose attributes are known, and left out.
        states: Type of the descriptors that stand for states, which are left out too.
    """
    found = vars(cls).get("_updating_code")
    if found is None:
        found = cls._updating_code = _look(cls, ours, states)
    return found  # type: ignore[no-any-return]  # what `_look` gave


def _look(cls: type, ours: tuple[type, ...], states: type) -> tuple[type, frozenset[tuple[str, int]]]:
    users = [one for one in cls.__mro__ if one not in ours]
    names, used, lowest = ["update"], dict[str, Any](), len(users) - 1
    while names:
        name = names.pop()
        if name in used:
            continue
        defined = [(depth, vars(one)[name]) for depth, one in enumerate(users) if name in vars(one)]
        if not defined or isinstance(defined[0][1], states):
            continue
        used[name] = defined[0][1]
        lowest = min(lowest, defined[0][0])
        for _, value in defined:  # those above are reached through `super()`
            names += [other for function in _functions(value) for other in _names(function.__code__)]
    return users[lowest], frozenset((name, id(value)) for name, value in used.items())


def _functions(value: Any) -> Iterator[FunctionType]:
    """Give the functions of a method or property: what a decorator has wrapped, too."""
    seen: list[Any] = []
    inside = [value]
    while inside:
        one = raw_function(inside.pop())
        if any(one is other for other in seen):
            continue
        seen.append(one)
        if isinstance(one, FunctionType):
            yield one
            inside += [cell.cell_contents for cell in one.__closure__ or () if _is_filled(cell)]
        for name in ("__func__", "__wrapped__", "fget", "func"):
            other = inspect.getattr_static(one, name, _NOTHING)
            if other is not _NOTHING:
                inside.append(getattr(one, name))


def _is_filled(cell: Any) -> bool:
    try:
        return callable(cell.cell_contents)
    except ValueError:
        return False


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
