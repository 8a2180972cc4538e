"""Run ranks as threads, and keep apart what each of them writes."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TextIO

from syncmetrics.transport.threads import run_threads

__all__ = ["ThreadOutcome", "run_threads_outcomes"]


@dataclass(slots=True, eq=False)
class ThreadOutcome:
    """What became of one rank.

    Attributes:
        rank: The rank.
        value: What the function returned.
        error: What it raised, if it did.
        frames: Where, from the function on.
        streams: What it wrote.
    """

    rank: int
    value: Any = None
    error: BaseException | None = None
    frames: TracebackType | None = None
    streams: dict[str, io.StringIO] = field(default_factory=lambda: {"stdout": io.StringIO(), "stderr": io.StringIO()})

    @property
    def stdout(self) -> str:
        """What it wrote to `sys.stdout`."""
        return self.streams["stdout"].getvalue()

    @property
    def stderr(self) -> str:
        """What it wrote to `sys.stderr`."""
        return self.streams["stderr"].getvalue()


class _ByThread(io.TextIOBase):
    """A stream that keeps what the threads of ranks write, and passes on what others do."""

    def __init__(self, name: str, outside: TextIO, here: threading.local) -> None:
        self._name = name
        self._outside = outside
        self._here = here

    def write(self, text: str, /) -> int:
        outcome: ThreadOutcome | None = getattr(self._here, "outcome", None)
        return self._outside.write(text) if outcome is None else outcome.streams[self._name].write(text)

    def flush(self) -> None:
        self._outside.flush()

    def fileno(self) -> int:
        return self._outside.fileno()


def run_threads_outcomes(
    fn: Callable[..., Any], world_size: int, *args: Any, timeout: float = 60.0, keep_output: bool = False
) -> tuple[list[ThreadOutcome], BaseException | None]:
    """Run `fn(rank, world_size, *args)` in one thread a rank, as `run_threads` does, and say what became of each.

    Args:
        fn: What each rank does.
        world_size: Number of ranks.
        *args: Passed on to every rank.
        timeout: Seconds that a rank waits at a meeting.
        keep_output: Whether what each rank writes to `sys.stdout` and `sys.stderr` is kept in its outcome.

    Returns:
        One outcome a rank, in rank order, and what `run_threads` raised: mostly the error of one of them.
    """
    here = threading.local()
    outcomes = [ThreadOutcome(rank) for rank in range(world_size)]

    def body(rank: int, world_size: int) -> None:
        here.outcome = outcome = outcomes[rank]
        try:
            outcome.value = fn(rank, world_size, *args)
        except BaseException as error:
            outcome.error = error
            outcome.frames = None if error.__traceback__ is None else error.__traceback__.tb_next
            raise

    with contextlib.ExitStack() as stack:
        if keep_output:
            stack.enter_context(contextlib.redirect_stdout(_ByThread("stdout", sys.stdout, here)))
            stack.enter_context(contextlib.redirect_stderr(_ByThread("stderr", sys.stderr, here)))
        try:
            run_threads(body, world_size, timeout=timeout)
        except BaseException as error:
            return outcomes, error
    return outcomes, None
