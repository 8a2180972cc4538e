"""Processes that stay: one rank each, made once for a world size, on one host or two, and used for all of its cases."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.cases import Case, Row, Scale
from bench.child import Job, Order, StandBy, Turn, Weigh, serve
from bench.duel import Found
from bench.hosts import hosts
from bench.ours import origin

__all__ = ["Crew", "CrewLostError", "Crews", "crews"]

_START_SECONDS = 90.0
_LEAVE_SECONDS = 3.0
_GRACE_SECONDS = 2.0


class CrewLostError(RuntimeError):
    """The ranks cannot go on: one died, raised or did not answer.

    Attributes:
        at: Index of the contender that was at work; -1 for none.
    """

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.at = at


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.preload"])
    return context


class Crew:
    """The ranks of one world size, on one host or more."""

    def __init__(self, world: int, on: int = 1) -> None:
        self.world = world
        self.hosts = on
        self._kept = ExitStack()
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        context = _context()
        self._cell = context.RawValue("i", 0)
        self._ranks: list[Any] = []
        self._lines: list[Any] = []
        meeting = str(Path(self._folder.name) / "meeting")
        try:
            pids = self._kept.enter_context(hosts(on)) if on > 1 else []
            for rank in range(world):
                host = rank * on // world
                place = (pids[host], host) if pids else None
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=serve,
                    args=(rank, world, meeting, theirs, self._cell, place),
                    name=f"bench-{rank}",
                    daemon=True,
                )
                process.start()
                theirs.close()
                self._ranks.append(process)
                self._lines.append(ours)
            strange = set(self._answers(_START_SECONDS)) - {origin()}
            if strange:
                raise RuntimeError(f"the ranks have imported {sorted(strange)}, but this process {origin()}")
        except BaseException:
            self.kill()
            raise

    def run(self, order: Order | Turn) -> list[Any]:
        """Have all ranks carry out an order; give what each found.

        Raises:
            CrewLostError: They did not all come back. The crew is of no use any more.
        """
        self._cell.value = -1  # no contender is at work
        for line in self._lines:
            line.send(order)
        return self._answers(order.case.limit)

    def _answers(self, seconds: float) -> list[Any]:
        deadline = time.monotonic() + seconds
        answers: dict[int, Any] = {}
        reason: str | None = None
        while len(answers) < self.world:
            waiting = {self._lines[rank]: rank for rank in range(self.world) if rank not in answers}
            ready = multiprocessing.connection.wait(list(waiting), max(0.0, deadline - time.monotonic()))
            if not ready:
                reason = reason or f"no answer from rank(s) {sorted(waiting.values())} within {seconds:.0f} s"
                break
            for line in ready:
                rank = waiting[line]
                answers[rank] = value = self._answer(rank)
                if isinstance(value, CrewLostError):
                    # The others may be stuck with what this one did not do: they get a moment, not the whole limit.
                    reason = reason or str(value)
                    deadline = min(deadline, time.monotonic() + _GRACE_SECONDS)
        if reason is not None:
            at = self._cell.value
            self.kill()
            raise CrewLostError(reason, at)
        return [answers[rank] for rank in range(self.world)]

    def _answer(self, rank: int) -> Any:
        try:
            status, value = self._lines[rank].recv()
        except (EOFError, OSError):
            self._ranks[rank].join(_GRACE_SECONDS)
            code = self._ranks[rank].exitcode
            return CrewLostError(f"the process of rank {rank} ended with exit code {code}", -1)
        if status == "raised":
            return CrewLostError(f"rank {rank}: {value}", -1)
        return value

    def close(self) -> None:
        """Let the ranks go."""
        for line in self._lines:
            try:
                line.send(None)
            except OSError:
                continue
        deadline = time.monotonic() + _LEAVE_SECONDS
        for process in self._ranks:
            process.join(max(0.0, deadline - time.monotonic()))
        self.kill()

    def kill(self) -> None:
        """End what is left."""
        for process in self._ranks:
            if process.is_alive():
                process.kill()
            process.join()
        for line in self._lines:
            line.close()
        self._kept.close()
        self._folder.cleanup()


def _failed(lost: CrewLostError) -> Found:
    return Found(failed=str(lost).splitlines()[0])


class Crews:
    """The crew of each world size; a crew that was lost is replaced."""

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self._crew: Crew | None = None

    def measure(self, row: Row, case: Case) -> dict[str, list[Found]]:
        """Measure a case of a row; give by contender what each rank found.

        A contender that breaks its ranks is written down as failed, and the others are measured without it.
        """
        names = list(case.contenders)
        if case.unit == "bytes":
            return {name: self.weigh(row, case, name) for name in names}
        excluded: dict[str, Found] = {}
        while len(excluded) < len(names):
            try:
                job = Job(case, row.build, tuple(excluded), self._scale.rounds, self._scale.budget)
                found = self._of(case).run(job)
            except CrewLostError as lost:
                self.close()
                at = lost.at if 0 <= lost.at < len(names) and names[lost.at] not in excluded else None
                for name in names if at is None else [names[at]]:
                    excluded.setdefault(name, _failed(lost))
            else:
                by_name = {name: [rank[name] for rank in found] for name in names}
                return by_name | {name: [why] for name, why in excluded.items()}
        return {name: [why] for name, why in excluded.items()}

    def weigh(self, row: Row, case: Case, name: str) -> list[Found]:
        """Give a contender ranks of its own: memory that another one had freed would be there for it."""
        try:
            crew = Crew(case.world, case.hosts)
            found = crew.run(Weigh(case, row.build, name))
            crew.close()
        except CrewLostError as lost:
            return [_failed(lost)]
        return found

    def stand_by(self, row: Row, case: Case, name: str) -> list[Found]:
        """Make a contender of a case ready for turns; give by rank why it is not, if it is not."""
        return self._try(case, StandBy(case, row.build, name))

    def turn(self, case: Case, times: int) -> list[Found]:
        """Give what each rank found in one turn of the contender that stands by."""
        return self._try(case, Turn(case, times))

    def _try(self, case: Case, order: Order | Turn) -> list[Found]:
        try:
            return self._of(case).run(order)
        except CrewLostError as lost:
            self.close()
            return [_failed(lost)]

    def _of(self, case: Case) -> Crew:
        if self._crew is None or (self._crew.world, self._crew.hosts) != (case.world, case.hosts):
            self.close()
            self._crew = Crew(case.world, case.hosts)
        return self._crew

    def close(self) -> None:
        """Let the present crew go."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None


@contextmanager
def crews(scale: Scale) -> Iterator[Crews]:
    """Give crews that are gone afterwards."""
    held = Crews(scale)
    try:
        yield held
    finally:
        held.close()
