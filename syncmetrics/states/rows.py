"""Rows that are appended one batch after another, kept in a few large tensors instead of many small ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from syncmetrics.states.autograd import no_graph
from syncmetrics.states.joined import JoinedRows, joined_of
from syncmetrics.states.reductions import cat_rows

__all__ = ["RowBuffer", "check_dense", "dim_zero_cat", "rows_like"]

#: A new tensor is as large as all before it, up to this size: what was appended is never copied a second time.
LARGEST_BYTES = 16 << 20


class RowBuffer(list[Tensor]):
    """A list of tensors, for a `"cat"` state, that joins what is appended to it.

    Give one as the default of a state, and append as to any list::

        self.add_state("preds", RowBuffer(), dist_reduce_fx="cat")  # in `__init__`
        self.preds.append(preds)  # in `update`

    It is a list, whose elements are the joined rows: `dim_zero_cat`, `torch.cat`, iteration, `state_dict` and a sync
    see the same rows in the same order, in few tensors. So the number of its elements is not the number of appends:
    where each element means something, declare a plain list. What is appended is copied, once, so that it can be edited
    afterwards; a tensor that was read from the buffer is never written to.

    The room for new rows doubles until it has 16 MiB, and no row is moved: ten thousand batches are a dozen tensors.
    A tensor of shape `()` is one row. Rows of another dtype, trailing shape or device begin a tensor of their own.

    Args:
        tensors: What to append first.
    """

    __slots__ = ("_filled", "_room")

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._room: Tensor | None = None  # the memory that the last element is the beginning of
        self._filled = 0  # how many rows of it
        self.extend(tensors)

    def append(self, rows: Tensor, /) -> None:
        """Append rows.

        Raises:
            TypeError: They are no dense tensor. The text begins with the verb, to be put behind the name of the state.
        """
        room, filled = self._room, self._filled
        if (  # this is on the way of every update: rows that go on where the last ones ended
            room is not None
            and isinstance(rows, Tensor)  # type: ignore[redundant-expr]  # users append other things, too
            and rows.dtype is room.dtype
            and rows.shape[1:] == room.shape[1:]
            and rows.dim() == room.dim()
            and filled + rows.shape[0] <= room.shape[0]
            and rows.device == room.device
            and rows.layout is torch.strided
            and not torch.is_grad_enabled()
            and not torch.is_inference_mode_enabled()
        ):
            self._filled = stop = filled + rows.shape[0]
            room.narrow(0, filled, rows.shape[0]).copy_(rows)
            super().__setitem__(-1, room.narrow(0, 0, stop))
            return
        _check_rows(rows)
        with no_graph():
            self._append(rows.detach().reshape(1) if rows.dim() == 0 else rows.detach())

    def extend(self, tensors: Iterable[Tensor], /) -> None:
        """Append the rows of several tensors."""
        for rows in list(tensors):
            self.append(rows)

    def __iadd__(self, tensors: Iterable[Tensor], /) -> RowBuffer:  # type: ignore[override, misc]
        self.extend(tensors)
        return self

    def _append(self, rows: Tensor) -> None:
        last = self[-1] if self else None
        if last is not None and not _fit(last, rows):
            self._begin(rows)
            return
        if last is None or (last.shape[0] == 0 and len(self) == 1):
            self.clear()
            self._begin(rows)
            return
        count, room = rows.shape[0], self._room
        if count == 0:
            return
        stop = self._filled + count
        if room is None or room.shape[0] < stop:
            self._begin(rows, _room_for(rows, sum(element.shape[0] for element in self[-2:])))
            return
        room[self._filled : stop] = rows
        self._filled = stop
        super().__setitem__(-1, room[:stop])

    def _begin(self, rows: Tensor, capacity: int = 0) -> None:
        """Begin a tensor of its own; the first one gets no more room than it needs, as there may be no other."""
        count = rows.shape[0]
        room = torch.empty((max(capacity, count), *rows.shape[1:]), dtype=rows.dtype, device=rows.device)
        room[:count].copy_(rows)
        self._room, self._filled = room, count
        super().append(room[:count])

    # -- what cannot go on in the same memory

    def copy(self) -> RowBuffer:
        """Give a buffer of the same tensors. The two grow apart: neither writes where the other one reads."""
        twin = RowBuffer()
        list.extend(twin, self)
        return twin

    def clear(self) -> None:
        """Drop everything."""
        super().clear()
        self._room = None

    def __setitem__(self, index: Any, value: Any) -> None:
        value = list(value) if isinstance(index, slice) else value
        for rows in value if isinstance(index, slice) else [value]:
            _check_rows(rows)
        super().__setitem__(index, value)
        self._room = None

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        super().__delitem__(index)
        self._room = None

    def insert(self, index: SupportsIndex, rows: Tensor, /) -> None:
        """Insert a tensor as an element of its own."""
        _check_rows(rows)
        super().insert(index, rows)
        self._room = None

    def pop(self, index: SupportsIndex = -1, /) -> Tensor:
        """Take an element out."""
        self._room = None
        return super().pop(index)

    def reverse(self) -> None:
        """Turn the order of the elements around."""
        super().reverse()
        self._room = None

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[Any, ...]:
        # a view would take all the room behind it along; the parts are appended to a plain list, and joined by it
        return _restore, ([rows.clone() for rows in self],)


def check_dense(value: Tensor) -> None:
    """Check that a tensor can be a state.

    Raises:
        TypeError: It cannot. The text begins with the verb, to be put behind the name of the state.
    """
    if value.layout is not torch.strided or value.is_quantized:
        kind = "quantized" if value.is_quantized else str(value.layout)
        raise TypeError(
            f"holds a {kind} tensor; only dense tensors can be states: use `.to_dense()` or `.dequantize()`."
        )


def dim_zero_cat(x: Tensor | Sequence[Tensor]) -> Tensor:
    """Concatenate the rows of a `"cat"` state, list or tensor, synced or not.

    Args:
        x: A tensor, which is given back as it is, or a list of tensors of shape `(rows, ...)` or `()`.

    Returns:
        A tensor of shape `(all rows, ...)`; of shape `(0,)` for an empty list.
    """
    if isinstance(x, Tensor):
        return x
    joined = joined_of(x)
    if joined is not None:
        return joined
    if not len(x):
        return torch.zeros(0)
    if len(x) == 1:
        rows = x[0]
        return rows.clone() if rows.dim() else rows.reshape(1).clone()  # not the memory of the state itself
    rows = cat_rows(x)
    return rows.clone() if any(rows is one for one in x) else rows  # the others were empty


def rows_like(default: list[Any], value: Iterable[Any]) -> list[Any]:
    """Give the elements as a list of the kind that was declared; they are shared."""
    if isinstance(value, JoinedRows):
        return value.copy()
    if not isinstance(default, RowBuffer):
        return list(value)
    buffer = RowBuffer()
    list.extend(buffer, value)
    return buffer


def _restore(tensors: list[Tensor]) -> RowBuffer:
    buffer = RowBuffer()
    list.extend(buffer, tensors)
    return buffer


def _check_rows(rows: Any) -> None:
    if not isinstance(rows, Tensor):
        raise TypeError(
            f"holds a {type(rows).__name__} beside tensors; append torch.as_tensor(...), or keep it in a state of its"
            " own."
        )
    check_dense(rows)


def _fit(last: Tensor, rows: Tensor) -> bool:
    """Say whether rows can go behind others; who brings none fits anywhere, and so does who meets none."""
    if rows.shape[0] == 0 or last.shape[0] == 0:
        return True
    return last.dtype is rows.dtype and last.device == rows.device and last.shape[1:] == rows.shape[1:]


def _room_for(rows: Tensor, before: int) -> int:
    """Give how many rows a new tensor gets room for."""
    row_bytes = max(1, rows.dtype.itemsize * rows[0].numel())
    return max(rows.shape[0], min(max(2 * before, 64), max(1, LARGEST_BYTES // row_bytes)))
