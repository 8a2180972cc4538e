"""What goes around the user's own `update` and `compute`: once a class, so that nothing is replaced on instances."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from syncmetrics.states.autograd import without_grad
from syncmetrics.states.rows import RowMark, back_to
from syncmetrics.states.store import Mode, State, States, Store, check_value

__all__ = ["check_lists", "keep_books", "raw_function", "wrap_compute", "wrap_update"]


_grad_mode = torch.is_grad_enabled
_set_grad_mode = torch._C._set_grad_enabled
_LOCAL = Mode.LOCAL

Lengths = Sequence[tuple[str, State, RowMark | int]]


def keep_books(
    store: Store,
    lengths: Lengths,
    check: Callable[[Any, Store, Lengths], None] | None,
    function: Callable[..., None],
    metric: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> None:
    """Run the user's `update` and count it. If it fails, it leaves as little as it can.

    Args:
        store: The states that it changes.
        lengths: Name, list and length of each list before it.
        check: Looks at the lists after it.
        function: The user's own function.
        metric: Its `self`.
        args: What else it is called with.
        kwargs: What it is called with by name.
    """
    store.version += 1
    states = store.states.copy()
    try:
        # As `without_grad`, written out: this is the one place where a call more would be felt.
        if not _grad_mode():  # as in inference mode
            without_grad(function, metric, args, kwargs)
        else:
            _set_grad_mode(False)
            try:
                function(metric, *args, **kwargs)
            finally:
                _set_grad_mode(True)
        if check is not None:
            check(metric, store, lengths)
    except BaseException:
        roll_back(store, states, lengths)
        raise
    store.update_count += 1


def check_lists(metric: Any, store: Store, before: Lengths) -> None:
    """Check what an `update` put into the lists, and take the graphs off."""
    for name, old, length in before:
        value = store.states[name]
        if not isinstance(value, list) or (not isinstance(length, int) and value is old):  # it checks by itself
            continue
        start = length if isinstance(length, int) and value is old and len(value) >= length else 0
        try:
            check_value(value, start)
        except TypeError as error:
            raise TypeError(f"`{metric._label}`: state `{name}` {error}") from None
        for index in range(start, len(value)):
            if isinstance(value[index], Tensor) and value[index].requires_grad:
                value[index] = value[index].detach()


def roll_back(store: Store, states: States, lengths: Lengths) -> None:
    """Undo what an `update` that failed had done: all but edits of a tensor in place, of which there is no copy."""
    for _, rows, length in lengths:
        if isinstance(rows, list):
            back_to(rows, length)
    store.states = states


def wrap_update(function: Callable[..., None]) -> Callable[..., None]:
    """Count updates, and check what one does to the lists."""

    @functools.wraps(function)
    def update(self: Any, *args: Any, **kwargs: Any) -> None:
        if type(self).update is not update:  # reached through super(): the outermost one keeps the books
            function(self, *args, **kwargs)
            return
        store = self._own_store
        if store.mode is not _LOCAL or store.sharers > 1 or store.update_count == 0:
            self._prepare_update("update", args, kwargs)
            store = self._own_store
        if self._list_names or self._delegates:
            self._update(function, args, kwargs)
        else:
            keep_books(store, (), None, function, self, args, kwargs)

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
