"""What runs in a rank: it waits for orders, carries them out, and says what it found."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from bench.cases import Built, Case, Contender
from bench.hosts import enter

__all__ = ["Job", "Order", "StandBy", "Turn", "Weigh", "serve"]

_GROUP_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class Order:
    """Something to do with a case.

    Attributes:
        case: Which.
        build: Makes the contenders; a function at the top level of a module.
    """

    case: Case
    build: Callable[[Case, int], Built]


@dataclass(frozen=True, slots=True)
class Job(Order):
    """A duel of all contenders.

    Attributes:
        excluded: Contenders to leave out.
        rounds: At most so many rounds.
        budget: Seconds after which no further round begins.
    """

    excluded: tuple[str, ...]
    rounds: int
    budget: float


@dataclass(frozen=True, slots=True)
class Weigh(Order):
    """The peak memory of one contender, in processes that do nothing else.

    Attributes:
        name: Which.
    """

    name: str


@dataclass(frozen=True, slots=True)
class StandBy(Order):
    """Make one contender ready for turns.

    Attributes:
        name: Which.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of the contender that stands by.

    Attributes:
        case: The one that it stands by for.
        times: How often to run it.
    """

    case: Case
    times: int


def serve(rank: int, world: int, meeting: str, line: Connection, cell: Any, host: tuple[int, int] | None) -> None:
    """Join the group and do what comes over the line, until None comes or the parent is gone."""
    if host is not None:
        enter(*host)
    warnings.simplefilter("ignore")  # what peers warn about is not what is measured
    import torch
    import torch.distributed as dist

    from bench.duel import Mark
    from bench.ours import origin

    torch.set_num_threads(1)
    torch.manual_seed(rank)
    if world > 1:
        limit = timedelta(seconds=_GROUP_SECONDS)
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world, timeout=limit)
    line.send(("ready", origin()))
    worker = _Worker(rank, Mark(cell))
    while True:
        try:
            order = line.recv()
        except EOFError:
            return
        if order is None:
            return
        try:
            line.send(("done", worker.do(order)))
        except Exception as error:
            line.send(("raised", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))


class _Worker:
    """One rank at work. What stands by is kept from one order to the next."""

    def __init__(self, rank: int, mark: Any) -> None:
        self._rank, self._mark = rank, mark
        self._standing: Contender | None = None

    def do(self, order: Any) -> Any:
        """Carry out an order. Collective."""
        from bench.duel import duel, stand_by, turn, weigh

        if isinstance(order, Turn):
            assert self._standing is not None, f"{order.case.name}: nobody stands by"
            return turn(self._standing, order.times)
        self._standing = None
        built = order.build(order.case, self._rank)
        assert list(built) == list(order.case.contenders), f"{order.case.name}: the builder makes {list(built)}"
        if isinstance(order, Job):
            return duel(built, order.excluded, order.rounds, order.budget, self._mark, order.case.fewest)
        if isinstance(order, Weigh):
            return weigh(built[order.name], self._mark)
        self._standing = built[order.name]
        return stand_by(self._standing, self._mark)
