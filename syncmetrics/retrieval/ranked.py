"""Metrics of ranked lists, one for each query: the same to the bit however the documents lie on the ranks."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import check_choice, check_labels, check_same_shape, check_tensor
from syncmetrics.family.exact import FRACTION_BITS, join_parts, mean_by_group, sum_of_products, unit_ratios
from syncmetrics.shuffle import SHUFFLE_ABOVE, Peers, Question, Rows, ShuffledMetric, encode_floats, share_by_key
from syncmetrics.states.spec import States

__all__ = ["RetrievalMAP", "RetrievalMRR"]

MRR: Question = ("mean reciprocal rank",)
MAP: Question = ("mean average precision",)
_ACTIONS = ("neg", "pos", "skip")


class _Retrieval(ShuffledMetric):
    """Base class: documents with a score, whether they are relevant, and the number of the query they were found for.

    All documents of a query come to one rank; queries are shared among the ranks by their numbers. Among documents of
    one query with equal scores the relevant ones come last: the value does not depend on the order of the documents,
    and equal scores for all earn nothing.

    Args:
        empty_target_action: What a query without a relevant document counts as: "neg" for 0, "pos" for 1, "skip" for
            leaving it out.
        shuffle_above: From how many documents on, of all ranks together, each rank gets a share of the queries in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: `empty_target_action` is unknown.
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    preds: list[Tensor]
    target: list[Tensor]
    indexes: list[Tensor]

    def __init__(
        self, empty_target_action: str = "neg", *, shuffle_above: int | None = SHUFFLE_ABOVE, **kwargs: Any
    ) -> None:
        super().__init__(shuffle_above=shuffle_above, **kwargs)
        check_choice(type(self).__name__, "empty_target_action", empty_target_action, _ACTIONS)
        self.empty_target_action = empty_target_action
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")
        self.add_state("indexes", [], dist_reduce_fx="cat")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for all metrics of the same documents."""
        return ("retrieval", self.shuffle_above)

    @property
    @abstractmethod
    def question(self) -> Question:
        """Which value of a query is averaged."""

    def update(self, preds: Tensor, target: Tensor, indexes: Tensor) -> None:
        """Keep documents; copies are kept, so the caller may reuse the tensors.

        Args:
            preds: Float scores (N, ...); N may be 0.
            target: Whether each is relevant, integers or bools, 0 or 1, of the same shape.
            indexes: The number of the query of each, integers of the same shape. A query may go on in other batches
                and on other ranks.

        Raises:
            TypeError: An input is no tensor or has the wrong dtype.
            ValueError: The shapes differ, a score is NaN, or a label is neither 0 nor 1.
        """
        name = type(self).__name__
        check_same_shape(name, preds, target)
        check_tensor(name, "indexes", indexes)
        if not preds.is_floating_point() or target.is_floating_point() or indexes.is_floating_point():
            raise TypeError(
                f"{name}: `preds` must hold floats, `target` and `indexes` integers, but they are {preds.dtype},"
                f" {target.dtype} and {indexes.dtype} instead. Convert them."
            )
        if indexes.shape != preds.shape:
            raise ValueError(
                f"{name}: `indexes` must have the shape of `preds`, {tuple(preds.shape)}, but has"
                f" {tuple(indexes.shape)} instead. Give the number of its query for every document."
            )
        check_labels(name, "target", target.long(), 2)
        if bool(torch.isnan(preds).any()):
            raise ValueError(f"{name}: `preds` must not be NaN, as NaN has no rank. Leave these documents out.")
        self.preds.append(preds.detach().flatten().clone(memory_format=torch.contiguous_format))
        self.target.append(target.flatten().to(torch.uint8, copy=True))
        self.indexes.append(indexes.flatten().to(torch.int64, copy=True))

    def compute(self) -> Tensor:
        """Return the average over queries, 0-d in `torch.get_default_dtype()`; 0, with a warning, if there is none."""
        check_choice(type(self).__name__, "empty_target_action", self.empty_target_action, _ACTIONS)
        high, low, filled, empty = self.answer()
        total = join_parts(high, low) + ((empty << FRACTION_BITS) if self.empty_target_action == "pos" else 0)
        count = filled if self.empty_target_action == "skip" else filled + empty
        if count == 0:
            warnings.warn(f"{type(self).__name__}: no query was given, so the value is returned as 0.", stacklevel=2)
        value = total / (max(count, 1) << FRACTION_BITS)
        return torch.tensor(value, dtype=torch.get_default_dtype(), device=self.device)

    def solve(self, peers: Peers, states: States, questions: Sequence[Question]) -> Mapping[Question, Any]:
        """Value the queries of this rank's share, in multiples of 2**-53, and sum them over ranks."""
        dtypes = peers.told.dtypes
        queries = Rows(states["indexes"], torch.int64, self.device)
        scores = Rows(states["preds"], dtypes["preds"], self.device, encode_floats)
        labels = Rows(states["target"], torch.uint8, self.device)
        share = share_by_key(peers, queries, [scores, labels])
        hits, positions, query, count = _ranked_hits(share.keys, *share.columns)
        filled = torch.bincount(query, minlength=count)
        parts = []
        for question in questions:
            if question == MRR:
                values = _reciprocal_ranks(positions, filled)
            else:
                values = mean_by_group(unit_ratios(hits, positions), query, filled)
            parts.append(sum_of_products(torch.ones_like(values), values))
        has_hit = int((filled > 0).sum())
        told = peers.tell([[list(part) for part in parts], has_hit, count - has_hit], last=True)
        return {
            question: (
                sum(values[index][0] for values, _, _ in told),
                sum(values[index][1] for values, _, _ in told),
                sum(filled for _, filled, _ in told),
                sum(empty for _, _, empty in told),
            )
            for index, question in enumerate(questions)
        }


class RetrievalMRR(_Retrieval):
    """Mean reciprocal rank: 1 over the place of the first relevant document, averaged over queries.

    All documents of a query come to one rank; queries are shared among the ranks by their numbers. Among documents of
    one query with equal scores the relevant ones come last: the value does not depend on the order of the documents,
    and equal scores for all earn nothing.

    Args:
        empty_target_action: What a query without a relevant document counts as: "neg" for 0, "pos" for 1, "skip" for
            leaving it out.
        shuffle_above: From how many documents on, of all ranks together, each rank gets a share of the queries in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: `empty_target_action` is unknown.
    """

    @property
    def question(self) -> Question:
        """Reciprocal ranks."""
        return MRR


class RetrievalMAP(_Retrieval):
    """Mean average precision: precision at the place of each relevant document, averaged over them and over queries.

    All documents of a query come to one rank; queries are shared among the ranks by their numbers. Among documents of
    one query with equal scores the relevant ones come last: the value does not depend on the order of the documents,
    and equal scores for all earn nothing.

    Args:
        empty_target_action: What a query without a relevant document counts as: "neg" for 0, "pos" for 1, "skip" for
            leaving it out.
        shuffle_above: From how many documents on, of all ranks together, each rank gets a share of the queries in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        ValueError: `empty_target_action` is unknown.
    """

    @property
    def question(self) -> Question:
        """Average precisions."""
        return MAP


def _ranked_hits(queries: Tensor, scores: Tensor, is_relevant: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Rank the documents of each query, and give the relevant ones, query by query, the best first.

    Args:
        queries: Number of the query, int64 of shape (N,).
        scores: Integer keys of shape (N,).
        is_relevant: Uint8 of shape (N,).

    Returns:
        How many relevant ones there are up to each, its place from 1 on, the place of its query among the queries, and
        the number of queries.
    """
    order = is_relevant.sort(stable=True).indices
    order = order[scores[order].sort(stable=True, descending=True).indices]
    queries, last = queries[order].sort(stable=True)
    order = order[last]
    _, counts = torch.unique_consecutive(queries, return_counts=True)
    ends = counts.cumsum(0)
    query = torch.arange(counts.shape[0], device=queries.device).repeat_interleave(counts)
    places = is_relevant[order].nonzero().squeeze(1)
    positions = places + 1 - (ends - counts)[query[places]]
    hit_query = query[places]
    first = torch.searchsorted(hit_query, hit_query)
    hits = torch.arange(1, places.shape[0] + 1, device=queries.device) - first
    return hits, positions, hit_query, counts.shape[0]


def _reciprocal_ranks(positions: Tensor, filled: Tensor) -> Tensor:
    """Give 1 over the first of the places of each query, in multiples of 2**-53; 0 without any."""
    firsts = filled.cumsum(0) - filled
    ratios = unit_ratios(torch.ones_like(positions), positions)
    values = torch.zeros_like(filled, device=ratios.device)
    has_hit = (filled > 0).to(ratios.device)
    values[has_hit] = ratios[firsts.to(ratios.device)[has_hit]]
    return values
