"""What a shuffle decides. Pure: it follows from what all ranks told, so it is the same on every rank."""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, TypeAlias

import torch
from torch import Tensor

from syncmetrics.errors import SchemaMismatchError
from syncmetrics.states.reductions import promote

__all__ = ["Choice", "Question", "Summary", "brings_rows", "choose_bounds", "decide", "dtypes_of", "sample_places"]

#: What a metric asks of rows: a name and numbers, as plain data.
Question: TypeAlias = tuple[Any, ...]

#: So many samples of all rows together for each rank: a share is then off by some 2 percent (its standard deviation).
SAMPLES = 2048


class Choice(enum.Enum):
    """What becomes of the rows."""

    SHOW = "show"  #: they have all arrived
    GATHER = "gather"  #: they are few, but some are still to come
    SHUFFLE = "shuffle"  #: they are many: each rank gets a share


@dataclass(frozen=True, slots=True)
class Summary:
    """What one rank tells of its rows in the exchange that opens a sync.

    Attributes:
        above: From how many rows on, of all ranks together, they are shuffled.
        rows: How many rows this rank has.
        brought: Whether it sent them along.
        device: Type of the device that they lie on.
        dtypes: Name of the dtype of each state; empty for a rank without rows.
        questions: What the metrics that hold the rows want to know.
    """

    above: int
    rows: int
    brought: bool
    device: str
    dtypes: Mapping[str, str]
    questions: tuple[Question, ...]

    def as_plain(self) -> dict[str, Any]:
        """Give plain data, to be sent."""
        return asdict(self)

    @staticmethod
    def of_plain(plain: Mapping[str, Any]) -> Summary:
        """Make a summary of the plain data that arrived."""
        return Summary(**{**plain, "questions": tuple(tuple(q) for q in plain["questions"])})


def brings_rows(rows: int, above: int, world_size: int) -> bool:
    """Say whether a rank sends its rows along: as long as all ranks that do so stay at or under the threshold."""
    return rows * world_size <= above


def decide(label: str, summaries: Sequence[Summary], world_size: int) -> Choice:
    """Decide what becomes of the rows.

    Args:
        label: Of the metric, for the message of an error.
        summaries: Of every rank that brings something, in rank order.
        world_size: Number of ranks.

    Raises:
        SchemaMismatchError: The ranks have different thresholds.
    """
    thresholds = {s.above for s in summaries}
    if len(thresholds) > 1:
        told = ", ".join(f"{s.above} on rank {rank}" for rank, s in enumerate(summaries))
        raise SchemaMismatchError(f"`shuffle_above` of `{label}` must be equal on all ranks, but is {told} instead.")
    if all(s.brought for s in summaries):
        return Choice.SHOW
    many = sum(s.rows for s in summaries) > summaries[0].above
    return Choice.SHUFFLE if many and len(summaries) == world_size else Choice.GATHER


def dtypes_of(summaries: Sequence[Summary]) -> dict[str, torch.dtype]:
    """Give for each state the dtype that the rows of all ranks are promoted to, as a gather does."""
    filled = [s.dtypes for s in summaries if s.rows]
    return {name: promote([getattr(torch, dtypes[name]) for dtypes in filled]) for name in filled[0]}


def sample_places(rows: int, total: int, world_size: int) -> Tensor:
    """Choose the rows of this rank that are samples: one somewhere in each of equal stretches.

    Args:
        rows: How many rows this rank has.
        total: How many all ranks have: a sample stands for as many rows on every rank.
        world_size: Number of ranks.

    Returns:
        Places in ascending order, int64.
    """
    count = min(rows, -(-SAMPLES * world_size * rows // max(total, 1)))
    if count == rows:
        return torch.arange(rows)
    random = torch.randint(rows, (count,), generator=torch.Generator().manual_seed(count))
    return (torch.arange(count) * rows + random) // count


def choose_bounds(samples: Tensor, parts: int) -> list[int]:
    """Cut the keys into ranges such that the largest share is as small as it can be.

    Equal keys are in one range. A key that more than its share of the rows has gets a range for itself.

    Args:
        samples: Sampled keys in ascending order.
        parts: How many ranges there are at most.

    Returns:
        The least key of each range but the first.
    """
    keys, counts = torch.unique_consecutive(samples, return_counts=True)
    ends = [0, *accumulate(counts.tolist())]
    low, high = max([-(-len(samples) // parts), *counts.tolist()]), len(samples)
    while low < high:
        middle = (low + high) // 2
        if len(_fill(ends, middle)) <= parts:
            high = middle
        else:
            low = middle + 1
    return [int(keys[index]) for index in _fill(ends, low)[1:]]


def _fill(ends: Sequence[int], limit: int) -> list[int]:
    """Fill one range after another up to the limit, and give where each begins."""
    starts = [0] if len(ends) > 1 else []
    while starts:
        stop = bisect_right(ends, ends[starts[-1]] + limit) - 1
        if stop == len(ends) - 1:
            break
        starts.append(stop)
    return starts
