"""Relevant documents among the first ones of each query: precision, recall, hit rate, fall-out."""

from __future__ import annotations

from typing import Any

from syncmetrics.family.checks import check_bool
from syncmetrics.retrieval.base import Aggregation, RankedValue, check_top_k
from syncmetrics.retrieval.values import FALL_OUT, HIT, PRECISION, R_PRECISION, RECALL
from syncmetrics.shuffle import SHUFFLE_ABOVE, Question

__all__ = ["RetrievalFallOut", "RetrievalHitRate", "RetrievalPrecision", "RetrievalRPrecision", "RetrievalRecall"]


class RetrievalPrecision(RankedValue):
    """Precision: relevant documents among the first `top_k`, divided by `top_k`, averaged over queries.

    Scores may be of any sign, where torchmetrics takes a document of a score that is not positive for irrelevant.

    Among documents of one query with equal scores the relevant ones come last: the value does not depend on the order
    of the documents, and equal scores for all earn nothing.

    Args:
        empty_target_action: What a query without a relevant document counts as: "neg" for 0, "pos" for 1, "skip" for
            leaving it out, "error" for an error in `compute`.
        ignore_index: Value of `target` that marks documents to leave out.
        top_k: How many documents of each query are looked at, the best ones; None for all.
        adaptive_k: Whether a query with fewer than `top_k` documents is divided by their number, and not by `top_k`.
        aggregation: How the values of the queries become one: "mean", "median" (the lower one of two), "min", "max", or
            a function of a tensor of them, in the order of the queries' numbers, which gets `dim=None` if it takes it.
        shuffle_above: From how many documents on, of all ranks together, each rank gets a share of the queries in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: `ignore_index` or `top_k` is no int, or `adaptive_k` no bool.
        ValueError: An argument is not one of those above.

    Example:
        >>> import torch
        >>> from syncmetrics.retrieval import RetrievalPrecision
        >>> preds = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.3, 0.5, 0.2])
        >>> target = torch.tensor([False, False, True, False, True, False, True])
        >>> indexes = torch.tensor([0, 0, 0, 1, 1, 1, 1])
        >>> metric = RetrievalPrecision(top_k=2)
        >>> metric.update(preds, target, indexes)
        >>> metric.compute()
        tensor(0.5000)
    """

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        top_k: int | None = None,
        adaptive_k: bool = False,
        aggregation: Aggregation = "mean",
        *,
        shuffle_above: int | None = SHUFFLE_ABOVE,
        **kwargs: Any,
    ) -> None:
        super().__init__(empty_target_action, ignore_index, aggregation, shuffle_above=shuffle_above, **kwargs)
        check_top_k(type(self).__name__, "top_k", top_k)
        check_bool(type(self).__name__, "adaptive_k", adaptive_k)
        self.top_k = top_k
        self.adaptive_k = adaptive_k

    @property
    def question(self) -> Question:
        """Precisions."""
        return (PRECISION, self._wants_values, self.top_k, self.adaptive_k)


class RetrievalRecall(RankedValue):
    """Recall: relevant documents among the first `top_k`, divided by all relevant ones, averaged over queries.

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
        >>> from syncmetrics.retrieval import RetrievalRecall
        >>> preds = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.3, 0.5, 0.2])
        >>> target = torch.tensor([False, False, True, False, True, False, True])
        >>> indexes = torch.tensor([0, 0, 0, 1, 1, 1, 1])
        >>> metric = RetrievalRecall(top_k=2)
        >>> metric.update(preds, target, indexes)
        >>> metric.compute()
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
        """Recalls."""
        return (RECALL, self._wants_values, self.top_k)


class RetrievalHitRate(RankedValue):
    """Hit rate: the share of queries with a relevant document among the first `top_k`.

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
        >>> from syncmetrics.retrieval import RetrievalHitRate
        >>> preds = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.3, 0.5, 0.2])
        >>> target = torch.tensor([False, False, True, False, True, False, True])
        >>> indexes = torch.tensor([0, 0, 0, 1, 1, 1, 1])
        >>> metric = RetrievalHitRate(top_k=1)
        >>> metric.update(preds, target, indexes)
        >>> metric.compute()
        tensor(0.5000)
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
        """Whether there are hits."""
        return (HIT, self._wants_values, self.top_k)


class RetrievalFallOut(RankedValue):
    """Fall-out: irrelevant documents among the first `top_k`, divided by all irrelevant ones, averaged over queries.

    Among documents of one query with equal scores the relevant ones come last: the value does not depend on the order
    of the documents, and equal scores for all earn nothing.

    Args:
        empty_target_action: What a query without a document that is not relevant counts as: "neg" for 0, "pos" for 1,
            "skip" for leaving it out, "error" for an error in `compute`.
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
        >>> from syncmetrics.retrieval import RetrievalFallOut
        >>> preds = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.3, 0.5, 0.2])
        >>> target = torch.tensor([False, False, True, False, True, False, True])
        >>> indexes = torch.tensor([0, 0, 0, 1, 1, 1, 1])
        >>> metric = RetrievalFallOut(top_k=2)
        >>> metric.update(preds, target, indexes)
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = False

    def __init__(
        self,
        empty_target_action: str = "pos",
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
        """Fall-outs."""
        return (FALL_OUT, self._wants_values, self.top_k)

    @property
    def _needed(self) -> str:
        return "an irrelevant"


class RetrievalRPrecision(RankedValue):
    """R-precision: relevant documents among the first R of a query that has R relevant ones, averaged over queries.

    Among documents of one query with equal scores the relevant ones come last: the value does not depend on the order
    of the documents, and equal scores for all earn nothing.

    Args:
        empty_target_action: What a query without a relevant document counts as: "neg" for 0, "pos" for 1, "skip" for
            leaving it out, "error" for an error in `compute`.
        ignore_index: Value of `target` that marks documents to leave out.
        aggregation: How the values of the queries become one: "mean", "median" (the lower one of two), "min", "max", or
            a function of a tensor of them, in the order of the queries' numbers, which gets `dim=None` if it takes it.
        shuffle_above: From how many documents on, of all ranks together, each rank gets a share of the queries in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: `ignore_index` is no int.
        ValueError: An argument is not one of those above.

    Example:
        >>> import torch
        >>> from syncmetrics.retrieval import RetrievalRPrecision
        >>> preds = torch.tensor([0.2, 0.3, 0.5, 0.1, 0.3, 0.5, 0.2])
        >>> target = torch.tensor([False, False, True, False, True, False, True])
        >>> indexes = torch.tensor([0, 0, 0, 1, 1, 1, 1])
        >>> metric = RetrievalRPrecision()
        >>> metric.update(preds, target, indexes)
        >>> metric.compute()
        tensor(0.7500)
    """

    def __init__(
        self,
        empty_target_action: str = "neg",
        ignore_index: int | None = None,
        aggregation: Aggregation = "mean",
        *,
        shuffle_above: int | None = SHUFFLE_ABOVE,
        **kwargs: Any,
    ) -> None:
        super().__init__(empty_target_action, ignore_index, aggregation, shuffle_above=shuffle_above, **kwargs)

    @property
    def question(self) -> Question:
        """R-precisions."""
        return (R_PRECISION, self._wants_values)
