"""Random disturbances of a sync, at a random moment of it: drawn, run on real processes, and judged.

    scripts/chaos --scenarios 3000 --seed 0

A rank comes late, around the timeout; it is stopped and woken; an alarm goes off in it; allocations fail, or it
has reached its limit; it is killed. Whatever happens, all ranks have the right value or all have the same named error,
none waits beyond its timeout, no process ends that was not killed, and the next sync is right.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from syncmetrics.testing import ranks as launcher
from syncmetrics.testing.ranks import run_ranks_outcomes
from tests.ranks.chaos_bodies import Disturbance, Outcome, Scenario, Verb, run
from tests.ranks.memories import on_hosts

__all__ = ["Figures", "jobs", "judge"]

_VERBS: tuple[Verb, ...] = (
    "compute",
    "compute",
    "compute",
    "forward",
    "async",
    "context",
    "collection",
    "one_rank",
    "join",
)
_GENTLE: tuple[Disturbance, ...] = ("none", "late", "late", "stopped", "stopped", "alarm", "alarm", "alarm", "memory")
#: Beyond its timeout a rank takes so long to find out who is missing, on a machine that has other things to do too.
_SLACK = 6.0
#: The timeout where none is to be reached. What is left of a sync in the process group holds a process at its end for
#: twice as long.
_PATIENCE = 4.0
#: Elements of a result that does not fit where a process has reached its limit; what else a sync needs does.
_HEAVY = 40_000_000
_LEAVE_SECONDS = 30.0


@dataclass
class Figures:
    """What became of the scenarios.

    Attributes:
        ends: How many ended how, by what disturbed them.
        wrong: What should not have been.
        beyond: The longest time that a rank took beyond its timeout, in seconds.
    """

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    beyond: float = 0.0

    @property
    def scenarios(self) -> int:
        """How many there were."""
        return sum(self.ends.values())

    def lines(self) -> Iterator[str]:
        """Give a table."""
        columns = ("one value", "one error", "its own error", "two outcomes", "wrong")
        yield f"{'':10}" + "".join(f"{c:>15}" for c in columns)
        for kind in get_args(Disturbance):
            yield f"{kind:10}" + "".join(f"{self.ends[kind, c]:15}" for c in columns)
        yield f"{self.scenarios} scenarios; at most {self.beyond:.1f} s beyond a timeout; {len(self.wrong)} wrong"


def jobs(seed: int, scenarios: int, kind: Disturbance | None = None) -> Iterator[tuple[int, list[Scenario]]]:
    """Draw jobs: a number of ranks, and the scenarios that they go through, the last of which may kill one.

    Args:
        seed: What all is drawn from.
        scenarios: How many.
        kind: What disturbs them all; None draws it.
    """
    chance = random.Random(seed)
    number = 0
    while number < scenarios:
        world_size = chance.choice([2, 2, 3, 3, 4])
        count = min(chance.randint(1, 8), scenarios - number)
        kinds = [chance.choice(_GENTLE) for _ in range(count)]
        if chance.random() < 0.1:
            kinds[0] = "limited"
        if chance.random() < 0.75:
            kinds[-1] = "killed"
        if kind is not None:
            kinds = ["none" if kind == "killed" else kind] * (count - 1) + [kind]
        yield world_size, [_draw(chance, number + i, world_size, kind) for i, kind in enumerate(kinds)]
        number += count


def _size(chance: random.Random) -> int:
    """Draw a number of elements of 4 bytes, around what decides on which way they take."""
    packet, direct = (32 << 10) // 4, (256 << 10) // 4
    match chance.randrange(8):
        case 0:
            return 0
        case 1 | 2:
            return chance.randint(1, 50)
        case 3:
            return packet - chance.randint(0, 400)
        case 4:
            return packet + chance.randint(0, 400)
        case 5:
            return direct + chance.randint(-3, 3)
        case 6:
            return chance.randint(direct, 400_000)
    return chance.choice([400_000, 2_000_000])


def _draw(chance: random.Random, seed: int, world_size: int, kind: Disturbance) -> Scenario:
    largest = _size(chance) if kind != "limited" else _HEAVY // world_size
    rows = tuple(chance.choice([largest, largest, chance.randint(0, largest)]) for _ in range(world_size))
    floats = chance.choice([0, 1, 5, _size(chance) % 300_000])
    counts = chance.choice([0, 1, 5, _size(chance) // 2 % 300_000])
    timed = kind in ("late", "stopped")
    timeout = chance.uniform(0.5, 1.5) if timed else _PATIENCE
    seconds = chance.choice([chance.uniform(0.0, 0.4), chance.uniform(0.7, 1.4), chance.uniform(0.0, 3.0)]) * timeout
    return Scenario(
        seed, chance.choice(_VERBS), rows, floats, counts, kind, chance.randrange(world_size),
        chance.uniform(0.0, 1.3), seconds, timeout,
    )  # fmt: skip


def judge(
    figures: Figures, world_size: int, scenarios: Sequence[Scenario], outcomes: Sequence[launcher.Outcome]
) -> None:
    """Compare what the ranks saw."""
    killed = scenarios[-1].victim if scenarios[-1].disturbance == "killed" else None
    for outcome in outcomes:
        if outcome.rank != killed and outcome.status != "returned":
            figures.wrong.append(f"{_of(scenarios)}: rank {outcome.rank} {outcome.error}")
    saw: list[list[Outcome]] = [o.value for o in outcomes if o.status == "returned"]
    ends = ["wrong"] * len(scenarios)
    for at, scenario in enumerate(scenarios):
        here = [mine[at] for mine in saw if at < len(mine)]
        if len(here) < world_size - (killed is not None):
            break
        # What a rank that was killed saw in the scenarios before went with it.
        wrong = [f"rank {rank}: {w}" for rank, mine in enumerate(here) for w in mine.wrong] + _wrong(scenario, here)
        figures.wrong += [f"{scenario}: {w}" for w in wrong]
        figures.beyond = max([figures.beyond, *(o.seconds - scenario.timeout - _late(scenario) for o in here)])
        ends[at] = "wrong" if wrong else _end(here)
    figures.ends.update((s.disturbance, end) for s, end in zip(scenarios, ends, strict=True))


def _of(scenarios: Sequence[Scenario]) -> str:
    return f"scenarios {scenarios[0].seed} to {scenarios[-1].seed}, {scenarios[-1]}"


def _late(scenario: Scenario) -> float:
    return scenario.seconds if scenario.disturbance in ("late", "stopped") else 0.0


def _end(here: Sequence[Outcome]) -> str:
    kinds = {o.end for o in here}
    if len(kinds - {"own"}) > 1:
        return "two outcomes"
    if "own" in kinds:
        return "its own error"
    return "one value" if kinds == {"value"} else "one error"


def _wrong(scenario: Scenario, here: Sequence[Outcome]) -> list[str]:
    """Give what must not be."""
    kind, wrong = scenario.disturbance, []
    texts = {o.text for o in here if o.end == "error"}
    # In `join` a rank that has left the loop may be a step further: it learns that the others do not come to the next.
    if len(texts) > 1 and not (kind == "alarm" and scenario.verb == "join"):
        wrong.append(f"the ranks were told different things: {texts}")
    apart = {o.end for o in here} - ({"own"} if kind in ("memory", "limited") else set())
    if kind in ("none", "late", "memory", "limited") and len(apart) > 1:
        wrong.append(f"two outcomes: {[(o.end, o.text) for o in here]}")
    short = kind in ("late", "stopped") and scenario.seconds < 0.4 * scenario.timeout
    if (kind == "none" or short) and any(o.end != "value" for o in here):
        wrong.append(f"no value: {[(o.end, o.text) for o in here]}")
    if kind in ("late", "stopped", "killed", "none") and any(o.end == "own" for o in here):
        wrong.append(f"an error of its own: {[(o.end, o.text) for o in here]}")
    limit = scenario.timeout + _SLACK + _late(scenario)
    # An alarm that goes off before the sync keeps the rank away from it.
    meant = {"alarm": ("PeerError", "SyncTimeoutError"), "killed": ("PeerLostError",)}.get(kind, ("PeerError",))
    if kind not in ("late", "stopped") and not all(text.startswith(meant) for text in texts):
        wrong.append(f"they were told {texts}")
    wrong += [f"it took {o.seconds:.1f} s, more than {limit:.1f}: {o.text}" for o in here if o.seconds > limit]
    return wrong


def search(
    seed: int, scenarios: int, workers: int = 1, only: int | None = None, kind: Disturbance | None = None
) -> Figures:
    """Run so many scenarios: as `jobs` draws them, or the job with this one alone."""
    figures = Figures()
    drawn = [job for job in jobs(seed, scenarios, kind) if only is None or any(s.seed == only for s in job[1])]
    before, launcher._LEAVE_SECONDS = launcher._LEAVE_SECONDS, _LEAVE_SECONDS
    try:
        with ThreadPoolExecutor(workers) as pool:
            for job, outcomes in pool.map(_carry_out, drawn):
                known = len(figures.wrong)
                judge(figures, *job, outcomes)
                for line in figures.wrong[known:]:
                    print(line, file=sys.stderr, flush=True)
    finally:
        launcher._LEAVE_SECONDS = before
    return figures


def _carry_out(job: tuple[int, list[Scenario]]) -> tuple[tuple[int, list[Scenario]], list[launcher.Outcome]]:
    world_size, scenarios = job
    hosts = random.Random(f"hosts {scenarios[0].seed}").choice(_HOSTS[world_size])
    with tempfile.TemporaryDirectory() as folder:
        where = on_hosts(Path(folder), hosts) if hosts else ""
        return job, run_ranks_outcomes(run, world_size, scenarios, where, timeout=60.0 + 15.0 * len(scenarios))


#: On which host each rank is; nothing for all on one.
_HOSTS: dict[int, list[list[int]]] = {2: [[]], 3: [[], [0, 0, 1], [0, 1, 1]], 4: [[], [0, 0, 1, 1], [0, 1, 0, 1]]}


def main() -> int:
    """Search by the numbers given on the command line, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="jobs that run at the same time")
    parser.add_argument("--only", type=int, help="the job with this scenario, and no other")
    parser.add_argument("--kind", choices=get_args(Disturbance), help="no other disturbance than this one")
    given = parser.parse_args()
    start = time.monotonic()
    figures = search(given.seed, given.scenarios, given.workers, given.only, given.kind)
    print(*figures.lines(), sep="\n")
    print(f"seed {given.seed}, {time.monotonic() - start:.0f} s")
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
