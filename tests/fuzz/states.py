"""Random states: how they are declared, what an update adds, and what everything that was added makes.

The second half is the oracle. It knows the table of reductions as it is documented, and calls nothing of the package.

Numbers are small and whole, so that every order of adding gives the same bits; where they are not (`rough`), the oracle
adds in the order that is documented: over time on each rank, then in rank order in float64, rounded once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

#: Means of these are whole numbers for up to 16 updates, on one rank and on the way there.
WHOLE = 720720
MOST_UPDATES = 16
NARROW = {torch.float16: torch.float32, torch.bfloat16: torch.float32}

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
INTS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
COMPLEX = (torch.complex128, torch.complex64)

#: Dtypes that each kind of state can be declared in.
KINDS: dict[str, tuple[torch.dtype, ...]] = {
    "sum": FLOATS + INTS + COMPLEX,
    "mean": (*FLOATS, torch.complex64),
    "min": (*FLOATS, *INTS, torch.bool),
    "max": (*FLOATS, *INTS, torch.bool),
    "none": (*FLOATS, *INTS, *COMPLEX, torch.bool),
    "largest": (torch.float64, torch.float32, torch.int64, torch.int8),
    "total": (torch.float64, torch.float32, torch.int64),
    "ordered": (torch.float64, torch.int64),
    "cat": (*FLOATS, *INTS, *COMPLEX, torch.bool),
    "cat list": (*FLOATS, *INTS, *COMPLEX, torch.bool),
    "cat buffer": (*FLOATS, *INTS, *COMPLEX, torch.bool),
    "cat plain": (torch.int64,),
    "none list": (*FLOATS, *INTS, *COMPLEX, torch.bool),
    "none plain": (torch.int64,),
    "backwards": (torch.float64, torch.int32),
}
LISTS = ("cat list", "cat buffer", "cat plain", "none list", "none plain", "backwards")
#: States of which two cannot become one over time, so that they are neither merged nor given to `forward`.
UNMERGED = ("none", "ordered")


def largest(x: Tensor) -> Tensor:
    """Give the largest over ranks."""
    return x.amax(0)


def total(x: Tensor) -> Tensor:
    """Give the sum over ranks."""
    return x.sum(0)


def ordered(x: Tensor) -> Tensor:
    """Give a sum in which each rank has another weight."""
    weights = torch.arange(1, 1 + x.shape[0], dtype=x.dtype) ** 2
    return (x * weights.reshape(-1, *[1] * (x.dim() - 1))).sum(0)


def backwards(items: list[Any]) -> list[Any]:
    """Give a list the other way round."""
    return items[::-1]


CALLABLES: dict[str, Callable[[Any], Any]] = {
    "largest": largest,
    "total": total,
    "ordered": ordered,
    "backwards": backwards,
}


@dataclass(frozen=True)
class State:
    """One declared state.

    Attributes:
        kind: Of `KINDS`; the first word is the reduction, or the name of a callable.
        dtype: What it is declared in.
        shape: Of the tensor; of rows what follows the first dimension.
        rows: How many rows an update appends at most.
        salt: Makes the numbers of two states differ.
        default: What a sum starts from.
        grows: Whether the default has no dimensions, until an update gives it the shape.
        promotes: Whether updates bring other dtypes.
        rough: Whether the numbers of a sum are no whole ones.
        in_place: Whether an update edits the tensor.
    """

    kind: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    rows: int = 1
    salt: int = 0
    default: int = 0
    grows: bool = False
    promotes: bool = False
    rough: bool = False
    in_place: bool = False

    @property
    def reduction(self) -> Any:
        """What `dist_reduce_fx` is."""
        first = self.kind.split()[0]
        return None if first == "none" else CALLABLES.get(first, first)


def numbers(key: int, salt: int, shape: Sequence[int]) -> Tensor:
    """Give whole numbers from -30 to 30, which differ by place, key and salt."""
    flat = (torch.arange(math.prod(shape)) * 7 + (key * 13 + salt * 5) + (key * 13 + salt * 5) // 61) % 61 - 30
    return flat.reshape(tuple(shape))


def typed(x: Tensor, dtype: torch.dtype, *, few: bool = False) -> Tensor:
    """Give whole numbers in a dtype that may not have all of them.

    Args:
        x: Numbers as `numbers` gives.
        dtype: Their dtype.
        few: Whether many of them have to be added in 8 bits.
    """
    if dtype is torch.bool:
        return x % 3 == 0
    if dtype.is_complex:
        return torch.complex(x.double(), (x * x % 23 - 11).double()).to(dtype)
    if dtype.itemsize == 1 and few:
        return (x % 2).to(dtype)
    return (x + 30 if dtype is torch.uint8 else x).to(dtype)


def declared_default(state: State) -> Any:
    """Give the default as it is handed to `add_state`; the lists are made by the caller."""
    if state.kind == "cat":
        return torch.zeros(0, dtype=state.dtype)
    shape = () if state.grows else state.shape
    if state.kind in ("min", "max", "largest"):
        return torch.full(shape, _furthest(state), dtype=state.dtype)
    return torch.full(shape, state.default, dtype=state.dtype)


def _furthest(state: State) -> Any:
    smallest = state.kind != "min"
    if state.default:  # a default that may itself be the value
        return state.default
    if state.dtype is torch.bool:
        return not smallest
    if state.dtype.is_floating_point:
        return -math.inf if smallest else math.inf
    info = torch.iinfo(state.dtype)
    return info.min if smallest else info.max


def divided(x: Tensor, count: int) -> Tensor:
    """Divide by a whole number; torch rounds the quotients of complex numbers otherwise than those of real ones."""
    return torch.view_as_complex(torch.view_as_real(x) / count) if x.is_complex() else x / count


@functools.lru_cache(maxsize=512)
def piece(state: State, key: int) -> Any:
    """Give what the update of this key adds: a tensor, or what is appended. It is not to be edited."""
    if state.kind in ("cat", "cat list", "cat buffer", "backwards"):
        return _rows(state, key)
    if state.kind in ("cat plain", "none plain"):
        return _plain(state, key)
    if state.kind == "none list":
        shape = ((key % (state.rows + 1),), (2, state.rows), (), (1, key % 3, 2))[key % 4]
        return typed(numbers(key, state.salt, shape), state.dtype if key % 3 else torch.int32)
    x = numbers(key, state.salt, state.shape)
    if state.kind == "mean":
        return typed(x % 17 - 8, NARROW.get(state.dtype, state.dtype)) * WHOLE
    if state.kind == "none":
        return typed(x, torch.float32 if state.promotes and key % 2 else state.dtype)
    if state.kind in ("sum", "total", "ordered"):
        if state.rough:
            return (x.double() / 7).to(state.dtype)
        dtype = NARROW.get(state.dtype, state.dtype) if state.grows else state.dtype  # a number has no say in the dtype
        return typed(x, torch.float32 if state.promotes else dtype, few=True)
    found = typed(x, state.dtype)
    if key % 11 == 0 and state.dtype.is_floating_point and found.numel():
        found.view(-1)[key % found.numel()] = math.nan
    return found


def _rows(state: State, key: int) -> Tensor:
    """Give rows: none, one, some or as many as there may be; or one without a dimension for it."""
    count = (state.rows, key * 3 % (state.rows + 1), 0, 1, state.rows)[key * 7 % 5]
    if state.kind == "cat list" and not state.shape and key % 6 == 0:
        return typed(numbers(key, state.salt, ()), state.dtype)
    dtype = torch.float32 if state.promotes and key % 2 else state.dtype
    if count == 0:  # which has no say in the dtype
        dtype = torch.float64 if state.promotes and state.kind == "cat list" else state.dtype
    return typed(numbers(key, state.salt, (count, *state.shape)), dtype)


def _plain(state: State, key: int) -> Any:
    some = [key + i for i in range(key * 3 % (state.rows + 1))]
    return (key, {"key": key, "some": some}, f"é{key}" * (key % 5), (some, None, key % 2 == 0), key / 7)[key % 5]


# -- the oracle


def local(state: State, keys: Sequence[int]) -> Any:
    """Give what a state is after these updates in one process."""
    pieces = [piece(state, key) for key in keys]
    if state.kind in LISTS:
        return pieces
    start = declared_default(state)
    if state.kind in ("sum", "mean"):
        start = start.to(NARROW.get(start.dtype, start.dtype))
    if state.kind == "cat":
        return torch.cat([start, *filled]) if (filled := [p for p in pieces if p.shape[0]]) else start
    if not pieces:
        return start
    if state.kind == "none":
        return pieces[-1]
    if state.kind == "mean":
        return divided(functools.reduce(torch.add, pieces), len(pieces))
    pick = {"min": torch.minimum, "max": torch.maximum, "largest": torch.maximum}.get(state.kind, torch.add)
    return functools.reduce(pick, pieces, start)


def value(state: State, histories: Sequence[Sequence[int]]) -> Any:
    """Give what a state is over all ranks, of the updates of each rank."""
    pieces = [piece(state, key) for keys in histories for key in keys]
    if state.kind in LISTS:
        return backwards(pieces) if state.kind == "backwards" else pieces
    per_rank = [local(state, keys) for keys in histories]
    if state.kind == "cat":
        filled = [rows for rows in per_rank if rows.shape[0]]
        return torch.cat(filled) if filled else per_rank[0]
    if state.kind in CALLABLES or state.kind == "none":
        dtype = functools.reduce(torch.promote_types, [v.dtype for v in per_rank])
        stack = torch.stack([v.to(dtype) for v in per_rank])
        return stack if state.kind == "none" else CALLABLES[state.kind](stack)
    if state.kind in ("min", "max"):
        return local(state, [key for keys in histories for key in keys])
    if state.kind == "mean":
        if not pieces:
            return per_rank[0]
        wide = torch.complex128 if state.dtype.is_complex else torch.float64
        return (sum(p.to(wide) for p in pieces) / len(pieces)).to(pieces[0].dtype)
    return _sum(state, per_rank, [bool(keys) for keys in histories])


def _sum(state: State, per_rank: Sequence[Tensor], touched: Sequence[bool]) -> Tensor:
    """Add up what ranks have, in rank order, and count the default once."""
    if state.grows and any(touched):
        per_rank = [v for v, has_updates in zip(per_rank, touched, strict=True) if has_updates]
    dtype = functools.reduce(torch.promote_types, [v.dtype for v in per_rank])
    wide = torch.complex128 if dtype.is_complex else torch.float64 if dtype.is_floating_point else torch.int64
    added = functools.reduce(torch.add, [v.to(wide) for v in per_rank])
    return (added - state.default * (len(per_rank) - 1)).to(dtype)


def joined(items: Sequence[Tensor]) -> Tensor:
    """Give the rows of a list as one tensor; those without rows have no say."""
    if not items:
        return torch.zeros(0)
    rows = [item.reshape(1) if item.dim() == 0 else item for item in items]
    filled = [item for item in rows if item.shape[0]]
    return torch.cat(filled) if filled else rows[0]


def nbytes(state: State, keys: Sequence[int]) -> int:
    """Say how many bytes of a state a rank has to send, about."""
    itemsize = state.dtype.itemsize
    if state.kind in ("cat plain", "none plain"):
        return 8 * state.rows * len(keys)
    if state.kind in LISTS or state.kind == "cat":
        return sum(int(piece(state, key).numel()) for key in keys) * itemsize
    return math.prod(state.shape) * itemsize
