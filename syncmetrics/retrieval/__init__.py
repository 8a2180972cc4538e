"""Metrics of ranked lists, one for each query; a query may be spread over batches and ranks."""

from syncmetrics.retrieval.auroc import RetrievalAUROC
from syncmetrics.retrieval.curve import RetrievalPrecisionRecallCurve, RetrievalRecallAtFixedPrecision
from syncmetrics.retrieval.first_documents import (
    RetrievalFallOut,
    RetrievalHitRate,
    RetrievalPrecision,
    RetrievalRecall,
    RetrievalRPrecision,
)
from syncmetrics.retrieval.ndcg import RetrievalNormalizedDCG
from syncmetrics.retrieval.ranked import RetrievalMAP, RetrievalMRR

__all__ = [
    "RetrievalAUROC",
    "RetrievalFallOut",
    "RetrievalHitRate",
    "RetrievalMAP",
    "RetrievalMRR",
    "RetrievalNormalizedDCG",
    "RetrievalPrecision",
    "RetrievalPrecisionRecallCurve",
    "RetrievalRPrecision",
    "RetrievalRecall",
    "RetrievalRecallAtFixedPrecision",
]
