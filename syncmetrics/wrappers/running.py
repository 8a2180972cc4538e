"""The value of a metric over the last updates."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from syncmetrics.errors import StateError
from syncmetrics.family.checks import check_int
from syncmetrics.metric import Metric
from syncmetrics.metric.module import StatefulModule
from syncmetrics.states.joined import JoinedRows
from syncmetrics.states.merge import merge_over_time, own_copy
from syncmetrics.states.spec import States
from syncmetrics.states.store import Mode
from syncmetrics.sync import Merged, Node, put_back
from syncmetrics.sync.manifest import Part
from syncmetrics.wrappers._inner import as_metric, parameters_of, policy_of, take_over

__all__ = ["Running"]


class Running(Metric):
    """Give the value of a metric over the last `window` updates.

    Each rank keeps the states of its own last updates, one set for each, so that the value of all ranks is that of the
    last `window` updates of each of them. `forward` gives the value of the batch alone.

    Args:
        base_metric: A metric whose states can be merged, of ours or of a library that has an adapter.
        window: The number of updates.

    Raises:
        TypeError: `base_metric` is no metric, or `window` no int.
        ValueError: `window` is smaller than 1.
        StateError: The states of `base_metric` cannot be merged.

    Example:
        >>> import torch
        >>> from syncmetrics import Running, SumMetric
        >>> metric = Running(SumMetric(), window=2)
        >>> for number in range(4):
        ...     metric.update(torch.tensor(float(number)))
        >>> float(metric.compute())
        5.0
    """

    turns: list[int]

    def __init__(self, base_metric: Any, window: int = 5) -> None:
        inner = as_metric("base_metric", base_metric)
        check_int("Running", "window", window, minimum=1)
        for node in inner._nodes():
            for name, spec in node.specs.items():
                if node.merge is None and not spec.is_list and spec.reduction.over_time is None:
                    raise StateError(
                        f"`Running` merges the states of several updates, but state `{name}` of `{node.label}` is a"
                        " tensor with dist_reduce_fx=None, of which two cannot become one; override `merge_states`."
                    )
        super().__init__(**policy_of([inner]))
        self.window = window
        self.slots = nn.ModuleList([copy.deepcopy(inner) for _ in range(window)])
        take_over(self, [inner])
        # The update that leaves the window makes place for the new one: a batch cannot be merged into what is there.
        self.full_state_update = True
        # How many updates there were, in a list: a number that no update waits for, and of each rank in a sync.
        self.add_state("turns", [], dist_reduce_fx=None)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch, and forget that of `window` updates before."""
        turn = max(self.turns, default=0)
        slot = self._slot(turn)
        if any(node.update_count for node in slot._nodes()):
            _empty(slot)
        slot.update(*args, **kwargs)
        self.turns = [turn + 1]

    def compute(self) -> Any:
        """Give the value over the window. Collective, as every `compute`."""
        first = max(self.turns, default=0)
        slots = [self._slot(first + place) for place in range(self.window)]  # the oldest update first
        parts = [[node.shown_part() for node in slot._nodes()] for slot in slots]
        base = self.base_metric
        shown: list[Node] = []
        try:
            for node, of_slots in zip(base._nodes(), zip(*parts, strict=True), strict=True):
                shown.append(node)
                node.show(_merged(of_slots), mode=self._holder.store.mode)
            return base.compute()
        finally:
            put_back(shown)

    @property
    def base_metric(self) -> Metric:
        """The first of the `window` copies of the metric that take turns."""
        return self._slot(0)

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """Names of the values of the metric."""
        return self.base_metric.output_names

    def _slot(self, turn: int) -> Metric:
        return self.slots[turn % self.window]  # type: ignore[return-value]  # torch types it as a Module

    def _update_parameters(self) -> Mapping[str, inspect.Parameter]:
        return parameters_of(self.base_metric)


def _merged(parts: tuple[Part, ...]) -> Merged:
    """Merge what each update has brought, in their order."""
    states = _apart(parts[0].states)
    count = parts[0].update_count
    for part in parts[1:]:
        if not part.update_count:
            continue
        if not count:
            states = _apart(part.states)
        elif part.merge is not None:
            states = part.merge(states, _apart(part.states))
        else:
            states = merge_over_time(part.specs, states, _apart(part.states), (count, part.update_count))
        count += part.update_count
    return Merged(own_copy(states), count)


def _apart(states: States) -> States:
    """Give states whose lists have their elements, for they are to be joined to others."""
    return {name: list(value) if isinstance(value, JoinedRows) else value for name, value in states.items()}


def _empty(metric: StatefulModule) -> None:
    """Forget what a metric has, as an update does and not as a reset: the ranks need not do it alike."""
    if metric._holder.store.mode is not Mode.LOCAL:
        return  # it shows fresh states
    for node in metric._nodes():
        epochs = [holder.epoch for _, holder in node.holders]
        node.take([name for name, _ in node.holders], node.anew(), 0)
        for (_, holder), epoch in zip(node.holders, epochs, strict=True):
            holder.epoch = epoch
