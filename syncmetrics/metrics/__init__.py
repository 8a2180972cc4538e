"""The native metrics, one family a module."""

from syncmetrics.metrics.aggregation import CatMetric, MaxMetric, MeanMetric, MinMetric, SumMetric
from syncmetrics.metrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)
from syncmetrics.metrics.quantile import Quantile
from syncmetrics.metrics.regression import MeanAbsoluteError, MeanSquaredError
from syncmetrics.metrics.retrieval import RetrievalMAP, RetrievalMRR
from syncmetrics.metrics.spearman import SpearmanCorrCoef

__all__ = [
    "BinaryAUROC",
    "BinaryAccuracy",
    "BinaryAveragePrecision",
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
    "Quantile",
    "RetrievalMAP",
    "RetrievalMRR",
    "SpearmanCorrCoef",
    "SumMetric",
]
