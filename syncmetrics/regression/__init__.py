"""Metrics of predicted numbers: errors, explained variance, correlations, and divergences."""

from syncmetrics.regression.correlation import ConcordanceCorrCoef, PearsonCorrCoef
from syncmetrics.regression.cosine_similarity import CosineSimilarity
from syncmetrics.regression.errors import (
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogError,
    MinkowskiDistance,
    SymmetricMeanAbsolutePercentageError,
    WeightedMeanAbsolutePercentageError,
)
from syncmetrics.regression.kendall import KendallRankCorrCoef
from syncmetrics.regression.kl_divergence import KLDivergence
from syncmetrics.regression.r2 import ExplainedVariance, R2Score, RelativeSquaredError
from syncmetrics.regression.spearman import SpearmanCorrCoef
from syncmetrics.regression.tweedie_deviance import TweedieDevianceScore

__all__ = [
    "ConcordanceCorrCoef",
    "CosineSimilarity",
    "ExplainedVariance",
    "KLDivergence",
    "KendallRankCorrCoef",
    "LogCoshError",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogError",
    "MinkowskiDistance",
    "PearsonCorrCoef",
    "R2Score",
    "RelativeSquaredError",
    "SpearmanCorrCoef",
    "SymmetricMeanAbsolutePercentageError",
    "TweedieDevianceScore",
    "WeightedMeanAbsolutePercentageError",
]
