"""Scores counted between thresholds, and whether they are probabilities or logits: what curve metrics share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from syncmetrics.classification._curve import LEFT_OUT
from syncmetrics.classification._inputs import count_keys, logit
from syncmetrics.family.checks import check_int, check_tensor

__all__ = [
    "Thresholds",
    "check_numbers",
    "check_scores",
    "checked_thresholds",
    "chosen",
    "coded",
    "count_between",
    "outside",
    "refuse_nan",
    "sigmoid_of",
    "softmax_of",
    "threshold_tensor",
]

Thresholds: TypeAlias = int | Sequence[float] | Tensor | None


def checked_thresholds(metric: str, thresholds: Thresholds) -> tuple[float, ...] | None:
    """Give the thresholds as numbers in ascending order, each one that float32 has.

    Raises:
        TypeError: They are none.
        ValueError: One is not in [0, 1], or an int is less than 2.
    """
    if thresholds is None:
        return None
    if isinstance(thresholds, int) and not isinstance(thresholds, bool):
        check_int(metric, "thresholds", thresholds, minimum=2)
        numbers = torch.linspace(0, 1, thresholds, dtype=torch.float32, device="cpu")
    else:
        try:
            numbers = torch.as_tensor(thresholds, dtype=torch.float32, device="cpu").flatten().sort().values
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"{metric}: `thresholds` must be None, an int, or numbers, but is {thresholds!r} instead. Pass e.g."
                " 100."
            ) from None
    found = tuple(numbers.tolist())
    if not found or not all(0 <= number <= 1 for number in found):
        raise ValueError(
            f"{metric}: `thresholds` must be numbers in [0, 1], but are {thresholds!r} instead. For logits, too, pass"
            " probabilities."
        )
    return found


def threshold_tensor(metric: Any) -> Tensor:
    """Give the thresholds of a metric on its device."""
    return torch.tensor(metric.thresholds, dtype=torch.float32).to(metric.device)


def check_scores(metric: str, preds: object) -> None:
    """Check that `preds` is a float tensor.

    Raises:
        TypeError: It is not.
    """
    check_tensor(metric, "preds", preds)
    assert isinstance(preds, Tensor)
    if not preds.is_floating_point():
        raise TypeError(
            f"{metric}: `preds` must hold float scores, but is {preds.dtype} instead. Convert it with `preds.float()`."
        )


def check_numbers(metric: str, preds: Tensor, target: object, ignore_index: int | None) -> None:
    """Check that no score is NaN, but for those of samples that are left out.

    Raises:
        ValueError: One is.
    """
    if not preds.numel() or not math.isnan(preds.amax()):
        return
    is_nan = torch.isnan(preds)
    if ignore_index is not None and isinstance(target, Tensor) and target.shape == preds.shape:
        is_nan = is_nan & (target != ignore_index)
    if bool(is_nan.any()):
        raise ValueError(_of_nan(metric, int(is_nan.sum()), preds.numel()))


def refuse_nan(metric: str, low: Tensor, scores: Tensor) -> None:
    """Check that no score is NaN, where the lowest of those that count is known; on a CPU.

    Raises:
        ValueError: One is.
    """
    if math.isnan(low):
        raise ValueError(_of_nan(metric, int(torch.isnan(scores).sum()), scores.numel()))


def _of_nan(metric: str, number: int, of: int) -> str:
    return (
        f"{metric}: `preds` must not be NaN, as NaN has no rank, but {number} of {of} are instead. Leave them out, e.g."
        " by `ignore_index` in `target`."
    )


def coded(target: Tensor, left_out: Tensor | None) -> Tensor:
    """Mark the samples that do not count."""
    return target if left_out is None else target.masked_fill(left_out, LEFT_OUT)


def outside(scores: Tensor, codes: Tensor) -> Tensor:
    """Say whether any score that counts is no probability, int64: then all of them are logits."""
    if not scores.numel():
        return torch.zeros((), dtype=torch.int64, device=scores.device)
    low, high = torch.aminmax(scores.masked_fill(codes == LEFT_OUT, 0))
    return ((low >= 0) & (high <= 1)).logical_not().long()


def sigmoid_of(scores: Tensor) -> Tensor:
    """Read scores as logits of two classes each, the same to the bit wherever in a tensor they stand.

    `torch.sigmoid` is not: on a CPU it takes the last few elements of a tensor by another function than the others.
    """
    return 1 / ((-scores).exp() + 1)


def softmax_of(scores: Tensor) -> Tensor:
    """Read scores `(N, K)` as logits of K classes; one that is infinite has all, or its share of all."""
    return scores.clamp(max=torch.finfo(scores.dtype).max).softmax(1)


def count_between(
    scores: Tensor,
    codes: Tensor,
    thresholds: Sequence[float],
    normalize: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Count scores between thresholds, read as they are and as logits.

    Args:
        scores: Floats of shape `(N, K)`.
        codes: 0, 1, or `LEFT_OUT`, of shape `(N, K)`.
        thresholds: In ascending order.
        normalize: What makes probabilities of logits; None where each is one of two classes, so that it is compared
            with the logit of the threshold.

    Returns:
        Int64 of shape `(2, T + 1, K, 2)`.
    """
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    scores = scores.contiguous()
    edges = torch.tensor(thresholds, dtype=scores.dtype).to(scores.device)
    if normalize is None:
        logits = torch.tensor([logit(one) for one in thresholds], dtype=scores.dtype).to(scores.device)
        readings = ((scores, edges), (scores, logits))
    else:
        readings = ((scores, edges), (normalize(scores), edges))
    columns, cells = scores.shape[1], len(thresholds) + 1
    column = torch.arange(columns, device=scores.device)
    size = 2 * cells * columns * 2
    keys = [
        ((torch.bucketize(values, bounds, right=True) + cells * reading) * columns + column) * 2 + codes
        for reading, (values, bounds) in enumerate(readings)
    ]
    left_out = codes == LEFT_OUT
    return count_keys(torch.stack([key.masked_fill(left_out, size) for key in keys]), size).view(2, cells, columns, 2)


def chosen(counts: Tensor, is_logit: Tensor) -> Tensor:
    """Choose how scores are read, when all of them are known."""
    return torch.where(is_logit, counts[1], counts[0])
