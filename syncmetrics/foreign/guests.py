"""Foreign metrics wherever metrics are taken: `synced`, collections, wrappers, loggers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from syncmetrics import registry
from syncmetrics.foreign.adapter import Adapter, ForeignNode, adapter_of, foreign_nodes
from syncmetrics.foreign.metric import AdaptedMetric
from syncmetrics.sync import Host, Node, Route, Syncable

__all__ = ["Guest", "guest_of"]


@dataclass(frozen=True, slots=True)
class Guest(Host):
    """A metric of another library, in the part of one of ours.

    Attributes:
        metric: The metric.
        adapter: How it takes part.
    """

    metric: Any
    adapter: Adapter

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """The keys of what it computes; None for one value, or where they are not known."""
        return self.adapter.output_names(self.metric)

    @property
    def update_count(self) -> int:
        """The number of updates in what it shows: of the metric inside that has the most."""
        counts = [0]
        for node, _ in foreign_nodes("", self.metric, self.adapter):
            if isinstance(node, ForeignNode):
                counts.append(node.adapter.update_count(node.metric))
            elif isinstance(node, Node):
                counts.append(node.update_count)
        return max(counts)

    def as_metric(self) -> AdaptedMetric:
        """Give a metric of ours that holds it."""
        return AdaptedMetric(self.metric, self.adapter)

    def _hosted(self, path: str) -> list[tuple[Syncable, Route]]:
        return foreign_nodes(path, self.metric, self.adapter)

    def _hosted_value(self) -> Any:
        return self.adapter.compute(self.metric)


def guest_of(thing: Any) -> Guest | None:
    """Give a metric of another library in the part of one of ours; None for what has no adapter."""
    adapter = adapter_of(thing)
    return None if adapter is None else Guest(thing, adapter)


registry.enter_recogniser(guest_of)
