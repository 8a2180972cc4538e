"""What is kept about one metric beside its states: its last values, its steps, and whether its settings changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.states.numbers import Number
from syncmetrics.sync.node import Node
from syncmetrics.sync.tally import Tally
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
        steps: Calls of `forward` since the last reset, with `sync_every`.
        synced_steps: Steps since the last reset in which the states of all ranks were exchanged.
        values: The last values of `compute`, the latest last: one for each set of arguments.
        step_value: The last value of `forward`, put aside.
        dtype: What `dtype` gives.
        next_trial: After how many updates it is to be found out again whether a batch can be merged.
        said: The settings that ranks compare, and how often any setting had been changed by then.
        node: How the metric takes part in a sync, if it is one alone; what is known of it without the metric.
        is_due: Within a step of a collection, whether the value of this step is that of all ranks: it has counted it.
        tally: What all ranks brought to the last sync, and which of its metrics this one was.
    """

    group: BoundGroup = WORLD
    settings: int = 0
    steps: int = 0
    synced_steps: int = 0
    values: list[Kept] = field(default_factory=list)
    step_value: Any = None
    dtype: torch.dtype = field(default_factory=torch.get_default_dtype)
    next_trial: int = 1
    said: tuple[int, tuple[tuple[str, str], ...]] | None = None
    node: Node | None = None
    is_due: bool | None = None
    tally: tuple[Tally, int] | None = None

    def forget(self) -> None:
        """Forget the values."""
        self.values = []
        self.step_value = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Books:
        return self.copy()

    def __reduce__(self) -> tuple[Any, ...]:
        return Books, (self.group, self.settings, self.steps, self.synced_steps, [], None, self.dtype)

    def copy(self) -> Books:
        """Give books of the same metric without its values, which belong to it alone."""
        return Books(self.group, self.settings, self.steps, self.synced_steps, dtype=self.dtype)


@dataclass(slots=True, eq=False)
class _Twice:
    """A tensor that was handed out as a copy.

    Attributes:
        value: What was copied. It may be a state, which is edited later.
        version: How often it had been edited by then.
        given: The copy, which whoever got it may edit.
        given_version: How often that had been edited by then.
    """

    value: Tensor
    version: int
    given: Tensor
    given_version: int

    def tensor(self) -> Tensor:
        for tensor, version in ((self.value, self.version), (self.given, self.given_version)):
            if tensor._version == version:
                return tensor.detach().clone()
        raise StateError(
            "the value that `forward` gave was edited in place, and the states have changed since, so it cannot be"
            " given again; edit a copy of it."
        )


def aside(value: Any, given: Any) -> Any:
    """Give what `from_aside` makes a value of again, as it is now.

    Args:
        value: What `compute` gave.
        given: What of it was handed out.
    """
    if isinstance(value, Tensor):
        if value.numel() == 1 and value.is_cpu:
            return Number(value.item(), value.dtype)
        if value.layout is not torch.strided or value.is_inference() or given.is_inference():
            return given.detach().clone()
        if value.requires_grad:
            value, given = value.detach(), given.detach()
        return _Twice(value, value._version, given, given._version)
    kind = type(value)
    if kind is dict:
        return {key: aside(item, given[key]) for key, item in value.items()}
    if kind is list or kind is tuple:
        return kind(map(aside, value, given))
    return given


def from_aside(kept: Any) -> Any:
    """Give a value again that was put aside."""
    if isinstance(kept, (Number, _Twice)):
        return kept.tensor()
    if isinstance(kept, Tensor):
        return kept.clone()
    if type(kept) is dict:
        return {key: from_aside(item) for key, item in kept.items()}
    if type(kept) is list or type(kept) is tuple:
        return type(kept)(map(from_aside, kept))
    return kept
