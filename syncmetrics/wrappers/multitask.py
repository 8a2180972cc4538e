"""Metrics of several tasks at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from torch import nn

from syncmetrics.metric import Metric, MetricCollection
from syncmetrics.metric.names import check_affix
from syncmetrics.wrappers._inner import as_inner, policy_of, take_over, value_of

__all__ = ["MultitaskWrapper"]

_Self = TypeVar("_Self", bound="MultitaskWrapper")


class MultitaskWrapper(Metric):
    """Give the values of the metrics of several tasks, which are updated with dicts and synced in one exchange.

    Args:
        task_metrics: A metric, of ours or of a library that has an adapter, or a `MetricCollection`, for each task.
        prefix: In front of the name of each task in the result.
        postfix: Behind it.

    Raises:
        TypeError: `task_metrics` is no dict, or something in it is no metric.
        ValueError: There are no tasks, or the metrics are synced in different ways.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryAccuracy, MulticlassAccuracy, MultitaskWrapper
        >>> metric = MultitaskWrapper({"found": BinaryAccuracy(), "kind": MulticlassAccuracy(num_classes=3)})
        >>> preds = {"found": torch.tensor([0, 1]), "kind": torch.tensor([2, 1])}
        >>> target = {"found": torch.tensor([0, 0]), "kind": torch.tensor([2, 1])}
        >>> metric.update(preds, target)
        >>> metric.compute()
        {'found': tensor(0.5000), 'kind': tensor(1.)}
    """

    def __init__(self, task_metrics: Mapping[str, Any], prefix: str | None = None, postfix: str | None = None) -> None:
        given: Any = task_metrics
        if not isinstance(given, (Mapping, nn.ModuleDict)):
            raise TypeError(
                f"`task_metrics` must be a dict of metrics by task, but is a {type(given).__name__} instead."
            )
        inner = {task: as_inner(f"task_metrics[{task!r}]", metric) for task, metric in task_metrics.items()}
        if not inner:
            raise ValueError("`task_metrics` must name at least one task, but is empty.")
        super().__init__(**policy_of(inner.values()))
        self.task_metrics = nn.ModuleDict(inner)
        self._prefix, self._postfix = check_affix("prefix", prefix) or "", check_affix("postfix", postfix) or ""
        take_over(self, inner.values())

    def update(self, task_preds: Mapping[str, Any], task_targets: Mapping[str, Any]) -> None:
        """Update the metrics of every task with its predictions and targets.

        Args:
            task_preds: The predictions of each task.
            task_targets: The targets of each task.

        Raises:
            ValueError: They are not of the tasks that have metrics.
        """
        tasks = self.task_metrics
        both: dict[str, Any] = {"task_preds": task_preds, "task_targets": task_targets}
        for name, given in both.items():
            if not isinstance(given, Mapping) or given.keys() != tasks.keys():
                found = sorted(map(str, given)) if isinstance(given, Mapping) else f"a {type(given).__name__}"
                raise ValueError(
                    f"MultitaskWrapper: `{name}` must have an entry for each of the tasks {sorted(tasks)}, but is"
                    f" {found} instead."
                )
        for task, metric in tasks.items():
            metric.update(task_preds[task], task_targets[task])  # type: ignore[operator]  # torch types it as a Module

    def compute(self) -> dict[str, Any]:
        """Give the value of each task: of a collection, a dict. Collective, as every `compute`."""
        return {self._named(task): value_of(metric) for task, metric in self.task_metrics.items()}  # type: ignore[arg-type]  # likewise

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the tasks in the result."""
        return tuple(self.keys(flatten=False))

    def items(self, flatten: bool = True) -> Iterable[tuple[str, Any]]:
        """Names and metrics.

        Args:
            flatten: Whether the metrics in a collection are given each by itself, under `task_name`.
        """
        return list(self._items(flatten))

    def keys(self, flatten: bool = True) -> Iterable[str]:
        """Names, as of `items`."""
        return [name for name, _ in self._items(flatten)]

    def values(self, flatten: bool = True) -> Iterable[Any]:
        """Metrics, as of `items`."""
        return [metric for _, metric in self._items(flatten)]

    def clone(self: _Self, prefix: str | None = None, postfix: str | None = None) -> _Self:
        """Give an independent copy, with another prefix or postfix if one is given."""
        twin = super().clone()
        if prefix is not None:
            twin._prefix = check_affix("prefix", prefix) or ""
        if postfix is not None:
            twin._postfix = check_affix("postfix", postfix) or ""
        return twin

    def _items(self, flatten: bool) -> Iterator[tuple[str, Any]]:
        for task, metric in self.task_metrics.items():
            if flatten and isinstance(metric, MetricCollection):
                for name, one in metric.items():
                    yield self._named(f"{task}_{name}"), one
            else:
                yield self._named(task), metric

    def _named(self, task: str) -> str:
        return f"{self._prefix}{task}{self._postfix}"
