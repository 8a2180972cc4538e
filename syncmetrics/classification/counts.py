"""What all classification metrics of labels count: by task, one set of counts for all of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from syncmetrics.classification._inputs import Labels, binary_labels, count_keys, logit
from syncmetrics.classification._range import add_range, are_logits, widen
from syncmetrics.family.checks import check_bool, check_choice, check_int, zero_count
from syncmetrics.family.offenders import raise_for_offenders
from syncmetrics.metric import Metric
from syncmetrics.states import RowBuffer

__all__ = ["BinaryCounts", "LabelMetric", "MultilabelCounts", "Stats", "check_threshold"]

MultidimAverage = Literal["global", "samplewise"]
_MULTIDIM = ("global", "samplewise")


@dataclass(frozen=True, slots=True)
class Stats:
    """True and false positives and negatives, int64: of shape `()`, `(C,)`, `(N,)` or `(N, C)`."""

    tp: Tensor
    fp: Tensor
    tn: Tensor
    fn: Tensor

    def over_classes(self) -> Stats:
        """Give the sums over the last dimension."""
        return Stats(self.tp.sum(-1), self.fp.sum(-1), self.tn.sum(-1), self.fn.sum(-1))


class LabelMetric(Metric):
    """Base class of metrics that are given labels: wrong ones raise at once on the CPU.

    On an accelerator they are counted, so that `update` does not wait for it, and named at the next `compute`, on every
    rank.

    Args:
        multidim_average: `"global"`: all positions count as samples. `"samplewise"`: each sample along the first
            dimension gets a value of its own.
        ignore_index: Target label of what is left out; it may lie outside of the labels.
        validate_args: Taken as torchmetrics has it; labels are checked in any case, at no cost that could be felt.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `multidim_average` is unknown.
    """

    higher_is_better: bool | None = True
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    invalid: Tensor

    def __init__(
        self,
        *,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_choice(name, "multidim_average", multidim_average, _MULTIDIM)
        if ignore_index is not None:
            check_int(name, "ignore_index", ignore_index)
        check_bool(name, "validate_args", validate_args)
        self.multidim_average = multidim_average
        self.ignore_index = ignore_index
        self.validate_args = validate_args
        self.add_state("invalid", zero_count(), dist_reduce_fx="sum")

    @property
    def _samplewise(self) -> bool:
        return self.multidim_average == "samplewise"

    def _note(self, labels: Labels) -> None:
        """Note how many labels were wrong, where that was not looked at."""
        if labels.invalid is not None:
            self.invalid = self.invalid + labels.invalid

    def _tell_invalid(self) -> None:
        """Name wrong labels that no update has looked at. A step on an accelerator waits for nothing, this included.

        Raises:
            ValueError: There were some.
        """
        raise_for_offenders(self, self.invalid, self._of_labels)

    def _of_labels(self, number: int) -> str:
        return (
            f"{type(self).__name__}: labels must be in 0..{self._num_labels - 1}, but {number} in `preds` or `target`"
            " were not, on all ranks together; they were left out. Correct them, or pass `ignore_index` if a target"
            " label marks what to leave out; and reset() the metric."
        )

    @property
    @abstractmethod
    def _num_labels(self) -> int:
        """How many labels there are."""


class BinaryCounts(LabelMetric):
    """Count samples by target and prediction.

    Integer or bool predictions are labels. Float predictions are probabilities, unless any of them, in all batches and
    on all ranks, lies outside of [0, 1] (or is NaN): then all of them are logits. A batch alone cannot tell, so both
    readings are counted, and `compute` chooses; the value does not depend on how the data came in batches. The
    prediction is 1 where the probability is above `threshold`, or the logit above `log(threshold / (1 - threshold))`.

    Args:
        threshold: Probability above which a sample is predicted as 1, in [0, 1].
        multidim_average: As for `LabelMetric`.
        ignore_index: Likewise.
        validate_args: Likewise.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `threshold` is not in [0, 1].
    """

    counts: Any  # by target, prediction if scores are logits, prediction if scores are probabilities
    lowest: Tensor  # of all scores
    highest: Tensor

    def __init__(
        self,
        threshold: float = 0.5,
        *,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        _sets: tuple[int, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(
            multidim_average=multidim_average, ignore_index=ignore_index, validate_args=validate_args, **kwargs
        )
        check_threshold(type(self).__name__, threshold)
        self.threshold = threshold
        self._shape = (*_sets, 2, 2, 2)  # of the counts, of all samples or of one
        if self._samplewise:
            self.add_state("counts", RowBuffer(), dist_reduce_fx="cat")
        else:
            self.add_state("counts", zero_count(*self._shape), dist_reduce_fx="sum")
        add_range(self)

    @property
    def _num_labels(self) -> int:
        return 2

    @property
    def compute_group(self) -> Hashable | None:
        """One group per set of arguments that the counts depend on."""
        return ("binary_counts", self._shape, self.threshold, self.multidim_average, self.ignore_index)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count samples.

        Args:
            preds: Integer or bool labels, or float probabilities or logits, (N, ...). N may be 0. With
                `multidim_average="samplewise"`, of at least two dimensions.
            target: Integer or bool labels (N, ...).

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: The shapes differ, or a label is neither 0 nor 1.
        """
        name = type(self).__name__
        labels = binary_labels(name, preds, target, ignore_index=self.ignore_index)
        self._check_shape(preds)
        if not preds.numel():
            return
        scores, target = labels.preds, labels.target
        if scores.is_floating_point():
            widen(self, scores, labels.left_out)
            keys = torch.add(scores > self.threshold, target, alpha=4)
            keys = torch.add(keys, scores > logit(self.threshold), alpha=2)
        else:
            keys = torch.add(scores * 3, target, alpha=4)
        self._note(labels)
        shape = (preds.shape[0], *self._shape) if self._samplewise else self._shape
        cells = self._cells(preds)
        size = math.prod(shape)
        keys = keys if cells is None else keys + 8 * cells
        counts = count_keys(labels.marked(keys, size), size).view(shape)
        if self._samplewise:
            self.counts.append(counts)
        else:
            self.counts = self.counts + counts

    def _check_shape(self, preds: Tensor) -> None:
        """Check what is more than that both have one shape."""
        if self._samplewise and preds.ndim < 2:
            raise ValueError(
                f"{type(self).__name__}: `preds` must have at least two dimensions, (N, ...), for"
                f" multidim_average='samplewise', but has the shape {tuple(preds.shape)} instead. Pass 'global'."
            )

    def _cells(self, preds: Tensor) -> Tensor | None:
        """Say which set of counts each of the flat samples goes into; None for the only one."""
        if not self._samplewise:
            return None
        each = preds[0].numel()
        return torch.arange(preds.shape[0], device=preds.device).repeat_interleave(each, output_size=preds.numel())

    def _table(self) -> Tensor:
        """Give counts by target and prediction, int64 of shape `(..., 2, 2)`."""
        self._tell_invalid()
        counts = self._all_counts()
        return torch.where(are_logits(self), counts.sum(dim=-1), counts.sum(dim=-2))

    def _all_counts(self) -> Tensor:
        if not self._samplewise:
            counts: Tensor = self.counts
            return counts
        rows = list(self.counts) if isinstance(self.counts, list) else [self.counts]
        return torch.cat(rows) if rows else zero_count(0, *self._shape).to(self.device)

    def _stats(self) -> Stats:
        table = self._table()
        return Stats(table[..., 1, 1], table[..., 0, 1], table[..., 0, 0], table[..., 1, 0])


class MultilabelCounts(BinaryCounts):
    """Count samples by label, target and prediction: the counts of two classes, for each label.

    Args:
        num_labels: Number of labels, at least 2.
        threshold: As for `BinaryCounts`; scores of all labels are read alike.
        multidim_average: Likewise.
        ignore_index: Likewise: it leaves a label of a sample out.
        validate_args: Likewise.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_labels` < 2, or `threshold` is not in [0, 1].
    """

    def __init__(
        self,
        num_labels: int,
        threshold: float = 0.5,
        *,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        check_int(type(self).__name__, "num_labels", num_labels, minimum=2)
        super().__init__(
            threshold,
            multidim_average=multidim_average,
            ignore_index=ignore_index,
            validate_args=validate_args,
            _sets=(num_labels,),
            **kwargs,
        )
        self.num_labels = num_labels

    def _check_shape(self, preds: Tensor) -> None:
        least = 3 if self._samplewise else 2
        if preds.ndim < least or preds.shape[1] != self.num_labels:
            form = f"(N, {self.num_labels}, ...)" if least == 2 else f"(N, {self.num_labels}, M, ...)"
            raise ValueError(
                f"{type(self).__name__}: `preds` and `target` must have the shape {form}, but have"
                f" {tuple(preds.shape)} instead. Put the labels in dimension 1, and pass their number as `num_labels`."
            )

    def _cells(self, preds: Tensor) -> Tensor | None:
        rows, labels = preds.shape[:2]
        cells = torch.arange(labels, device=preds.device).expand(rows, labels)
        if self._samplewise:
            cells = cells + labels * torch.arange(rows, device=preds.device).unsqueeze(1)
        return cells.reshape(rows, labels, *[1] * (preds.ndim - 2)).expand(preds.shape).flatten()


def check_threshold(metric: str, threshold: object) -> None:
    """Check that a threshold is a probability.

    Raises:
        TypeError: It is no number.
        ValueError: It is not in [0, 1].
    """
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
        raise TypeError(f"{metric}: `threshold` must be a float, but is {threshold!r} instead. Pass one in [0, 1].")
    if not 0 <= threshold <= 1:
        raise ValueError(
            f"{metric}: `threshold` must be a probability in [0, 1], but is {threshold} instead. "
            "For logits, too, pass the probability."
        )
