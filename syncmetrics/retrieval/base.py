"""The base class of metrics of ranked lists: documents are kept, and what is asked of them is answered together."""

from __future__ import annotations

import inspect
import warnings
from abc import abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from syncmetrics.family.checks import (
    accumulate_dtype,
    check_choice,
    check_int,
    check_labels,
    check_same_shape,
    check_tensor,
    rounded,
)
from syncmetrics.family.exact import FRACTION_BITS, join_parts, sum_of_products
from syncmetrics.family.offenders import reads_data
from syncmetrics.retrieval.ranking import Ranking, rank_documents
from syncmetrics.retrieval.values import CURVE, ONE, VALUES, curves, emptiness
from syncmetrics.shuffle import SHUFFLE_ABOVE, Peers, Question, Rows, ShuffledMetric, encode_floats, share_by_key
from syncmetrics.shuffle.rows import parts_of
from syncmetrics.states.spec import States
from syncmetrics.states.store import Mode

__all__ = ["Aggregation", "RankedLists", "RankedValue", "check_top_k"]

Aggregation: TypeAlias = Literal["mean", "median", "min", "max"] | Callable[..., Any]
_ACTIONS = ("neg", "pos", "skip", "error")
_AGGREGATIONS = ("mean", "median", "min", "max")

#: What stands in place of the relevance of a document that does not count, or that is an error which nobody waited for.
_LEFT_OUT, _WRONG, _NAN_SCORE = -1, -2, -3
#: The largest relevance that one byte is enough for.
_ONE_BYTE = 127


class RankedLists(ShuffledMetric):
    """Base class: documents with a score, how relevant they are, and the number of the query they were found for.

    All documents of a query come to one rank; queries are shared among the ranks by their numbers. All metrics of the
    family hold the same states, so that a collection keeps documents once, and one shuffle answers all questions.

    Args:
        empty_target_action: What becomes of a query without a relevant document.
        ignore_index: Relevance of documents to leave out.
        aggregation: How the values of the queries become one.
        graded: Whether documents are more or less relevant; else they are relevant or not.
        shuffle_above: As for `ShuffledMetric`.
        **kwargs: Arguments of `Metric`.
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    higher_is_better: bool | None = True
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    preds: list[Tensor]
    target: list[Tensor]
    indexes: list[Tensor]

    def __init__(
        self,
        empty_target_action: str,
        ignore_index: int | None,
        aggregation: Aggregation,
        *,
        graded: bool = False,
        shuffle_above: int | None = SHUFFLE_ABOVE,
        **kwargs: Any,
    ) -> None:
        super().__init__(shuffle_above=shuffle_above, **kwargs)
        name = type(self).__name__
        check_choice(name, "empty_target_action", empty_target_action, _ACTIONS)
        if ignore_index is not None:
            check_int(name, "ignore_index", ignore_index)
        _check_aggregation(name, aggregation)
        self.empty_target_action = empty_target_action
        self.ignore_index = ignore_index
        self.aggregation = aggregation
        self._graded = graded
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")
        self.add_state("indexes", [], dist_reduce_fx="cat")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for all metrics of the same documents.

        It does not say whether they are graded, which changes no state: only whether an error is one of `update` or
        one of `compute`.
        """
        return ("retrieval", self.ignore_index, self.shuffle_above)

    @property
    @abstractmethod
    def question(self) -> Question:
        """What is asked: its kind, whether the values of all queries are wanted or what sums them up, and settings."""

    def update(self, preds: Tensor, target: Tensor, indexes: Tensor) -> None:
        """Keep documents; copies are kept, so the caller may reuse the tensors.

        Args:
            preds: Float scores (N, ...); N may be 0.
            target: Whether each is relevant, 0 or 1 in any dtype, of the same shape. For `RetrievalNormalizedDCG` how
                relevant, any finite number of at least 0.
            indexes: The number of the query of each, integers of the same shape. A query may go on in other batches
                and on other ranks.

        Raises:
            TypeError: An input is no tensor or has the wrong dtype.
            ValueError: The shapes differ, a score is NaN, or a relevance is none (on a device other than a CPU,
                `compute` raises the latter two).
        """
        name = type(self).__name__
        _check_documents(name, preds, target, indexes)
        preds, target, indexes = preds.detach().flatten(), target.detach().flatten(), indexes.flatten()
        if reads_data(preds) and reads_data(target):
            if self.ignore_index is not None:
                kept = target != self.ignore_index
                preds, target, indexes = preds[kept], target[kept], indexes[kept]
            if bool(torch.isnan(preds).any()):
                raise ValueError(f"{name}: `preds` must not be NaN, as NaN has no rank. Leave these documents out.")
            relevance = _checked_relevance(name, target, self._graded)
        else:
            relevance = _coded_relevance(preds, target, self.ignore_index, self._graded)
        self.preds.append(preds.clone(memory_format=torch.contiguous_format))
        self.target.append(relevance)
        self.indexes.append(indexes.to(torch.int64, copy=True))

    def solve(self, peers: Peers, states: States, questions: Sequence[Question]) -> Mapping[Question, Any]:
        """Value the queries of this rank's share, in multiples of 2**-53, and sum them up over ranks.

        Returns:
            For each question what is wrong with the documents, or None; then how many queries have a value, and how
            many are empty; and then the sum of the values in two parts, the smallest and the largest of them, or all
            values in the order of the queries' numbers, -1 for an empty one.
        """
        relevance = torch.cat([part.reshape(-1) for part in parts_of(states["target"])] or [torch.zeros(0)])
        found = [
            int((relevance == _WRONG).sum()),
            int((relevance == _NAN_SCORE).sum()),
            int((relevance > 0).sum() - (relevance == 1).sum()),
        ]
        wrong = [sum(column) for column in zip(*peers.tell(found), strict=True)]
        if bool((relevance < 0).any()):
            kept = (relevance >= 0).nonzero().squeeze(1)
            states = {
                name: [torch.cat([part.reshape(-1) for part in parts_of(state)])[kept]]
                for name, state in states.items()
            }
        dtypes = peers.told.dtypes
        queries = Rows(states["indexes"], torch.int64, self.device)
        scores = Rows(states["preds"], dtypes["preds"], self.device, encode_floats)
        share = share_by_key(peers, queries, [scores, Rows(states["target"], dtypes["target"], self.device)])
        rows = [share.keys, *share.columns]
        ranking = rank_documents(*(row.cpu() if row.device.type == "mps" else row for row in rows))
        del share, rows
        return _answers(peers, ranking, questions, wrong)

    def _answered(self) -> list[Any]:
        """Give the answer to the question, inside `compute`.

        Raises:
            ValueError: There is something wrong with the documents, or empty queries are an error and there are some.
        """
        name = type(self).__name__
        check_choice(name, "empty_target_action", self.empty_target_action, _ACTIONS)
        _check_aggregation(name, self.aggregation)
        (wrong, nan, more), filled, empty, *values = self.answer()
        if nan:
            raise ValueError(f"{name}: `preds` must not be NaN, as NaN has no rank. Leave these documents out.")
        if wrong or (more and not self._graded):
            raise ValueError(_wrong_relevance(name, self._graded, f"{wrong or more} of them are not"))
        if empty and self.empty_target_action == "error":
            raise ValueError(
                f"{name}: with empty_target_action='error' every query must have {self._needed} document, but {empty}"
                f" of {filled + empty} have none. Leave these queries out, or pass empty_target_action='skip'."
            )
        if filled + (empty if self.empty_target_action != "skip" else 0) == 0:
            warnings.warn(f"{name}: no query was given, so the value is returned as 0.", stacklevel=3)
        return [filled, empty, *values]

    @property
    def _needed(self) -> str:
        return "a relevant"

    @property
    def _wants_values(self) -> bool:
        return self.aggregation not in ("mean", "min", "max")

    @property
    def _empty_value(self) -> int | None:
        """What an empty query counts as, in multiples of 2**-53; None for nothing."""
        return {"neg": 0, "pos": ONE}.get(self.empty_target_action)

    def _of_extremes(self, parts: Sequence[int], filled: int, empty: int) -> float:
        """Give the mean, the smallest or the largest value, of the sum in two parts and these two."""
        high, low, least, most = parts
        other = self._empty_value
        if self.aggregation == "mean":
            total = join_parts(high, low) + (empty * other if other is not None else 0)
            count = filled + (empty if other is not None else 0)
            return total / (max(count, 1) << FRACTION_BITS)
        values = [least if self.aggregation == "min" else most] if filled else []
        values += [other] if empty and other is not None else []
        choose = min if self.aggregation == "min" else max
        return choose(values, default=0) / ONE

    def _of_values(self, values: Tensor) -> Tensor:
        """Aggregate the values of all queries, along the first dimension; 0 if there are none."""
        other = self._empty_value
        is_empty = (values < 0).flatten(1).any(1) if values.dim() > 1 else values < 0
        values = values[~is_empty] if other is None else values.masked_fill(values < 0, other)
        numbers = (values.double() / ONE).to(self.device, accumulate_dtype(self.device))
        if not numbers.shape[0]:
            return numbers.new_zeros(numbers.shape[1:])
        if self.aggregation == "median":
            return numbers.median(dim=0).values
        assert callable(self.aggregation)
        dim = 0 if numbers.dim() > 1 else None
        if _takes_dim(self.aggregation):
            return torch.as_tensor(self.aggregation(numbers, dim=dim), device=self.device)
        if dim is None:
            return torch.as_tensor(self.aggregation(numbers), device=self.device)
        columns = numbers.flatten(1).unbind(1)
        found = [torch.as_tensor(self.aggregation(column), device=self.device) for column in columns]
        return torch.stack(found).view(numbers.shape[1:]) if found else numbers.new_zeros(numbers.shape[1:])

    @property
    def _waits_for_nothing(self) -> bool:
        """Whether it is the value of a step on an accelerator, which can be found without waiting."""
        is_step = self.device.type != "cpu" and self._holder.store.mode is Mode.STEP
        return is_step and not callable(self.aggregation)

    def _ranked_batch(self) -> Ranking:
        """Rank the documents of a step on an accelerator; those that are wrong are left out."""
        preds, target, indexes = (
            torch.cat([part.reshape(-1) for part in state]) for state in (self.preds, self.target, self.indexes)
        )
        if preds.device.type == "mps":  # which has no float64
            preds, target, indexes = preds.cpu(), target.cpu(), indexes.cpu()
        return rank_documents(indexes, encode_floats(preds), target, left_out=target < 0, waits=False)

    def _of_slots(self, values: Tensor, ranking: Ranking) -> Tensor:
        """Aggregate values of slots along the first dimension, where nobody waits to see which of them have a query.

        Empty queries that are an error are left out: the value of an epoch raises.
        """
        shape = (-1, *(1,) * (values.dim() - 1))
        is_empty, counts = emptiness(ranking, self.question[0]), ranking.sizes > 0
        if self._empty_value is None:
            counts = counts & ~is_empty
        values = torch.where(is_empty.view(shape), self._empty_value or 0, values)
        counted, number, wide = counts.view(shape), counts.sum(), accumulate_dtype(values.device)
        if self.aggregation == "mean":
            return (torch.where(counted, values, 0).to(wide) / ONE).sum(0) / number.clamp(min=1)
        last = self.aggregation == "max"
        ordered = torch.where(counted, values, -1 if last else 2 * ONE).sort(0).values
        ordered = torch.cat((ordered, ordered.new_zeros(1, *values.shape[1:])))
        if self.aggregation == "median":
            found = ordered.index_select(0, (number.view(1) - 1).clamp(min=0) // 2)[0]
        else:
            found = ordered[-2 if last and len(values) else 0]
        return torch.where(number > 0, found, 0).to(wide) / ONE


class RankedValue(RankedLists):
    """Base class of those that give one number."""

    def compute(self) -> Tensor:
        """Return the value, 0-d in `torch.get_default_dtype()`; 0, with a warning, if there is no query.

        Raises:
            ValueError: A score was NaN, a relevance was none, or a query is empty and that is an error.
        """
        if self._waits_for_nothing:
            return self._of_batch()
        filled, empty, *values = self._answered()
        if self._wants_values:
            return rounded(self._of_values(values[0]))
        value = self._of_extremes(values, filled, empty)
        return torch.tensor(value, dtype=torch.get_default_dtype(), device=self.device)

    def _of_batch(self) -> Tensor:
        """Give the value of a step on an accelerator."""
        kind, _, *settings = self.question
        ranking = self._ranked_batch()
        return rounded(self._of_slots(VALUES[kind](ranking, *settings), ranking))


def check_top_k(metric: str, argument: str, top_k: object) -> None:
    """Check how many documents are looked at: None for all.

    Raises:
        TypeError: It is no int.
        ValueError: It is less than 1.
    """
    if top_k is not None:
        check_int(metric, argument, top_k, minimum=1)


def _answers(
    peers: Peers, ranking: Ranking, questions: Sequence[Question], wrong: Sequence[int]
) -> dict[Question, Any]:
    """Ask each question of this rank's queries, and join what all ranks have found."""
    longest = ranking.longest
    if any(question[0] == CURVE and question[2] is None for question in questions):
        longest = max(peers.tell(longest))
    plain, tables = [], list[Tensor]()
    for kind, wants_values, *settings in questions:
        is_empty = emptiness(ranking, kind)
        empty = int(is_empty.sum())
        numbers = [len(is_empty) - empty, empty]
        if kind == CURVE:
            max_k, adaptive_k = settings
            tables.append(_summed_curves(ranking, longest if max_k is None else max_k, adaptive_k, wants_values))
        else:
            values = VALUES[kind](ranking, *settings)
            if wants_values:
                tables.append(values.masked_fill(is_empty.to(values.device), -1))
            else:
                filled = values[~is_empty.to(values.device)]
                numbers += sum_of_products(torch.ones_like(filled), filled)
                numbers += [int(filled.min()), int(filled.max())] if len(filled) else [ONE, 0]
        plain.append(numbers)
    told = peers.tell(plain, last=not tables)
    gathered = iter([peers.tell(table, last=place == len(tables) - 1) for place, table in enumerate(tables)])
    answers: dict[Question, Any] = {}
    for place, question in enumerate(questions):
        parts = [numbers[place] for numbers in told]
        totals = [sum(column) for column in zip(*(part[:4] for part in parts), strict=True)]
        if question[0] == CURVE:
            found = next(gathered)
            totals.append(torch.cat(found) if question[1] else _joined_curves(torch.stack(found)))
        elif question[1]:
            totals.append(torch.cat(next(gathered)))
        else:
            totals += [min(part[4] for part in parts), max(part[5] for part in parts)]
        answers[question] = (wrong, *totals)
    return answers


def _summed_curves(ranking: Ranking, max_k: int, adaptive_k: bool, wants_values: bool) -> Tensor:
    """Give the curves of all queries, -1 for an empty one; or their sum in two parts, their minima and their maxima."""
    is_empty = emptiness(ranking, CURVE)
    shape = (2, max_k)
    total = torch.zeros(4, *shape, dtype=torch.int64)
    total[2] = ONE
    parts, begin = [torch.zeros(0, *shape, dtype=torch.int64)], 0
    for part in curves(ranking, max_k, adaptive_k):
        without = is_empty[begin : begin + len(part)].to(part.device)
        begin += len(part)
        if wants_values:
            parts.append(part.masked_fill(without.view(-1, 1, 1), -1).cpu())
            continue
        part = part[~without]
        if len(part):
            low = part & ((1 << 27) - 1)
            sums = torch.stack(((part >> 27).sum(0), low.sum(0), part.amin(0), part.amax(0))).cpu()
            total = _joined_curves(torch.stack((total, sums)))
    return torch.cat(parts) if wants_values else total


def _joined_curves(parts: Tensor) -> Tensor:
    """Join sums, minima and maxima, of shape `(parts, 4, 2, max_k)`."""
    return torch.stack((parts[:, 0].sum(0), parts[:, 1].sum(0), parts[:, 2].amin(0), parts[:, 3].amax(0)))


def _check_documents(name: str, preds: Tensor, target: Tensor, indexes: Tensor) -> None:
    check_same_shape(name, preds, target)
    check_tensor(name, "indexes", indexes)
    if not preds.is_floating_point() or indexes.is_floating_point() or indexes.dtype is torch.bool:
        raise TypeError(
            f"{name}: `preds` must hold floats and `indexes` integers, but they are {preds.dtype} and {indexes.dtype}"
            " instead. Convert them."
        )
    if indexes.shape != preds.shape:
        raise ValueError(
            f"{name}: `indexes` must have the shape of `preds`, {tuple(preds.shape)}, but has"
            f" {tuple(indexes.shape)} instead. Give the number of its query for every document."
        )


def _checked_relevance(name: str, target: Tensor, graded: bool) -> Tensor:
    """Give the relevance as it is kept: in one byte where that is enough.

    Raises:
        ValueError: One is none.
    """
    if not graded:
        if target.is_floating_point():
            if not bool(((target == 0) | (target == 1)).all()):
                raise ValueError(_wrong_relevance(name, graded, "others were given"))
        else:
            check_labels(name, "target", target.long(), 2)
        return target.to(torch.int8, copy=True)
    if not bool(((target >= 0) & (target < torch.inf)).all()):
        raise ValueError(_wrong_relevance(name, graded, "others were given"))
    is_byte = not target.is_floating_point() and (not target.numel() or int(target.max()) <= _ONE_BYTE)
    return target.to(torch.int8 if is_byte else _dtype_of_relevance(target), copy=True)


def _coded_relevance(preds: Tensor, target: Tensor, ignore_index: int | None, graded: bool) -> Tensor:
    """Give the relevance as it is kept where nobody waits to see whether it is one."""
    if graded:
        is_right = (target >= 0) & (target < torch.inf)
        dtype = torch.int8 if target.dtype is torch.bool else _dtype_of_relevance(target)
    else:
        is_right, dtype = (target == 0) | (target == 1), torch.int8
    codes = torch.where(is_right, target.to(dtype), _WRONG).to(dtype)
    codes = codes.masked_fill(torch.isnan(preds), _NAN_SCORE)
    return codes if ignore_index is None else codes.masked_fill(target == ignore_index, _LEFT_OUT)


def _dtype_of_relevance(target: Tensor) -> torch.dtype:
    """Give a float dtype that holds every relevance, also together with what other batches have."""
    if target.is_floating_point():
        return torch.float64 if target.dtype is torch.float64 else torch.float32
    return accumulate_dtype(target.device)


def _wrong_relevance(name: str, graded: bool, what: str) -> str:
    allowed = "finite numbers of at least 0" if graded else "0 or 1"
    return (
        f"{name}: labels in `target` must be {allowed}, but {what}. Map them, or pass `ignore_index` to leave some out."
    )


def _check_aggregation(name: str, aggregation: object) -> None:
    if not callable(aggregation):
        check_choice(name, "aggregation", aggregation, _AGGREGATIONS)


def _takes_dim(aggregation: Callable[..., Any]) -> bool:
    """Whether a function of values wants to be told along which dimension."""
    try:
        parameters = inspect.signature(aggregation).parameters
    except (TypeError, ValueError):  # one of torch's own
        return True
    return "dim" in parameters or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
