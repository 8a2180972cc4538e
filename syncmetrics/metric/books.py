"""What is kept about one metric beside its states: its last values, its steps, and whether its settings changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from syncmetrics.states.numbers import Number
from syncmetrics.transport import WORLD, BoundGroup

__all__ = ["Books", "Kept", "Key"]

#: Of what a value was computed: equal as long as the value is good.
Key: TypeAlias = tuple[Any, ...]


@dataclass(slots=True, eq=False)
class Kept:
    """A value of `compute`.

    Attributes:
        asked: The arguments that `compute` was called with.
        local: Of which local states it was computed, and whether of this process or of all.
        shown: Of what was shown, and when.
        value: The value. What is handed out is a copy of it, but for large tensors.
        versions: How often the large tensors in it were edited.
    """

    asked: Key
    local: Key
    shown: Key
    value: Any
    versions: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Books:
    """What is kept about one metric.

    Attributes:
        group: Over which ranks it is synced, as it can be kept.
        settings: Counts how often an attribute that is no state was set.
        steps: Calls of `forward` since the last reset.
        values: The last values of `compute`, the latest last: one for each set of arguments.
        step_value: The last value of `forward`, put aside.
        dtype: What `dtype` gives.
    """

    group: BoundGroup = WORLD
    settings: int = 0
    steps: int = 0
    values: list[Kept] = field(default_factory=list)
    step_value: Any = None
    dtype: torch.dtype = field(default_factory=torch.get_default_dtype)

    def forget(self) -> None:
        """Forget the values."""
        self.values = []
        self.step_value = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Books:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return Books, (self.group, self.settings, self.steps, [], None, self.dtype)

    def copy(self) -> Books:
        """Give books of the same metric without its values, which belong to it alone."""
        return Books(self.group, self.settings, self.steps, dtype=self.dtype)


def aside(value: Any, is_state: Callable[[Tensor], bool]) -> Any:
    """Give what `from_aside` makes a value of again, as it is now, whatever is done to copies of it.

    Args:
        value: What `compute` gave.
        is_state: Whether a tensor has the memory of a state, which will be edited.
    """
    if isinstance(value, Tensor):
        if value.layout is not torch.strided:
            return value
        if value.numel() == 1 and value.is_cpu:
            return Number(value.item(), value.dtype, value.shape if value.dim() == 0 else torch.Size())
        return value.detach().clone() if is_state(value) else value.detach()
    if type(value) is dict:
        return {key: aside(item, is_state) for key, item in value.items()}
    if type(value) is list or type(value) is tuple:
        return type(value)(aside(item, is_state) for item in value)
    return value


def from_aside(kept: Any) -> Any:
    """Give a value again that was put aside."""
    if isinstance(kept, Number):
        return kept.tensor()
    if isinstance(kept, Tensor):
        return kept.clone()
    if type(kept) is dict:
        return {key: from_aside(item) for key, item in kept.items()}
    if type(kept) is list or type(kept) is tuple:
        return type(kept)(map(from_aside, kept))
    return kept
