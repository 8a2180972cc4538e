"""Class labels out of what users pass: checks with clear errors, then flat int64 tensors, then counts of them."""

from __future__ import annotations

import torch
from torch import Tensor

from syncmetrics.family.checks import check_labels, check_tensor, reshaping

__all__ = ["binary_inputs", "count_keys", "keep_samples", "multiclass_inputs"]


def multiclass_inputs(
    metric: str,
    preds: Tensor,
    target: Tensor,
    *,
    num_classes: int,
    ignore_index: int | None,
    validate_args: bool,
    top_k: int = 1,
) -> tuple[Tensor, Tensor]:
    """Turn multiclass predictions and targets into labels.

    Predicted labels and, with `validate_args`, target labels are checked to be in 0..num_classes-1. Types and shapes
    are always checked, as that reads no data.

    Args:
        metric: Name for the error texts.
        preds: Integer labels (N, ...), or float scores (N, C, ...).
        target: Integer labels (N, ...).
        num_classes: The number of classes C.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the data for the check of `target`.
        top_k: A sample counts as predicted right when its target is among the `top_k` highest scores.

    Returns:
        Predicted and target labels of the samples that are not ignored, both int64 of shape (M,).

    Raises:
        TypeError: An input is not a tensor or has the wrong dtype.
        ValueError: Shapes do not fit, or a label is out of range.
    """
    has_scores = _check_multiclass_tensors(metric, preds, target, num_classes, top_k)
    target = target.flatten().long()
    if not has_scores:
        preds = preds.flatten().long()
    elif top_k == 1:
        preds = preds.argmax(dim=1).flatten()
    else:
        preds = preds.movedim(1, -1).reshape(-1, num_classes)
    preds, target = keep_samples(preds, target, ignore_index)
    if validate_args:
        check_labels(metric, "target", target, num_classes)
    if not has_scores:
        check_labels(metric, "preds", preds, num_classes)
    return (_top_k_labels(preds, target, top_k) if top_k > 1 else preds), target


def binary_inputs(
    metric: str, preds: Tensor, target: Tensor, *, ignore_index: int | None, validate_args: bool
) -> tuple[Tensor, Tensor]:
    """Flatten binary predictions and targets.

    Predicted labels and, with `validate_args`, target labels are checked to be 0 or 1. Types and shapes are always
    checked, as that reads no data.

    Args:
        metric: Name for the error texts.
        preds: Integer labels or float scores (N, ...).
        target: Integer labels (N, ...).
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the data for the check of `target`.

    Returns:
        Predictions (int64 labels, or scores in their own dtype) and int64 targets of the samples that are not
        ignored, both of shape (M,).

    Raises:
        TypeError: An input is not a tensor or has the wrong dtype.
        ValueError: The shapes differ, or a label is neither 0 nor 1.
    """
    _check_integer_target(metric, preds, target)
    if preds.shape != target.shape:
        raise ValueError(
            f"{metric}: `preds` must have the shape of `target`, {tuple(target.shape)}, but has "
            f"{tuple(preds.shape)} instead. "
            + (reshaping(preds, target) or "For scores of two classes (N, 2), pass those of class 1: `preds[:, 1]`.")
        )
    has_scores = preds.is_floating_point()
    preds = preds.flatten() if has_scores else preds.flatten().long()
    preds, target = keep_samples(preds, target.flatten().long(), ignore_index)
    if validate_args:
        check_labels(metric, "target", target, 2)
    if not has_scores:
        check_labels(metric, "preds", preds, 2)
    return preds, target


def keep_samples(preds: Tensor, target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor]:
    """Drop the samples whose target is `ignore_index`."""
    if ignore_index is None:
        return preds, target
    kept = (target != ignore_index).nonzero().squeeze(1)
    return preds.index_select(0, kept), target.index_select(0, kept)


def count_keys(metric: str, keys: Tensor, size: int) -> Tensor:
    """Count how often each of 0..size-1 occurs in `keys`.

    `bincount` refuses negative keys and grows for large ones, so a label out of range never passes unseen.

    Args:
        metric: Name for the error text.
        keys: Int64 tensor of shape (M,).
        size: Number of different keys.

    Returns:
        Int64 counts of shape (size,).

    Raises:
        ValueError: A key is `size` or larger.
        RuntimeError: A key is negative.
    """
    counts = torch.bincount(keys, minlength=size)
    if counts.shape[0] != size:
        raise ValueError(
            f"{metric}: a label must be smaller than the number of classes, but one is not. "
            "Pass validate_args=True to see which input holds it."
        )
    return counts


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
    ahead = ~(scores <= own) | ((scores == own) & (classes < column))
    hit = ahead.sum(dim=1) < top_k
    return torch.where(hit, target, scores.argmax(dim=1))
