"""From ranked documents to a value for each query, in multiples of 2**-53: functions of a ranking, and no state."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.exact import FRACTION_BITS, fractions_of, mean_by_group, unit_ratios
from syncmetrics.retrieval.ranking import Ranking, sums_so_far, tied

__all__ = [
    "AREA",
    "AVERAGE_PRECISION",
    "CURVE",
    "FALL_OUT",
    "GAIN",
    "HIT",
    "ONE",
    "PRECISION",
    "RECALL",
    "RECIPROCAL_RANK",
    "R_PRECISION",
    "VALUES",
    "curves",
    "emptiness",
]

#: One, in multiples of 2**-53.
ONE = 1 << FRACTION_BITS

RECIPROCAL_RANK = "reciprocal rank"
AVERAGE_PRECISION = "average precision"
PRECISION = "precision"
RECALL = "recall"
HIT = "hit"
FALL_OUT = "fall-out"
R_PRECISION = "R-precision"
AREA = "area"
GAIN = "gain"
CURVE = "curve"

#: Elements of a table of queries by places that is in memory at once.
_AT_ONCE = 1 << 22


def emptiness(ranking: Ranking, kind: str) -> Tensor:
    """Say of each query whether it has no document of the kind that a value is about."""
    counts = ranking.sizes - ranking.found if kind == FALL_OUT else ranking.found
    return counts == 0


def _within(ranking: Ranking, top_k: int | None) -> Tensor:
    return torch.ones_like(ranking.place, dtype=torch.bool) if top_k is None else ranking.place <= top_k


def _reciprocal_ranks(ranking: Ranking, top_k: int | None) -> Tensor:
    """One over the place of the first relevant document."""
    is_first_hit = (ranking.is_relevant == 1) & (ranking.hits == 1) & _within(ranking, top_k)
    place = ranking.count(torch.where(is_first_hit, ranking.place, 0))
    return torch.where(place > 0, unit_ratios(torch.ones_like(place), place.clamp(min=1)), 0)


def _average_precisions(ranking: Ranking, top_k: int | None) -> Tensor:
    """The mean, over relevant documents, of the precision at the place of each."""
    counted = ((ranking.is_relevant == 1) & _within(ranking, top_k)).long()
    precisions = unit_ratios(ranking.hits, ranking.place) * counted
    return mean_by_group(precisions, ranking.query, ranking.count(counted))


def _precisions(ranking: Ranking, top_k: int | None, adaptive_k: bool) -> Tensor:
    """Relevant documents among the first ones, by how many are looked at."""
    hits = ranking.count((ranking.is_relevant == 1) & _within(ranking, top_k))
    sizes = ranking.sizes.clamp(min=1)
    if top_k is None:
        return unit_ratios(hits, sizes)
    return unit_ratios(hits, sizes.clamp(max=top_k) if adaptive_k else torch.full_like(sizes, top_k))


def _recalls(ranking: Ranking, top_k: int | None) -> Tensor:
    """Relevant documents among the first ones, by all relevant ones."""
    hits = ranking.count((ranking.is_relevant == 1) & _within(ranking, top_k))
    return unit_ratios(hits, ranking.found.clamp(min=1))


def _hit_rates(ranking: Ranking, top_k: int | None) -> Tensor:
    """One if a relevant document is among the first ones."""
    return (ranking.count((ranking.is_relevant == 1) & _within(ranking, top_k)) > 0).long() * ONE


def _fall_outs(ranking: Ranking, top_k: int | None) -> Tensor:
    """Documents that are not relevant among the first ones, by all that are not relevant."""
    misses = ranking.count((ranking.is_relevant == 0) & _within(ranking, top_k))
    return unit_ratios(misses, (ranking.sizes - ranking.found).clamp(min=1))


def _r_precisions(ranking: Ranking) -> Tensor:
    """Relevant documents among the first R, by R, the number of all relevant ones."""
    hits = ranking.count((ranking.is_relevant == 1) & (ranking.place <= ranking.found[ranking.query]))
    return unit_ratios(hits, ranking.found.clamp(min=1))


def _areas(ranking: Ranking, top_k: int | None, max_fpr: float | None) -> Tensor:
    """The area under the ROC curve of the first documents, in integers but for a last piece that is cut."""
    within = _within(ranking, top_k)
    positive = ((ranking.is_relevant == 1) & within).long()
    negative = ((ranking.is_relevant == 0) & within).long()
    first, last = tied(ranking)
    start = torch.arange(len(positive), device=positive.device) + 1 - ranking.place

    def before_and_after(kind: Tensor) -> tuple[Tensor, Tensor]:
        so_far = kind.cumsum(0)
        so_far = so_far - (so_far - kind)[start]
        return (so_far - kind)[first], so_far[last]

    tp0, tp1 = before_and_after(positive)
    fp0, fp1 = before_and_after(negative)
    is_end = (last == torch.arange(len(positive), device=positive.device)).long()
    positives, negatives = ranking.count(positive), ranking.count(negative)
    has_both = (positives > 0) & (negatives > 0)
    if max_fpr is None or max_fpr == 1:
        twice = ranking.count(is_end * (tp0 + tp1) * (fp1 - fp0))
        ratios = unit_ratios(twice, (2 * positives * negatives).clamp(min=1))
        return torch.where(has_both, ratios, 0)
    limit = max_fpr * negatives.double()
    at = limit[ranking.query]
    whole = ranking.count(is_end * (fp1 <= at) * (tp0 + tp1) * (fp1 - fp0)).double()
    width = at - fp0
    height = tp0 + (tp1 - tp0) * (width / (fp1 - fp0).clamp(min=1))
    # The curve crosses the limit once in each query, so that nothing is summed here.
    is_cut = (is_end == 1) & (fp0 < at) & (at < fp1)
    cut = torch.zeros_like(whole).index_add_(0, ranking.query, torch.where(is_cut, (tp0 + height) * width, 0.0))
    area = (whole + cut) / (2 * positives * negatives).clamp(min=1)
    smallest = max_fpr**2 / 2
    scaled = 0.5 * (1 + (area - smallest) / (max_fpr - smallest))
    return torch.where(has_both, _fractions(scaled), 0)


def _gains(ranking: Ranking, top_k: int | None) -> Tensor:
    """The discounted cumulative gain by that of the best order; among equal scores the mean of all orders."""
    wide = ranking.relevance.double()
    order = wide.sort(stable=True, descending=True).indices
    order = order[ranking.query[order].sort(stable=True).indices]
    start = torch.arange(len(wide), device=wide.device) + 1 - ranking.place
    # Of 1 for the most relevant document of a query, so that no sum is beyond a float.
    best = wide[order]
    scale = best[start].clamp(min=torch.finfo(torch.float64).tiny)
    best, given = best / scale, wide / scale
    discounts, sums = _discounts(ranking.longest, top_k, wide.device)
    first, last = tied(ranking)
    size = last - first + 1
    among = torch.arange(len(wide), device=wide.device) - first + 1
    of_tied = sums_so_far(given, among, ranking.longest)
    together = of_tied / size * (sums[ranking.place] - sums[ranking.place - size])
    gained = torch.where(among < size, 0.0, torch.where(size == 1, given * discounts[ranking.place], together))
    totals = [
        sums_so_far(values, ranking.place, ranking.longest) for values in (gained, best * discounts[ranking.place])
    ]
    ends = (ranking.sizes.cumsum(0) - 1).clamp(min=0, max=max(len(wide) - 1, 0))
    gain, ideal = (total[ends] if len(wide) else total for total in totals)
    return torch.where(ranking.found > 0, _fractions(gain / ideal), 0)


def _fractions(ratios: Tensor) -> Tensor:
    return fractions_of(ratios.nan_to_num(0.0).clamp(0, 1))


def _discounts(longest: int, top_k: int | None, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give 1 / log2(place + 1) at places from 1 on, 0 beyond `top_k`, and their sums; both begin with a 0."""
    if device.type == "cpu":
        # Not by a vector unit, whose last digit may depend on where in the vector a number stands.
        size = 1 << max(longest, 1).bit_length()
        discounts = _discount_table(size)[: longest + 1].clone()
    else:
        discounts = 1 / torch.log2(torch.arange(longest + 1, device=device, dtype=torch.float64) + 1)
        discounts[0] = 0.0
    if top_k is not None:
        discounts[top_k + 1 :] = 0.0
    return discounts, sums_so_far(discounts, torch.arange(1, longest + 2, device=device), longest + 1)


@functools.lru_cache(maxsize=4)
def _discount_table(size: int) -> Tensor:
    return torch.tensor([0.0, *(1 / math.log2(place + 1) for place in range(1, size + 1))], dtype=torch.float64)


#: By kind of question, what gives the values; the arguments are what else the question says.
VALUES: Mapping[str, Callable[..., Tensor]] = {
    RECIPROCAL_RANK: _reciprocal_ranks,
    AVERAGE_PRECISION: _average_precisions,
    PRECISION: _precisions,
    RECALL: _recalls,
    HIT: _hit_rates,
    FALL_OUT: _fall_outs,
    R_PRECISION: _r_precisions,
    AREA: _areas,
    GAIN: _gains,
}


def curves(ranking: Ranking, max_k: int, adaptive_k: bool) -> Iterator[Any]:
    """Give precisions and recalls at 1..max_k of queries, some queries at a time.

    Returns:
        Int64 multiples of 2**-53, of shape `(some, 2, max_k)`; those of a query without a relevant document are 0.
    """
    each = max(1, _AT_ONCE // max(max_k, 1))
    starts = ranking.sizes.cumsum(0) - ranking.sizes
    ks = torch.arange(1, max_k + 1, device=starts.device)
    for begin in range(0, len(starts), each):
        some = slice(begin, begin + each)
        seen = torch.minimum(ks, ranking.sizes[some].unsqueeze(1))
        hits = ranking.hits[starts[some].unsqueeze(1) + seen - 1]
        precision = unit_ratios(hits, seen.clamp(min=1) if adaptive_k else ks.expand_as(seen))
        recall = unit_ratios(hits, ranking.found[some].clamp(min=1).unsqueeze(1).expand_as(seen))
        yield torch.stack((precision, recall), dim=1)
