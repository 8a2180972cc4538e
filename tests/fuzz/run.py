"""Run many programs on ranks that are threads or gloo processes, and count what was compared."""

from __future__ import annotations

import itertools
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch.distributed as dist

from syncmetrics.testing import run_ranks
from syncmetrics.transport.threads import ThreadsTransport, ThreadsWorld, run_threads
from tests.fuzz.player import Player
from tests.fuzz.programs import SIZES, Program, program_of
from tests.fuzz.thresholds import SETS, Thresholds, set_to

#: Programs that follow one another on the same ranks: what a group keeps of one sync is there in the next.
TOGETHER = 20
#: More of them on processes, which take a while to start.
TOGETHER_GLOO = 400
#: So long such a batch may take.
GLOO_SECONDS = 600.0


@dataclass
class Tally:
    """What was run.

    Attributes:
        programs: How many programs.
        verbs: How many syncs, by the call that made them.
        sizes: How many syncs, by the size of the largest state.
        failures: What differed, or was raised.
        seconds: How long it took.
    """

    programs: int = 0
    verbs: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def syncs(self) -> int:
        """How many syncs there were."""
        return sum(self.verbs.values())

    def add(self, program: Program) -> None:
        """Count a program."""
        self.programs += 1
        small = "" if thresholds_of(program.seed) is SETS[0] else " (small)"
        for op in program.ops:
            if op.syncs:
                self.verbs[op.verb] += op.syncs
                self.sizes[op.size + small] += op.syncs

    def line(self, seed: int, world: int, transport: str) -> str:
        """Say all of it in one line."""
        verbs = ", ".join(f"{verb} {count}" for verb, count in sorted(self.verbs.items()))
        names = [size + more for more in ("", " (small)") for size in SIZES]
        sizes = ", ".join(f"{size} {self.sizes[size]}" for size in names if self.sizes[size])
        return (
            f"seed {seed}, world {world}, {transport}: {self.programs} programs, {self.syncs} syncs ({verbs};"
            f" {sizes}) in {self.seconds:.1f} s, {len(self.failures)} failures"
        )


@dataclass(frozen=True)
class Failure:
    """What went wrong in a program.

    Attributes:
        program: Its seed.
        text: What it was.
    """

    program: int
    text: str


def batch_of(seed: int, number: int, together: int) -> list[int]:
    """Give the seeds of the programs of one batch. They have the same thresholds, for these follow from the seed."""
    kinds = len(SETS)
    first = seed * 1_000_000 + number // kinds * kinds * together + number % kinds
    return [first + kinds * index for index in range(together)]


def batch_up_to(program: int, together: int) -> list[int]:
    """Give the seeds of a batch up to one of them: what came before it on the same ranks may matter."""
    kinds = len(SETS)
    before = program % 1_000_000 // kinds % together
    return [program - kinds * back for back in range(before, -1, -1)]


def thresholds_of(program: int) -> Thresholds:
    """Give the thresholds that the program of a seed runs with."""
    return SETS[program % len(SETS)]


def play_on_threads(programs: list[Program]) -> list[Failure]:
    """Play programs of the same thresholds on threads, and say what went wrong."""
    with set_to(thresholds_of(programs[0].seed)):
        groups = {ranks: ThreadsWorld(len(ranks)) for program in programs for ranks in _groups_of(program)}

        def body(rank: int, world_size: int) -> list[Failure]:
            transports = {r: ThreadsTransport(g, r.index(rank)) for r, g in groups.items() if rank in r}
            try:
                return _play(programs, rank, transports)
            finally:
                for ranks in transports:
                    groups[ranks].leave(ranks.index(rank))

        return [failure for found in run_threads(body, programs[0].world) for failure in found]


def rank_of_gloo(rank: int, world_size: int, seeds: list[int]) -> list[Failure]:
    """Play programs on this rank of a process group."""
    quiet()
    thresholds = thresholds_of(seeds[0])
    programs = [program_of(seed, world_size, thresholds) for seed in seeds]
    wanted = sorted({ranks for program in programs for ranks in _groups_of(program)})
    with set_to(thresholds):
        groups = {ranks: dist.new_group(list(ranks)) for ranks in wanted}
        return _play(programs, rank, groups)


def _play(programs: list[Program], rank: int, groups: Mapping[tuple[int, ...], Any]) -> list[Failure]:
    """Play the part of one rank, until something is raised: the ranks are out of step from then on."""
    failures: list[Failure] = []
    for program in programs:
        player = Player(program, rank, groups.__getitem__)
        try:
            player.play()
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{player.at}: raised {error!r} (in {where.name}, line {where.lineno}: {where.line})"
            return [*failures, *(Failure(program.seed, one) for one in player.wrong), Failure(program.seed, text)]
        failures += [Failure(program.seed, one) for one in player.wrong]
    return failures


def _groups_of(program: Program) -> set[tuple[int, ...]]:
    return {subject.group for subject in program.subjects if subject.group is not None}


def quiet() -> None:
    """Let warnings pass that random programs deserve."""
    warnings.filterwarnings("ignore", ".*before any update.*")


def fuzz(seed: int, syncs: int, world: int, transport: str, program: int | None = None) -> Tally:
    """Run programs until there were so many syncs, or until something differs.

    Args:
        seed: What all programs follow from.
        syncs: How many syncs at least.
        world: Number of ranks.
        transport: `"threads"` or `"gloo"`.
        program: Run the programs of one batch up to this one, and no others.
    """
    quiet()
    tally, begun = Tally(), time.monotonic()
    together = TOGETHER if transport == "threads" else TOGETHER_GLOO
    for number in itertools.count():
        seeds = batch_of(seed, number, together) if program is None else batch_up_to(program, together)
        drawn = _enough(seeds, world, syncs - tally.syncs if program is None else None)
        failures = _run(drawn, world, transport)
        caught = [failure.program for failure in failures]
        for one in drawn:
            tally.add(one)
            if one.seed in caught:
                break
        tally.failures += sorted(failures, key=lambda failure: "PeerLostError" in failure.text)  # causes first
        if failures or tally.syncs >= syncs or program is not None:
            break
    tally.seconds = time.monotonic() - begun
    return tally


def _enough(seeds: list[int], world: int, syncs: int | None) -> list[Program]:
    """Draw programs until they have so many syncs."""
    drawn: list[Program] = []
    count = 0
    for seed in seeds:
        drawn.append(program_of(seed, world, thresholds_of(seed)))
        count += sum(op.syncs for op in drawn[-1].ops)
        if syncs is not None and count >= syncs:
            break
    return drawn


def _run(programs: list[Program], world: int, transport: str) -> list[Failure]:
    if transport == "threads":
        return play_on_threads(programs)
    found = run_ranks(rank_of_gloo, world, [program.seed for program in programs], timeout=GLOO_SECONDS)
    return [failure for failures in found for failure in failures]
