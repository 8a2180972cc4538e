"""The ranks of a group on this host: whether their processes still run is known here, and no timeout is needed."""

from __future__ import annotations

import os
from pathlib import Path

from syncmetrics.transport.board import Board, NoAnswerError

__all__ = ["Neighbours", "host_of_process", "is_running", "start_of_process", "state_of_process"]


class Neighbours:
    """Which processes of a group run on this host.

    A host is told by its boot and its space of process numbers, a process by its number and the time of its start.
    Where the system does not tell these, there are no neighbours, and nobody is ever found gone.

    Args:
        board: Where the ranks of the group write down where they are.
        rank: Rank in the group.
    """

    def __init__(self, board: Board, rank: int) -> None:
        self._board = board
        self._rank = rank
        self._known: dict[int, tuple[int, str]] = {}
        self._host = host_of_process()

    def register(self, seconds: float) -> None:
        """Write down where this rank is."""
        pid = os.getpid()
        started = start_of_process(pid)
        if self._host is None or not started:
            return
        number = self._board.count(f"{self._host}/ranks", seconds)
        self._board.write(f"{self._host}/{number}", f"{self._rank} {pid} {started}", seconds)

    def gone(self, seconds: float) -> tuple[int, ...]:
        """Give the ranks whose processes have ended."""
        if self._host is None:
            return ()
        try:
            total = self._board.count(f"{self._host}/ranks", seconds, 0)
            for number in range(len(self._known) + 1, total + 1):
                entry = self._board.read(f"{self._host}/{number}", seconds)
                if entry is None:
                    break  # it is being written
                rank, pid, started = entry.split()
                self._known[number] = int(rank), f"{pid} {started}"
        except NoAnswerError:
            pass  # what is known already can be said all the same
        return tuple(sorted(rank for rank, process in self._known.values() if _has_ended(process)))


def host_of_process() -> str | None:
    """Tell the host, and the space of process numbers on it; None where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _stat(pid: int) -> list[str]:
    """Give the fields behind the name, which may have anything in it: the state is the first, the start the 20th."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def start_of_process(pid: int) -> str:
    """Tell when a process began, in units of the system; nothing if there is none."""
    fields = _stat(pid)
    return fields[19] if len(fields) > 19 else ""


def state_of_process(pid: int, started: str) -> str:
    """Tell the state of the process that has this number and began then, as a letter of `ps`; nothing if it is gone."""
    fields = _stat(pid)
    return fields[0] if len(fields) > 19 and fields[19] == started else ""


def is_running(pid: int, started: str) -> bool:
    """Whether the process runs that has this number and began then."""
    return state_of_process(pid, started) not in ("", "Z", "X")


def _has_ended(process: str) -> bool:
    pid, _, started = process.partition(" ")
    return not is_running(int(pid), started)
