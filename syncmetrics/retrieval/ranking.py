"""Documents in ranked lists, one list for each query, and what lies before and beside each document in its list.

Nothing here reads data but the numbers that bound a shape or a loop, and those can be given: so it also serves where
nobody may wait for the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Ranking", "rank_documents", "sums_so_far", "tied"]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents query by query, the best first; among equal scores the least relevant first.

    Attributes:
        query: Which slot the query of each document has, int64 of shape `(N,)`, ascending.
        place: Place of each document in its list, from 1 on.
        scores: The integer keys of the scores.
        relevance: How relevant each is, as it was given.
        is_relevant: Whether it is relevant at all, int64, 0 or 1.
        hits: How many relevant ones there are up to each.
        sizes: How many documents each query has, int64 of shape `(slots,)`; 0 for a slot without a query.
        found: How many relevant ones each query has.
        longest: No list is longer than that.
    """

    query: Tensor
    place: Tensor
    scores: Tensor
    relevance: Tensor
    is_relevant: Tensor
    hits: Tensor
    sizes: Tensor
    found: Tensor
    longest: int

    def count(self, of: Tensor) -> Tensor:
        """Sum integers or bools, one for each document, by query."""
        return torch.zeros_like(self.sizes).index_add_(0, self.query, of.long())


def rank_documents(
    queries: Tensor, scores: Tensor, relevance: Tensor, *, left_out: Tensor | None = None, waits: bool = True
) -> Ranking:
    """Rank the documents of each query.

    Args:
        queries: Number of the query, int64 of shape `(N,)`.
        scores: Integer keys of shape `(N,)`.
        relevance: Numbers of at least 0, of shape `(N,)`.
        left_out: Bool of shape `(N,)`: those that do not count. They have slots of their own, of size 0.
        waits: Whether shapes may follow from the data. If not, there are as many slots as documents.
    """
    order = relevance.sort(stable=True).indices
    order = order[scores[order].sort(stable=True, descending=True).indices]
    order = order[queries[order].sort(stable=True).indices]
    if left_out is not None:
        order = order[left_out[order].sort(stable=True).indices]
    queries, scores, relevance = queries[order], scores[order], relevance[order]
    is_first = _differs(queries)
    if left_out is not None:
        left_out = left_out[order]
        is_first = is_first | _differs(left_out)
    query = is_first.long().cumsum(0) - 1
    count = queries.shape[0]
    slots = (int(query[-1]) + 1 if count else 0) if waits else count
    places = torch.arange(count, device=queries.device)
    start = _latest(is_first, places)
    is_relevant = (relevance > 0).long()
    so_far = is_relevant.cumsum(0)
    hits = so_far - (so_far - is_relevant)[start]
    sizes = torch.zeros(slots, dtype=torch.int64, device=queries.device)
    kept = torch.ones_like(query) if left_out is None else (~left_out).long()
    sizes, found = sizes.index_add(0, query, kept), sizes.index_add(0, query, is_relevant * kept)
    place = places + 1 - start
    longest = (int(place.max()) if count else 0) if waits else count
    return Ranking(query, place, scores, relevance, is_relevant, hits, sizes, found, longest)


def tied(ranking: Ranking) -> tuple[Tensor, Tensor]:
    """Give for each document where the first one and the last one of its query with the same score stand."""
    count = ranking.query.shape[0]
    places = torch.arange(count, device=ranking.query.device)
    is_first = _differs(ranking.scores) | (ranking.place == 1)
    first = _latest(is_first, places)
    is_last = torch.cat((is_first[1:], is_first.new_ones(min(count, 1))))
    last = torch.where(is_last, places, count).flip(0).cummin(0).values.flip(0) if count else places
    return first, last


def sums_so_far(values: Tensor, place: Tensor, longest: int) -> Tensor:
    """Sum floats within lists, up to each: by a scheme that depends on nothing but the list (Hillis and Steele 1986).

    Args:
        values: Of shape `(N,)`.
        place: Place of each in its list, from 1 on.
        longest: No list is longer than that.
    """
    step = 1
    while step < longest:
        values = values + torch.where(place > step, torch.cat((torch.zeros_like(values[:step]), values[:-step])), 0.0)
        step *= 2
    return values


def _differs(values: Tensor) -> Tensor:
    """Say of each whether it is other than the one before; of the first, that it is."""
    return torch.cat((values.new_ones(min(1, values.shape[0]), dtype=torch.bool), values[1:] != values[:-1]))


def _latest(is_marked: Tensor, places: Tensor) -> Tensor:
    """Give for each the last marked place up to there; the first is marked."""
    return torch.where(is_marked, places, 0).cummax(0).values if places.shape[0] else places
