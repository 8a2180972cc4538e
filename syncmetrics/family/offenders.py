"""Labels out of range: an error at once on a CPU; on another device, which nobody waits for, counted for `compute`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from syncmetrics.family.checks import check_labels
from syncmetrics.metric import Metric
from syncmetrics.states.store import Mode

__all__ = ["labels_in_range", "raise_for_offenders", "reads_data"]


def reads_data(tensor: Tensor) -> bool:
    """Whether a check may read the values of a tensor, because that waits for no device."""
    return tensor.device.type == "cpu"


def labels_in_range(
    metric: str, argument: str, labels: Tensor, counted: Tensor | None, num_classes: int
) -> tuple[Tensor | None, Tensor | None]:
    """Find the labels that are in 0..num_classes-1.

    Args:
        metric: Name of the metric, for the error.
        argument: Name of the argument of `update`, for the error.
        labels: Int64 of any shape.
        counted: Bool of the same shape, which labels matter; None for all.
        num_classes: The number of classes.

    Returns:
        Which labels matter and are in range, and how many matter and are not (0-d, int64), None where there are none.

    Raises:
        ValueError: One is not, and the labels are on a CPU.
    """
    if reads_data(labels):
        check_labels(metric, argument, labels if counted is None else torch.where(counted, labels, 0), num_classes)
        return counted, None
    fits = (labels >= 0) & (labels < num_classes)
    if counted is None:
        return fits, (~fits).sum()
    return counted & fits, (counted & ~fits).sum()


def raise_for_offenders(metric: Metric, invalid: Tensor, says: Callable[[int], str] | None = None) -> None:
    """Raise if values were not what they must be; not for the value of one batch, so that a step waits for nothing.

    Args:
        metric: The metric that computes its value.
        invalid: How many they were: its state `invalid`.
        says: Gives the message, of their number; None for labels out of range.

    Raises:
        ValueError: There were some.
    """
    if metric._holder.store.mode is Mode.STEP:
        return
    number = int(invalid)
    if number:
        raise ValueError((says or _of_labels(type(metric).__name__))(number))


def _of_labels(metric: str) -> Callable[[int], str]:
    return lambda number: (
        f"{metric}: labels must be in 0..number of classes - 1, but {number} of them are not. "
        "Correct the number of classes, or pass `ignore_index` if a target label marks what to leave out."
    )
