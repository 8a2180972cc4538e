"""What the multiclass metrics count: a small confusion matrix, kept once for all of them, or three rows of counts."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.classification._inputs import count_keys, multiclass_inputs
from syncmetrics.family.checks import check_bool, check_int, check_labels, zero_count
from syncmetrics.metric import Metric

__all__ = ["MulticlassCounts"]

#: Up to this number of classes the matrix is as cheap to keep and to send as the counts that follow from it.
_MATRIX_CLASSES = 32


class MulticlassCounts(Metric):
    """Count samples by target and predicted class.

    Args:
        num_classes: Number of classes, at least 2.
        top_k: A target among the `top_k` highest scores counts as predicted.
        ignore_index: Target label of samples to leave out; may lie outside of 0..num_classes-1.
        validate_args: Whether to read the targets for a check before counting.
        matrix: Whether the whole matrix is wanted; else it is kept only where it is small.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2, or `top_k` not in 1..num_classes.
    """

    is_differentiable = False
    full_state_update = False
    _rebinds = True
    confmat: Tensor
    counts: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        top_k: int = 1,
        ignore_index: int | None = None,
        validate_args: bool = True,
        matrix: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_int(name, "num_classes", num_classes, minimum=2)
        check_int(name, "top_k", top_k, minimum=1)
        if top_k > num_classes:
            raise ValueError(
                f"{name}: `top_k` must be at most `num_classes`, {num_classes}, but is {top_k} instead. "
                "Pass a smaller one."
            )
        if ignore_index is not None:
            check_int(name, "ignore_index", ignore_index)
        check_bool(name, "validate_args", validate_args)
        self.num_classes = num_classes
        self.top_k = top_k
        self.ignore_index = ignore_index
        self.validate_args = validate_args
        self._keeps_matrix = matrix or num_classes <= _MATRIX_CLASSES
        if self._keeps_matrix:
            self.add_state("confmat", zero_count(num_classes, num_classes), dist_reduce_fx="sum")
        else:
            self.add_state("counts", zero_count(3, num_classes), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for all metrics that read the same counts, whatever they make of them."""
        kind = "matrix" if self._keeps_matrix else "counts"
        return ("multiclass", kind, self.num_classes, self.top_k, self.ignore_index, self.validate_args)

    @property
    def tp(self) -> Tensor:
        """True positives of each class, int64 of shape (num_classes,)."""
        return self._rows()[0]

    @property
    def fp(self) -> Tensor:
        """False positives of each class, int64 of shape (num_classes,)."""
        return self._rows()[1]

    @property
    def fn(self) -> Tensor:
        """False negatives of each class, int64 of shape (num_classes,)."""
        return self._rows()[2]

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count samples.

        Args:
            preds: Integer labels (N, ...), or float scores (probabilities or logits) (N, C, ...). N may be 0.
            target: Integer labels (N, ...).

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: Shapes do not fit, or a label is out of range.
        """
        is_plain = self.ignore_index is None and self.top_k == 1 and self._keeps_matrix
        if is_plain and _is_usual(preds, target, self.num_classes):
            counts = self._count_usual(preds, target)
        else:
            counts = self._count(preds, target)
        if self._keeps_matrix:
            self.confmat = self.confmat + counts
        else:
            self.counts = self.counts + counts

    def _count_usual(self, preds: Tensor, target: Tensor) -> Tensor:
        """Count scores of shape (N, C) or labels of shape (N,).

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
        preds, target = multiclass_inputs(
            name,
            preds,
            target,
            num_classes=classes,
            ignore_index=self.ignore_index,
            validate_args=self.validate_args,
            top_k=self.top_k,
        )
        if self._keeps_matrix:
            return count_keys(name, target * classes + preds, classes * classes).view(classes, classes)
        # One pass counts hits and misses of each target: the key is twice the target, plus one for a hit.
        keys = torch.add(preds == target, target, alpha=2)
        fn, tp = count_keys(name, keys, 2 * classes).view(classes, 2).unbind(1)
        return torch.stack((tp, count_keys(name, preds, classes) - tp, fn))

    def _rows(self) -> Tensor:
        """Give true positives, false positives and false negatives, int64 of shape (3, num_classes)."""
        if not self._keeps_matrix:
            return self.counts
        rows: Tensor = self._derive("rows", _rows_of, self.confmat)
        return rows


def _rows_of(matrix: Tensor) -> Tensor:
    tp = matrix.diagonal()
    return torch.stack((tp, matrix.sum(0) - tp, matrix.sum(1) - tp))


def _is_usual(preds: Any, target: Any, num_classes: int) -> bool:
    """Whether these are int64 labels of shape (N,), and scores of shape (N, C) or labels too, N > 0."""
    if not (isinstance(preds, Tensor) and isinstance(target, Tensor)):
        return False
    if target.dtype is not torch.int64 or target.dim() != 1 or preds.shape[:1] != target.shape or not len(target):
        return False
    if preds.dim() == 1:
        return preds.dtype is torch.int64
    return preds.dim() == 2 and preds.shape[1] == num_classes and preds.is_floating_point()
