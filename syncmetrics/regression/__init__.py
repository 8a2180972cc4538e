"""Metrics of predicted numbers: errors, and rank correlation."""

from syncmetrics.regression.errors import MeanAbsoluteError, MeanSquaredError
from syncmetrics.regression.spearman import SpearmanCorrCoef

__all__ = ["MeanAbsoluteError", "MeanSquaredError", "SpearmanCorrCoef"]
