"""Metrics that a logger knows: ours, collections, and those of other libraries, asked the same questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from syncmetrics.foreign.adapter import adapter_of
from syncmetrics.metric.collection import MetricCollection
from syncmetrics.logger.records import flatten
from syncmetrics.metric.metric import Metric
from syncmetrics.metric.naming import flatten as flatten_members

__all__ = ["Entry", "is_metric"]


def is_metric(value: Any) -> bool:
    """Say whether a value is a metric or a collection, of ours or of a library that has an adapter."""
    return isinstance(value, Metric | MetricCollection) or adapter_of(value) is not None


@dataclass(slots=True)
class Entry:
    """A metric or a collection that a logger knows.

    Attributes:
        metric: The metric.
        name: In front of the names of its values; None for one that was given without a name.
        epoch: The last epoch in which it was logged.
    """

    metric: Any
    name: str | None
    epoch: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its values, as far as they are known before it computes."""
        inner = getattr(self.metric, "output_names", None)
        if not isinstance(self.metric, Metric | MetricCollection):
            adapter = adapter_of(self.metric)
            inner = None if adapter is None else adapter.output_names(self.metric)
        if inner is None:
            return () if self.name is None or not isinstance(self.metric, Metric) else (self.name,)
        return tuple(inner) if self.name is None else tuple(f"{self.name}/{name}" for name in inner)

    def to_sync(self) -> Any:
        """Give what takes part in the exchange: not the metrics that are to compute on this process alone."""
        if isinstance(self.metric, MetricCollection):
            return {key: metric for key, metric in self.metric.items() if metric.sync_on_compute}
        if isinstance(self.metric, Metric) and not self.metric.sync_on_compute:
            return {}
        return self.metric

    def was_updated(self) -> bool:
        """Say whether what it shows has seen an update."""
        if isinstance(self.metric, Metric):
            return any(node.store.update_count for node in self.metric._nodes())
        if isinstance(self.metric, MetricCollection):
            return any(node.store.update_count for metric in self.metric.values() for node in metric._nodes())
        return any(_update_count(member) for member in _members(self.metric))

    def compute(self) -> dict[str, Any]:
        """Give its values by name, of the states that it shows."""
        if isinstance(self.metric, Metric | MetricCollection):
            return flatten(self.name, self.metric.compute())
        adapter = adapter_of(self.metric)
        assert adapter is not None
        return flatten(self.name, adapter.compute(self.metric))

    def last_step(self) -> dict[str, Any]:
        """Give the values of the last batch, of this process.

        Raises:
            ValueError: A metric was not called with a batch, so that there is no value of one.
        """
        if isinstance(self.metric, MetricCollection):
            members = self.metric._members
            inner = {name: _forward_value(name, self.metric[name]) for name in members}
            affixes = self.metric.prefix or "", self.metric.postfix or ""
            values = flatten(self.name, flatten_members(members, inner, *affixes))
        elif not hasattr(self.metric, "_forward_cache") and hasattr(self.metric, "items"):  # a foreign collection
            values = flatten(self.name, {name: _forward_value(name, inner) for name, inner in self.metric.items()})
        else:
            values = flatten(self.name, _forward_value(self.name or type(self.metric).__name__, self.metric))
        return {name: v.detach().clone() if isinstance(v, Tensor) else v for name, v in values.items()}


def _forward_value(name: str, metric: Any) -> Any:
    value = getattr(metric, "_forward_cache", None)
    if value is None:
        raise ValueError(
            f"`{name}` has no value of a step to log with on_step=True; call the metric, `metric(preds, target)`, in"
            " place of `metric.update(preds, target)`, or log a value of your own."
        )
    return value


def _members(metric: Any) -> list[Any]:
    adapter = adapter_of(metric)
    assert adapter is not None
    return [member for _, member in adapter.members(metric)]


def _update_count(member: Any) -> int:
    if isinstance(member, Metric):
        return member.update_count
    adapter = adapter_of(member)
    return 0 if adapter is None else adapter.update_count(member)
