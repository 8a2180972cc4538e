"""What runs in a rank: it waits for jobs, does them, and says what it found."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from bench.cases import Built, Case

__all__ = ["Job", "serve"]

_GROUP_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class Job:
    """One case to measure.

    Attributes:
        case: Which.
        build: Makes the contenders; a function at the top level of a module.
        excluded: Contenders to leave out.
        rounds: At most so many rounds.
        budget: Seconds after which no further round begins.
        only: The one contender whose peak memory is wanted; None for a duel.
    """

    case: Case
    build: Callable[[Case, int], Built]
    excluded: tuple[str, ...]
    rounds: int
    budget: float
    only: str | None = None


def serve(rank: int, world: int, meeting: str, line: Connection, cell: Any) -> None:
    """Join the group and do what comes over the line, until None comes or the parent is gone."""
    warnings.simplefilter("ignore")  # what peers warn about is not what is measured
    import torch
    import torch.distributed as dist

    from bench.duel import Mark

    torch.set_num_threads(1)
    torch.manual_seed(rank)
    if world > 1:
        limit = timedelta(seconds=_GROUP_SECONDS)
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world, timeout=limit)
    line.send(("ready", None))
    while True:
        try:
            job = line.recv()
        except EOFError:
            return
        if job is None:
            return
        try:
            line.send(("done", _do(job, rank, Mark(cell))))
        except Exception as error:
            line.send(("raised", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))


def _do(job: Job, rank: int, mark: Any) -> dict[str, Any]:
    from bench.duel import duel, weigh

    built = job.build(job.case, rank)
    assert list(built) == list(job.case.contenders), f"{job.case.name}: the builder makes {list(built)}"
    if job.only is not None:
        return {job.only: weigh(built[job.only], mark)}
    return dict(duel(built, job.excluded, job.rounds, job.budget, mark, job.case.fewest))
