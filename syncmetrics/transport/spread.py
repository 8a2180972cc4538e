"""Who syncs with whom on a mesh. Pure: it follows from the shape of the mesh alone, so ranks never disagree on it.

A mesh has dimensions of three kinds. Along some the ranks hold different data: these are synced. Along others they
hold the same, replicas that each sync among themselves and come to the same value. And of a pipeline only one stage may
have data at all: the ranks elsewhere are outside, and may get the value too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

__all__ = ["Grid", "Spread", "spread"]


@dataclass(frozen=True, slots=True)
class Grid:
    """The ranks of a mesh.

    Attributes:
        names: Name of each dimension.
        shape: Size of each dimension.
        ranks: Global ranks, the last dimension fastest.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    ranks: tuple[int, ...]

    def __post_init__(self) -> None:
        assert len(self.names) == len(self.shape)

    def places(self) -> dict[tuple[int, ...], int]:
        """Give the rank at each coordinate, in the order of the mesh."""
        return dict(zip(product(*map(range, self.shape)), self.ranks, strict=True))


@dataclass(frozen=True, slots=True)
class Spread:
    """With whom one rank syncs.

    Attributes:
        ranks: Global ranks: those that have data, in the order of the mesh, and then those outside that get the value.
            Empty for a rank that takes no part.
        inside: How many of them have data.
        whole: The ranks of all such groups, in the order of the mesh.
        replicas: Ranks that hold the same data, set by set; none of a set of one.
        is_first: Whether this is the first of the replicas, which writes what is to be written once.
    """

    ranks: tuple[int, ...]
    inside: int
    whole: tuple[int, ...]
    replicas: tuple[tuple[int, ...], ...]
    is_first: bool


def spread(
    grid: Grid,
    rank: int,
    over: Sequence[int],
    only: Mapping[int, int],
    *,
    others: Sequence[int] = (),
    broadcast: bool = False,
) -> Spread:
    """Say with whom a rank syncs.

    Args:
        grid: The mesh.
        rank: Global rank of who asks.
        over: The dimensions along which ranks hold different data.
        only: By dimension, the one index at which there are data.
        others: Global ranks that are not in the mesh.
        broadcast: Whether ranks without data get the value too.
    """
    places = grid.places()
    alike = [axis for axis in range(len(grid.shape)) if axis not in over and axis not in only]

    def replica_of(place: Sequence[int]) -> tuple[int, ...]:
        return tuple(place[axis] for axis in alike)

    has_data = {place: all(place[axis] == index for axis, index in only.items()) for place in places}
    groups: dict[tuple[int, ...], tuple[list[int], list[int]]] = {}
    same: dict[tuple[int, ...], list[int]] = {}
    for place, one in places.items():
        inside, outside = groups.setdefault(replica_of(place), ([], []))
        (inside if has_data[place] else outside).append(one)
        if has_data[place]:
            same.setdefault(tuple(place[axis] for axis in over), []).append(one)
    next(iter(groups.values()))[1].extend(others)  # whoever is not in the mesh gets the value of the first replica
    taking_part = [one for inside, outside in groups.values() for one in (*inside, *(outside if broadcast else ()))]
    number, (inside, outside) = next(
        (number, some) for number, some in enumerate(groups.values()) if rank in some[0] or rank in some[1]
    )
    ranks = (*inside, *outside) if broadcast else tuple(inside)
    order = [one for one in (*places.values(), *others) if one in set(taking_part)]
    return Spread(
        ranks if rank in ranks else (),
        len(inside),
        tuple(order),
        tuple(tuple(some) for some in same.values() if len(some) > 1),
        number == 0,
    )
