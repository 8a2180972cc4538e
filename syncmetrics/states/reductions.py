"""The one table of what `dist_reduce_fx` means.

A reduction answers two questions: how a value joins an older value of the same state on one process (*over time*), and
how the values of all ranks become one (*over ranks*). Both are written here, for tensors; lists are only ever joined or
flattened, which `syncmetrics.states.store` does.

===============  ==========================  ===========================================================
dist_reduce_fx   over time                   over ranks
===============  ==========================  ===========================================================
``"sum"``        a + b                       sum in rank order, in int64 or float64, given in the state's dtype
``"exact_sum"``  digits of a + b             sum of the digits, rounded by none (`states.exact_sum`)
``"mean"``       weighted by update counts   weighted by each rank's update count
``"min"``        torch.minimum               the same (NaN propagates)
``"max"``        torch.maximum               the same (NaN propagates)
``"cat"``        rows of a, then rows of b   rows of rank 0, then of rank 1, ...
``None``         cannot be merged            stacked: shape ``(world_size, ...)``
callable         called on a stack of two    called on the stack ``(world_size, ...)``
===============  ==========================  ===========================================================

A sum is counted from its default: `default + x` on one process is `default + x` on N ranks, whatever the default.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.states.exact_sum import carried

__all__ = ["ReduceFx", "Reduction", "cat_rows", "finish_sum", "promote", "resolve_reduction", "wide_dtype"]

ReduceFx: TypeAlias = Literal["sum", "exact_sum", "mean", "min", "max", "cat"] | Callable[[Any], Any] | None

_OverTime: TypeAlias = Callable[[Tensor, Tensor, tuple[int, int], Tensor | None], Tensor]
_OverRanks: TypeAlias = Callable[[Sequence[Tensor], Sequence[int], Tensor | None], Tensor]


@dataclass(frozen=True, slots=True)
class Reduction:
    """One row of the table.

    Attributes:
        name: What stands in the schema: equal names on two ranks mean the same reduction.
        over_time: `(a, b, (updates in a, updates in b), offset) -> merged`, or None if two values cannot become one.
            The offset is the default that a sum starts from, None where that is zero.
        over_ranks: `(values in rank order, updates of each rank, offset) -> reduced`.
        same_shape: Whether the values of all ranks must have one shape.
        for_lists: Whether a list state can have it.
        fx: The user's own callable, if the reduction is one.
        interleaved: Whether lists of equal length are joined element by element, and not rank by rank.
    """

    name: str
    over_time: _OverTime | None
    over_ranks: _OverRanks
    same_shape: bool = True
    for_lists: bool = False
    fx: Callable[[Any], Any] | None = None
    interleaved: bool = False

    @property
    def adds(self) -> bool:
        """Whether values are added up, from the default on."""
        return self.name in ("sum", "exact_sum")

    @property
    def by_element(self) -> bool:
        """Whether each element becomes one without the others."""
        return self.name in ("sum", "exact_sum", "mean", "min", "max")


def resolve_reduction(dist_reduce_fx: ReduceFx | Reduction) -> Reduction:
    """Look up the row of the table for what the user wrote. A row is given back as it is.

    Raises:
        StateError: It is neither a known name, nor None, nor callable.
    """
    if isinstance(dist_reduce_fx, Reduction):
        return dist_reduce_fx
    if dist_reduce_fx is None or isinstance(dist_reduce_fx, str):
        row = _TABLE.get(dist_reduce_fx)
        if row is not None:
            return row
    elif callable(dist_reduce_fx):
        return _custom(dist_reduce_fx)
    raise StateError(
        "`dist_reduce_fx` must be 'sum', 'exact_sum', 'mean', 'min', 'max', 'cat', None or a callable, but is"
        f" {dist_reduce_fx!r} instead."
    )


def wide_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Give the dtype to accumulate in: int64, float64 or complex128, or the widest that the device has."""
    narrow_device = device.type == "mps"  # has no float64
    if dtype.is_complex:
        return torch.complex64 if narrow_device else torch.complex128
    if dtype.is_floating_point:
        return torch.float32 if narrow_device else torch.float64
    return torch.int64


def promote(dtypes: Sequence[torch.dtype]) -> torch.dtype:
    """Give the dtype that torch promotes all of `dtypes` to.

    Raises:
        StateError: Torch has no promotion for them (unsigned integers wider than 8 bits, float8).
    """
    result = dtypes[0]
    for dtype in dtypes[1:]:
        if dtype is result:
            continue
        try:
            result = torch.promote_types(result, dtype)
        except RuntimeError as error:
            raise StateError(
                f"torch cannot promote {result} and {dtype} to one dtype; convert them in `update`."
            ) from error
    return result


def cat_rows(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate along dimension 0, as every `"cat"` state is.

    A 0-dim tensor is one row. Tensors without rows bring neither dtype nor trailing shape, if any other has rows: a
    rank or a batch without data is no reason for int64 labels to become floats.

    Args:
        tensors: At least one tensor of shape `(rows, ...)` or `()`.

    Raises:
        StateError: Trailing shapes differ, or the dtypes have no common one.
    """
    rows = [t.reshape(1) if t.dim() == 0 else t for t in tensors]
    filled = [t for t in rows if t.shape[0] > 0]
    if not filled:
        return rows[0]
    if len(filled) == 1:
        return filled[0]
    tail = filled[0].shape[1:]
    for t in filled:
        if t.shape[1:] != tail:
            raise StateError(
                f"rows of one 'cat' state must have one trailing shape, but have {tuple(tail)} and"
                f" {tuple(t.shape[1:])};"
                " pad them in `update`, or declare the list with dist_reduce_fx=None to keep tensors of any shape."
            )
    dtype = promote([t.dtype for t in filled])
    return torch.cat([t.to(dtype) for t in filled])


def check_arithmetic(dist_reduce_fx: ReduceFx | Reduction, default: Tensor) -> None:
    """Check that torch can do this arithmetic on the dtype of `default`.

    Raises:
        StateError: It cannot, or it would not mean what the user expects; with what to declare instead.
    """
    name, dtype = resolve_reduction(dist_reduce_fx).name, default.dtype
    if name == "sum" and dtype is torch.bool:
        raise StateError(
            "a bool state cannot be summed (True + True is True); declare it as torch.int64 to count, or"
            " use 'max' for any and 'min' for all."
        )
    if name == "mean" and not (dtype.is_floating_point or dtype.is_complex):
        raise StateError(
            f"the mean of a {dtype} state would be cut to an integer; declare it as torch.float64, or sum"
            " it and divide in `compute`."
        )
    if name in ("sum", "mean", "min", "max") and not _has_arithmetic(name, dtype):
        verb = "compare" if name in ("min", "max") else "add"
        raise StateError(
            f"torch cannot {verb} {dtype} values, so {name!r} is impossible; accumulate in"
            " torch.int64 or torch.float64,"
            " or use 'cat' or None, which carry every dtype."
        )


@functools.cache
def _has_arithmetic(name: str, dtype: torch.dtype) -> bool:
    try:
        probe = torch.zeros(1, dtype=dtype)
        torch.minimum(probe, probe) if name in ("min", "max") else probe + probe
    except (RuntimeError, TypeError):
        return False
    return True


def _sum_over_time(a: Tensor, b: Tensor, counts: tuple[int, int], offset: Tensor | None) -> Tensor:
    total = a + b
    return total if offset is None else total - offset


def _sum_over_ranks(values: Sequence[Tensor], counts: Sequence[int], offset: Tensor | None) -> Tensor:
    dtype = promote([v.dtype for v in values])
    wide = wide_dtype(dtype, values[0].device)
    total = values[0].to(wide)
    for index, value in enumerate(values[1:]):
        total = total.add_(value) if index else total + value.to(wide)  # the first may be a state itself
    return finish_sum(total, len(values), offset, dtype)


def finish_sum(total: Tensor, count: int, offset: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Give a sum of `count` values, made in a wide dtype, as the state's own: its default counted once.

    Raises:
        StateError: That dtype cannot hold it.
    """
    if offset is not None:
        total = total - offset.to(device=total.device, dtype=total.dtype) * (count - 1)
    return _narrow(total, dtype)


def _narrow(total: Tensor, dtype: torch.dtype) -> Tensor:
    result = total.to(dtype)
    if total.dtype is torch.int64 and dtype is not torch.int64 and not _holds(dtype, total):
        raise StateError(
            f"the sum over ranks reaches {int(total.abs().max())}, which {dtype} cannot hold; declare the"
            " state as torch.int64."
        )
    return result


def _holds(dtype: torch.dtype, total: Tensor) -> bool:
    """Say whether a dtype can hold all values of an int64 tensor."""
    if dtype.is_floating_point or dtype is torch.bool or not total.numel():
        return torch.equal(total.to(dtype).to(torch.int64), total)
    lowest, highest = total.aminmax()
    info = torch.iinfo(dtype)
    return info.min <= int(lowest) and int(highest) <= info.max


def _exact_over_time(a: Tensor, b: Tensor, counts: tuple[int, int], offset: Tensor | None) -> Tensor:
    return carried(_sum_over_time(a, b, counts, offset))


def _mean_over_time(a: Tensor, b: Tensor, counts: tuple[int, int], offset: Tensor | None) -> Tensor:
    return _mean_over_ranks((a, b), counts, offset)


def _mean_over_ranks(values: Sequence[Tensor], counts: Sequence[int], offset: Tensor | None) -> Tensor:
    weighted = [(v, n) for v, n in zip(values, counts, strict=True) if n > 0]
    if not weighted:
        return values[0]
    if len(weighted) == 1:
        return weighted[0][0]
    dtype = promote([v.dtype for v, _ in weighted])
    wide = wide_dtype(dtype, values[0].device)
    total = weighted[0][0].to(wide) * weighted[0][1]
    for value, n in weighted[1:]:
        total += value.to(wide) * n
    return (total / sum(n for _, n in weighted)).to(dtype)


def _pick_over_time(
    a: Tensor, b: Tensor, counts: tuple[int, int], offset: Tensor | None, *, pick: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    return pick(a, b)


def _pick_over_ranks(
    values: Sequence[Tensor], counts: Sequence[int], offset: Tensor | None, *, pick: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    return functools.reduce(pick, values)


def _cat_over_time(a: Tensor, b: Tensor, counts: tuple[int, int], offset: Tensor | None) -> Tensor:
    return cat_rows((a, b))


def _cat_over_ranks(values: Sequence[Tensor], counts: Sequence[int], offset: Tensor | None) -> Tensor:
    return cat_rows(values)


def _stack_over_ranks(values: Sequence[Tensor], counts: Sequence[int], offset: Tensor | None) -> Tensor:
    dtype = promote([v.dtype for v in values])
    return torch.stack([v.to(dtype) for v in values])


def _call_over_time(
    a: Tensor, b: Tensor, counts: tuple[int, int], offset: Tensor | None, *, fx: Callable[[Any], Any]
) -> Tensor:
    merged: Tensor = fx(_stack_over_ranks((a, b), counts, offset))
    return merged


def _call_over_ranks(
    values: Sequence[Tensor], counts: Sequence[int], offset: Tensor | None, *, fx: Callable[[Any], Any]
) -> Tensor:
    reduced: Tensor = fx(_stack_over_ranks(values, counts, offset))
    return reduced


def _custom(fx: Callable[[Any], Any]) -> Reduction:
    named: Any = fx
    while isinstance(named, functools.partial):
        named = named.func
    module = getattr(named, "__module__", None) or type(named).__module__
    qualname = getattr(named, "__qualname__", None) or type(named).__qualname__
    return Reduction(
        name=f"{module}.{qualname}{_arguments_of(fx)}",
        over_time=functools.partial(_call_over_time, fx=fx),
        over_ranks=functools.partial(_call_over_ranks, fx=fx),
        for_lists=True,
        fx=fx,
    )


def _arguments_of(fx: Callable[[Any], Any]) -> str:
    """Say what a partial hands over, as far as that is plain: it changes the value as another function would."""
    found = ""
    while isinstance(fx, functools.partial):
        shown = [*map(_shown, fx.args), *(f"{name}={_shown(value)}" for name, value in sorted(fx.keywords.items()))]
        found, fx = f"({', '.join(shown)}){found}" if shown else found, fx.func
    return found


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (bool, int, float, str, bytes, tuple, type(None))) else type(value).__name__


_TABLE: dict[str | None, Reduction] = {
    "sum": Reduction("sum", _sum_over_time, _sum_over_ranks),
    "exact_sum": Reduction("exact_sum", _exact_over_time, _sum_over_ranks),
    "mean": Reduction("mean", _mean_over_time, _mean_over_ranks),
    "min": Reduction(
        "min",
        functools.partial(_pick_over_time, pick=torch.minimum),
        functools.partial(_pick_over_ranks, pick=torch.minimum),
    ),
    "max": Reduction(
        "max",
        functools.partial(_pick_over_time, pick=torch.maximum),
        functools.partial(_pick_over_ranks, pick=torch.maximum),
    ),
    "cat": Reduction("cat", _cat_over_time, _cat_over_ranks, same_shape=False, for_lists=True),
    None: Reduction("none", None, _stack_over_ranks, for_lists=True),
}
