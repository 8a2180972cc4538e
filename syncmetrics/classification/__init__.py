"""Classification metrics for two and for many classes."""

from syncmetrics.classification.auroc import BinaryAUROC
from syncmetrics.classification.average_precision import BinaryAveragePrecision
from syncmetrics.classification.binary_accuracy import BinaryAccuracy
from syncmetrics.classification.confusion_matrix import MulticlassConfusionMatrix
from syncmetrics.classification.multiclass import (
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
