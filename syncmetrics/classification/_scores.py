"""Metrics of binary scores: samples as they came, and the curve through them in counts, here or shared among ranks."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from syncmetrics.classification._inputs import binary_inputs
from syncmetrics.family.checks import check_bool, check_int, check_tensor
from syncmetrics.family.exact import sum_of_products, unit_ratios
from syncmetrics.shuffle import SHUFFLE_ABOVE, Peers, Question, Rows, ShuffledMetric, encode_floats, share_by_key
from syncmetrics.states.spec import States

__all__ = ["AREA", "PARTIAL_AREA", "PRECISION", "BinaryScores", "Curve", "count_curve"]

#: The questions about a curve. That about a part of the area has the limit beside it.
AREA, PARTIAL_AREA, PRECISION = "area", "partial area", "average precision"


class BinaryScores(ShuffledMetric):
    """Base class of metrics that keep float scores and labels of two classes.

    Args:
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the inputs for a check before they are kept. Without it a wrong target label
            raises in `compute`.
        shuffle_above: As for `ShuffledMetric`.
        **kwargs: Arguments of `Metric`.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(
        self,
        *,
        ignore_index: int | None = None,
        validate_args: bool = True,
        shuffle_above: int | None = SHUFFLE_ABOVE,
        **kwargs: Any,
    ) -> None:
        super().__init__(shuffle_above=shuffle_above, **kwargs)
        name = type(self).__name__
        if ignore_index is not None:
            check_int(name, "ignore_index", ignore_index)
        check_bool(name, "validate_args", validate_args)
        self.ignore_index = ignore_index
        self.validate_args = validate_args
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for all metrics of the same samples: what else they are told is read by `compute` alone."""
        return ("binary_scores", self.ignore_index, self.validate_args, self.shuffle_above)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Keep samples; copies are kept, so the caller may reuse the tensors.

        Args:
            preds: Float scores of any scale (N, ...); N may be 0. Their dtype is kept.
            target: Integer or bool labels (N, ...).

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: The shapes differ, a label is neither 0 nor 1, or a score is NaN.
        """
        name = type(self).__name__
        check_tensor(name, "preds", preds)
        if not preds.is_floating_point():
            raise TypeError(
                f"{name}: `preds` must hold float scores, but is {preds.dtype} instead. "
                "Convert it with `preds.float()`."
            )
        preds, target = binary_inputs(
            name, preds, target, ignore_index=self.ignore_index, validate_args=self.validate_args
        )
        if self.validate_args and bool(torch.isnan(preds).any()):
            raise ValueError(
                f"{name}: `preds` must not be NaN, as NaN has no rank, but {int(torch.isnan(preds).sum())} of "
                f"{preds.numel()} are instead. Leave them out, e.g. by `ignore_index` in `target`."
            )
        # Checked labels take one byte each; unchecked ones stay as they are, for compute to see a wrong one.
        dtype = torch.uint8 if self.validate_args else target.dtype
        self.preds.append(preds.detach().clone(memory_format=torch.contiguous_format))
        self.target.append(target.to(dtype, copy=True))

    def solve(self, peers: Peers, states: States, questions: Sequence[Question]) -> Mapping[Question, Any]:
        """Answer questions about the curve of the samples of all ranks, all in integers."""
        if not self.validate_args and any(peers.tell(_has_wrong_label(states["target"]))):
            name = type(self).__name__
            raise ValueError(f"{name}: labels in `target` must be 0 or 1, but others were given instead. Map them.")
        dtypes = peers.told.dtypes
        scores = Rows(states["preds"], dtypes["preds"], self.device, encode_floats)
        labels = Rows(states["target"], dtypes["target"], self.device, _is_positive)
        share = share_by_key(peers, scores, [labels])
        points = count_curve(share.keys, share.columns[0])
        del share
        counts = peers.tell([int(points.negatives[-1]), int(points.positives[-1])])
        total = (sum(n for n, _ in counts), sum(p for _, p in counts))
        # The highest scores come first, and the last rank has them.
        points.negatives.add_(sum(n for n, _ in counts[peers.rank + 1 :]))
        points.positives.add_(sum(p for _, p in counts[peers.rank + 1 :]))
        parts = peers.tell([_part_of_answer(points, question, total[0]) for question in questions], last=True)
        return {
            question: (*total, *_join_answer(question, [part[index] for part in parts]))
            for index, question in enumerate(questions)
        }


@dataclass(frozen=True, slots=True)
class Curve:
    """Samples at or above each different score, from the highest score down, after a first point for those above all.

    Attributes:
        negatives: Int64 of shape (K + 1,).
        positives: Int64 of shape (K + 1,).
    """

    negatives: Tensor
    positives: Tensor


def count_curve(keys: Tensor, is_positive: Tensor) -> Curve:
    """Count positives and negatives at or above each different key.

    Args:
        keys: Integers of shape (N,), as `encode_floats` gives them.
        is_positive: Uint8 tensor of shape (N,), 0 or 1.
    """
    keys, order = keys.sort(descending=True)
    is_positive = is_positive[order]
    del order
    is_last = torch.cat([keys[1:] != keys[:-1], keys.new_ones(min(1, keys.shape[0]), dtype=torch.bool)])
    del keys
    last = is_last.nonzero().squeeze(1)
    start = last.new_zeros(1)
    positives = torch.cat([start, is_positive.cumsum(0)[last]])
    negatives = torch.cat([start, last.add_(1)]).sub_(positives)
    return Curve(negatives, positives)


def _twice_area(curve: Curve, stop: int | None = None) -> int:
    """Return twice the area under the curve of counts up to a point: trapezoids in int64, exact."""
    heights = curve.positives[1:stop] + curve.positives[:stop][:-1]
    return int(heights.mul_(curve.negatives[:stop].diff()).sum())


def _part_of_answer(curve: Curve, question: Question, negatives: int) -> list[Any]:
    """Give what this rank's part of the curve has to say to a question: integers, which add up over ranks."""
    if question[0] == AREA:
        return [_twice_area(curve)]
    if question[0] == PRECISION:
        positives = curve.positives[1:]
        return list(sum_of_products(curve.positives.diff(), unit_ratios(positives, positives + curve.negatives[1:])))
    stop = int(torch.searchsorted(curve.negatives, math.floor(question[1] * negatives), right=True))
    ends = [
        [int(curve.negatives[i]), int(curve.positives[i])] if 0 <= i < curve.negatives.shape[0] else None
        for i in (stop - 1, stop)
    ]
    return [_twice_area(curve, stop), *ends]


def _join_answer(question: Question, parts: Sequence[list[Any]]) -> list[Any]:
    if question[0] != PARTIAL_AREA:
        return [sum(column) for column in zip(*parts, strict=True)]
    within = max((part[1] for part in parts if part[1] is not None), key=sum)
    beyond = min((part[2] for part in parts if part[2] is not None), key=sum, default=None)
    return [sum(part[0] for part in parts), within, beyond]


def _is_positive(target: Tensor) -> Tensor:
    return (target == 1).to(torch.uint8)


def _has_wrong_label(target: Any) -> bool:
    parts = [target] if isinstance(target, Tensor) else target
    return any(bool(((part != 0) & (part != 1)).any()) for part in parts)
