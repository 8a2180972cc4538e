"""Rows of the table: metrics of ranked lists, against the formulas written down for one query after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn import metrics as sk
from torch import Tensor

from tests.natives.native import Native, Samples

__all__ = ["ROWS", "of_queries"]


def _documents(n: int, generator: torch.Generator) -> Samples:
    # No scores are equal, in any dtype; and none is 0, which torchmetrics takes for a document that was not found.
    preds = (torch.randperm(max(n, 128), generator=generator)[:n] + 1) / 128
    target = (torch.rand(n, generator=generator) > 0.6).long()
    return preds, target, torch.randint(0, 6, (n,), generator=generator)


def _tied(n: int, generator: torch.Generator) -> Samples:
    preds, target, indexes = _documents(n, generator)
    return (preds * 4).ceil() / 4 - 0.5, target, indexes


def _graded(n: int, generator: torch.Generator) -> Samples:
    preds, _, indexes = _documents(n, generator)
    return preds, torch.randint(0, 5, (n,), generator=generator) * 3, indexes


def _graded_floats(n: int, generator: torch.Generator) -> Samples:
    preds, _, indexes = _tied(n, generator)
    return preds, torch.randint(0, 9, (n,), generator=generator) / 4, indexes


def _some_left_out(n: int, generator: torch.Generator) -> Samples:
    preds, target, indexes = _documents(n, generator)
    return preds, torch.where(torch.rand(n, generator=generator) > 0.8, -1, target), indexes


def _queries(preds: Tensor, target: Tensor, indexes: Tensor) -> list[tuple[list[float], list[float]]]:
    """Give scores and relevances of each query, the best document first; among equal scores the least relevant."""
    found = []
    for query in indexes.unique().tolist():
        pairs = zip(preds[indexes == query].tolist(), target[indexes == query].tolist(), strict=True)
        kept = sorted((-score, relevance) for score, relevance in pairs if relevance >= 0)
        if kept:
            found.append(([-score for score, _ in kept], [relevance for _, relevance in kept]))
    return found


def of_queries(
    value: Callable[[list[float], list[float]], float],
    *,
    empty: str = "neg",
    aggregate: Callable[[Sequence[float]], float] = np.mean,
    of: int = 1,
) -> Callable[..., float]:
    """Give the truth of a metric: the aggregate of a value over queries.

    Args:
        value: Of scores and relevances, the best first.
        empty: What becomes of a query without a document of the kind `of`.
        aggregate: Of the values.
        of: 1 for relevant documents, 0 for the others.
    """

    def truth(preds: Tensor, target: Tensor, indexes: Tensor) -> float:
        values = []
        for scores, relevances in _queries(preds, target, indexes):
            if any((relevance > 0) == of for relevance in relevances):
                values.append(value(scores, relevances))
            elif empty != "skip":
                values.append(1.0 if empty == "pos" else 0.0)
        return float(aggregate(values))

    return truth


def reciprocal_rank(_: list[float], hits: list[float]) -> float:
    return 1 / (hits.index(1) + 1)


def average_precision(_: list[float], hits: list[float], k: int | None = None) -> float:
    places = [place for place, hit in enumerate(hits[:k], start=1) if hit]
    return float(np.mean([(count + 1) / place for count, place in enumerate(places)])) if places else 0.0


def area(scores: list[float], hits: list[float], k: int | None = None, max_fpr: float | None = None) -> float:
    return float(sk.roc_auc_score(hits[:k], scores[:k], max_fpr=max_fpr)) if len(set(hits[:k])) == 2 else 0.0


def gain(scores: list[float], relevances: list[float], k: int | None = None) -> float:
    return float(sk.ndcg_score([relevances], [scores], k=k)) if len(scores) > 1 else 1.0


def curve(
    size: int | None = None, *, is_adaptive: bool = False, aggregate: Callable[..., Any] = np.mean
) -> Callable[..., Any]:
    def truth(preds: Tensor, target: Tensor, indexes: Tensor) -> Any:
        queries = [hits for _, hits in _queries(preds, target, indexes)]
        length = size or max(map(len, queries))
        found = [
            [
                [sum(hits[:k]) / (min(k, len(hits)) if is_adaptive else k) for k in range(1, length + 1)],
                [sum(hits[:k]) / max(sum(hits), 1) for k in range(1, length + 1)],
            ]
            for hits in queries
        ]
        return [*aggregate(np.array(found), axis=0), range(1, length + 1)]

    return truth


def recall_at(least: float) -> Callable[..., Any]:
    def truth(*samples: Tensor) -> Any:
        precision, recall, ks = curve()(*samples)
        value, k = max(((r, k) for p, r, k in zip(precision, recall, ks, strict=True) if p >= least), default=(0, 0))
        return value, k if value else len(ks)

    return truth


def _lower_median(values: Sequence[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]


class _Spread:
    """An aggregation that is told along which dimension, as torchmetrics does."""

    def __repr__(self) -> str:
        return "spread"

    def __call__(self, values: Tensor, dim: int | None) -> Tensor:
        return values.std(dim=dim, correction=0)


class _First:
    """One that takes nothing but values; it is the value of the query with the lowest number."""

    def __repr__(self) -> str:
        return "first"

    def __call__(self, values: Tensor) -> Tensor:
        return values[0]


ROWS: list[Native] = [
    Native("RetrievalMRR", _documents, truth=of_queries(reciprocal_rank)),
    Native(
        "RetrievalMRR",
        _tied,
        {"empty_target_action": "pos"},
        truth=of_queries(reciprocal_rank, empty="pos"),
        peer=False,
    ),
    Native(
        "RetrievalMRR",
        _documents,
        {"empty_target_action": "skip", "top_k": 2, "aggregation": "median"},
        truth=of_queries(
            lambda s, h: reciprocal_rank(s, h) if 1 in h[:2] else 0.0, empty="skip", aggregate=_lower_median
        ),
    ),
    Native("RetrievalMRR", _documents, {"shuffle_above": 0}, truth=of_queries(reciprocal_rank), peer=False),
    Native(
        "RetrievalMRR",
        _documents,
        {"shuffle_above": 0, "aggregation": _Spread()},
        truth=of_queries(reciprocal_rank, aggregate=lambda values: float(np.std(values))),
        peer=False,
    ),
    Native("RetrievalMAP", _documents, truth=of_queries(average_precision)),
    Native("RetrievalMAP", _documents, {"top_k": 3}, truth=of_queries(lambda s, h: average_precision(s, h, 3))),
    Native("RetrievalMAP", _some_left_out, {"ignore_index": -1}, truth=of_queries(average_precision)),
    Native("RetrievalMAP", _documents, {"aggregation": "max"}, truth=of_queries(average_precision, aggregate=max)),
    Native("RetrievalMAP", _documents, {"aggregation": _Spread()}),
    Native("RetrievalMAP", _documents, {"aggregation": _First()}, peer=False),
    Native("RetrievalPrecision", _documents, truth=of_queries(lambda _, h: sum(h) / len(h))),
    Native("RetrievalPrecision", _documents, {"top_k": 4}, truth=of_queries(lambda _, h: sum(h[:4]) / 4)),
    Native(
        "RetrievalPrecision",
        _documents,
        {"top_k": 4, "adaptive_k": True, "aggregation": "min"},
        truth=of_queries(lambda _, h: sum(h[:4]) / min(4, len(h)), aggregate=min),
    ),
    Native("RetrievalPrecision", _tied, {"top_k": 2}, truth=of_queries(lambda _, h: sum(h[:2]) / 2), peer=False),
    Native("RetrievalRecall", _documents, {"top_k": 2}, truth=of_queries(lambda _, h: sum(h[:2]) / sum(h))),
    Native("RetrievalRecall", _documents, {"empty_target_action": "pos", "aggregation": "min", "top_k": 1}),
    Native("RetrievalRecall", _documents),
    Native("RetrievalHitRate", _documents, {"top_k": 1}, truth=of_queries(lambda _, h: h[0])),
    Native("RetrievalHitRate", _documents, {"top_k": 2, "empty_target_action": "skip", "aggregation": "mean"}),
    Native(
        "RetrievalFallOut",
        _documents,
        {"top_k": 2},
        truth=of_queries(lambda _, h: h[:2].count(0) / h.count(0), empty="pos", of=0),
    ),
    Native("RetrievalFallOut", _documents, {"top_k": 1, "empty_target_action": "skip", "aggregation": "median"}),
    Native("RetrievalRPrecision", _documents, truth=of_queries(lambda _, h: sum(h[: int(sum(h))]) / sum(h))),
    Native("RetrievalRPrecision", _some_left_out, {"ignore_index": -1, "empty_target_action": "skip"}),
    Native("RetrievalAUROC", _documents, truth=of_queries(area)),
    Native("RetrievalAUROC", _tied, {"empty_target_action": "skip"}, truth=of_queries(area, empty="skip")),
    Native("RetrievalAUROC", _documents, {"top_k": 4}, truth=of_queries(lambda s, h: area(s, h, 4))),
    Native("RetrievalAUROC", _documents, {"max_fpr": 0.4}, truth=of_queries(lambda s, h: area(s, h, max_fpr=0.4))),
    Native(
        "RetrievalAUROC",
        _tied,
        {"max_fpr": 0.3, "shuffle_above": 0},
        truth=of_queries(lambda s, h: area(s, h, max_fpr=0.3)),
        peer=False,
    ),
    Native("RetrievalNormalizedDCG", _graded, truth=of_queries(gain)),
    Native("RetrievalNormalizedDCG", _graded_floats, {"top_k": 3}, truth=of_queries(lambda s, r: gain(s, r, 3))),
    Native("RetrievalNormalizedDCG", _documents, {"empty_target_action": "skip", "aggregation": "median"}),
    Native("RetrievalNormalizedDCG", _graded_floats, {"shuffle_above": 0}, truth=of_queries(gain), peer=False),
    Native("RetrievalPrecisionRecallCurve", _documents, truth=curve()),
    Native(
        "RetrievalPrecisionRecallCurve",
        _documents,
        {"max_k": 7, "adaptive_k": True, "aggregation": "max"},
        truth=curve(7, is_adaptive=True, aggregate=np.max),
    ),
    Native("RetrievalPrecisionRecallCurve", _tied, {"shuffle_above": 0}, truth=curve(), peer=False),
    Native("RetrievalPrecisionRecallCurve", _documents, {"max_k": 3, "aggregation": "median"}),
    Native("RetrievalPrecisionRecallCurve", _documents, {"aggregation": _Spread(), "empty_target_action": "pos"}),
    Native("RetrievalPrecisionRecallCurve", _documents, {"aggregation": _First(), "shuffle_above": 0}, peer=False),
    Native("RetrievalRecallAtFixedPrecision", _documents, {"min_precision": 0.4}, truth=recall_at(0.4)),
    Native("RetrievalRecallAtFixedPrecision", _documents, {"min_precision": 0.9}, truth=recall_at(0.9)),
    Native(
        "RetrievalRecallAtFixedPrecision",
        _some_left_out,
        {"min_precision": 0.3, "max_k": 5, "ignore_index": -1, "empty_target_action": "skip"},
    ),
]
