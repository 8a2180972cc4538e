"""Precision and recall of each query at all numbers of first documents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import check_bool, rounded
from syncmetrics.retrieval.base import Aggregation, RankedLists, check_top_k
from syncmetrics.retrieval.values import CURVE, curves
from syncmetrics.shuffle import SHUFFLE_ABOVE, Question

__all__ = ["RetrievalPrecisionRecallCurve", "RetrievalRecallAtFixedPrecision"]


class _Curve(RankedLists):
    """Base class: the curve, aggregated over queries at each number of first documents."""

    def __init__(
        self,
        max_k: int | None,
        adaptive_k: bool,
        empty_target_action: str,
        ignore_index: int | None,
        aggregation: Aggregation,
        **kwargs: Any,
    ) -> None:
        super().__init__(empty_target_action, ignore_index, aggregation, **kwargs)
        name = type(self).__name__
        check_top_k(name, "max_k", max_k)
        check_bool(name, "adaptive_k", adaptive_k)
        self.max_k = max_k
        self.adaptive_k = adaptive_k

    @property
    def question(self) -> Question:
        """The curves."""
        return (CURVE, self._wants_values, self.max_k, self.adaptive_k)

    def _curve(self) -> tuple[Tensor, Tensor, Tensor]:
        if self._waits_for_nothing and self.max_k is not None:
            return self._curve_of_batch(self.max_k)
        filled, empty, table = self._answered()
        if self._wants_values:
            both = self._of_values(table)
        else:
            numbers = [
                [self._of_extremes(parts, filled, empty) for parts in column]
                for column in table.movedim(0, -1).tolist()  # sums in two parts, minima and maxima
            ]
            both = torch.tensor(numbers, dtype=torch.float64).view(2, table.shape[-1])
        precision, recall = rounded(both).to(self.device)
        return precision, recall, torch.arange(1, table.shape[-1] + 1, device=self.device)

    def _curve_of_batch(self, max_k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Give the curve of a step on an accelerator, of a size that does not depend on the documents."""
        ranking = self._ranked_batch()
        nothing = torch.zeros(0, 2, max_k, dtype=torch.int64, device=ranking.sizes.device)
        values = torch.cat([nothing, *curves(ranking, max_k, self.adaptive_k)])
        precision, recall = rounded(self._of_slots(values, ranking)).to(self.device)
        return precision, recall, torch.arange(1, max_k + 1, device=self.device)


class RetrievalPrecisionRecallCurve(_Curve):
    """Precision and recall among the first 1, 2, ... documents, each averaged over queries.

    Among documents of one query with equal scores the relevant ones come last: the value does not depend on the order
    of the documents. A query that has fewer documents keeps its hits beyond its end.

    Args:
        max_k: How many documents are looked at at most; None for as many as the largest query has.
        adaptive_k: Whether a query with fewer documents than are looked at is divided by their number.
        empty_target_action: What a query without a relevant document counts as: "neg" for zeros, "pos" for ones, "skip"
            for leaving it out, "error" for an error in `compute`.
        ignore_index: Value of `target` that marks documents to leave out.
        aggregation: How the values of the queries become one: "mean", "median" (the lower one of two), "min", "max", or
            a function of a tensor of them (queries, 2, max_k) and `dim=0`; if it takes no `dim`, of each column.
        shuffle_above: From how many documents on, of all ranks together, each rank gets a share of the queries in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is not one of those above.

    Example:
        >>> import torch
        >>> from syncmetrics.retrieval import RetrievalPrecisionRecallCurve
        >>> preds = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.3, 0.5, 0.2])
        >>> target = torch.tensor([False, False, True, False, True, False, True])
        >>> metric = RetrievalPrecisionRecallCurve(max_k=3)
        >>> metric.update(preds, target, torch.tensor([0, 0, 0, 1, 1, 1, 1]))
        >>> precision, recall, top_k = metric.compute()
        >>> precision
        tensor([0.5000, 0.5000, 0.5000])
        >>> recall
        tensor([0.5000, 0.7500, 1.0000])
        >>> top_k
        tensor([1, 2, 3])
    """

    plot_kind = "precision_recall_at_k"

    def __init__(
        self,
        max_k: int | None = None,
        adaptive_k: bool = False,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        aggregation: Aggregation = "mean",
        *,
        shuffle_above: int | None = SHUFFLE_ABOVE,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            max_k, adaptive_k, empty_target_action, ignore_index, aggregation, shuffle_above=shuffle_above, **kwargs
        )

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return precisions and recalls in `torch.get_default_dtype()` and the numbers of documents, each (max_k,).

        Without queries all are 0, with a warning.

        Raises:
            ValueError: A score was NaN, a relevance was neither 0 nor 1, or a query is empty and that is an error.
        """
        return self._curve()


class RetrievalRecallAtFixedPrecision(_Curve):
    """The highest recall at which precision is at least so much, and how many first documents that takes.

    Both are read off the curve of `RetrievalPrecisionRecallCurve`, where precisions are compared in float32. Of equal
    recalls the one of the most documents is given.

    Args:
        min_precision: How much precision there is to be.
        max_k: How many documents are looked at at most; None for as many as the largest query has.
        adaptive_k: Whether a query with fewer documents than are looked at is divided by their number.
        empty_target_action: What a query without a relevant document counts as: "neg" for zeros, "pos" for ones, "skip"
            for leaving it out, "error" for an error in `compute`.
        ignore_index: Value of `target` that marks documents to leave out.
        aggregation: How the curves of the queries become one, as for `RetrievalPrecisionRecallCurve`.
        shuffle_above: From how many documents on, of all ranks together, each rank gets a share of the queries in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is not one of those above, or `min_precision` is not in [0, 1].

    Example:
        >>> import torch
        >>> from syncmetrics.retrieval import RetrievalRecallAtFixedPrecision
        >>> preds = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.3, 0.5, 0.2])
        >>> target = torch.tensor([False, False, True, False, True, False, True])
        >>> metric = RetrievalRecallAtFixedPrecision(min_precision=0.5)
        >>> metric.update(preds, target, torch.tensor([0, 0, 0, 1, 1, 1, 1]))
        >>> metric.compute()
        (tensor(1.), tensor(3))
    """

    def __init__(
        self,
        min_precision: float = 0.0,
        max_k: int | None = None,
        adaptive_k: bool = False,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        aggregation: Aggregation = "mean",
        *,
        shuffle_above: int | None = SHUFFLE_ABOVE,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            max_k, adaptive_k, empty_target_action, ignore_index, aggregation, shuffle_above=shuffle_above, **kwargs
        )
        name = type(self).__name__
        if isinstance(min_precision, bool) or not isinstance(min_precision, (int, float)):
            raise TypeError(
                f"{name}: `min_precision` must be a float, but is {min_precision!r} instead. Pass e.g. 0.5."
            )
        if not 0 <= min_precision <= 1:
            raise ValueError(
                f"{name}: `min_precision` must be in [0, 1], but is {min_precision!r} instead. Pass e.g. 0.5."
            )
        self.min_precision = min_precision

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the recall, 0-d in `torch.get_default_dtype()`, and the number of documents, 0-d and int64.

        Where no number of documents has enough precision, or none has any recall, they are 0 and the largest number.

        Raises:
            ValueError: A score was NaN, a relevance was neither 0 nor 1, or a query is empty and that is an error.
        """
        precision, recall, top_k = self._curve()
        largest = torch.full((), len(top_k), device=recall.device)
        if not len(top_k):
            return recall.new_zeros(()), largest
        qualifies = precision.float() >= self.min_precision
        among = torch.where(qualifies, recall, -1.0)
        value = among.max()
        k = torch.where(among == value, top_k, 0).max()
        return value.clamp(min=0), torch.where(value > 0, k, largest)
