"""Area under the ROC curve of each query."""

from __future__ import annotations

from typing import Any

from syncmetrics.retrieval.base import Aggregation, RankedValue, check_top_k
from syncmetrics.retrieval.values import AREA
from syncmetrics.shuffle import SHUFFLE_ABOVE, Question

__all__ = ["RetrievalAUROC"]


class RetrievalAUROC(RankedValue):
    """Probability that a relevant document scores higher than an irrelevant one of its query, averaged over queries.

    Equal scores count half. It is the area under the receiver operating characteristic curve; twice that times the
    numbers of both kinds is an integer (Mann and Whitney 1947), summed as one. A query that has only one kind among the
    documents that are looked at counts 0; which of equal scores are looked at with `top_k` is decided for the
    irrelevant ones.

    Args:
        empty_target_action: What a query without a relevant document counts as: "neg" for 0, "pos" for 1, "skip" for
            leaving it out, "error" for an error in `compute`.
        ignore_index: Value of `target` that marks documents to leave out.
        top_k: How many documents of each query are looked at, the best ones; None for all.
        max_fpr: If given, the partial area over false positive rates in [0, max_fpr], standardized to 0.5 for chance
            and 1 for perfect (McClish 1989, "Analyzing a portion of the ROC curve").
        aggregation: How the values of the queries become one: "mean", "median" (the lower one of two), "min", "max", or
            a function of a tensor of them, in the order of the queries' numbers, which gets `dim=None` if it takes it.
        shuffle_above: From how many documents on, of all ranks together, each rank gets a share of the queries in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is not one of those above.

    Example:
        >>> import torch
        >>> from syncmetrics.retrieval import RetrievalAUROC
        >>> preds = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.3, 0.5, 0.2])
        >>> target = torch.tensor([False, False, True, False, True, False, True])
        >>> indexes = torch.tensor([0, 0, 0, 1, 1, 1, 1])
        >>> metric = RetrievalAUROC()
        >>> metric.update(preds, target, indexes)
        >>> metric.compute()  # (1 + 1 / 2) / 2
        tensor(0.7500)
    """

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        top_k: int | None = None,
        max_fpr: float | None = None,
        aggregation: Aggregation = "mean",
        *,
        shuffle_above: int | None = SHUFFLE_ABOVE,
        **kwargs: Any,
    ) -> None:
        super().__init__(empty_target_action, ignore_index, aggregation, shuffle_above=shuffle_above, **kwargs)
        check_top_k(type(self).__name__, "top_k", top_k)
        self.top_k = top_k
        name = type(self).__name__
        if max_fpr is not None and (isinstance(max_fpr, bool) or not isinstance(max_fpr, (int, float))):
            raise TypeError(f"{name}: `max_fpr` must be a float or None, but is {max_fpr!r} instead. Pass e.g. 0.1.")
        if max_fpr is not None and not 0 < max_fpr <= 1:
            raise ValueError(f"{name}: `max_fpr` must be in (0, 1], but is {max_fpr!r} instead. Pass e.g. 0.1.")
        self.max_fpr = max_fpr

    @property
    def question(self) -> Question:
        """Areas."""
        return (AREA, self._wants_values, self.top_k, self.max_fpr)
