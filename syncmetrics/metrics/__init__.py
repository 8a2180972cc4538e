"""The native metrics, one family a module."""

from syncmetrics.metrics.aggregation import CatMetric, MaxMetric, MeanMetric, MinMetric, SumMetric
from syncmetrics.metrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)
from syncmetrics.metrics.regression import MeanAbsoluteError, MeanSquaredError

__all__ = [
    "BinaryAUROC",
    "BinaryAccuracy",
    "CatMetric",
    "MaxMetric",
    "MeanAbsoluteError",
    "MeanMetric",
    "MeanSquaredError",
    "MinMetric",
    "MulticlassAccuracy",
    "MulticlassConfusionMatrix",
    "MulticlassF1Score",
    "MulticlassPrecision",
    "MulticlassRecall",
    "SumMetric",
]
