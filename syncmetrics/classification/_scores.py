"""Metrics of binary scores: samples as they came, and the curve through them in counts, here or shared among ranks."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from syncmetrics.classification._curve import LEFT_OUT, Points, histogram_points, points_by_sample
from syncmetrics.classification._inputs import binary_labels, binary_samples
from syncmetrics.classification._range import add_range, are_logits, widen
from syncmetrics.classification._thresholds import (
    Thresholds,
    check_numbers,
    check_scores,
    checked_thresholds,
    chosen,
    coded,
    count_between,
    outside,
    refuse_nan,
    sigmoid_of,
    threshold_tensor,
)
from syncmetrics.family.checks import check_bool, check_int, zero_count
from syncmetrics.family.exact import sum_of_products, unit_ratios
from syncmetrics.family.offenders import raise_for_offenders, reads_data
from syncmetrics.metric import Metric
from syncmetrics.metric.module import StatefulModule
from syncmetrics.shuffle import (
    SHUFFLE_ABOVE,
    Peers,
    Question,
    Rows,
    ShuffledMetric,
    decode_floats,
    encode_floats,
    key_dtype,
    share_by_key,
)
from syncmetrics.shuffle.rows import parts_of
from syncmetrics.states.spec import States
from syncmetrics.states.store import Mode
from syncmetrics.sync import Node

__all__ = ["AREA", "CURVE", "PARTIAL_AREA", "PRECISION", "BinaryScores", "Curve", "count_curve"]

#: The questions about a curve. That about a part of the area has the limit beside it.
AREA, PARTIAL_AREA, PRECISION, CURVE = "area", "partial area", "average precision", "curve"

_WRONG = 3


class BinaryScores(ShuffledMetric):
    """Base class of metrics of float scores and labels of two classes: all samples are kept, or counts at thresholds.

    Args:
        thresholds: None to keep all scores, which is exact; or how many thresholds there are, evenly from 0 to 1, or
            the thresholds themselves: then counts are kept, of a size that does not grow.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the inputs for a check before they are kept. Without it, and on an accelerator,
            a wrong target label raises in `compute`.
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
    counts: Tensor  # below, between and above the thresholds: of scores as they are, and as logits
    lowest: Tensor  # of all scores
    highest: Tensor
    invalid: Tensor

    def __init__(
        self,
        *,
        thresholds: Thresholds = None,
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
        self.thresholds = checked_thresholds(name, thresholds)
        self.ignore_index = ignore_index
        self.validate_args = validate_args
        if self.thresholds is None:
            self.add_state("preds", [], dist_reduce_fx="cat")
            self.add_state("target", [], dist_reduce_fx="cat")
        else:
            self.add_state("counts", zero_count(2, len(self.thresholds) + 1, 1, 2), dist_reduce_fx="sum")
            add_range(self)
            self.add_state("invalid", zero_count(), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for all metrics of the same samples: what else they are told is read by `compute` alone."""
        return ("binary_scores", self.thresholds, self.ignore_index, self.validate_args, self.shuffle_above)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Keep or count samples; copies are kept, so the caller may reuse the tensors.

        Args:
            preds: Float scores of any scale (N, ...); N may be 0. Their dtype is kept. At given thresholds they are
                probabilities, or logits if any of them, in all batches and on all ranks, lies outside of [0, 1].
            target: Integer or bool labels (N, ...).

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: The shapes differ, a label is neither 0 nor 1, or a score is NaN.
        """
        name = type(self).__name__
        check_scores(name, preds)
        reads = self.validate_args and reads_data(preds)
        if reads and (self.thresholds is None or not preds.numel()):
            check_numbers(name, preds, target, self.ignore_index)
        if self.thresholds is not None:
            labels = binary_labels(name, preds, target, ignore_index=self.ignore_index)
            scores, codes = labels.preds.unsqueeze(1), coded(labels.target, labels.left_out).unsqueeze(1)
            if labels.invalid is not None:
                self.invalid = self.invalid + labels.invalid
            if not preds.numel():
                return
            low = widen(self, labels.preds, labels.left_out)
            if reads:
                refuse_nan(name, low, preds)
            self.counts = self.counts + count_between(scores, codes, self.thresholds)
        elif reads:
            preds, target = binary_samples(name, preds, target, ignore_index=self.ignore_index, validate_args=True)
            self.preds.append(preds.detach().clone(memory_format=torch.contiguous_format))
            self.target.append(target.to(torch.uint8, copy=True))
        else:
            preds, target = binary_samples(name, preds, target, ignore_index=None, validate_args=False)
            codes = torch.where((target == 0) | (target == 1), target, _WRONG)
            if self.ignore_index is not None:
                codes = codes.masked_fill(target == self.ignore_index, LEFT_OUT)
            self.preds.append(preds.detach().clone(memory_format=torch.contiguous_format))
            self.target.append(codes.to(torch.uint8))

    def points(self) -> Points:
        """Give the curve, inside `compute`."""
        if self.thresholds is not None:
            raise_for_offenders(self, self.invalid)
            return histogram_points(chosen(self.counts, are_logits(self))[:, 0], threshold_tensor(self))
        batch = self.batch()
        if batch is not None:
            scores, codes = batch[0][:, 0], batch[1][:, 0]
            inside = (outside(*batch) == 0) | (codes == LEFT_OUT)
            return points_by_sample(torch.where(inside, scores, sigmoid_of(scores)), codes)
        negatives, positives, scores, fp, tp = self.answer()
        as_number = torch.tensor([negatives, positives], device=self.device)
        scores, fp, tp = scores.to(self.device), fp.to(self.device), tp.to(self.device)
        has_logits = bool(((scores < 0) | (scores > 1)).any())
        return Points(fp, tp, sigmoid_of(scores) if has_logits else scores, as_number[0], as_number[1], True)

    def batch(self) -> tuple[Tensor, Tensor] | None:
        """Give the samples of a step on an accelerator, for which nobody waits: scores and codes of shape `(N, 1)`.

        None in every other case.
        """
        if self.thresholds is not None or self.device.type == "cpu" or self._holder.store.mode is not Mode.STEP:
            return None
        rows = [torch.cat([part.reshape(-1) for part in parts]).unsqueeze(1) for parts in (self.preds, self.target)]
        return rows[0], rows[1].long()

    def _node(self, path: str, sharing: Sequence[tuple[str, StatefulModule]]) -> Node:
        return super()._node(path, sharing) if self.thresholds is None else Metric._node(self, path, sharing)

    def solve(self, peers: Peers, states: States, questions: Sequence[Question]) -> Mapping[Question, Any]:
        """Answer questions about the curve of the samples of all ranks, all in integers."""
        dtypes = peers.told.dtypes
        highest = max((int(part.max()) for part in parts_of(states["target"]) if part.numel()), default=0)
        if highest >= LEFT_OUT:  # what was added on an accelerator was not looked at
            codes = torch.cat([part.reshape(-1) for part in parts_of(states["target"])])
            kept = (codes < LEFT_OUT).nonzero().squeeze(1)
            states = {name: [torch.cat([p.reshape(-1) for p in parts_of(states[name])])[kept]] for name in states}
        scores = Rows(states["preds"], dtypes["preds"], self.device, encode_floats)
        labels = Rows(states["target"], dtypes["target"], self.device, _is_positive)
        share = share_by_key(peers, scores, [labels])
        points, keys = count_curve(share.keys, share.columns[0])
        del share
        counts = peers.tell([int(points.negatives[-1]), int(points.positives[-1]), highest])
        if any(code == _WRONG for *_, code in counts):
            name = type(self).__name__
            raise ValueError(f"{name}: labels in `target` must be 0 or 1, but others were given instead. Map them.")
        total = (sum(n for n, _, _ in counts), sum(p for _, p, _ in counts))
        # The highest scores come first, and the last rank has them.
        points.negatives.add_(sum(n for n, _, _ in counts[peers.rank + 1 :]))
        points.positives.add_(sum(p for _, p, _ in counts[peers.rank + 1 :]))
        whole: tuple[Tensor, ...] = ()
        if any(question[0] == CURVE for question in questions):
            parts = peers.tell(torch.stack((keys.long(), points.negatives[1:], points.positives[1:])))
            joined = torch.cat(parts[::-1], dim=1)
            whole = (decode_floats(joined[0].to(key_dtype(dtypes["preds"]))), joined[1], joined[2])
        told = peers.tell([_part_of_answer(points, question, total[0]) for question in questions], last=True)
        return {
            question: (*total, *whole)
            if question[0] == CURVE
            else (*total, *_join_answer(question, [part[index] for part in told]))
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


def count_curve(keys: Tensor, is_positive: Tensor) -> tuple[Curve, Tensor]:
    """Count positives and negatives at or above each different key, and give these keys.

    Args:
        keys: Integers of shape (N,), as `encode_floats` gives them.
        is_positive: Uint8 tensor of shape (N,), 0 or 1.
    """
    keys, order = keys.sort(descending=True)
    is_positive = is_positive[order]
    del order
    is_last = torch.cat([keys[1:] != keys[:-1], keys.new_ones(min(1, keys.shape[0]), dtype=torch.bool)])
    last = is_last.nonzero().squeeze(1)
    keys = keys[last]
    start = last.new_zeros(1)
    positives = torch.cat([start, is_positive.cumsum(0)[last]])
    negatives = torch.cat([start, last.add_(1)]).sub_(positives)
    return Curve(negatives, positives), keys


def _twice_area(curve: Curve, stop: int | None = None) -> int:
    """Return twice the area under the curve of counts up to a point: trapezoids in int64, exact."""
    heights = curve.positives[1:stop] + curve.positives[:stop][:-1]
    return int(heights.mul_(curve.negatives[:stop].diff()).sum())


def _part_of_answer(curve: Curve, question: Question, negatives: int) -> list[Any]:
    """Give what this rank's part of the curve has to say to a question: integers, which add up over ranks."""
    if question[0] == AREA:
        return [_twice_area(curve)]
    if question[0] == CURVE:
        return []
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
