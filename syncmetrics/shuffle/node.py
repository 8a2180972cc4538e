"""How a metric that may be shuffled takes part in a sync: with its rows while they are few, else with their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

import torch

from syncmetrics.states.reductions import promote
from syncmetrics.sync.show import Node
from syncmetrics.shuffle.peers import Peers, Told, together
from syncmetrics.shuffle.plan import Choice, Question, Summary, brings_rows, decide, dtypes_of
from syncmetrics.states.store import Mode, State, States, StateSpec, Store, declare_state
from syncmetrics.sync import Merged, Part, Route, sync_parts

__all__ = ["Answered", "AskedStore", "ShuffleNode", "Solve", "told_alone"]

#: Answers questions about the rows of all ranks. Collective, through the peers.
Solve: TypeAlias = Callable[[Peers, States, Sequence[Question]], Mapping[Question, Any]]

_SUMMARY = "rows told"
_SUMMARY_SPEC = declare_state(_SUMMARY, [], None)


@dataclass(slots=True)
class AskedStore(Store):
    """A store that knows what the metrics which hold it want to know.

    Attributes:
        questions: Of all of them, in the order in which they came.
    """

    questions: dict[Question, None] = field(default_factory=dict)

    def fork(self) -> Store:
        """Give an independent store with the same local content."""
        plain = Store.fork(self)
        values = {f.name: getattr(plain, f.name) for f in fields(Store)}
        return AskedStore(**values, questions=dict(self.questions))


class Answered(dict[str, State]):
    """The states of this rank alone, and beside them what was found out about the rows of all ranks."""

    def __init__(self, states: States, answers: Mapping[Question, Any]) -> None:
        super().__init__(states)
        self.answers = answers


@dataclass(frozen=True, slots=True)
class ShuffleNode(Node):
    """One metric's store whose rows are gathered while they are few, and shuffled when they are many.

    They are shuffled where all ranks show the result at once: in `compute`, `sync()` and `synced(...)`. The batch of a
    step, and what is synced in the background or to one rank, is gathered.

    Attributes:
        above: From how many rows on, of all ranks together, they are shuffled.
        solve: Answers questions about the rows.
        label: What to call the metric in a message.
        opened: The route of the sync that was opened and whose result is still to be shown.
    """

    above: int = field(kw_only=True)
    solve: Solve = field(kw_only=True)
    label: str = field(kw_only=True)
    opened: list[Route] = field(kw_only=True, default_factory=list)

    def opening_part(self, route: Route) -> Part:
        """Give what this process brings to a sync: its rows while they are few, and how many they are."""
        part = self.local_part()
        if route.transport.world_size == 1:
            return part
        self.opened[:] = [route]
        rows = _count(part.states)
        brought = brings_rows(rows, self.above, route.transport.world_size)
        summary = Summary(
            self.above,
            rows,
            brought,
            self.store.device.type,
            {name: str(dtype).removeprefix("torch.") for name, dtype in _dtypes(part.states).items()},
            tuple(self.store.questions) if isinstance(self.store, AskedStore) else (),
        )
        specs: dict[str, StateSpec] = {**self.specs, _SUMMARY: _SUMMARY_SPEC}
        states: States = dict(part.states) if brought else {name: [] for name in self.specs}
        return replace(part, specs=specs, states={**states, _SUMMARY: [summary.as_plain()]})

    def show(self, result: Merged) -> None:
        """Show the states of all ranks, or what was found out about them.

        Collective after `opening_part`: every rank that took part in the sync must call this, for the rows may be
        still to come.
        """
        told: Any = result.states.pop(_SUMMARY, None)
        states = result.states
        if told is not None:
            route = self.opened.pop()
            summaries = [Summary.of_plain(plain) for plain in told]
            choice = decide(self.label, summaries, route.transport.world_size)
            if choice is not Choice.SHOW:
                states.clear()  # what some ranks sent along is not kept while the rest comes
            if choice is Choice.SHUFFLE:
                states = self._shuffle(summaries, route)
            elif choice is Choice.GATHER:
                merged = sync_parts([self.local_part()], route, label=f"the rows of {self.label}")
                assert merged is not None, "every rank gets them"
                states = merged[0].states
        self.store.show(states, result.update_count, Mode.SYNCED)

    def _shuffle(self, summaries: Sequence[Summary], route: Route) -> States:
        told = Told(tuple(s.rows for s in summaries), tuple(s.device for s in summaries), dtypes_of(summaries))
        questions = sorted({question for s in summaries for question in s.questions}, key=repr)
        local, _ = self.store.local
        answers = together(route, self.label, told, lambda peers: self.solve(peers, local, questions))
        copies: States = {name: list(v) if isinstance(v, list) else v for name, v in local.items()}
        return Answered(copies, answers)


def told_alone(states: States, device: torch.device) -> Told:
    """Give what there is to know of rows that are all here."""
    return Told((_count(states),), (device.type,), _dtypes(states))


def _count(states: States) -> int:
    """Count the rows: every state has as many."""
    value = next(iter(states.values()))
    parts = [value] if isinstance(value, torch.Tensor) else value
    return sum(part.numel() for part in parts)


def _dtypes(states: States) -> dict[str, torch.dtype]:
    """Give what the rows of each state are promoted to; for one without rows, any dtype that has keys."""
    dtypes = {}
    for name, value in states.items():
        parts = [value] if isinstance(value, torch.Tensor) else value
        filled = [part.dtype for part in parts if part.numel()] or [part.dtype for part in parts]
        dtypes[name] = promote(filled) if filled else torch.float32
    return dtypes
