"""Metrics that a logger knows: ours, collections, and those of other libraries, asked the same questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from syncmetrics import registry
from syncmetrics.logger.records import flatten
from syncmetrics.metric import Metric, MetricCollection
from syncmetrics.sync import Host
from syncmetrics.transport import is_absent

__all__ = ["Entry", "is_metric"]


def is_metric(value: Any) -> bool:
    """Say whether a value is a metric or a collection, of ours or of a library that has an adapter."""
    return isinstance(value, Host) or registry.recognise(value) is not None


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
    def host(self) -> Any:
        """The metric, or what takes its part if it is none of ours."""
        return self.metric if isinstance(self.metric, Host) else registry.recognise(self.metric)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its values, as far as they are known before it computes."""
        inner = self.host.output_names
        if inner is None:
            return () if self.name is None or not isinstance(self.metric, Metric) else (self.name,)
        return tuple(inner) if self.name is None else tuple(f"{self.name}/{name}" for name in inner)

    def to_sync(self) -> Any:
        """Give what takes part in the exchange: not the metrics that are to compute on this process alone."""
        if isinstance(self.metric, MetricCollection):
            alone = [metric for metric in self.metric.values() if not metric.sync_on_compute]
            if alone:
                return {key: metric for key, metric in self.metric.items() if metric.sync_on_compute}
        if isinstance(self.metric, Metric) and not self.metric.sync_on_compute:
            return {}
        return self.metric

    def is_absent(self) -> bool:
        """Say whether this rank takes no part in its sync, so that its values are None."""
        metrics = self.metric.values() if isinstance(self.metric, MetricCollection) else [self.host]
        return any(is_absent(getattr(metric, "process_group", None)) for metric in metrics)

    def was_updated(self) -> bool:
        """Say whether what it shows has seen an update."""
        metrics = self.metric.values() if isinstance(self.metric, MetricCollection) else [self.host]
        return any(metric.update_count or _counts_inside(metric) for metric in metrics)

    def compute(self) -> dict[str, Any]:
        """Give its values by name, of the states that it shows."""
        return flatten(self.name, self.host._hosted_value())

    def last_step(self) -> dict[str, Any]:
        """Give the values of the last batch, of this process.

        Raises:
            ValueError: A metric was not called with a batch, so that there is no value of one.
        """
        if isinstance(self.metric, MetricCollection):
            inner = {name: _forward_value(name, metric) for name, metric in self.metric.items(keep_base=True)}
            values = flatten(self.name, self.metric.named(inner))
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


def _counts_inside(metric: Any) -> bool:
    """Whether a metric inside this one has seen an update."""
    return isinstance(metric, Metric) and any(m.update_count for m in metric.modules() if isinstance(m, Metric))
