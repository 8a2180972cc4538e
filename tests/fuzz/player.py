"""Play one rank's part of a program, and write down what is not as it has to be."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from syncmetrics import join, sync_and_compute, synced
from tests.fuzz.programs import Check, Op, Program
from tests.fuzz.subjects import Subject, batch, build, look

#: Gives the process group of some ranks, to those that are in it.
GroupOf = Callable[[tuple[int, ...]], Any]


def same(value: Any) -> Any:
    """Give something that is equal for two values only if their types, shapes and bytes are.

    NaNs have no payload, and a tensor of one element has no dimensions, for so are values handed out.
    """
    if isinstance(value, Tensor):
        value = value.detach().contiguous()
        if value.is_floating_point() and bool(value.isnan().any()):
            value = value.masked_fill(value.isnan(), torch.nan)
        data = value.reshape(-1).view(torch.uint8).numpy(force=True).tobytes() if value.numel() else b""
        return value.dtype, tuple(value.shape) if value.numel() != 1 else (), data
    if isinstance(value, dict):
        return "dict", [(key, same(item)) for key, item in value.items()]
    if isinstance(value, tuple):
        return "tuple", [same(item) for item in value]
    if isinstance(value, list):
        if any(isinstance(item, (Tensor, list, tuple)) for item in value):
            return "list", [same(item) for item in value]
        return "list", repr(value)
    return repr(value)


def difference(found: Any, wanted: Any, where: str = "") -> str:
    """Say how two values differ, and where first; nothing if they are the same bits."""
    if same(found) == same(wanted):
        return ""
    for at, a, b in _pairs(found, wanted):
        text = difference(a, b, f"{where}[{at}]")
        if text:
            return text
    return f"{where} gave {_shown(found)} instead of {_shown(wanted)}"


def _pairs(found: Any, wanted: Any) -> list[tuple[Any, Any, Any]]:
    """Give the items of two collections that have the same keys, or the same length."""
    if isinstance(found, dict) and list(found) == list(wanted):
        return [(key, found[key], wanted[key]) for key in found]
    if isinstance(found, (list, tuple)) and len(found) == len(wanted):
        return list(zip(range(len(found)), found, wanted, strict=True))
    return []


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    about = f" of {value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else ""
    return (text if len(text) <= 160 else f"{text[:80]} ... {text[-80:]}") + about


@dataclass
class Player:
    """One rank of a program.

    Attributes:
        program: What to do.
        rank: Which rank this is.
        group_of: Gives the process group of some ranks.
        wrong: What differed.
        at: Where it is.
    """

    program: Program
    rank: int
    group_of: GroupOf
    wrong: list[str] = field(default_factory=list)
    at: str = ""
    _metrics: list[Any] = field(default_factory=list)
    _handles: dict[int, Any] = field(default_factory=dict)

    def play(self) -> list[str]:
        """Play all of it."""
        self._metrics = [self._build(subject) if self._has(subject) else None for subject in self.program.subjects]
        for number, op in enumerate(self.program.ops):
            if all(self._metrics[index] is not None for index in op.subjects):
                self.at = f"program {self.program.seed}, call {number}, {op.verb}, rank {self.rank}"
                getattr(self, f"_{op.verb}")(op)
        return self.wrong

    def _has(self, subject: Subject) -> bool:
        return subject.group is None or self.rank in subject.group

    def _build(self, subject: Subject) -> Any:
        return build(subject, None if subject.group is None else self.group_of(subject.group))

    def _compare(self, found: Any, check: Check, what: str = "") -> None:
        if same(found) != check.same(same):
            text = difference(found, check.value())
            self.wrong.append(f"{self.at}{what}: {check.subject.kind}{text}")

    def _one(self, op: Op) -> tuple[Any, Subject]:
        return self._metrics[op.subjects[0]], self.program.subjects[op.subjects[0]]

    # -- calls without a sync

    def _update(self, op: Op) -> None:
        metric, subject = self._one(op)
        target = metric if op.leaf is None else metric[op.leaf]
        for key in op.keys[self.rank]:
            target.update(*batch(subject, key))

    def _reset(self, op: Op) -> None:
        self._one(op)[0].reset()

    def _clone(self, op: Op) -> None:
        self._metrics[op.subjects[0]] = self._one(op)[0].clone()

    def _pickle(self, op: Op) -> None:
        self._metrics[op.subjects[0]] = pickle.loads(pickle.dumps(self._one(op)[0]))

    def _reload(self, op: Op) -> None:
        metric, subject = self._one(op)
        metric.persistent(True)
        saved = metric.state_dict()
        other = self._build(subject)
        other.persistent(True)
        other.load_state_dict(saved)
        self._metrics[op.subjects[0]] = other

    def _merge(self, op: Op) -> None:
        metric, subject = self._one(op)
        other = self._build(subject)
        for key in op.keys[self.rank]:
            other.update(*batch(subject, key))
        metric.merge_state(other)

    # -- calls with a sync

    def _compute(self, op: Op) -> None:
        self._compare(self._one(op)[0].compute(), op.checks[0])

    def _sync(self, op: Op) -> None:
        metric, subject = self._one(op)
        metric.sync()
        self._compare(look(subject, metric), op.checks[0])
        metric.unsync()
        self._compare(look(subject, metric), op.local[self.rank], ", its local states")

    def _context(self, op: Op) -> None:
        metric, _ = self._one(op)
        with metric.sync_context():
            self._compare(metric.compute(), op.checks[0])

    def _many(self, op: Op) -> None:
        metrics = [self._metrics[index] for index in op.subjects]
        if len(self.program.ops) % 2:
            found = sync_and_compute(metrics)
        else:
            with synced(*metrics):
                found = [metric.compute() for metric in metrics]
        for value, check in zip(found, op.checks, strict=True):
            self._compare(value, check)

    def _hold(self, op: Op) -> None:
        held, other = (self._metrics[index] for index in op.subjects)
        held.sync()
        other.sync()
        self._compare(look(op.checks[1].subject, other), op.checks[1])
        other.unsync()
        self._compare(look(op.checks[0].subject, held), op.checks[0], ", shown during another sync")
        held.unsync()

    def _async(self, op: Op) -> None:
        self._handles[op.handle] = self._one(op)[0].compute_async()

    def _wait(self, op: Op) -> None:
        self._compare(self._handles.pop(op.handle).wait(), op.checks[0])

    def _forward(self, op: Op) -> None:
        metric, subject = self._one(op)
        for key, check in zip(op.keys[self.rank], op.steps[self.rank], strict=True):
            self._compare(metric(*batch(subject, key)), check)

    def _join(self, op: Op) -> None:
        with join(self._one(op)[0]):
            self._forward(op)
