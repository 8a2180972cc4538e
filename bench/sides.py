"""The two sides of a comparison: each is a process that has its own package, its own server of ranks and its own crews.

A server imports the package once and forks ranks that have it; so the sides cannot share one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.cases import Case, Scale
from bench.crew import Crews, crews
from bench.duel import Found
from bench.ours import origin, stay_in_this_tree

__all__ = ["Side", "SideError", "distinct", "sides"]

_LEAVE_SECONDS = 10.0


class SideError(RuntimeError):
    """A side cannot begin or go on."""


class Side:
    """One side, as the process sees it that makes the two take turns.

    Attributes:
        name: What it is called.
        folder: Where its bench and its package are.
        origin: The file of the package that it has imported; known after `greet`.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.origin = name, folder.resolve(), ""
        ours, theirs = socket.socketpair()
        path = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.sides", str(theirs.fileno())],
                cwd=self.folder,  # first on the path of the process, and of the server that it starts
                env={**os.environ, "PYTHONPATH": path},
                pass_fds=(theirs.fileno(),),
            )
        self._line = Connection(ours.detach())

    def greet(self) -> None:
        """Wait until it has imported everything.

        Raises:
            SideError: It cannot, or it has found the package in another place than its own folder.
        """
        self.origin = self._answer()
        if self.folder not in Path(self.origin).parents:
            raise SideError(f"the side {self.name} must import the package of {self.folder}, but has {self.origin}")

    def stand_by(self, case: Case) -> list[Found]:
        """Make what is ours in a case ready for turns; give by rank why it is not, if it is not."""
        return self._ask("stand_by", case)

    def turn(self, case: Case, times: int) -> list[Found]:
        """Run what stands by so many times; give what each rank found."""
        return self._ask("turn", case, times)

    def _ask(self, verb: str, *arguments: Any) -> list[Found]:
        with contextlib.suppress(OSError):  # the answer says why
            self._line.send((verb, arguments))
        found: list[Found] = self._answer()
        return found

    def _answer(self) -> Any:
        try:
            status, value = self._line.recv()
        except (EOFError, OSError):
            code = self._process.wait(_LEAVE_SECONDS)
            raise SideError(f"the process of the side {self.name} ended with exit code {code}") from None
        if status == "raised":
            raise SideError(f"the side {self.name} cannot go on: {value}")
        return value

    def close(self) -> None:
        """Let it go."""
        self._line.close()
        try:
            self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def distinct(one: Side, other: Side) -> None:
    """Refuse two sides that have the same package.

    Raises:
        SideError: They have.
    """
    if one.origin == other.origin:
        raise SideError(f"the sides {one.name} and {other.name} have both imported {one.origin}: nothing to compare")


@contextlib.contextmanager
def sides(here: Path, there: Path) -> Iterator[tuple[Side, Side]]:
    """Give both sides, ready; they are gone afterwards.

    Raises:
        SideError: One cannot begin, or they have the same package.
    """
    pair: list[Side] = []
    try:
        for name, folder in (("here", here), ("there", there)):
            pair.append(Side(name, folder))
        for side in pair:  # they import at the same time
            side.greet()
        distinct(pair[0], pair[1])
        yield pair[0], pair[1]
    finally:
        for side in pair:
            side.close()


class _Desk:
    """Does inside of a side what it is asked for."""

    def __init__(self, held: Crews) -> None:
        self._held = held

    def stand_by(self, case: Case) -> list[Found]:
        from bench.rows import row_of

        row, name = row_of(case.row), case.ours
        if name is None:
            return [Found(failed="it has no contender that is ours")]
        skipped = row.skip()
        if skipped is not None:
            return [Found(failed=f"skipped: {skipped}")]
        # Memory is weighed in ranks that are made for it, in each turn.
        return [Found()] if case.unit == "bytes" else self._held.stand_by(row, case, name)

    def turn(self, case: Case, times: int) -> list[Found]:
        from bench.rows import row_of

        if case.unit != "bytes":
            return self._held.turn(case, times)
        assert case.ours is not None  # it would not stand by
        return self._held.weigh(row_of(case.row), case, case.ours)


def _serve(line: Connection) -> None:
    """Be a side until the line is closed."""
    stay_in_this_tree()
    try:
        import bench.rows  # noqa: F401  # all that can fail to import does so here, where it can be told
    except Exception as error:
        line.send(("raised", f"{type(error).__name__}: {error}"))
        return
    line.send(("ready", origin()))
    with crews(Scale()) as held:
        desk = _Desk(held)
        while True:
            try:
                verb, arguments = line.recv()
            except EOFError:
                return
            try:
                answer = getattr(desk, verb)(*arguments)
            except Exception as error:
                answer = [Found(failed=f"{type(error).__name__}: {error}")]
            line.send(("done", answer))


if __name__ == "__main__":  # the ranks import this module too
    _serve(Connection(int(sys.argv[1])))
