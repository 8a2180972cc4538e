"""The board: what the ranks of a group write down for each other, past all collectives.

It is a `torch.distributed.Store`, asked only when something is out of order. A store may not answer: the process that
keeps it is gone, or the link to it is cut. Torch then waits for minutes inside of the question, so a question is asked
from a thread of its own, and given up when its time is over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

__all__ = ["Board", "NoAnswerError", "Store"]

_Answer = TypeVar("_Answer")


class Store(Protocol):
    """What is needed of a `torch.distributed.Store`."""

    def set(self, key: str, value: str, /) -> None:
        """Write."""

    def get(self, key: str, /) -> bytes:
        """Read what is there."""

    def check(self, keys: list[str], /) -> bool:
        """Say whether all keys are there."""

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        """Write if nobody has, and give what is there then."""

    def add(self, key: str, amount: int, /) -> int:
        """Add to a number, and give the sum."""


class NoAnswerError(Exception):
    """The store did not answer.

    Attributes:
        is_gone: Whether it said so itself, which means that nobody will ever be told anything there.
    """

    def __init__(self, is_gone: bool) -> None:
        super().__init__("the store of the process group does not answer")
        self.is_gone = is_gone


class _Questions:
    """Asks a store, one question at a time."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open_store = open_store
        self._store: Store | None = None
        self._stuck: threading.Thread | None = None

    def ask(self, question: Callable[[Store], _Answer], seconds: float) -> _Answer:
        if self._stuck is not None and self._stuck.is_alive():
            self._stuck.join(seconds)
            if self._stuck.is_alive():
                raise NoAnswerError(is_gone=False)
        self._stuck = None
        answers: list[_Answer] = []
        errors: list[BaseException] = []

        def ask() -> None:
            try:
                if self._store is None:
                    self._store = self._open_store()
                answers.append(question(self._store))
            except BaseException as error:  # of any kind: stores of other makers raise what they like
                errors.append(error)

        thread = threading.Thread(target=ask, name="syncmetrics store", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there is no memory for a thread, or the process is ending
            ask()
        else:
            thread.join(seconds)
            if thread.is_alive():
                self._stuck = thread
                raise NoAnswerError(is_gone=False)
        if errors:
            raise NoAnswerError(is_gone=True) from errors[0]
        return answers[0]


class Board:
    """A part of a store, under a name that the ranks share.

    Every method raises `NoAnswerError` if the store does not answer within so many seconds.

    Args:
        open_store: Gives the store; called with the first question.
        name: What all keys begin with.
    """

    def __init__(self, open_store: Callable[[], Store], name: str) -> None:
        self._questions = _Questions(open_store)
        self.name = name

    def part(self, name: str) -> Board:
        """Give a part of it, to which the same questions are asked one at a time."""
        part = object.__new__(Board)
        part._questions = self._questions
        part.name = f"{self.name}/{name}"
        return part

    def write(self, key: str, value: str, seconds: float) -> None:
        """Write."""
        self._ask(lambda store: store.set(f"{self.name}/{key}", value), seconds)

    def read(self, key: str, seconds: float) -> str | None:
        """Read what is there; None if nothing is."""
        full = f"{self.name}/{key}"
        found = self._ask(lambda store: store.get(full) if store.check([full]) else None, seconds)
        return None if found is None else bytes(found).decode()

    def claim(self, key: str, value: str, seconds: float) -> str:
        """Write if nobody has, and give what is there then: the same on every rank."""
        found = self._ask(lambda store: store.compare_set(f"{self.name}/{key}", "", value), seconds)
        return bytes(found).decode()

    def count(self, key: str, seconds: float, amount: int = 1) -> int:
        """Add to a number, and give the sum."""
        return self._ask(lambda store: store.add(f"{self.name}/{key}", amount), seconds)

    def _ask(self, question: Callable[[Store], _Answer], seconds: float) -> _Answer:
        return self._questions.ask(question, seconds)
