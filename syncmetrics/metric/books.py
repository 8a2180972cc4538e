"""What is kept about one metric beside its states: its last values, its steps, and whether its settings changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch

from syncmetrics.transport import WORLD, BoundGroup

__all__ = ["Books", "Kept", "Key"]

#: Of what a value was computed: equal as long as the value is good.
Key: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True, eq=False)
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
        step_value: The last value of `forward`.
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
