"""Asking ranks that have not come where they stand: once for all that wait for them.

A thousand ranks that wait for one would have it answer a thousand times. So one of them asks, and one on the host of
the missing rank if there is any, and they write down for the others what they were told. Only who is on its host sees
that a process which does not answer is stopped.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from syncmetrics.errors import Standing
from syncmetrics.transport.answering import LOOPBACK, Address
from syncmetrics.transport.board import Board, NoAnswerError
from syncmetrics.transport.neighbours import host_of_process, state_of_process
from syncmetrics.transport.stacks import decode_standing, encode_standing

__all__ = ["MOST_ASKED", "Standings", "ask", "in_words"]

#: So many ranks are asked; of more nobody could read.
MOST_ASKED = 8
_MOST_ANSWER = 32 << 10
_LEAST_SECONDS = 0.01

#: What the state of a process says of one that does not answer.
_SILENT = {
    "": "its process has ended",
    "Z": "its process has ended",
    "X": "its process has ended",
    "T": "its process is stopped",
    "t": "a debugger has stopped its process",
    "D": "its process waits in the kernel, for a file system or a device",
    "R": "its process runs, perhaps in code that does not let go of Python's lock",
    "S": "its process sleeps, perhaps in code that does not let go of Python's lock",
}
#: These are not even asked.
_CANNOT = ("", "Z", "X", "T", "t")
_UNKNOWN = "it has not come to any sync yet, so it cannot be asked"


class Standings:
    """Finds out where the ranks of a group stand.

    Args:
        processes: Where each process of the job has written down, by global rank, where it can be asked.
        rank: Rank in the group.
        global_ranks: The ranks of the world, by rank in the group.
        key: What the answer is to be about.
    """

    def __init__(self, processes: Board, rank: int, global_ranks: Sequence[int], key: str) -> None:
        self._processes = processes
        self._rank = rank
        self._global_ranks = global_ranks
        self._key = key
        self._host = host_of_process()

    def find(self, board: Board, ranks: Sequence[int], seconds: float) -> dict[int, Standing]:
        """Ask ranks where they stand, or read what another rank was told.

        Args:
            board: What those write for each other who ask at this time.
            ranks: Whom to ask.
            seconds: How long it may take.

        Returns:
            What is known, by rank. It does not raise.
        """
        deadline = time.monotonic() + seconds
        found: dict[int, Standing] = {}
        with suppress(NoAnswerError, ValueError, TypeError):
            addresses = {rank: self._address(rank, _until(deadline)) for rank in ranks[:MOST_ASKED]}
            mine = [rank for rank in addresses if self._is_mine(board, rank, addresses[rank], _until(deadline))]
            told = self._ask({rank: addresses[rank] for rank in mine}, 0.8 * seconds)
            for rank, standing in told.items():
                found[rank] = self._tell(board, standing, addresses[rank], _until(deadline))
            while len(found) < len(addresses):
                for rank in addresses.keys() - found.keys():
                    text = board.read(f"{rank}/told", _until(deadline))
                    standing_of_rank = None if text is None else decode_standing(text)
                    if standing_of_rank is not None:
                        found[rank] = standing_of_rank
                if time.monotonic() >= deadline:
                    break
                time.sleep(max(0.01, len(self._global_ranks) / 2000))
        return dict(sorted(found.items()))

    def _address(self, rank: int, seconds: float) -> Address | None:
        text = self._processes.read(str(self._global_ranks[rank]), seconds)
        return None if text is None else Address.decode(text)

    def _is_near(self, address: Address | None) -> bool:
        return address is not None and bool(address.host) and address.host == self._host

    def _is_mine(self, board: Board, rank: int, address: Address | None, seconds: float) -> bool:
        """Whether it is this rank that asks: the first on its host to come here, and the first elsewhere."""
        key = f"{rank}/{'near' if self._is_near(address) else 'far'}"
        return board.claim(key, str(self._rank), seconds) == str(self._rank)

    def _ask(self, addresses: Mapping[int, Address | None], seconds: float) -> dict[int, Standing]:
        """Ask all of them at the same time."""
        told: dict[int, Standing] = {}

        def ask_one(rank: int, address: Address) -> None:
            try:
                if address.at[0] == LOOPBACK and not self._is_near(address):
                    raise ConnectionError("which is this host, and not that of the rank")
                standing = ask(address, self._key, seconds)
            except OSError:
                told[rank] = Standing(rank, silence=f"it cannot be reached at {address.at[0]}")
            else:
                if standing is not None:
                    told[rank] = standing

        threads = []
        for rank, address in addresses.items():
            if address is None or self._state(address) in _CANNOT:
                continue
            thread = threading.Thread(target=ask_one, args=(rank, address), name="syncmetrics question", daemon=True)
            with suppress(RuntimeError):  # there is no memory for a thread
                thread.start()
                threads.append(thread)
        deadline = time.monotonic() + seconds
        for thread in threads:
            thread.join(_until(deadline))
        found = {rank: told.get(rank) or self._silent(rank, address) for rank, address in addresses.items()}
        return {rank: _of(standing, rank, addresses[rank]) for rank, standing in found.items()}

    def _state(self, address: Address) -> str:
        """Tell the state of a process that is seen from here, as a letter."""
        return state_of_process(address.pid, address.started) if self._is_near(address) else "?"

    def _silent(self, rank: int, address: Address | None) -> Standing:
        return Standing(rank, silence=_UNKNOWN if address is None else _SILENT.get(self._state(address), ""))

    def _tell(self, board: Board, standing: Standing, address: Address | None, seconds: float) -> Standing:
        """Write down what a rank answered, or that it did not: who is on its host knows best."""
        key, text = f"{standing.rank}/told", encode_standing(standing)
        if standing.place is not None or self._is_near(address):
            board.write(key, text, seconds)
            return standing
        return decode_standing(board.claim(key, text, seconds)) or standing


def _of(standing: Standing, rank: int, address: Address | None) -> Standing:
    """Have it say whose it is, as it is known here."""
    if address is None:
        return replace(standing, rank=rank)
    return replace(standing, rank=rank, pid=address.pid, host=address.name)


def ask(address: Address, key: str, seconds: float) -> Standing | None:
    """Ask a process where it stands; give None if it was reached, and does not say so in time.

    It says so twice, the second time with the source of each line, if it could read it.

    Args:
        address: Where.
        key: About which group.
        seconds: How long to wait.

    Raises:
        OSError: It cannot be reached.
    """
    deadline, found = time.monotonic() + seconds, b""
    with socket.create_connection(address.at, _until(deadline)) as connection, suppress(OSError):
        connection.sendall(f"{address.token} {key}\n".encode())
        while len(found) < _MOST_ANSWER and time.monotonic() < deadline:
            connection.settimeout(_until(deadline))
            piece = connection.recv(4096)
            if not piece:
                break
            found += piece
    whole = found.decode(errors="replace").split("\n")[:-1]
    return decode_standing(whole[-1]) if whole else None


def in_words(standings: Sequence[Standing], missing: int) -> str:
    """Say it in a line each, to stand below a message; nothing where nothing is known.

    Args:
        standings: Of ranks that have not come.
        missing: How many of these there are.
    """
    lines = [f"\n  {standing}" for standing in standings]
    if lines and missing > len(lines):
        lines.append(f"\n  {missing - len(lines)} more have not been asked")
    return "".join(lines)


def _until(deadline: float) -> float:
    return max(deadline - time.monotonic(), _LEAST_SECONDS)
