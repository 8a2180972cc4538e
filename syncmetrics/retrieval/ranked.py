"""Mean reciprocal rank and mean average precision."""

from __future__ import annotations

from typing import Any

from syncmetrics.retrieval.base import Aggregation, RankedValue, check_top_k
from syncmetrics.retrieval.values import AVERAGE_PRECISION, RECIPROCAL_RANK
from syncmetrics.shuffle import SHUFFLE_ABOVE, Question

__all__ = ["RetrievalMAP", "RetrievalMRR"]


class RetrievalMRR(RankedValue):
    """Mean reciprocal rank: 1 over the place of the first relevant document, averaged over queries.

    A query whose first relevant document is beyond `top_k` counts 0. Scores may be of any sign, where torchmetrics
    takes a document of a score that is not positive for irrelevant.

    Among documents of one query with equal scores the relevant ones come last: the value does not depend on the order
    of the documents, and equal scores for all earn nothing.

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
        >>> from syncmetrics.retrieval import RetrievalMRR
        >>> preds = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.3, 0.5, 0.2])
        >>> target = torch.tensor([False, False, True, False, True, False, True])
        >>> indexes = torch.tensor([0, 0, 0, 1, 1, 1, 1])
        >>> metric = RetrievalMRR()
        >>> metric.update(preds, target, indexes)
        >>> metric.compute()  # (1 / 1 + 1 / 2) / 2
        tensor(0.7500)
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
        super().__init__(empty_target_action, ignore_index, aggregation, shuffle_above=shuffle_above, **kwargs)
        check_top_k(type(self).__name__, "top_k", top_k)
        self.top_k = top_k

    @property
    def question(self) -> Question:
        """Reciprocal ranks."""
        return (RECIPROCAL_RANK, self._wants_values, self.top_k)


class RetrievalMAP(RankedValue):
    """Mean average precision: precision at the place of each relevant document, averaged over them and over queries.

    With `top_k` the average is over the relevant documents that are among the first; a query without any counts 0.
    Scores may be of any sign, where torchmetrics takes a document of a score that is not positive for irrelevant.

    Among documents of one query with equal scores the relevant ones come last: the value does not depend on the order
    of the documents, and equal scores for all earn nothing.

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
        >>> from syncmetrics.retrieval import RetrievalMAP
        >>> preds = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.3, 0.5, 0.2])
        >>> target = torch.tensor([False, False, True, False, True, False, True])
        >>> indexes = torch.tensor([0, 0, 0, 1, 1, 1, 1])
        >>> metric = RetrievalMAP()
        >>> metric.update(preds, target, indexes)
        >>> metric.compute()  # (1 / 1 + (1 / 2 + 2 / 3) / 2) / 2
        tensor(0.7917)
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
        super().__init__(empty_target_action, ignore_index, aggregation, shuffle_above=shuffle_above, **kwargs)
        check_top_k(type(self).__name__, "top_k", top_k)
        self.top_k = top_k

    @property
    def question(self) -> Question:
        """Average precisions."""
        return (AVERAGE_PRECISION, self._wants_values, self.top_k)
