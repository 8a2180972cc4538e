"""A model of ranks that run short programs: who meets whom, what each call gives, and what a rank then holds.

It goes through the programs of all ranks at once, and knows nothing of manifests, packets or transports: it knows that
a sync needs everyone, that it gives the data of all ranks in rank order, and what is an error on whom.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["COLLECTIVE", "LOCAL", "METRICS", "STEP_METRIC", "Expected", "Op", "Step", "expect"]

METRICS = ("Alpha", "Beta", "Gamma")
STEP_METRIC = "Gamma"  # its forward is synced
#: What a program is made of: these need the other ranks,
COLLECTIVE = ("compute", "raising compute", "session", "sync", "both", "fail")
#: and these do not.
LOCAL = ("update", "forward", "reset", "unsync")


@dataclass(frozen=True, slots=True)
class Op:
    """One call of a program."""

    verb: str
    metric: str = "Alpha"
    x: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """What a call gives.

    Attributes:
        value: The data that the value is of; None if it has none.
        error: The class of what it raises.
        failed: The ranks that a `PeerError` names.
        meeting: Calls with one number met: they get the same text.
    """

    value: Any = None
    error: str = ""
    failed: tuple[int, ...] = ()
    meeting: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One call, what it gives, and what the rank then holds."""

    op: Op
    expected: Expected
    data: dict[str, tuple[int, ...]]


@dataclass(slots=True)
class _Held:
    """What one rank holds of one metric.

    Attributes:
        data: What was given to it since its last reset.
        shown: What it shows instead, between `sync` and `unsync`.
        cached: The value that is still good. It is not said what is cached when values of other kinds of sync, or
            failed steps, came in between: programs do not depend on it.
        synced: Whether its last sync since the last reset gave a value.
    """

    data: tuple[int, ...] = ()
    shown: tuple[int, ...] | None = None
    cached: tuple[int, ...] | str | None = None
    synced: bool = False


@dataclass(slots=True)
class _Rank:
    """One rank.

    Attributes:
        rank: Its number.
        todo: What it has not done yet.
        late: The meeting that the others have given up, of which it has not heard yet.
        held: What it holds.
        steps: What it has done.
    """

    rank: int
    todo: deque[Op]
    late: int | None = None
    held: dict[str, _Held] = field(default_factory=lambda: {name: _Held() for name in METRICS})
    steps: list[Step] = field(default_factory=list)

    def done(self, expected: Expected) -> None:
        data = {name: held.data for name, held in self.held.items()}
        self.steps.append(Step(self.todo.popleft(), expected, data))


def expect(programs: Sequence[Sequence[Op]]) -> list[list[Step]]:
    """Say what every call of every rank gives."""
    ranks = [_Rank(number, deque(program)) for number, program in enumerate(programs)]
    broken, meeting = "", 0
    while any(rank.todo for rank in ranks):
        for rank in ranks:
            _go_on_alone(rank)
        waiting = [rank for rank in ranks if rank.todo]
        if not waiting:
            break
        absent = [rank for rank in waiting if rank.todo[0].verb == "absent"]
        late = [rank for rank in waiting if rank.late is not None and rank not in absent]
        if late:
            for rank in late:
                _fail(rank, Expected(error="SyncTimeoutError", meeting=rank.late))
                rank.late = None
            continue
        if not broken and len(waiting) < len(ranks) and len(waiting) > len(absent):
            broken = "PeerLostError"
        if absent:
            meeting += 1
            if not broken and len(waiting) > len(absent):
                # Those that wait give up, and who was absent is told so when it comes; then they meet again.
                for rank in waiting:
                    if rank in absent:
                        rank.late = meeting
                    else:
                        _fail(rank, Expected(error="SyncTimeoutError", meeting=meeting))
            for rank in absent:
                rank.done(Expected())
            continue
        meeting += 1
        if broken:
            for rank in waiting:
                _fail(rank, Expected(error=broken, meeting=0))  # a world breaks once, for one reason
        else:
            _meet(waiting, meeting)
    return [rank.steps for rank in ranks]


def _go_on_alone(rank: _Rank) -> None:
    while rank.todo and rank.todo[0].verb != "absent":
        op = rank.todo[0]
        held = rank.held[op.metric]
        both = [rank.held["Alpha"], rank.held["Beta"]]
        refused = held.shown is not None and op.verb in ("update", "forward", "sync", "session")
        refused |= op.verb == "unsync" and held.shown is None
        refused |= op.verb == "both" and any(one.shown is not None for one in both)
        if refused:
            rank.done(Expected(error="StateError"))
        elif op.verb == "update" or (op.verb == "forward" and op.metric != STEP_METRIC):
            held.data, held.cached = (*held.data, op.x), None
            rank.done(Expected((op.x,)) if op.verb == "forward" else Expected())
        elif op.verb == "reset":
            rank.held[op.metric] = _Held()
            rank.done(Expected())
        elif op.verb == "unsync":
            held.shown = None
            rank.done(Expected())
        elif op.verb in ("compute", "raising compute") and held.shown is not None:
            rank.todo[0] = Op("compute", op.metric)
            rank.done(Expected(held.shown))
        elif op.verb in ("compute", "raising compute") and held.cached == "unknown":
            rank.todo.appendleft(Op("update", op.metric, 7))
        elif op.verb in ("compute", "raising compute") and held.cached is not None:
            rank.done(Expected(held.cached))
        else:
            return  # it needs the others


def _meet(ranks: Sequence[_Rank], meeting: int) -> None:
    failed = tuple(rank.rank for rank in ranks if rank.todo[0].verb == "fail")
    if failed:
        for rank in ranks:
            _fail(rank, Expected(error="PeerError", failed=failed, meeting=meeting))
    elif len({_means(rank) for rank in ranks}) > 1 or not _in_one_epoch(ranks):
        for rank in ranks:
            _fail(rank, Expected(error="SchemaMismatchError", meeting=meeting))
    else:
        brought = {name: tuple(x for rank in ranks for x in rank.held[name].data) for name in METRICS}
        step = tuple(rank.todo[0].x for rank in ranks)
        for rank in ranks:
            _succeed(rank, brought, step)


def _means(rank: _Rank) -> tuple[Any, ...]:
    """Give what must be equal on all ranks."""
    op = rank.todo[0]
    if op.verb == "both":
        return ("both",)
    return ("a step", op.metric) if op.verb == "forward" else (op.metric,)


def _synced_by(op: Op) -> tuple[str, ...]:
    """Give the metrics whose states of an epoch are exchanged."""
    if op.verb in ("forward", "fail"):
        return ()
    return ("Alpha", "Beta") if op.verb == "both" else (op.metric,)


def _in_one_epoch(ranks: Sequence[_Rank]) -> bool:
    return all(len({rank.held[name].synced for rank in ranks}) == 1 for name in _synced_by(ranks[0].todo[0]))


def _fail(rank: _Rank, expected: Expected) -> None:
    op = rank.todo[0]
    if op.verb == "forward":
        rank.held[op.metric].cached = "unknown"
    rank.done(Expected(error="BoomError") if op.verb == "fail" else expected)


def _succeed(rank: _Rank, brought: dict[str, tuple[int, ...]], step: tuple[int, ...]) -> None:
    op = rank.todo[0]
    held, value = rank.held[op.metric], brought[op.metric]
    if op.verb == "forward":
        held.data, held.cached = (*held.data, op.x), None
        rank.done(Expected(step))
        return
    for name in ("Alpha", "Beta") if op.verb == "both" else (op.metric,):
        rank.held[name].synced = True
        rank.held[name].cached = "unknown"
    if op.verb == "compute":
        held.cached = value
        rank.done(Expected(value))
    elif op.verb == "raising compute":
        held.cached = None
        rank.done(Expected(error="BoomError"))
    elif op.verb == "session":
        rank.done(Expected(value))
    elif op.verb == "sync":
        held.shown = value
        rank.done(Expected())
    else:
        assert op.verb == "both", op
        rank.done(Expected((brought["Alpha"], brought["Beta"])))
