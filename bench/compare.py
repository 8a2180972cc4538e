"""Two versions of the package on the same work, in turns: what is ours, in the working tree and at a commit."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.cases import Case, Scale
from bench.difference import FEWEST, Compared, difference
from bench.rows import row_of
from bench.sides import Side, sides
from bench.trees import trees
from bench.verdict import reason, slowest

__all__ = ["compare", "take_turns"]

_TURN_SECONDS = 0.020
_MOST_TIMES = 20

Tell = Callable[[Compared], None]


def compare(cases: Sequence[Case], scale: Scale, root: Path, commit: str, tell: Tell) -> list[Compared]:
    """Compare the working tree with a commit; give what became of each case, in the order of the cases.

    Args:
        cases: What to measure.
        scale: How much.
        root: The working tree.
        commit: Full name of a commit.
        tell: Called with each case as it comes in; once more with one that is measured again.
    """
    found: dict[str, Compared] = {}

    def keep(compared: Compared) -> None:
        found[compared.case.name] = compared
        tell(compared)

    def keep_again(second: Compared) -> None:
        keep(replace(found[second.case.name], again=second.first, failed=second.failed))

    with trees(root, commit) as (here, there):
        _measure([row_of(case.row).settle(case) for case in cases], scale, here, there, keep)
        suspects = [compared.case for compared in found.values() if compared.suspect]
        if suspects:
            _measure(suspects, scale, here, there, keep_again)
    return [found[case.name] for case in cases]


def _measure(cases: Sequence[Case], scale: Scale, here: Path, there: Path, tell: Tell) -> None:
    """Measure cases in new processes."""
    with sides(here, there) as pair:
        for case in sorted(cases, key=lambda case: (case.world, case.hosts)):  # crews are made once a world size
            tell(take_turns(case, pair, scale))


class _FailedError(Exception):
    """A side has failed in a turn."""

    def __init__(self, side: Side, why: str) -> None:
        super().__init__(why)
        self.side, self.why = side, why


def take_turns(case: Case, pair: tuple[Side, Side], scale: Scale) -> Compared:
    """Measure a case on both sides: A B, B A, A B, and so on; whoever has no turn waits, and needs no processor.

    Args:
        case: Which.
        pair: The working tree, and the commit.
        scale: Gives the most rounds, and the seconds after which none begins. As many as a judgement needs are made.
    """
    failed = {side.name: why for side in pair if (why := reason(side.stand_by(case))) is not None}
    if failed:
        return Compared(case, failed=failed)
    samples: dict[str, list[float]] = {side.name: [] for side in pair}
    try:
        times = _times(case, pair)
        start, done = time.perf_counter(), 0
        while done < scale.rounds and (done < FEWEST or time.perf_counter() - start < scale.budget):
            for side in pair if done % 2 == 0 else reversed(pair):
                samples[side.name].append(_turn(case, side, times))
            done += 1
    except _FailedError as error:
        return Compared(case, failed={error.side.name: error.why})
    here, there = (samples[side.name] for side in pair)
    return Compared(case, difference(here, there))


def _times(case: Case, pair: tuple[Side, Side]) -> int:
    """Find out how often a turn runs a case: the same on both sides, and about as long for every case."""
    if case.unit == "bytes":
        return 1
    taken = []
    for side in pair:
        start = time.perf_counter()
        _turn(case, side, 1)
        taken.append(time.perf_counter() - start)
    return max(1, min(_MOST_TIMES, int(_TURN_SECONDS / max(taken))))


def _turn(case: Case, side: Side, times: int) -> float:
    """Give the sample of one turn: the median over its times, each of which takes as long as its slowest rank."""
    by_rank = side.turn(case, times)
    why = reason(by_rank)
    if why is not None:
        raise _FailedError(side, why)
    return statistics.median(slowest([found.samples for found in by_rank]))
