"""Class labels out of what users pass: checks with clear errors, then flat int64 tensors, then counts of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from syncmetrics.family.checks import check_labels, check_tensor, reshaping
from syncmetrics.family.offenders import reads_data

__all__ = [
    "Labels",
    "binary_labels",
    "binary_samples",
    "count_keys",
    "logit",
    "multiclass_labels",
    "multiclass_targets",
]


@dataclass(slots=True)
class Labels:
    """Flat labels of samples, and which of them count.

    Attributes:
        preds: Int64 labels, all in range; or scores.
        target: Int64 labels, all in range.
        left_out: Of each sample, whether it does not count; None if all do.
        invalid: How many samples have a label out of range, int64 and 0-d; None where none can be.
    """

    preds: Tensor
    target: Tensor
    left_out: Tensor | None = None
    invalid: Tensor | None = None

    def left_out_of(self, scores: Tensor) -> Tensor | None:
        """Give `left_out` in a shape that broadcasts to scores, of which there may be several for each sample."""
        return None if self.left_out is None else self.left_out.view(-1, *[1] * (scores.ndim - 1))

    def marked(self, keys: Tensor, mark: int) -> Tensor:
        """Give the keys of the samples, with a mark in place of those that do not count."""
        return keys if self.left_out is None else keys.masked_fill(self.left_out, mark)


def multiclass_labels(
    metric: str,
    preds: Tensor,
    target: Tensor,
    *,
    num_classes: int,
    ignore_index: int | None,
    top_k: int = 1,
) -> Labels:
    """Turn multiclass predictions and targets into labels.

    Wrong labels raise at once on the CPU. On an accelerator nobody waits for the data: they are counted, and left out.

    Args:
        metric: Name for the error texts.
        preds: Integer labels (N, ...), or float scores (N, C, ...).
        target: Integer labels (N, ...).
        num_classes: The number of classes C.
        ignore_index: Target label of samples to leave out.
        top_k: A sample counts as predicted right when its target is among the `top_k` highest scores.

    Returns:
        Labels of shape (M,).

    Raises:
        TypeError: An input is not a tensor or has the wrong dtype.
        ValueError: Shapes do not fit, or a label is out of range.
    """
    has_scores = _check_multiclass_tensors(metric, preds, target, num_classes, top_k)
    labels = Labels(preds, target.flatten().long())
    if not has_scores:
        labels.preds = preds.flatten().long()
    elif top_k == 1:
        labels.preds = preds.argmax(dim=1).flatten()
    else:
        labels.preds = preds.movedim(1, -1).reshape(-1, num_classes)
    _settle(metric, labels, num_classes, ignore_index, has_scores)
    if top_k > 1:
        labels.preds = _top_k_labels(labels.preds, labels.target, top_k)
    return labels


def multiclass_targets(
    metric: str, preds: Tensor, target: Tensor, *, num_classes: int, ignore_index: int | None
) -> tuple[Tensor, Labels]:
    """Give the scores of classes by sample, of shape (M, C), and target labels as `multiclass_labels` does.

    Raises:
        TypeError: An input is not a tensor or has the wrong dtype.
        ValueError: Shapes do not fit, or a label is out of range.
    """
    if not _check_multiclass_tensors(metric, preds, target, num_classes, 1):
        raise ValueError(
            f"{metric}: `preds` must be scores of shape (N, C, ...), but has the shape of `target`,"
            f" {tuple(target.shape)}, instead. Pass one score for each of the {num_classes} classes."
        )
    labels = Labels(preds, target.flatten().long())
    _settle(metric, labels, num_classes, ignore_index, True)
    return preds.movedim(1, -1).reshape(-1, num_classes), labels


def binary_labels(metric: str, preds: Tensor, target: Tensor, *, ignore_index: int | None) -> Labels:
    """Flatten binary predictions and targets. Wrong labels raise, or are counted, as in `multiclass_labels`.

    Args:
        metric: Name for the error texts.
        preds: Integer labels or float scores (N, ...).
        target: Integer labels (N, ...).
        ignore_index: Target label of samples to leave out.

    Returns:
        Int64 labels, or scores in their own dtype, of shape (M,).

    Raises:
        TypeError: An input is not a tensor or has the wrong dtype.
        ValueError: The shapes differ, or a label is neither 0 nor 1.
    """
    has_scores = _check_binary_tensors(metric, preds, target)
    labels = Labels(preds.flatten() if has_scores else preds.flatten().long(), target.flatten().long())
    _settle(metric, labels, 2, ignore_index, has_scores)
    return labels


def binary_samples(
    metric: str, preds: Tensor, target: Tensor, *, ignore_index: int | None, validate_args: bool
) -> tuple[Tensor, Tensor]:
    """Flatten binary predictions and targets, and leave samples out: for metrics that keep them, as many as they are.

    Args:
        metric: Name for the error texts.
        preds: Float scores (N, ...).
        target: Integer labels (N, ...).
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the data for the check of `target`.

    Returns:
        Scores in their own dtype, and int64 targets, of the samples that are not ignored, both of shape (M,).

    Raises:
        TypeError: An input is not a tensor or has the wrong dtype.
        ValueError: The shapes differ, or a label is neither 0 nor 1.
    """
    _check_binary_tensors(metric, preds, target)
    preds, target = preds.flatten(), target.flatten().long()
    if ignore_index is not None:
        kept = (target != ignore_index).nonzero().squeeze(1)
        preds, target = preds.index_select(0, kept), target.index_select(0, kept)
    if validate_args:
        check_labels(metric, "target", target, 2)
    return preds, target


def count_keys(keys: Tensor, size: int) -> Tensor:
    """Count how often each of 0..size-1 occurs. It waits for no device.

    Args:
        keys: Int64 of any shape, in 0..size; `size` stands for what does not count.
        size: Number of different keys.

    Returns:
        Int64 counts of shape (size,).
    """
    keys = keys.reshape(-1)
    if keys.is_cpu:
        return torch.bincount(keys, minlength=size + 1)[:size]
    counts = torch.zeros(size + 1, dtype=torch.int64, device=keys.device)
    return counts.scatter_add_(0, keys, torch.ones_like(keys))[:size]


def logit(probability: float) -> float:
    """Return the logit whose sigmoid is `probability`; minus or plus infinity at 0 and 1."""
    if probability in (0, 1):
        return math.inf if probability else -math.inf
    return math.log(probability) - math.log1p(-probability)


def _settle(metric: str, labels: Labels, num_classes: int, ignore_index: int | None, has_scores: bool) -> None:
    """See to it that all labels are in range: those that are to be ignored, and wrong ones, do not count.

    Raises:
        ValueError: On the CPU, one is out of range.
    """
    target = labels.target
    if ignore_index is not None:
        labels.left_out = target == ignore_index
        labels.target = target = target.masked_fill(labels.left_out, 0)
        if not has_scores:
            labels.preds = labels.preds.masked_fill(labels.left_out, 0)
    if reads_data(target):
        check_labels(metric, "target", target, num_classes)
        if not has_scores:
            check_labels(metric, "preds", labels.preds, num_classes)
        return
    labels.target = target.clamp(0, num_classes - 1)
    wrong = labels.target != target
    if not has_scores:
        preds = labels.preds
        labels.preds = preds.clamp(0, num_classes - 1)
        wrong = wrong | (labels.preds != preds)
    labels.invalid = wrong.sum()
    labels.left_out = wrong if labels.left_out is None else labels.left_out | wrong


def _check_binary_tensors(metric: str, preds: Tensor, target: Tensor) -> bool:
    """Check dtypes and shapes, and return whether `preds` holds scores rather than labels."""
    _check_integer_target(metric, preds, target)
    if preds.shape != target.shape:
        raise ValueError(
            f"{metric}: `preds` must have the shape of `target`, {tuple(target.shape)}, but has "
            f"{tuple(preds.shape)} instead. "
            + (reshaping(preds, target) or "For scores of two classes (N, 2), pass those of class 1: `preds[:, 1]`.")
        )
    return preds.is_floating_point()


def _check_integer_target(metric: str, preds: Tensor, target: Tensor) -> None:
    """Check that both are real tensors and that `target` holds integers or bools."""
    check_tensor(metric, "preds", preds)
    check_tensor(metric, "target", target)
    if target.is_floating_point():
        raise TypeError(
            f"{metric}: `target` must hold integer labels, but is {target.dtype} instead. "
            "Convert it with `target.long()`; a one-hot one with `target.argmax(1)`."
        )


def _from_one_hot(preds: Tensor, target: Tensor, num_classes: int) -> str:
    """Say what to write if the target may be one-hot."""
    fits = target.ndim == 2 and target.shape[1] == num_classes and preds.shape[:1] == target.shape[:1]
    return "If `target` is one-hot, pass `target.argmax(1)`." if fits else ""


def _check_multiclass_tensors(metric: str, preds: Tensor, target: Tensor, num_classes: int, top_k: int) -> bool:
    """Check dtypes and shapes, and return whether `preds` holds scores rather than labels."""
    _check_integer_target(metric, preds, target)
    if preds.ndim == target.ndim + 1:
        expected = (*target.shape[:1], num_classes, *target.shape[1:])
        if not preds.is_floating_point():
            raise TypeError(
                f"{metric}: `preds` of shape (N, C, ...) must hold float scores, but is {preds.dtype} instead. "
                "Convert it with `preds.float()`, or pass labels of shape (N, ...)."
            )
        if target.ndim == 0 or preds.shape != expected:
            raise ValueError(
                f"{metric}: `preds` must have the shape (N, C, ...) = {expected}, but has {tuple(preds.shape)} "
                f"instead. Put the {num_classes} classes in dimension 1 and the other dimensions as in `target`."
            )
        return True
    if preds.shape != target.shape:
        raise ValueError(
            f"{metric}: `preds` must have the shape of `target`, {tuple(target.shape)}, or one more dimension of size "
            f"{num_classes} after the first, but has {tuple(preds.shape)} instead. "
            + (_from_one_hot(preds, target, num_classes) or reshaping(preds, target) or "Reshape one of them.")
        )
    if preds.is_floating_point():
        raise TypeError(
            f"{metric}: `preds` of the shape of `target` must hold integer labels, but is {preds.dtype} instead. "
            "Pass scores of shape (N, C, ...), or labels converted with `preds.long()`. "
            + _from_one_hot(preds, target, num_classes)
        )
    if top_k > 1:
        raise ValueError(
            f"{metric}: `preds` must be scores of shape (N, C, ...) when `top_k` is {top_k}, but are labels instead. "
            "Pass scores, or top_k=1."
        )
    return False


def _top_k_labels(scores: Tensor, target: Tensor, top_k: int) -> Tensor:
    """Return the target where it is among the `top_k` highest scores, else the class of the highest score.

    Among equal scores the lower class goes first, as in `argmax`: whatever the device, the batch size or the order of
    the samples, a sample is judged alone. A NaN goes before every number, as in `argmax`; a target with a NaN score
    hits only as the class that `argmax` gives.

    Args:
        scores: Float tensor of shape (M, C).
        target: Int64 labels of shape (M,).
        top_k: At least 1.

    Returns:
        Int64 labels of shape (M,).
    """
    column = target.unsqueeze(1)
    own = scores.gather(1, column)
    classes = torch.arange(scores.shape[1], device=scores.device)
    ahead = (scores <= own).logical_not() | ((scores == own) & (classes < column))
    hit = ahead.sum(dim=1) < top_k
    return torch.where(hit, target, scores.argmax(dim=1))
