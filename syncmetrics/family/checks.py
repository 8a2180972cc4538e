"""What every metric family needs: the dtype sums are kept in, one division, and checks with clear errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

__all__ = [
    "accumulate_dtype",
    "check_bool",
    "check_choice",
    "check_int",
    "check_labels",
    "check_number",
    "check_same_shape",
    "check_tensor",
    "reshaping",
    "rounded",
    "safe_divide",
    "zero_count",
    "zero_sum",
]


def accumulate_dtype(device: torch.device) -> torch.dtype:
    """Return the float dtype that sums and ratios are computed in on `device`.

    Args:
        device: Where the sum is kept.

    Returns:
        `torch.float64`, or `torch.float32` on a device that has no float64 (`mps`).
    """
    return torch.float32 if device.type == "mps" else torch.float64


def zero_sum(*shape: int) -> Tensor:
    """Return the default of a float sum: zeros of `shape` in the accumulate dtype of the default device."""
    return torch.zeros(shape, dtype=accumulate_dtype(torch.get_default_device()))


def zero_count(*shape: int) -> Tensor:
    """Return the default of a count: int64 zeros of `shape`."""
    return torch.zeros(shape, dtype=torch.int64)


def safe_divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide in the accumulate dtype; anything divided by zero is zero.

    Args:
        numerator: Any real dtype, broadcastable with `denominator`.
        denominator: Any real dtype.

    Returns:
        The ratio in the accumulate dtype of the device, not yet rounded to a smaller one.
    """
    dtype = accumulate_dtype(numerator.device)
    if numerator.dtype is not dtype:
        numerator = numerator.to(dtype)
    ratio = numerator / (denominator if denominator.dtype is dtype else denominator.to(dtype))
    return ratio.masked_fill_(denominator == 0, 0.0)


def rounded(ratio: Tensor) -> Tensor:
    """Round a ratio, once, to `torch.get_default_dtype()`. It is a new tensor, whatever the dtypes."""
    return ratio.to(torch.get_default_dtype(), copy=True)


def check_int(metric: str, argument: str, value: object, *, minimum: int | None = None) -> None:
    """Check that a constructor argument is an int (a bool is not) of at least `minimum`.

    Raises:
        TypeError: If `value` is not an int.
        ValueError: If `value` is smaller than `minimum`.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{metric}: `{argument}` must be an int, but is {value!r} instead. Pass a whole number.")
    if minimum is not None and value < minimum:
        raise ValueError(
            f"{metric}: `{argument}` must be at least {minimum}, but is {value} instead. Pass {minimum} or more."
        )


def check_number(
    metric: str, argument: str, value: object, *, above: float | None = None, minimum: float | None = None
) -> None:
    """Check that a constructor argument is a finite number, above a bound or at least a minimum.

    Raises:
        TypeError: It is no number.
        ValueError: It is too small or not finite.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{metric}: `{argument}` must be a number, but is {value!r} instead. Pass a float.")
    number = float(value)
    fits = math.isfinite(number) and (above is None or number > above) and (minimum is None or number >= minimum)
    if not fits:
        bound = "" if above is None else f"above {above:g} and "
        bound += "" if minimum is None else f"at least {minimum:g} and "
        advice = "Pass a number." if above is None and minimum is None else "Pass a larger number."
        raise ValueError(f"{metric}: `{argument}` must be {bound}finite, but is {value} instead. {advice}")


def check_bool(metric: str, argument: str, value: object) -> None:
    """Check that a constructor argument is a bool.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{metric}: `{argument}` must be a bool, but is {value!r} instead. Pass True or False.")


def check_choice(metric: str, argument: str, value: object, allowed: Sequence[str | None]) -> None:
    """Check that a constructor argument is one of the `allowed` names.

    Raises:
        ValueError: If it is not.
    """
    if not (value is None or isinstance(value, str)) or value not in allowed:
        names = ", ".join(repr(name) for name in allowed)
        raise ValueError(f"{metric}: `{argument}` must be one of {names}, but is {value!r} instead. Pass one of these.")


def check_same_shape(metric: str, preds: Tensor, target: Tensor) -> None:
    """Check that `preds` and `target` are tensors of one shape.

    Raises:
        TypeError: If one is not a tensor.
        ValueError: If the shapes differ.
    """
    check_tensor(metric, "preds", preds)
    check_tensor(metric, "target", target)
    if preds.shape != target.shape:
        raise ValueError(
            f"{metric}: `preds` must have the shape of `target`, {tuple(target.shape)}, but has "
            f"{tuple(preds.shape)} instead. {reshaping(preds, target) or 'Reshape one of them; nothing is broadcast.'}"
        )


def reshaping(preds: Tensor, target: Tensor) -> str:
    """Say what to write where one of the two has a last dimension of size 1 too many; nothing if neither has."""
    for name, value, other in (("target", target, preds), ("preds", preds, target)):
        if value.ndim > 1 and value.shape[-1] == 1 and value.shape[:-1] == other.shape[: value.ndim - 1]:
            return f"Pass `{name}.squeeze(-1)`."
    return ""


def check_tensor(metric: str, argument: str, value: object) -> None:
    """Check that `value` is a real tensor.

    Raises:
        TypeError: If it is no tensor, or a complex one.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{metric}: `{argument}` must be a torch.Tensor, but is {type(value).__name__} instead. "
            f"Convert it with `torch.as_tensor({argument})`."
        )
    if value.is_complex():
        raise TypeError(
            f"{metric}: `{argument}` must be real, but is {value.dtype} instead. "
            f"Pass `{argument}.real` or `{argument}.abs()`."
        )


def check_labels(metric: str, argument: str, labels: Tensor, num_classes: int) -> None:
    """Check that integer labels are in 0..num_classes-1; reads the data once.

    Raises:
        ValueError: One is not.
    """
    if labels.numel() == 0:
        return
    bounds = torch.aminmax(labels)
    if labels.device.type == "cpu":
        low, high = int(bounds.min), int(bounds.max)
    else:
        low, high = torch.stack(bounds).tolist()  # one wait for the device, not two
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{metric}: labels in `{argument}` must be in 0..{num_classes - 1}, but range from {low} to {high} "
            "instead. Correct the number of classes, or pass `ignore_index` if a target label marks what to leave out."
        )
