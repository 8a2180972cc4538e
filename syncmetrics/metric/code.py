"""What a user wrote: the function inside of ours, and the code that an `update` runs."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

__all__ = ["raw_function", "settings_read", "updating_code"]

_NOTHING = object()


def raw_function(method: Callable[..., Any]) -> Callable[..., Any]:
    """Give the user's own `update` or `compute` inside of ours; decorators of the user's stay on."""
    wrapper, function = getattr(method, "_wraps", (None, method))
    return function if wrapper is method else method  # functools.wraps copies the mark to what is around


def updating_code(cls: Any, states: type) -> tuple[type, frozenset[tuple[str, int]]]:
    """Give the lowest class that has a part in the `update` of a class, and what is equal for equal code.

    A name that occurs in the code of `update`, or in that of a method or property which is found so, is taken for one
    of the class if the class has it.

    Args:
        cls: The class.
        states: Type of the descriptors that stand for states, which are left out.
    """
    found = vars(cls).get("_updating_code")
    if found is None:
        users = _users(cls)
        lowest, used, _ = _reached(users, ["update"], states)
        found = cls._updating_code = users[lowest], frozenset((name, id(value)) for name, value in used.items())
    return found  # type: ignore[no-any-return]  # what was set above


def settings_read(cls: Any, states: type) -> frozenset[str]:
    """Give the names of the attributes that `update` and `compute` of a class read, and no method of its life sets.

    Args:
        cls: The class.
        states: As above.
    """
    found = vars(cls).get("_settings_read")
    if found is None:
        users = _users(cls)
        _, _, reading = _reached(users, ["update", "compute"], states)
        _, _, living = _reached(users, ["update", "compute", "forward", "reset"], states)
        read = {name for function in reading for name in _names_read(function.__code__)}
        found = cls._settings_read = frozenset(read - {name for f in living for name in _names_set(f.__code__)})
    return found  # type: ignore[no-any-return]  # what was set above


def _users(cls: type) -> list[type]:
    """Give the classes that a user, or a family of metrics, has put below the base of all metrics."""
    ours = ("syncmetrics.metric.", "syncmetrics.sync.", "torch.nn.")
    found = [one for one in cls.__mro__ if one is not object and not one.__module__.startswith(ours)]
    return found or [cls]


def _reached(users: list[type], names: list[str], states: type) -> tuple[int, dict[str, Any], list[FunctionType]]:
    """Follow names through the code of classes: give how low it goes, what was found, and all functions."""
    names, used, functions, lowest = list(names), dict[str, Any](), list[FunctionType](), len(users) - 1
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
            found = list(_functions(value))
            functions += found
            names += [other for function in found for other in _names(function.__code__)]
    return lowest, used, functions


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


def _names_read(code: CodeType, of: str = "") -> Iterator[str]:
    """Give the attributes that are read of the first argument: of nothing else, for `x.size()` is not `self.size`."""
    of = of or (code.co_varnames[0] if code.co_argcount else "")
    loaded = False
    for step in dis.get_instructions(code):
        if loaded and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            yield str(step.argval)
        if step.opname not in ("CACHE", "EXTENDED_ARG"):
            last = step.argval[-1] if isinstance(step.argval, tuple) and step.argval else step.argval
            loads = "LOAD_FAST" in step.opname or "LOAD_DEREF" in step.opname  # some versions join it to what is before
            loaded = bool(of) and loads and last == of
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and of in constant.co_freevars:
            yield from _names_read(constant, of)


def _names_set(code: CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname in ("STORE_ATTR", "DELETE_ATTR"):
            yield str(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_set(constant)
