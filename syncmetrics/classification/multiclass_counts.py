"""What the multiclass metrics count: a small confusion matrix, kept once for all of them, or three rows of counts."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.classification._inputs import count_keys, multiclass_labels
from syncmetrics.classification.counts import LabelMetric, MultidimAverage, Stats
from syncmetrics.family.checks import check_int, check_labels, zero_count
from syncmetrics.family.offenders import reads_data
from syncmetrics.states import RowBuffer

__all__ = ["MulticlassCounts"]

#: Up to this number of classes the matrix is as cheap to keep and to send as the counts that follow from it.
_MATRIX_CLASSES = 32


class MulticlassCounts(LabelMetric):
    """Count samples by target and predicted class.

    Args:
        num_classes: Number of classes, at least 2.
        top_k: A target among the `top_k` highest scores counts as predicted.
        multidim_average: `"global"`: all positions count as samples. `"samplewise"`: each sample along the first
            dimension gets a value of its own.
        ignore_index: Target label of samples to leave out; may lie outside of 0..num_classes-1.
        validate_args: As for `LabelMetric`.
        matrix: Whether the whole matrix is wanted; else it is kept only where it is small.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2, or `top_k` not in 1..num_classes.
    """

    confmat: Tensor
    counts: Any

    def __init__(
        self,
        num_classes: int,
        *,
        top_k: int = 1,
        multidim_average: MultidimAverage = "global",
        ignore_index: int | None = None,
        validate_args: bool = True,
        matrix: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            multidim_average=multidim_average, ignore_index=ignore_index, validate_args=validate_args, **kwargs
        )
        name = type(self).__name__
        check_int(name, "num_classes", num_classes, minimum=2)
        check_int(name, "top_k", top_k, minimum=1)
        if top_k > num_classes:
            raise ValueError(
                f"{name}: `top_k` must be at most `num_classes`, {num_classes}, but is {top_k} instead. "
                "Pass a smaller one."
            )
        self.num_classes = num_classes
        self.top_k = top_k
        self._keeps_matrix = (matrix or num_classes <= _MATRIX_CLASSES) and not self._samplewise
        if self._samplewise:
            self.add_state("counts", RowBuffer(), dist_reduce_fx="cat")
        elif self._keeps_matrix:
            self.add_state("confmat", zero_count(num_classes, num_classes), dist_reduce_fx="sum")
        else:
            self.add_state("counts", zero_count(3, num_classes), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for all metrics that read the same counts, whatever they make of them."""
        kind = "matrix" if self._keeps_matrix else "counts"
        return ("multiclass", kind, self.num_classes, self.top_k, self.multidim_average, self.ignore_index)

    @property
    def _num_labels(self) -> int:
        return self.num_classes

    @property
    def tp(self) -> Tensor:
        """True positives of each class, int64 of shape (num_classes,)."""
        return self._rows()[..., 0, :]

    @property
    def fp(self) -> Tensor:
        """False positives of each class, int64 of shape (num_classes,)."""
        return self._rows()[..., 1, :]

    @property
    def fn(self) -> Tensor:
        """False negatives of each class, int64 of shape (num_classes,)."""
        return self._rows()[..., 2, :]

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count samples.

        Args:
            preds: Integer labels (N, ...), or float scores (probabilities or logits) (N, C, ...). N may be 0.
            target: Integer labels (N, ...). With `multidim_average="samplewise"`, of at least two dimensions.

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: Shapes do not fit, or a label is out of range.
        """
        is_plain = self.ignore_index is None and self.top_k == 1 and self._keeps_matrix
        if is_plain and _is_usual(preds, target, self.num_classes):
            counts = self._count_usual(preds, target)
        else:
            counts = self._count(preds, target)
        if self._samplewise:
            self.counts.append(counts)
        elif self._keeps_matrix:
            self.confmat = self.confmat + counts
        else:
            self.counts = self.counts + counts

    def _count_usual(self, preds: Tensor, target: Tensor) -> Tensor:
        """Count scores of shape (N, C) or labels of shape (N,), on the CPU.

        Bounding the targets by one on either side shows a wrong one in the counts.
        """
        name, classes = type(self).__name__, self.num_classes
        bounded = target.clamp(-1, classes)
        if preds.dim() == 2:
            keys = preds.argmax(1).add_(bounded, alpha=classes)
        else:
            check_labels(name, "preds", preds, classes)
            keys = torch.add(preds, bounded, alpha=classes)
        try:
            counts = torch.bincount(keys, minlength=classes * classes)
        except RuntimeError:
            check_labels(name, "target", target, classes)
            raise
        if counts.shape[0] != classes * classes:
            check_labels(name, "target", target, classes)
        return counts.view(classes, classes)

    def _count(self, preds: Tensor, target: Tensor) -> Tensor:
        name, classes = type(self).__name__, self.num_classes
        labels = multiclass_labels(
            name, preds, target, num_classes=classes, ignore_index=self.ignore_index, top_k=self.top_k
        )
        self._note(labels)
        preds, samples, shape = labels.preds, target.shape, target.shape[:1]
        target = labels.target
        if self._keeps_matrix:
            size = classes * classes
            return count_keys(labels.marked(target * classes + preds, size), size).view(classes, classes)
        cells, sets = None, 1
        if self._samplewise:
            if len(samples) < 2:
                raise ValueError(
                    f"{name}: `target` must have at least two dimensions, (N, ...), for multidim_average='samplewise',"
                    f" but has the shape {tuple(samples)} instead. Pass 'global'."
                )
            sets = samples[0]
            each = samples.numel() // max(sets, 1)
            cells = torch.arange(sets, device=target.device).repeat_interleave(each, output_size=samples.numel())
        # One pass counts hits and misses of each target: the key is twice the target, plus one for a hit.
        keys = torch.add(preds == target, target, alpha=2)
        if cells is not None:
            keys, preds = keys + 2 * classes * cells, preds + classes * cells
        size = sets * classes
        by_target = count_keys(labels.marked(keys, 2 * size), 2 * size).view(-1, classes, 2)
        predicted = count_keys(labels.marked(preds, size), size).view(-1, classes)
        fn, tp = by_target.unbind(-1)
        counts = torch.stack((tp, predicted - tp, fn), dim=1)
        return counts.view(*shape, 3, classes) if self._samplewise else counts[0]

    def _rows(self) -> Tensor:
        """Give true positives, false positives and false negatives, int64 of shape `(..., 3, num_classes)`."""
        if self._samplewise:
            rows = list(self.counts) if isinstance(self.counts, list) else [self.counts]
            return torch.cat(rows) if rows else zero_count(0, 3, self.num_classes).to(self.device)
        if not self._keeps_matrix:
            counts: Tensor = self.counts
            return counts
        derived: Tensor = self._derive("rows", _rows_of, self.confmat)
        return derived

    def _stats(self) -> Stats:
        self._tell_invalid()
        tp, fp, fn = self._rows().unbind(-2)
        total = (tp + fn).sum(-1, keepdim=True)
        return Stats(tp, fp, total - tp - fp - fn, fn)


def _rows_of(matrix: Tensor) -> Tensor:
    tp = matrix.diagonal()
    return torch.stack((tp, matrix.sum(0) - tp, matrix.sum(1) - tp))


def _is_usual(preds: Any, target: Any, num_classes: int) -> bool:
    """Whether these are int64 labels of shape (N,), and scores of shape (N, C) or labels too, N > 0."""
    if not (isinstance(preds, Tensor) and isinstance(target, Tensor)):
        return False
    if (
        not reads_data(target)
        or target.dtype is not torch.int64
        or target.dim() != 1
        or preds.shape[:1] != target.shape
        or not len(target)
    ):
        return False
    if preds.dim() == 1:
        return preds.dtype is torch.int64
    return preds.dim() == 2 and preds.shape[1] == num_classes and preds.is_floating_point()
