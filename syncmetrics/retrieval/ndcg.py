"""Normalized discounted cumulative gain of each query."""

from __future__ import annotations

from typing import Any

from syncmetrics.retrieval.base import Aggregation, RankedValue, check_top_k
from syncmetrics.retrieval.values import GAIN
from syncmetrics.shuffle import SHUFFLE_ABOVE, Question

__all__ = ["RetrievalNormalizedDCG"]


class RetrievalNormalizedDCG(RankedValue):
    """Normalized discounted cumulative gain: how relevant the first documents are, by how relevant they could be.

    The gain of a query is the sum of `relevance / log2(place + 1)` over its first `top_k` documents; it is divided by
    that of the best order (Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques"), and
    averaged over queries. Equal scores get the mean of the gains of all their orders, as `sklearn.metrics.ndcg_score`
    gives it.

    Where a collection keeps documents once for this and for metrics of documents that are relevant or not, relevances
    other than 0 and 1 may raise only in the `compute` of those.

    Args:
        empty_target_action: What a query without a relevant document counts as: "neg" for 0, "pos" for 1, "skip" for
            leaving it out, "error" for an error in `compute`.
        ignore_index: Value of `target` that marks documents to leave out.
        top_k: How many documents of each query are looked at, the best ones; None for all.
        aggregation: How the values of the queries become one: "mean", "median" (the lower one of two), "min", "max", or
            a function of a tensor of them, in the order of the queries' numbers, which gets `dim=None` if it takes it.
        shuffle_above: From how many documents on, of all ranks together, each rank gets a share of the queries in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: `ignore_index` or `top_k` is no int.
        ValueError: An argument is not one of those above.

    Example:
        >>> import torch
        >>> from syncmetrics.retrieval import RetrievalNormalizedDCG
        >>> preds = torch.tensor([0.1, 0.2, 0.3, 4.0, 70.0])
        >>> target = torch.tensor([10, 0, 0, 1, 5])
        >>> metric = RetrievalNormalizedDCG()
        >>> metric.update(preds, target, torch.zeros(5, dtype=torch.int64))
        >>> metric.compute()
        tensor(0.6957)
    """

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        top_k: int | None = None,
        aggregation: Aggregation = "mean",
        *,
        shuffle_above: int | None = SHUFFLE_ABOVE,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            empty_target_action, ignore_index, aggregation, graded=True, shuffle_above=shuffle_above, **kwargs
        )
        check_top_k(type(self).__name__, "top_k", top_k)
        self.top_k = top_k

    @property
    def question(self) -> Question:
        """Normalized gains."""
        return (GAIN, self._wants_values, self.top_k)
