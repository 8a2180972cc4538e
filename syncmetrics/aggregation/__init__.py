"""Metrics of a stream of values: sum, mean, minimum, maximum, all of them, and quantiles."""

from syncmetrics.aggregation.aggregation import CatMetric, MaxMetric, MeanMetric, MinMetric, SumMetric
from syncmetrics.aggregation.quantile import Median, Quantile
from syncmetrics.aggregation.running import RunningMean, RunningSum

__all__ = [
    "CatMetric",
    "MaxMetric",
    "MeanMetric",
    "Median",
    "MinMetric",
    "Quantile",
    "RunningMean",
    "RunningSum",
    "SumMetric",
]
