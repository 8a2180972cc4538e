"""Adding a batch once more: to other states, with the attributes and random numbers of the first time.

A step updates fresh states with its batch. Where these cannot be merged into the running ones, those are updated with
the batch too, and all that is no state has to be as after one `update` and one `compute`.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import nn

from syncmetrics.metric.module import StatefulModule

__all__ = ["Again", "attributes_of", "changed"]

_OF_MODULES = frozenset(nn.Module().__dict__) | {"_holder", "_books"}

_Attributes: TypeAlias = list[tuple[StatefulModule, dict[str, Any]]]


class Again:
    """What a metric is before a batch, but for its states.

    Args:
        metric: The metric.
    """

    __slots__ = ("_before", "_metric", "_random", "_updated")

    def __init__(self, metric: StatefulModule) -> None:
        self._metric = metric
        self._random = _random_state()
        self._before = self._updated = attributes_of(metric)

    def note_updated(self) -> None:
        """Note what the first `update` has made of the attributes, to know later what `compute` has."""
        self._updated = attributes_of(self._metric)

    def update(self, update: Callable[[], None], *, for_good: bool = True) -> None:
        """Update the metric as if for the first time.

        Args:
            update: Adds the batch to what the metric shows.
            for_good: Whether the attributes are to be those that it leaves, but for what `compute` has set; else they
                are afterwards what they are now.
        """
        computed, now = attributes_of(self._metric), _random_state()
        _set_attributes(self._before)
        _set_random_state(self._random)
        try:
            update()
        finally:
            if for_good:
                for (module, known), (_, updated) in zip(computed, self._updated, strict=False):
                    module.__dict__.update({name: known[name] for name in changed(updated, known)})
            else:
                _set_attributes(computed)
            _set_random_state(now)


def attributes_of(metric: nn.Module) -> _Attributes:
    """Give the attributes that are no states, of a metric and of those inside it, as they are now."""
    return [
        (module, {name: _copied(v) for name, v in module.__dict__.items() if name not in _OF_MODULES})
        for module in metric.modules()
        if isinstance(module, StatefulModule)
    ]


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Give the names of the attributes that are others than before, or hold others."""
    return [name for name, value in after.items() if name not in before or not _same(value, before[name])]


def _set_attributes(attributes: _Attributes) -> None:
    for module, known in attributes:
        own = module.__dict__
        for name in [name for name in own if name not in _OF_MODULES and name not in known]:
            del own[name]
        own.update({name: _copied(value) for name, value in known.items()})


def _copied(value: Any) -> Any:
    """Copy containers, so that what is put into them later is not there yet."""
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    if type(value) is list:
        return list(map(_copied, value))
    return value.copy() if type(value) is set else value


def _same(a: Any, b: Any) -> bool:
    """Whether an attribute is what it was: the same object, or a container of the same objects."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) is dict:
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if type(a) is list:
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, (int, float, str, bytes, set)) and a == b


#: Torch holds the lock of a generator, and that of Python, while it makes the tensor of its state. If a garbage
#: collection lets another thread in just then, which wants that generator too, the two wait for each other for ever.
_one_thread = threading.RLock()


def _random_state() -> tuple[Any, ...]:
    numpy = sys.modules.get("numpy")
    with _one_thread:
        cpu = torch.get_rng_state()
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    return cpu, cuda, random.getstate(), None if numpy is None else numpy.random.get_state()


def _set_random_state(state: tuple[Any, ...]) -> None:
    cpu, cuda, plain, numpy = state
    with _one_thread:
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
    random.setstate(plain)
    if numpy is not None:
        sys.modules["numpy"].random.set_state(numpy)
