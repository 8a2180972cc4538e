"""How a metric that may be shuffled takes part in a sync: with its rows while they are few, else with their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch

from syncmetrics.shuffle.peers import Peers, Told, together
from syncmetrics.shuffle.plan import Choice, Question, Summary, brings_rows, decide, dtypes_of
from syncmetrics.shuffle.rows import parts_of
from syncmetrics.states.reductions import promote
from syncmetrics.states.spec import State, States, StateSpec, declare_state
from syncmetrics.states.store import Mode
from syncmetrics.sync import Merged, Node, Part, Route, sync_parts

__all__ = ["Answered", "ShuffleNode", "Solve", "told_alone"]

#: Answers questions about the rows of all ranks. Collective, through the peers.
Solve: TypeAlias = Callable[[Peers, States, Sequence[Question]], Mapping[Question, Any]]

_SUMMARY = "rows told"
_SUMMARY_SPEC = declare_state(_SUMMARY, [], None)


class Answered(dict[str, State]):
    """The states of this rank alone, and beside them what was found out about the rows of all ranks."""

    def __init__(self, states: States, answers: Mapping[Question, Any]) -> None:
        super().__init__(states)
        self.answers = answers


@dataclass(slots=True, eq=False)
class ShuffleNode(Node):
    """One metric's store whose rows are gathered while they are few, and shuffled when they are many.

    They are shuffled where all ranks show the result at once: in `compute`, `sync()` and `synced(...)`. The batch of a
    step, and what is synced in the background or to one rank, is gathered.

    Attributes:
        above: From how many rows on, of all ranks together, they are shuffled.
        solve: Answers questions about the rows.
        questions: Gives what the metrics that may share these rows want to know.
    """

    above: int = field(kw_only=True)
    solve: Solve = field(kw_only=True)
    questions: Callable[[], tuple[Question, ...]] = field(kw_only=True)

    def opening_part(self, route: Route) -> Part:
        """Give what this process brings to a sync: its rows while they are few, and how many they are."""
        part = self.local_part()
        if route.transport.world_size == 1:
            return part
        each = part.each
        opened = self._opened(part, route)
        return opened if each is None else replace(opened, each=lambda: [self._opened(one, route) for one in each()])

    def _opened(self, part: Part, route: Route) -> Part:
        rows = _count(part.states)
        brought = brings_rows(rows, self.above, route.transport.world_size)
        summary = Summary(
            self.above,
            rows,
            brought,
            part.device.type,
            {name: str(dtype).removeprefix("torch.") for name, dtype in _dtypes(part.states).items()},
            self.questions(),
        )
        specs: dict[str, StateSpec] = {**part.specs, _SUMMARY: _SUMMARY_SPEC}
        states: States = dict(part.states) if brought else {name: [] for name in part.specs}
        return replace(part, specs=specs, states={**states, _SUMMARY: [summary.as_plain()]})

    def show(self, result: Merged, route: Route | None = None, mode: Mode = Mode.SYNCED) -> None:
        """Show the states of all ranks, or what was found out about them.

        Collective after `opening_part`: every rank that took part in the sync must call this, for the rows may be
        still to come.
        """
        for node, merged in self.take_apart(result):
            node._show_rows(merged, route, mode)  # type: ignore[attr-defined]  # it is one of these nodes

    def _show_rows(self, result: Merged, route: Route | None, mode: Mode) -> None:
        told: Any = result.states.pop(_SUMMARY, None)
        states = result.states
        if told is not None:
            assert route is not None, "who opened a sync says over whom"
            summaries = [Summary.of_plain(plain) for plain in told]
            choice = decide(self.path or self.label, summaries, route.transport.world_size)
            if choice is not Choice.SHOW:
                states.clear()  # what some ranks sent along is not kept while the rest comes
            if choice is Choice.SHUFFLE:
                states = self._shuffle(summaries, route)
            elif choice is Choice.GATHER:
                own = replace(self, holders=self.holders[:1])  # all of them have these rows, on every rank
                merged = sync_parts([own.local_part()], route, label=f"the rows of {self.path or self.label}")
                assert merged is not None, "every rank gets them"
                states = merged[0].states
        self.store.show(states, result.update_count, mode)

    def _shuffle(self, summaries: Sequence[Summary], route: Route) -> States:
        told = Told(tuple(s.rows for s in summaries), tuple(s.device for s in summaries), dtypes_of(summaries))
        questions = sorted({question for s in summaries for question in s.questions}, key=repr)
        local, _ = self.store.local
        answers = together(route, self.path or self.label, told, lambda peers: self.solve(peers, local, questions))
        copies: States = {name: list(v) if isinstance(v, list) else v for name, v in local.items()}
        return Answered(copies, answers)


def told_alone(states: States, device: torch.device) -> Told:
    """Give what there is to know of rows that are all here."""
    return Told((_count(states),), (device.type,), _dtypes(states))


def _count(states: States) -> int:
    """Count the rows: every state has as many."""
    return sum(part.numel() for part in parts_of(next(iter(states.values()))))


def _dtypes(states: States) -> dict[str, torch.dtype]:
    """Give what the rows of each state are promoted to; for one without rows, any dtype that has keys."""
    dtypes = {}
    for name, value in states.items():
        parts = parts_of(value)
        filled = [part.dtype for part in parts if part.numel()] or [part.dtype for part in parts]
        dtypes[name] = promote(filled) if filled else torch.float32
    return dtypes
