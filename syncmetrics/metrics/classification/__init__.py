"""Classification metrics for two and for many classes."""

from syncmetrics.metrics.classification.auroc import BinaryAUROC
from syncmetrics.metrics.classification.average_precision import BinaryAveragePrecision
from syncmetrics.metrics.classification.binary_accuracy import BinaryAccuracy
from syncmetrics.metrics.classification.confusion_matrix import MulticlassConfusionMatrix
from syncmetrics.metrics.classification.multiclass import (
    MulticlassAccuracy,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

__all__ = [
    "BinaryAUROC",
    "BinaryAccuracy",
    "BinaryAveragePrecision",
    "MulticlassAccuracy",
    "MulticlassConfusionMatrix",
    "MulticlassF1Score",
    "MulticlassPrecision",
    "MulticlassRecall",
]
