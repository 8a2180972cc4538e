"""Metrics of a stream of values: sum, mean, minimum, maximum, all of them, and quantiles."""

from syncmetrics.aggregation.aggregation import CatMetric, MaxMetric, MeanMetric, MinMetric, SumMetric
from syncmetrics.aggregation.quantile import Quantile

__all__ = ["CatMetric", "MaxMetric", "MeanMetric", "MinMetric", "Quantile", "SumMetric"]
