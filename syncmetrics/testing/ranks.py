"""Run a function on real ranks: one process each, a process group between them, and nothing left afterwards.

One call, step by step:

1. The function and its arguments are pickled once into a fresh directory, which also holds the file by which the
   ranks meet.
2. A process per rank is forked from a server that has torch imported already; or, if `servers.import_once` was called,
   from one that has the module of the function imported as well. It joins the group and calls the function.
3. A rank writes its report (the value, or the traceback) to a file and says so with one byte. A rank that raised
   destroys its group at once, so that its peers fail now and not after their timeout; a rank that returned stays until
   all are done.
4. The parent waits for bytes, deaths and the deadline, lets the ranks go, kills what is left, and reads the reports.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from syncmetrics.testing.child import Job, pack, rank_main, unpack
from syncmetrics.testing.servers import Forked, Server, server_of, start_context

__all__ = ["Outcome", "RanksFailedError", "run_ranks", "run_ranks_outcomes"]

_LEAVE_SECONDS = 5.0  # what a rank gets to destroy its group and exit once all ranks have reported
_STACK_SECONDS = 0.3  # what a stuck rank gets to write down where it is
_DEATH_LAG_SECONDS = 0.25  # a death is noticed by peers at once, by the parent a little later

Status = Literal["returned", "raised", "died", "unfinished"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one rank.

    Attributes:
        rank: The rank.
        status: `"returned"`; `"raised"`; `"died"` (its process ended by itself: a signal, `os._exit`);
            `"unfinished"` (it was still at work, or still alive, when its time was over, and was killed).
        value: What the function returned.
        error: The traceback, or the sentence that says how the rank ended. Empty if it returned.
        exit_code: The exit code of a rank that died: negative for a signal.
        when: The `time.monotonic()` at which it ended, as well as it is known.
        stdout: What it wrote to its standard output, if that was kept.
        stderr: What it wrote to its standard error, likewise.
    """

    rank: int
    status: Status
    value: Any = None
    error: str = ""
    exit_code: int | None = None
    when: float = 0.0
    stdout: str = ""
    stderr: str = ""


class RanksFailedError(RuntimeError):
    """At least one rank raised, died or did not finish.

    Attributes:
        failures: The text of each failed rank, by rank; the rank that failed first comes first.
        finished: The ranks that returned.
    """

    def __init__(self, failures: dict[int, str], finished: Sequence[int] = ()) -> None:
        super().__init__(failures, finished)
        self.failures = failures
        self.finished = tuple(finished)

    def __str__(self) -> str:
        total = len(self.failures) + len(self.finished)
        head = f"{len(self.failures)} of {total} ranks failed: {_numbers(self.failures)} (first failure first)"
        tail = f"; returned: {_numbers(self.finished)}." if self.finished else "."
        return "\n\n".join([head + tail, *(f"Rank {rank} {text}" for rank, text in self.failures.items())])


def run_ranks(
    fn: Callable[..., Any], world_size: int, *args: Any, timeout: float = 60.0, backend: str = "gloo"
) -> list[Any]:
    """Run `fn(rank, world_size, *args)` in one process a rank and return the values in rank order.

    The default process group is initialised in every rank and destroyed after it; torch uses one thread a rank. The
    ranks see the environment variables of the caller. Only the server that forks the ranks outlives the call; it ends
    with the caller's interpreter.

    Args:
        fn: A function at the top level of a module that the ranks can import.
        world_size: How many ranks.
        *args: Further arguments. Pickled, as are the values.
        timeout: Seconds for the whole call, and the timeout of the process group.
        backend: As for `torch.distributed.init_process_group`: `"gloo"`, `"cuda:gloo"`, `"cpu:gloo,cuda:nccl"`.

    Returns:
        One value a rank.

    Raises:
        RanksFailedError: A rank raised, died or had not finished in time. The text has every failed rank's traceback.
        TypeError: `fn` or an argument cannot be pickled.
    """
    outcomes = run_ranks_outcomes(fn, world_size, *args, timeout=timeout, backend=backend)
    failed = sorted((o for o in outcomes if o.status != "returned"), key=lambda o: o.when)
    if failed:
        finished = [o.rank for o in outcomes if o.status == "returned"]
        raise RanksFailedError({o.rank: o.error for o in failed}, finished)
    return [outcome.value for outcome in outcomes]


def run_ranks_outcomes(
    fn: Callable[..., Any],
    world_size: int,
    *args: Any,
    timeout: float = 60.0,
    backend: str = "gloo",
    keep_output: bool = False,
) -> list[Outcome]:
    """Run `fn` as `run_ranks` does, and return what became of each rank instead of raising.

    For tests in which ranks are meant to fail.

    Args:
        fn: As for `run_ranks`, like all the arguments.
        world_size: How many ranks.
        *args: Further arguments.
        timeout: Seconds for the whole call.
        backend: Backend of the process group.
        keep_output: Whether what each rank writes is kept in its outcome, and goes nowhere else.

    Returns:
        One outcome a rank, in rank order.

    Raises:
        TypeError: `fn` or an argument cannot be pickled.
    """
    if world_size < 1:
        raise ValueError(f"`world_size` must be at least 1, but is {world_size} instead.")
    if not (timeout > 0 and math.isfinite(timeout)):
        raise ValueError(f"`timeout` must be a positive number of seconds, but is {timeout} instead.")
    task = _pickle_task(fn, args)
    server = server_of(fn, timeout)
    with tempfile.TemporaryDirectory(prefix="syncmetrics-ranks-") as name:
        job = Job(Path(name), world_size, timeout, backend, dict(os.environ), keep_output)
        job.task.write_bytes(task)
        crew: list[_Rank] = []
        try:
            deadline = time.monotonic() + timeout
            for rank in range(world_size):
                _start(job, rank, crew, server)
            _wait(crew, deadline)
            _dump_stacks(crew)
            _release(crew)
            return [_with_output(job, _outcome(job, member)) for member in crew]
        finally:
            _kill(crew)


def _numbers(ranks: Iterable[int]) -> str:
    return ", ".join(str(rank) for rank in ranks)


def _pickle_task(fn: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    try:
        pickle.dumps(fn)
    except Exception as error:
        raise TypeError(
            f"`fn` must be a function at the top level of an importable module, but is {fn!r} instead: the ranks are "
            "other processes, and find it by its name. Move a lambda or an inner function there, and pass what it "
            "closed over as further arguments of `run_ranks`."
        ) from error
    try:
        return pack((fn, args))
    except Exception as error:
        raise TypeError(
            f"The arguments for `fn` must be picklable, but {args!r} is not: {error}. Build such things inside `fn`."
        ) from error


@dataclass(slots=True)
class _Rank:
    """One child, as the parent sees it."""

    rank: int
    process: BaseProcess | Forked
    line: Connection
    status: Literal["working", "reported", "died"] = "working"
    when: float = math.inf


def _start(job: Job, rank: int, crew: list[_Rank], server: Server | None) -> None:
    ours, theirs = multiprocessing.Pipe()
    try:
        process = _process(job, rank, theirs) if server is None else server.start(job, rank, theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    crew.append(_Rank(rank, process, ours))


def _process(job: Job, rank: int, line: Connection) -> BaseProcess:
    # Not a daemon: those may not have children, and a rank may well use a DataLoader with workers.
    process: BaseProcess = start_context().Process(
        target=rank_main, args=(job, rank, line), name=f"rank-{rank}", daemon=False
    )
    process.start()
    return process


def _wait(crew: list[_Rank], deadline: float) -> None:
    """Wait until every rank has reported or died, at most until the deadline."""
    while working := [member for member in crew if member.status == "working"]:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        events: list[Any] = [*(member.line for member in working), *(member.process.sentinel for member in working)]
        ready = set(multiprocessing.connection.wait(events, left))
        for member in working:
            if member.line in ready or member.process.sentinel in ready:
                member.status = "reported" if _has_reported(member.line) else "died"
                member.when = time.monotonic()


def _has_reported(line: Connection) -> bool:
    try:
        return line.poll() and line.recv_bytes() == b"!"
    except (EOFError, OSError):
        return False


def _dump_stacks(crew: list[_Rank]) -> None:
    """Let every rank that is still working write down where it is."""
    working = [member for member in crew if member.status == "working"]
    if not working or not hasattr(signal, "SIGUSR1"):
        return
    for member in working:
        if member.process.pid is not None and member.process.is_alive():
            with contextlib.suppress(OSError):
                os.kill(member.process.pid, signal.SIGUSR1)
    time.sleep(_STACK_SECONDS)


def _release(crew: list[_Rank]) -> None:
    """Let all ranks that have reported go, and give them a moment to do so."""
    for member in crew:
        if member.status == "reported":
            with contextlib.suppress(OSError):
                member.line.send_bytes(b".")
    deadline = time.monotonic() + _LEAVE_SECONDS
    for member in crew:
        if member.status != "working":
            member.process.join(max(0.0, deadline - time.monotonic()))


def _outcome(job: Job, member: _Rank) -> Outcome:
    rank, code = member.rank, member.process.exitcode
    if member.status == "working":
        text = f"had not finished after {job.timeout:g} s and was killed.{_stack(job, rank)}"
        return Outcome(rank, "unfinished", error=text, when=member.when)
    if member.status == "died":
        return Outcome(rank, "died", error=_death(code), exit_code=code, when=member.when - _DEATH_LAG_SECONDS)
    status, when, content = pickle.loads(job.report(rank).read_bytes())  # our own child wrote it
    if status == "raised":
        return Outcome(rank, "raised", error=f"raised:\n{content}", when=when)
    if code is None:
        text = f"returned, but its process did not exit within {_LEAVE_SECONDS:g} s after that and was killed."
        return Outcome(rank, "unfinished", error=text, when=when)
    if code != 0:
        return Outcome(rank, "died", error=f"returned, but then {_death(code)}", exit_code=code, when=when)
    return Outcome(rank, "returned", value=unpack(content), when=when)


def _with_output(job: Job, outcome: Outcome) -> Outcome:
    if not job.keeps_output:
        return outcome
    paths = {stream: job.output(outcome.rank, stream) for stream in ("stdout", "stderr")}
    found = {s: path.read_text("utf-8", "replace") if path.exists() else "" for s, path in paths.items()}
    return replace(outcome, stdout=found["stdout"], stderr=found["stderr"])


def _stack(job: Job, rank: int) -> str:
    path = job.stack(rank)
    lines = path.read_text().strip().splitlines() if path.exists() else []
    ours = [place for place, line in enumerate(lines) if line.endswith(" in _run") and "child.py" in line]
    text = "\n".join(lines[: ours[0]] if ours else lines)  # below that is how the rank was started
    return f" It was here:\n{text}" if text else ""


def _death(code: int | None) -> str:
    if code is None:
        return "closed its connection and could not be reached any more."
    if code >= 0:
        return f"died with exit code {code} before it could report; its standard error may say why."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"died of {name} (exit code {code})."


def _kill(crew: list[_Rank]) -> None:
    """Kill and reap whatever is left."""
    for member in crew:
        if member.process.is_alive():
            member.process.kill()
    for member in crew:
        member.process.join(_LEAVE_SECONDS)
        member.line.close()
        if not member.process.is_alive():
            member.process.close()
