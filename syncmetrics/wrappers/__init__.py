"""Metrics around a metric: they have no sync of their own, and no states but those of what they remember."""

from syncmetrics.wrappers.classwise import ClasswiseWrapper
from syncmetrics.wrappers.composition import CompositionalMetric

__all__ = ["ClasswiseWrapper", "CompositionalMetric"]
