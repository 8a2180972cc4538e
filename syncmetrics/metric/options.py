"""The arguments of a metric: checked, and what is wrong with them said in the words of the class that was called."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

__all__ = ["check_period", "check_rank", "explain_call", "refuse_unknown"]

_INSTEAD = {
    "compute_on_cpu": "append `.cpu()` tensors in `update`: states on the CPU are synced over any group",
    "dist_sync_fn": "give a transport of your own as `process_group`",
    "distributed_available_fn": "leave it out, or say `sync_on_compute=False`: without a process group nothing is sent",
    "full_state_update": "set it as an attribute of the class",
}


def check_rank(compute_on: int | None) -> int | None:
    """Check the rank that is to compute; None is all of them.

    Raises:
        ValueError: It is no rank.
    """
    if compute_on is None:
        return None
    if type(compute_on) is not int or compute_on < 0:  # a bool is no rank
        raise ValueError(f"`compute_on` must be a rank in the group, or None for all, but is {compute_on!r} instead.")
    return compute_on


def check_period(sync_every: int | None) -> int | None:
    """Check a number of steps; None is left to `dist_sync_on_step`.

    Raises:
        ValueError: It is no positive integer.
    """
    if sync_every is None:
        return None
    if type(sync_every) is not int or sync_every < 1:  # a bool is no number of steps
        raise ValueError(f"`sync_every` must be a positive integer or None, but is {sync_every!r} instead.")
    return sync_every


def refuse_unknown(cls: type, options: Mapping[str, Any]) -> None:
    """Refuse arguments that a metric does not have, with what to write in place of torchmetrics' own.

    What torchmetrics has and means nothing here is taken if it is not set.

    Raises:
        TypeError: There are any.
    """
    for name, value in options.items():
        if name in _INSTEAD and (value is None or value is False):
            continue
        advice = f"; {_INSTEAD[name]}" if name in _INSTEAD else _near(cls, name)
        raise TypeError(f"`{cls.__name__}` has no argument `{name}`{advice or '.'}")


def explain_call(cls: type, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Say what is wrong with the arguments that a class was called with; None if they can be taken."""
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]  # of the class as it is
    named = [p for p in list(parameters.values())[1:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    positional = [p for p in named if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(args) > len(positional) and not any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):
        names = ", ".join(p.name for p in positional)
        return (
            f"`{cls.__name__}` takes {len(positional)} arguments without a name ({names}), but was given"
            f" {len(args)}; write the others as name=value."
        )
    given = {p.name for p in positional[: len(args)]} | set(kwargs)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for name in kwargs:
            if name not in {p.name for p in named}:
                return f"`{cls.__name__}` has no argument `{name}`{_near(cls, name) or '.'}"
    missing = [p.name for p in named if p.default is p.empty and p.name not in given]
    if missing:
        names, call = " and ".join(f"`{name}`" for name in missing), ", ".join(f"{name}=..." for name in missing)
        return f"`{cls.__name__}` needs {names}; write {cls.__name__}({call})."
    return None


def _near(cls: type, name: str) -> str:
    """Give the argument that may be meant, of all that the class and those above it take."""
    known = {
        parameter
        for base in cls.__mro__
        if "__init__" in vars(base)
        for parameter in list(inspect.signature(vars(base)["__init__"]).parameters)[1:]
        if parameter not in ("args", "kwargs", "unknown")
    }
    near = [other for other in sorted(known) if len(name) > 2 and other.startswith(name)]
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else ""
