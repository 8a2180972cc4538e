"""Metrics of ranked lists, one for each query; a query may be spread over batches and ranks."""

from syncmetrics.retrieval.ranked import RetrievalMAP, RetrievalMRR

__all__ = ["RetrievalMAP", "RetrievalMRR"]
