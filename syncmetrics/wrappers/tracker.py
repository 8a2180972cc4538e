"""The values of a metric over several epochs, and the best of them."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from syncmetrics.metric import Metric, MetricCollection
from syncmetrics.metric.members import Members
from syncmetrics.metric.share import Group
from syncmetrics.metric.value import compute
from syncmetrics.sync import Host, Route, Syncable
from syncmetrics.sync.node import Node
from syncmetrics.wrappers._inner import Inner, as_inner

__all__ = ["MetricTracker"]


@dataclass(slots=True, eq=False)
class _Value:
    """The value of a step.

    Attributes:
        value: The value.
        update_count: The number of updates that the metric of the step had then: as long as it is so, it is good.
        is_loaded: Whether it comes from a state dict, which may not have the states.
    """

    value: Any
    update_count: int
    is_loaded: bool = False


class MetricTracker(nn.Module, Host):
    """Keep the values of a metric, or of a collection, for every step, of an epoch each say, and find the best.

    `increment` begins a step, with a copy of the metric; `update`, `forward`, `compute` and `reset` are those of the
    last step. It does not communicate. `compute_all` gives the values of all steps in one exchange, and keeps those of
    the steps before the last, so that they are neither sent nor computed again. They are in `state_dict`, with the
    number of steps; `save_state` saves the states of all steps.

    Args:
        metric: A metric, of ours or of a library that has an adapter, or a `MetricCollection`.
        maximize: Whether the highest value is the best; for a collection also one answer for each value. Left out, each
            metric says so with `higher_is_better`.

    Raises:
        TypeError: `metric` is neither, or `maximize` something else.
        ValueError: `maximize` is left out and a metric does not say it, or it has the wrong length.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryAccuracy, MetricTracker
        >>> tracker = MetricTracker(BinaryAccuracy())
        >>> for preds in ([0, 0], [1, 0], [0, 1]):
        ...     tracker.increment()
        ...     tracker.update(torch.tensor(preds), torch.tensor([1, 0]))
        >>> tracker.compute_all()
        tensor([0.5000, 1.0000, 0.0000])
        >>> tracker.best_metric(return_step=True)
        (1.0, 1)
    """

    def __init__(self, metric: Any, maximize: bool | Sequence[bool] | None = None) -> None:
        super().__init__()
        self._base_metric: Inner = as_inner("metric", metric)
        self.maximize = _maximize(self._base_metric, maximize)
        self.metrics = nn.ModuleList()
        #: The value of each step, where it was computed.
        self._kept: list[_Value | None] = []
        self.register_load_state_dict_post_hook(_note_loaded)  # type: ignore[no-untyped-call]  # of torch

    # -- the life of the steps

    @property
    def n_steps(self) -> int:
        """The number of steps."""
        return len(self.metrics)

    def increment(self) -> None:
        """Begin a step. It does not communicate: every rank must do so."""
        self.metrics.append(copy.deepcopy(self._base_metric))
        self.metrics[-1].reset()  # type: ignore[operator]  # torch types it as a Module
        self._kept.append(None)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update the metric of the last step."""
        self._last("update").update(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add one batch to the last step, and give the value of that batch."""
        return self._last("forward")(*args, **kwargs)

    def compute(self) -> Any:
        """Give the value of the last step. Collective, as every `compute`."""
        return self._last("compute").compute()

    def compute_all(self) -> Any:
        """Give the values of all steps, stacked; of a collection, or a metric that gives a dict, under each name.

        Values that cannot be stacked are given as a list. Collective: every rank of the group must call this. One sync
        serves all steps.
        """
        self._last("compute_all")
        wanted = [step for step in range(self.n_steps) if not self._is_kept(step)]
        values = compute(self._members(wanted)) if wanted else {}
        for step in wanted:
            metric = self[step]
            if isinstance(metric, MetricCollection):
                value: Any = metric.named({name: values[f"{step}.{name}"] for name in metric.keys(keep_base=True)})
            else:
                value = values[str(step)]
            self._kept[step] = _Value(value, _count(metric))
        return _stacked([kept.value for kept in self._kept if kept is not None])

    def best_metric(self, return_step: bool = False) -> Any:
        """Give the best value of all steps, of a collection one under each name. Collective, as `compute_all`.

        A value that is NaN is never the best. Where there is no best, for all are NaN or a value is more than one
        number, it is None, and a warning says so.

        Args:
            return_step: Whether to give a pair, with the step of the best value, the first step being 0.
        """
        values = self.compute_all()
        if not isinstance(values, dict):
            found = _best("the metric", values, bool(self.maximize))
            return found if return_step else found[0]
        answers = self._answers(list(values))
        best = {name: _best(f"`{name}`", value, answers[name]) for name, value in values.items()}
        numbers = {name: value for name, (value, _) in best.items()}
        return (numbers, {name: step for name, (_, step) in best.items()}) if return_step else numbers

    def reset(self) -> None:
        """Reset the metric of the last step. It does not communicate."""
        self._last("reset").reset()
        self._kept[-1] = None

    def reset_all(self) -> None:
        """Reset the metrics of all steps, which stay as many. It does not communicate."""
        for metric in self:
            metric.reset()
        self._kept = [None] * self.n_steps

    def __len__(self) -> int:
        return self.n_steps

    def __getitem__(self, step: int) -> Inner:
        """Give the metric of a step."""
        return self.metrics[step]  # type: ignore[return-value]  # torch types it as a Module

    def __iter__(self) -> Iterator[Inner]:
        return iter(self.metrics)  # type: ignore[arg-type]  # likewise

    # -- state dicts

    def get_extra_state(self) -> dict[str, Any]:
        """Give what stands in a state dict beside the states: the values of all steps."""
        return {"values": [None if kept is None else kept.value for kept in self._kept]}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take it out of a state dict, which has as many steps."""
        self._set_steps(len(state["values"]))
        self._kept = [None if value is None else _Value(value, -1, is_loaded=True) for value in state["values"]]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> MetricTracker:
        """Move the values too, but never change their dtype."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for kept in self._kept:
            if kept is not None:
                kept.value = _moved(kept.value, fn(torch.empty(0)).device)
        return self

    # -- as a host

    def _hosted(self, path: str) -> list[tuple[Syncable, Route]]:
        return [pair for step, one in enumerate(self) for pair in one._hosted(f"{path}.{step}" if path else str(step))]

    def _hosted_steps(self) -> list[list[Node]]:
        return [nodes for metric in self for nodes in metric._hosted_steps()]

    def _hosted_value(self) -> Any:
        return self.compute()

    def _hosted_outputs(self) -> dict[str, tuple[Any, str]]:
        return self._last("a value")._hosted_outputs()

    def _begin_steps(self) -> None:
        for metric in self:
            metric._begin_steps()

    def _steps_taken(self) -> list[int]:
        return [self.n_steps, *(count for metric in self for count in metric._steps_taken())]

    def _begin_as(self, steps: Sequence[int]) -> None:
        if steps:
            self._set_steps(steps[0])

    def _go_on_from(self, steps: Sequence[int]) -> None:
        self._kept, at = [None] * self.n_steps, 1
        for metric in self:
            count = len(metric._steps_taken())
            metric._go_on_from(steps[at : at + count])
            at += count

    # -- inside

    def _set_steps(self, count: int) -> None:
        while self.n_steps < count:
            self.increment()
        del self.metrics[count:], self._kept[count:]

    def _last(self, what: str) -> Inner:
        if not self.metrics:
            raise ValueError(f"`MetricTracker` has no step for `{what}` yet; call increment() first.")
        return self[-1]

    def _is_kept(self, step: int) -> bool:
        kept = self._kept[step]
        is_past = step < self.n_steps - 1  # the last one says itself whether its value is still good
        return kept is not None and (is_past or kept.is_loaded) and kept.update_count == _count(self[step])

    def _members(self, steps: Sequence[int]) -> Members:
        """Give the metrics of these steps, each under its step and its name."""
        metrics: dict[str, Any] = {}
        groups: list[Group] = []
        for step in steps:
            metric = self[step]
            if isinstance(metric, MetricCollection):
                own = metric._members()
                metrics.update({f"{step}.{name}": one for name, one in own.metrics.items()})
                groups += [Group(tuple(f"{step}.{n}" for n in one.names), one.metrics) for one in own.groups]
            else:
                metrics[str(step)] = metric
                groups.append(Group((str(step),), (metric,)))
        return Members(type(self).__name__, metrics, tuple(groups))

    def _answers(self, names: list[str]) -> dict[str, bool]:
        """Say for each value whether the highest is the best."""
        if isinstance(self.maximize, bool):
            return dict.fromkeys(names, self.maximize)
        if len(self.maximize) == len(names):
            return dict(zip(names, self.maximize, strict=True))
        outputs = self[-1]._hosted_outputs()
        metrics: Any = self[-1].values()
        answers = {id(metric): answer for metric, answer in zip(metrics, self.maximize, strict=True)}
        return {name: answers[id(outputs[name][0])] for name in names}


def _maximize(metric: Inner, maximize: Any) -> bool | list[bool]:
    metrics = list(metric.values()) if isinstance(metric, MetricCollection) else [metric]
    if maximize is None:
        silent = [one._label for one in metrics if one.higher_is_better is None]
        if silent:
            raise ValueError(
                f"`maximize` must be given, for `{'`, `'.join(silent)}` has no `higher_is_better`; pass True if the"
                " highest value is the best, or False."
            )
        found = [bool(one.higher_is_better) for one in metrics]
        return found if isinstance(metric, MetricCollection) else found[0]
    if isinstance(maximize, bool):
        return maximize
    if not isinstance(maximize, Sequence) or not all(isinstance(one, bool) for one in maximize):
        raise TypeError(f"`maximize` must be True, False, or a list of them, but is {maximize!r} instead.")
    if isinstance(metric, Metric):
        raise TypeError("`maximize` must be True or False for one metric; a list is for a collection.")
    if len(maximize) != len(metrics):
        raise ValueError(f"`maximize` must have {len(metrics)} answers, one for each metric, but has {len(maximize)}.")
    return list(maximize)


def _note_loaded(tracker: MetricTracker, _: Any) -> None:
    """Take values that were loaded for good, with the states as they are now that these are loaded too."""
    for step, kept in enumerate(tracker._kept):
        if kept is not None and kept.is_loaded:
            kept.update_count = _count(tracker[step])


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: _moved(item, device) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(item, device) for item in value)
    return value.to(device) if isinstance(value, Tensor) else value


def _count(metric: Inner) -> int:
    """Give the number of updates of all metrics."""
    return sum(one.update_count for one in (metric.values() if isinstance(metric, MetricCollection) else [metric]))


def _stacked(values: list[Any]) -> Any:
    first = values[0]
    try:
        if isinstance(first, dict):
            return {name: torch.stack([value[name] for value in values]) for name in first}
        if isinstance(first, (list, tuple)):
            return torch.stack([torch.stack(list(value)) for value in values])
        return torch.stack(values)
    except (TypeError, RuntimeError, KeyError):  # of several shapes, or no tensors
        return copy.deepcopy(values)


def _best(what: str, values: Any, maximize: bool) -> tuple[float | None, int | None]:
    """Give the best number and its step; None and None where there is none, which a warning tells."""
    if not isinstance(values, Tensor) or values.ndim != 1 or values.is_complex():
        why = "its value is not one number"
    else:
        numbers = values.tolist()
        steps = [step for step, number in enumerate(numbers) if not math.isnan(number)]
        if steps:
            best = (max if maximize else min)(steps, key=lambda step: numbers[step])
            return numbers[best], best
        why = "every value is NaN"
    warnings.warn(f"`MetricTracker`: there is no best value of {what}, for {why}.", UserWarning, stacklevel=3)
    return None, None
