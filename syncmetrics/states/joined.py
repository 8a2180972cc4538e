"""A list of tensors that arrived as one, and is taken apart when somebody asks for an element.

The list of a `"cat"` state is, on N ranks, the list of one process: the same elements, in rank order. Its rows travel
as one tensor. Most metrics join them again, which then costs nothing; the others find the elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, SupportsIndex, TypeVar

import torch
from torch import Tensor

__all__ = ["SCALAR", "JoinedRows", "Run", "joined_of", "runs_of"]


class Run(NamedTuple):
    """Elements one behind another that are alike.

    Attributes:
        rows: How many rows each of them has; `SCALAR` for those of shape `()`.
        times: How many they are.
        dtype: Their dtype, if others on this rank have another one.
    """

    rows: int
    times: int
    dtype: torch.dtype | None = None


#: Stands for the rows of an element of shape `()`, which is one row of the joined tensor.
SCALAR = -1

_Result = TypeVar("_Result")


def runs_of(tensors: Iterable[Tensor]) -> tuple[Run, ...]:
    """Give the lengths of tensors, and their dtypes if these differ, run-length coded."""
    runs: list[list[Any]] = []
    for tensor in tensors:
        rows, dtype = tensor.shape[0] if tensor.dim() else SCALAR, tensor.dtype
        if runs and runs[-1][0] == rows and runs[-1][2] is dtype:
            runs[-1][1] += 1
        else:
            runs.append([rows, 1, dtype])
    differ = len({dtype for _, _, dtype in runs}) > 1
    return tuple(Run(rows, times, dtype if differ else None) for rows, times, dtype in runs)


class _Trigger(Tensor):
    """What stands inside of a list that is not taken apart yet, for torch functions, which look there directly.

    Torch hands a call with such a tensor over to this class, which has the list taken apart and calls again.
    """

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        found = [item for item in (*args, *kwargs.values()) if isinstance(item, JoinedRows)]
        if func is torch.cat and len(args) == 1 and not kwargs and found and not found[0].has_scalars:
            joined = joined_of(found[0])
            if joined is not None:
                return torch.cat([joined])
        if not any(rows.take_apart() for rows in found):
            raise TypeError(f"{func} was given a part of a list that has not been taken apart; index the list instead.")
        return func(*args, **kwargs)


_TRIGGER: Any = torch.empty(0, device="cpu").as_subclass(_Trigger)


def _reading(method: Callable[..., _Result]) -> Callable[..., _Result]:
    """Take the list apart, and read it."""

    def wrapped(self: JoinedRows, *args: Any, **kwargs: Any) -> _Result:
        self.take_apart()
        return method(self, *args, **kwargs)

    return wrapped


def _changing(method: Callable[..., _Result]) -> Callable[..., _Result]:
    """Take the list apart, change it, and forget the joined tensor, which is another from now on."""

    def wrapped(self: JoinedRows, *args: Any, **kwargs: Any) -> _Result:
        self.take_apart()
        self.forget_joined()
        return method(self, *args, **kwargs)

    return wrapped


class JoinedRows(list[Tensor]):
    """A list of tensors whose rows stand together.

    Args:
        joined: All rows, of shape `(rows, ...)`.
        runs: How many rows each element has, run-length coded; and the dtype of the elements, for they may have been
            converted to a common one.
        times: How many ranks, one behind another, have such elements.
    """

    __slots__ = ("_count", "_joined", "_runs", "_times", "has_scalars")

    def __init__(self, joined: Tensor, runs: Sequence[tuple[Sequence[Run], torch.dtype]], times: int = 1) -> None:
        super().__init__((_TRIGGER,))
        self._joined: Tensor | None = joined
        self._runs: Sequence[tuple[Sequence[Run], torch.dtype]] | None = runs
        self._times = times
        self._count = sum(run.times for some, _ in runs for run in some) * times
        self.has_scalars = any(run.rows == SCALAR for some, _ in runs for run in some)

    def take_apart(self) -> bool:
        """Make the elements, if they are not made yet, and say whether they were made now."""
        runs, joined = self._runs, self._joined
        if runs is None or joined is None:
            return False
        self._runs = None
        elements: list[Tensor] = []
        at = 0
        for some, dtype in [*runs] * self._times:
            for rows, times, own in some:
                stop = at + abs(rows) * times
                piece = joined[at:stop].to(own or dtype)
                if rows == SCALAR:
                    elements.extend(piece.unbind())
                else:
                    elements.extend(torch.split(piece, rows) if rows else [piece] * times)
                at = stop
        list.__setitem__(self, slice(None), elements)
        return True

    def forget_joined(self) -> None:
        """Forget the joined tensor."""
        self._joined = None

    def with_rows(self, change: Callable[[Tensor], Tensor]) -> JoinedRows:
        """Give the same list with other memory behind it: what `change` makes of the joined tensor."""
        if self._runs is not None and self._joined is not None:
            return JoinedRows(change(self._joined), self._runs, self._times)
        twin = JoinedRows(torch.empty(0), ())
        twin._joined = None
        list.__setitem__(twin, slice(None), [change(item) for item in self])
        twin._runs = None
        return twin

    def copy(self) -> JoinedRows:
        """Give another list of the same elements."""
        return self.with_rows(lambda rows: rows)

    def __len__(self) -> int:
        return self._count if self._runs is not None else super().__len__()

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[Any, ...]:
        return list, (list(self),)

    __contains__ = _reading(list.__contains__)
    __eq__ = _reading(list.__eq__)
    __ne__ = _reading(list.__ne__)
    __lt__ = _reading(list.__lt__)
    __le__ = _reading(list.__le__)
    __gt__ = _reading(list.__gt__)
    __ge__ = _reading(list.__ge__)
    __getitem__ = _reading(list.__getitem__)
    __iter__ = _reading(list.__iter__)
    __reversed__ = _reading(list.__reversed__)
    __repr__ = _reading(list.__repr__)
    __add__ = _reading(list.__add__)  # type: ignore[assignment]  # it is overloaded
    __mul__ = _reading(list.__mul__)
    __rmul__ = _reading(list.__rmul__)
    count = _reading(list.count)
    index = _reading(list.index)
    __delitem__ = _changing(list.__delitem__)
    __iadd__ = _changing(list.__iadd__)
    __imul__ = _changing(list.__imul__)
    __setitem__ = _changing(list.__setitem__)
    append = _changing(list.append)
    clear = _changing(list.clear)
    extend = _changing(list.extend)
    insert = _changing(list.insert)
    pop = _changing(list.pop)
    remove = _changing(list.remove)
    reverse = _changing(list.reverse)
    sort = _changing(list.sort)
    __hash__ = None

    def __radd__(self, other: list[Any]) -> list[Any]:
        return [*other, *self]


def joined_of(rows: object) -> Tensor | None:
    """Give the tensor that the rows of a list stand in, if they do."""
    return rows._joined if isinstance(rows, JoinedRows) else None
