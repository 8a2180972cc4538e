"""What goes around the user's own `update` and `compute`: once a class, so that nothing is replaced on instances."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from syncmetrics.states import State, States, Store

__all__ = ["raw_function", "roll_back", "wrap_compute", "wrap_update"]


def roll_back(store: Store, states: States, lengths: list[tuple[str, State, int]]) -> None:
    """Undo what an `update` that failed had done: all but edits of a tensor in place, of which there is no copy."""
    for _, rows, length in lengths:
        if isinstance(rows, list):
            del rows[length:]
    store.states = states


def wrap_update(function: Callable[..., None]) -> Callable[..., None]:
    """Count updates, and check what one does to the lists."""

    @functools.wraps(function)
    def update(self: Any, *args: Any, **kwargs: Any) -> None:
        if type(self).update is not update:  # reached through super(): the outermost one keeps the books
            function(self, *args, **kwargs)
            return
        self._prepare_update("update", args, kwargs)
        self._update(function, args, kwargs)

    update._wraps = (update, function)  # type: ignore[attr-defined]
    return update


def wrap_compute(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Show the states of all ranks to `compute`, and keep the value as long as it is good."""

    @functools.wraps(function)
    def compute(self: Any) -> Any:
        if type(self).compute is not compute:
            return function(self)
        return self._compute(function)

    compute._wraps = (compute, function)  # type: ignore[attr-defined]
    return compute


def raw_function(method: Callable[..., Any]) -> Callable[..., Any]:
    """Give the user's own `update` or `compute` inside of ours; decorators of the user's stay on."""
    wrapper, function = getattr(method, "_wraps", (None, method))
    return function if wrapper is method else method  # functools.wraps copies the mark to what is around
