"""Sums of floats without rounding: what `dist_reduce_fx="exact_sum"` keeps, adds to, and rounds once at the end.

An exact sum is an int64 tensor whose last dimension holds three counts, of NaN, of infinity and of minus infinity, and
then digits in base 2**32, lowest first. Digits are integers, so that their sum does not depend on its order: not on how
the values came in batches, nor on how they lie on the ranks. That is a superaccumulator (Kulisch, "Computer Arithmetic
and Validity", 2008; Neal, "Fast Exact Summation Using Small and Large Superaccumulators", arXiv:1505.05571, has the
same layout). Its value is the true sum, rounded once, as `math.fsum` gives it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.states.autograd import no_graph

__all__ = ["carried", "encode_default", "exact_add", "exact_value", "is_exact_sum", "nearly"]

_COUNTS = 3
_BASE_BITS = 32
_MASK = (1 << _BASE_BITS) - 1

#: Of the floats that each kind of sum takes: how many digits, and the exponent of the lowest bit of the lowest digit.
_DIGITS = {torch.float32: 10, torch.float64: 67}
_LOWEST = {torch.float32: -149, torch.float64: -1074}
_DTYPE_OF = {_COUNTS + digits: dtype for dtype, digits in _DIGITS.items()}
#: So many rows are added at once: each gives a digit at most 2**32 and the sum is exact, in float64 too.
_AT_ONCE = 1 << 15
_SMALLEST = 5e-324
_NARROWER = (torch.float16, torch.bfloat16)


def encode_default(default: Tensor) -> Tensor:
    """Give the exact sum that begins with a float default.

    Args:
        default: Of any shape, in float32 for a sum of values that float32 can hold (104 bytes each), or in float64
            (560 bytes each). Half precision is kept as float32.

    Returns:
        Int64 of shape `(*default.shape, 13)` or `(*default.shape, 70)`.

    Raises:
        StateError: The default is no float.
    """
    if not default.is_floating_point():
        raise StateError(
            f"an exact sum is one of floats, but the default is {default.dtype}; integers are summed exactly by"
            " dist_reduce_fx='sum'."
        )
    dtype = torch.float64 if default.dtype is torch.float64 else torch.float32
    empty = torch.zeros(*default.shape, _COUNTS + _DIGITS[dtype], dtype=torch.int64, device=default.device)
    return exact_add(empty, default) if default.numel() else empty


def is_exact_sum(value: Tensor, default: Tensor) -> bool:
    """Whether a tensor can stand where an exact sum was declared."""
    return value.dtype is torch.int64 and value.shape == default.shape


def exact_add(total: Tensor, values: Tensor) -> Tensor:
    """Add floats to an exact sum, without rounding. It waits for no device.

    Args:
        total: A state that was declared with `dist_reduce_fx="exact_sum"` and a default of shape `(*S)`.
        values: Floats of shape `(*S)` or `(N, *S)`; for a sum of shape `()`, of any shape. In at most the precision of
            the default. NaN and infinity count as in any sum.

    Returns:
        The new state; `total` is left as it is.

    Raises:
        StateError: `total` is no exact sum, or the values do not fit it.

    Example:
        >>> import torch
        >>> from syncmetrics import Metric, exact_add, exact_value
        >>> class Total(Metric):
        ...     def __init__(self, **kwargs):
        ...         super().__init__(**kwargs)
        ...         self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="exact_sum")
        ...
        ...     def update(self, values):
        ...         self.total = exact_add(self.total, values)
        ...
        ...     def compute(self):
        ...         return exact_value(self.total)
        >>> metric = Total()
        >>> metric.update(torch.tensor([1e100, 1.0, -1e100], dtype=torch.float64))
        >>> metric.compute()
        tensor(1., dtype=torch.float64)
    """
    dtype = _dtype_of(total)
    shape = total.shape[:-1]
    if not values.is_floating_point():
        values = values.to(dtype)
    if values.dtype is not dtype and not (values.dtype in _NARROWER or dtype is torch.float64):
        raise StateError(
            f"values of {values.dtype} do not fit an exact sum of {dtype}; declare the state with a default in"
            f" {values.dtype}, or convert the values."
        )
    if shape and values.shape[-len(shape) :] != shape:
        raise StateError(
            f"values of shape {tuple(values.shape)} do not fit an exact sum of shape {tuple(shape)}; they are to be of"
            f" shape {tuple(shape)}, or (N, {', '.join(map(str, shape))})."
        )
    with no_graph():
        columns = values.detach().to(dtype).reshape(-1, math.prod(shape))
        digits = _extracted(columns, _LOWEST[dtype], total.shape[-1]) if columns.is_cpu else None
        if digits is None:
            digits = torch.zeros_like(total).view(-1, total.shape[-1])
            for part in torch.split(columns, _AT_ONCE):
                digits += _taken_apart(part, total.shape[-1])
        return carried(total + digits.view(total.shape))


def exact_value(total: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Round an exact sum, once, half to even, as `math.fsum` does.

    Args:
        total: A state that was declared with `dist_reduce_fx="exact_sum"`, of shape `(*S, digits)`.
        dtype: Of the result; left out, float64 (float32 on a device that has no float64).

    Returns:
        Of shape `(*S)`. Infinity where the sum is beyond every float; NaN where NaN, or infinities of both signs, were
        added.

    Raises:
        StateError: `total` is no exact sum.
    """
    kind = _dtype_of(total)
    if dtype is None:
        dtype = torch.float32 if total.device.type == "mps" else torch.float64
    rows = total.reshape(-1, total.shape[-1]).tolist()
    values = torch.tensor([_rounded(row, _LOWEST[kind]) for row in rows], dtype=torch.float64)
    return values.view(total.shape[:-1]).to(dtype).to(total.device)


def nearly(total: Tensor) -> Tensor:
    """Give the float64 near an exact sum, rounded more than once: it waits for no device.

    Args:
        total: As for `exact_value`.
    """
    lowest = _LOWEST[_dtype_of(total)]
    dtype = torch.float32 if total.device.type == "mps" else torch.float64
    value = torch.zeros(total.shape[:-1], dtype=dtype, device=total.device)
    for place in range(total.shape[-1] - _COUNTS):
        # In two factors, neither of which is beyond a float.
        exponent = lowest + _BASE_BITS * place
        half = exponent // 2
        value = value + total[..., _COUNTS + place].to(dtype) * 2.0**half * 2.0 ** (exponent - half)
    nan, infinite, minus_infinite = (total[..., kind] > 0 for kind in range(_COUNTS))
    value = torch.where(infinite, torch.inf, torch.where(minus_infinite, -torch.inf, value))
    return torch.where(nan | (infinite & minus_infinite), torch.nan, value)


def carried(total: Tensor) -> Tensor:
    """Give the same sum in the one way that it can be written: all digits but the highest in 0..2**32-1.

    So there is room for many more additions, and equal sums are equal tensors.
    """
    result = total.clone()
    digits = result[..., _COUNTS:]
    for _ in range(2):
        _carry(digits)
    if digits.is_cpu:
        while bool(((digits[..., :-1] >> _BASE_BITS) != 0).any()):
            _carry(digits)
        return result
    # What is left to carry is -1, 0 or 1, and may ripple through all digits. Which it is follows from the one below, so
    # these rules are put together in pairs, of pairs, and so on: nobody waits to see whether it ripples on.
    rules = (digits.unsqueeze(-1) + torch.arange(-1, 2, device=digits.device)) >> _BASE_BITS
    reach = 1
    while reach < digits.shape[-1]:
        before = torch.nn.functional.pad(rules[..., :-reach, :], (0, 0, reach, 0))
        before[..., :reach, :] = torch.arange(-1, 2, device=digits.device)
        rules = rules.gather(-1, before + 1)
        reach *= 2
    carries = rules[..., :-1, 1]
    digits[..., :-1] -= carries << _BASE_BITS
    digits[..., 1:] += carries
    return result


def _carry(digits: Tensor) -> None:
    carry = digits[..., :-1] >> _BASE_BITS
    digits[..., :-1] -= carry << _BASE_BITS
    digits[..., 1:] += carry


def _dtype_of(total: Tensor) -> torch.dtype:
    dtype = _DTYPE_OF.get(total.shape[-1]) if total.dim() and total.dtype is torch.int64 else None
    if dtype is None:
        raise StateError(
            f"an exact sum is an int64 tensor of digits, but {total.dtype} of shape {tuple(total.shape)} was given;"
            " declare the state with add_state(name, torch.zeros(...), dist_reduce_fx='exact_sum')."
        )
    return dtype


def _extracted(columns: Tensor, lowest: int, width: int) -> Tensor | None:
    """Give the sums of columns, in digits, digit by digit from the highest down: many times faster on a CPU.

    Adding and subtracting 1.5 * 2**(52 + g) rounds a number to a multiple of 2**g (Dekker 1971); what is left is exact.

    Args:
        columns: Of shape `(N, C)`.
        lowest: Exponent of the lowest bit of the lowest digit.
        width: Of each sum.

    Returns:
        Int64 of shape `(C, width)`; None where this arithmetic does not hold.
    """
    largest = float(torch.linalg.vector_norm(columns, math.inf)) if columns.numel() else 0.0
    if not largest < 2.0**900 or _flushes_subnormals():  # a NaN or infinity, or too large to be rounded like this
        return None
    result = torch.zeros(columns.shape[1], width, dtype=torch.int64)
    if largest == 0:
        return result
    for part in torch.split(columns, _AT_ONCE):
        left = part.to(torch.float64, copy=True)
        digit = (math.frexp(largest)[1] - 1 - lowest) // _BASE_BITS
        while digit >= 0:
            unit = lowest + _BASE_BITS * digit
            rounder = math.ldexp(1.5, unit + 52)
            multiple = (left + rounder).sub_(rounder)
            left -= multiple
            # Two factors, for the lowest digits: 2**1074 is no float.
            units = multiple.mul_(math.ldexp(1.0, -unit // 2)).mul_(math.ldexp(1.0, -unit - -unit // 2))
            result[:, _COUNTS + digit] += units.sum(0).long()
            rest = float(torch.linalg.vector_norm(left, math.inf))
            if rest == 0:
                break
            digit = min(digit - 1, (math.frexp(rest)[1] - lowest) // _BASE_BITS)
    return result


def _flushes_subnormals() -> bool:
    """Whether this thread computes with 0 in place of the smallest numbers (`torch.set_flush_denormal`)."""
    return not float(torch.tensor(_SMALLEST, dtype=torch.float64) + 0.0)


def _taken_apart(flat: Tensor, width: int) -> Tensor:
    """Give the sums of columns, in digits, number by number; it waits for no device, and takes NaN and infinity.

    A float is an integer of at most 53 bits times a power of two: it goes into three neighbouring digits, by shifts.

    Args:
        flat: Of shape `(N, C)`.
        width: Of each sum.

    Returns:
        Int64 of shape `(C, width)`.
    """
    count = flat.shape[1]
    if flat.dtype is torch.float64:
        bits, fraction_bits, exponent_mask = flat.contiguous().view(torch.int64), 52, 0x7FF
    else:
        bits, fraction_bits, exponent_mask = flat.contiguous().view(torch.int32).long(), 23, 0xFF
    exponent = (bits >> fraction_bits) & exponent_mask
    fraction = bits & ((1 << fraction_bits) - 1)
    is_finite = exponent != exponent_mask
    # The lowest bit of a subnormal is that of the lowest digit, and so is that of a number of exponent 1.
    place = (exponent - 1).clamp_(min=0)
    mantissa = torch.where(exponent > 0, fraction | (1 << fraction_bits), fraction)
    sign = 1 - 2 * (bits < 0).long()
    digit, shift = place >> 5, place & (_BASE_BITS - 1)
    rest = _BASE_BITS - shift
    low, high = mantissa & _MASK, mantissa >> _BASE_BITS
    # What of each half stays in the digit, and what goes to the next one: no product is over 2**32.
    pieces = torch.stack(
        (
            (low & ((1 << rest) - 1)) << shift,
            (low >> rest) + ((high & ((1 << rest) - 1)) << shift),
            high >> rest,
        )
    )
    pieces = torch.where(is_finite, pieces * sign, 0)
    # An infinity or NaN adds nothing to a digit, and one to the count of its kind.
    kind = torch.where(fraction != 0, 0, torch.where(bits < 0, 2, 1))
    digit = torch.where(is_finite, digit, 0)
    offset = width * torch.arange(count, device=flat.device)
    places = torch.stack((digit, digit + 1, digit + 2)).add_(offset + _COUNTS)
    result = torch.zeros(count * width, dtype=torch.int64, device=flat.device)
    result.index_add_(0, places.reshape(-1), pieces.reshape(-1))
    result.index_add_(0, (kind + offset).reshape(-1), is_finite.logical_not().long().reshape(-1))
    return result.view(count, width)


def _rounded(row: list[int], lowest: int) -> float:
    """Round one sum to a float64: Python divides integers with one rounding, half to even."""
    nan, infinite, minus_infinite, *digits = row
    if nan or (infinite and minus_infinite):
        return math.nan
    if infinite or minus_infinite:
        return math.inf if infinite else -math.inf
    whole = 0
    for digit in reversed(digits):
        whole = (whole << _BASE_BITS) + digit
    try:
        return whole / (1 << -lowest)
    except OverflowError:
        return math.inf if whole > 0 else -math.inf
