"""An interrupt at any moment: what a call has not done to its end is not done, and the ranks stay in step.

A signal's handler may raise wherever the interpreter looks for signals. Here a tracer does so at a point that is drawn,
in one of the ranks.
"""

from __future__ import annotations

import dis
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import syncmetrics
from syncmetrics import MetricCollection, SyncError, dim_zero_cat
from syncmetrics.transport.threads import run_threads
from tests.laws.drawn import KINDS, Drawn, Lengths, batch
from tests.samples import bits

PACKAGE = str(Path(syncmetrics.__file__).parent)


#: After these the interpreter looks for signals; the first word is that of a call of a function written in C.
_LOOKS = ("CALL", "JUMP_BACKWARD")


#: Where the interpreter enters what puts things back, nothing written in Python can help. A generator ends anywhere.
_BEGUN_LAST = ("__exit__", "put_back", "<genexpr>")


class InterruptError(BaseException):
    """What the handler raises: no `Exception`, as Ctrl-C is none."""


class Interrupter:
    """Raises at one of the points of a block where a signal's handler may run; or only counts them.

    The interpreter looks for signals where a function begins, where a loop begins anew, and when a function written in
    C has returned. The points are those in functions of the package, in the order in which they come.
    """

    def __init__(self, at: int | None) -> None:
        self.at, self.points, self.where = at, 0, ""
        self._last: tuple[int, str] = (0, "")

    def __enter__(self) -> Interrupter:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: Any, event: str, arg: Any) -> Any:
        before, self._last = self._last, (0, "")
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        is_begun = event == "call" and code.co_name not in _BEGUN_LAST
        if is_begun or (event == "opcode" and before[0] == id(frame) and before[1].startswith(_LOOKS)):
            self.points += 1
            if self.points == self.at:
                self.where = f"{code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno} in {code.co_name}"
                raise InterruptError(self.where)
        if event == "opcode":
            self._last = id(frame), dis.opname[code.co_code[frame.f_lasti]]
        return self._trace


def _states(thing: Any) -> Any:
    metrics = list(thing.values()) if isinstance(thing, MetricCollection) else [thing]
    return [(m.update_count, bits({n: _rows(v) for n, v in m.metric_state.items()})) for m in metrics]


def _rows(state: Any) -> Any:
    """Give the rows of a list as one tensor: a buffer may hold them in other pieces."""
    return dim_zero_cat(state) if isinstance(state, list) and state and isinstance(state[0], Tensor) else state


CALLS: dict[str, Callable[[Any, int], Any]] = {
    "update": lambda metric, seed: metric.update(batch(seed)),
    "forward": lambda metric, seed: metric(batch(seed)),
    "compute": lambda metric, seed: metric.compute(),
    "reset": lambda metric, seed: metric.reset(),
    "sync_context": lambda metric, seed: _within(metric),
}


def _within(metric: Any) -> Any:
    with metric.sync_context():
        return metric.compute()


def _make(kinds: tuple[str, ...], many: bool, **kwargs: Any) -> Any:
    if not many:
        return Drawn(kinds, **kwargs)
    return MetricCollection(
        {"a": Drawn(kinds, **kwargs), "b": Lengths(kinds, **kwargs), "c": Drawn(("max",), **kwargs)}
    )


DRAWN = st.lists(st.sampled_from(KINDS), min_size=1, max_size=3).map(tuple)


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("call", CALLS)
@settings(max_examples=30)
@given(kinds=DRAWN, before=st.integers(0, 3), part=st.floats(0, 1))
def test_in_one_process(call: str, many: bool, kinds: tuple[str, ...], before: int, part: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin, metric = _make(kinds, many), _make(kinds, many)
        for one in (twin, metric):
            for seed in range(before):
                one.update(batch(seed))
        as_before = _states(metric)
        with Interrupter(None) as counted:
            CALLS[call](twin, 9)
        as_after = _states(twin)
        with Interrupter(1 + int(part * (counted.points - 1))) as here, suppress(InterruptError):
            CALLS[call](metric, 9)
        found = _states(metric)
        assert found in (as_before, as_after), here.where
        # It goes on as if nothing had been, or as if all had.
        done = found == as_after
        other = _make(kinds, many)
        seeds = [] if call == "reset" and done else list(range(before))
        if done and call in ("update", "forward"):
            seeds.append(9)
        for seed in [*seeds, 5, 6]:
            other.update(batch(seed))
        for seed in (5, 6):
            metric.update(batch(seed))
        assert _states(metric) == _states(other), here.where
        assert bits(metric.compute()) == bits(other.compute()), here.where
        metric.reset()
        metric(batch(4))
        assert _states(metric)[0][0] == 1


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("call", ["compute", "sync_context", "forward", "a synced step"])
@settings(max_examples=10, deadline=None)
@given(kinds=DRAWN, part=st.floats(0, 1))
def test_on_two_ranks(call: str, many: bool, kinds: tuple[str, ...], part: float) -> None:
    options: dict[str, Any] = {"dist_sync_on_step": True} if call == "a synced step" else {}
    act = CALLS["forward" if call == "a synced step" else call]
    is_step = call in ("forward", "a synced step")
    together, errors = threading.Barrier(2), ["", ""]

    def counted(rank: int, world_size: int) -> int:
        metric = _make(kinds, many, **options)
        metric.update(batch(rank))
        with Interrupter(None) as here:
            act(metric, 9)
        return here.points

    def body(rank: int, world_size: int, at: int) -> None:
        metric = _make(kinds, many, **options)
        metric.update(batch(rank))
        before, where = _states(metric), ""
        try:
            with Interrupter(at) if rank == 1 else nullcontext():
                act(metric, 9)
        except InterruptError as interrupt:
            errors[rank] = where = str(interrupt)
        except SyncError as error:
            errors[rank] = type(error).__name__
        if not is_step or (rank == 0 and errors[0]):
            assert _states(metric) == before, where
        together.wait(10.0)
        if rank == 1 and errors[0] == "SyncTimeoutError":
            # It was interrupted before it came, and is late now: the others have left word that they gave up.
            with pytest.raises(SyncError):
                act(metric, 9)
        together.wait(10.0)
        metric.reset()
        metric.update(batch(rank + 2))
        right = _make(kinds, many, sync_on_compute=False)
        for r in range(world_size):
            right.update(batch(r + 2))
        assert bits(metric.compute()) == bits(right.compute()), (errors, where)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        at = 1 + int(part * (run_threads(counted, 2, timeout=20.0)[1] - 1))
        run_threads(body, 2, at, timeout=0.3)
