"""Random programs: what every rank does, one call after another, and what each sync has to give.

All ranks draw the same program from its seed, so none has to tell another what to do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from tests.fuzz.states import KINDS, LISTS, MOST_UPDATES, State
from tests.fuzz.subjects import Histories, Subject, expected, nbytes
from tests.fuzz.thresholds import Thresholds

#: How often each verb is drawn. Those from `compute` on sync, but for `wait`, which gives what `async` has asked for.
WEIGHTS = {
    "update": 6,
    "member": 2,
    "reset": 1,
    "clone": 1,
    "pickle": 1,
    "reload": 1,
    "merge": 1,
    "compute": 6,
    "forward": 3,
    "sync": 3,
    "context": 3,
    "many": 3,
    "hold": 3,
    "async": 3,
    "wait": 3,
    "join": 1,
}
SIZES = ("inside", "edge", "beyond", "direct", "chunks")


@dataclass
class Check:
    """What a call has to give.

    Attributes:
        subject: Of what.
        histories: The updates of each rank that takes part.
        synced: Whether they were reduced over ranks.
        looked: Whether the states are looked at, and not the value.
    """

    subject: Subject
    histories: Histories
    synced: bool = True
    looked: bool = False
    _found: list[Any] = field(default_factory=list)

    def value(self) -> Any:
        """Give it."""
        return expected(self.subject, self.histories, synced=self.synced, looked=self.looked)

    def same(self, same_of: Callable[[Any], Any]) -> Any:
        """Give what it is compared by; made once, though ranks that are threads ask for it all."""
        if not self._found:
            self._found.append(same_of(self.value()))
        return self._found[0]


@dataclass
class Op:
    """One call of all ranks that have the subject.

    Attributes:
        verb: Of `WEIGHTS`.
        subjects: Places of the subjects.
        keys: For each rank the keys of the batches that it adds.
        leaf: Which leaf is updated alone.
        handle: Number of the handle that is asked for, or waited for.
        checks: What each of the subjects has to give; for a step, of each rank.
        local: What is there on each rank afterwards.
        size: The size class of what is synced.
        syncs: How many syncs it is.
    """

    verb: str
    subjects: tuple[int, ...]
    keys: dict[int, list[int]] = field(default_factory=dict)
    leaf: str | None = None
    handle: int = -1
    checks: list[Check] = field(default_factory=list)
    steps: dict[int, list[Check]] = field(default_factory=dict)
    local: dict[int, Check] = field(default_factory=dict)
    size: str = "inside"
    syncs: int = 0


@dataclass
class Program:
    """A program.

    Attributes:
        seed: What it was drawn from.
        world: Number of ranks.
        subjects: What is updated and synced.
        ops: The calls, in order.
    """

    seed: int
    world: int
    subjects: list[Subject]
    ops: list[Op]


def program_of(seed: int, world: int, thresholds: Thresholds) -> Program:
    """Draw a program."""
    drawing = _Drawing(seed, world, thresholds)
    count = drawing.random.randint(8, 24)
    while len(drawing.ops) < count:
        drawing.draw()
    drawing.finish()
    return Program(seed, world, drawing.subjects, drawing.ops)


class _Drawing:
    """Draws a program, and keeps in mind what every rank has."""

    def __init__(self, seed: int, world: int, thresholds: Thresholds) -> None:
        self.random = random.Random(f"{seed} {world} {thresholds.name}")
        self.world, self.thresholds = world, thresholds
        self.subjects = [draw_subject(self.random, world, thresholds) for _ in range(self.random.choice((1, 2, 2, 3)))]
        self.histories: list[dict[int, list[list[int]]]] = [
            {rank: [[] for _ in subject.leaves] for rank in subject.group or range(world)} for subject in self.subjects
        ]
        self.ops: list[Op] = []
        self.pending: list[tuple[int, int, Check]] = []
        self.key = self.random.randrange(1000)
        self.handles = 0

    def draw(self) -> None:
        """Draw one call, if it can be made now."""
        verb = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        index = self.random.randrange(len(self.subjects))
        getattr(self, f"_{verb}")(index)

    def finish(self) -> None:
        """Wait for what is under way, and look at everything once more."""
        while self.pending:
            self._wait(0)
        for index in range(len(self.subjects)):
            self._sync(index)

    def _add(self, op: Op) -> None:
        self.ops.append(op)

    def _fresh_key(self) -> int:
        self.key += 1
        return self.key

    def _ranks(self, index: int) -> Sequence[int]:
        return list(self.histories[index])

    def _frozen(self, index: int) -> Histories:
        return [[tuple(leaf) for leaf in leaves] for leaves in self.histories[index].values()]

    def _count(self, index: int) -> int:
        return max(len(leaf) for leaves in self.histories[index].values() for leaf in leaves)

    def _room(self, index: int, more: int) -> bool:
        """Begin anew if there would be too many updates; so are those of means, whose numbers stay whole."""
        if self._count(index) + more <= MOST_UPDATES:
            return True
        self._reset(index)
        return False

    def _local(self, index: int) -> dict[int, Check]:
        subject, frozen = self.subjects[index], self._frozen(index)
        return {
            rank: Check(subject, [leaves], synced=False, looked=True)
            for rank, leaves in zip(self._ranks(index), frozen, strict=True)
        }

    def _check(self, index: int, looked: bool = False) -> Check:
        """Give the check of a sync; a group of one has what one process has."""
        return Check(self.subjects[index], self._frozen(index), len(self.histories[index]) > 1, looked)

    def _size(self, indices: Sequence[int]) -> str:
        at_most = max(nbytes(self.subjects[i], self._frozen(i)) for i in indices)
        packet = self.thresholds.packet_of(self.world)
        if at_most < packet - 512:
            return "inside"
        if at_most <= packet:
            return "edge"
        if at_most < self.thresholds.direct:
            return "beyond"
        return "direct" if at_most < self.thresholds.chunk else "chunks"

    def _dirty(self, index: int) -> None:
        """Have every rank of a metric that keeps its value update, so that all of them or none come to the sync."""
        if self.subjects[index].options.get("compute_with_cache", True):
            self._update(index, at_least=1)

    # -- calls without a sync

    def _update(self, index: int, at_least: int = 0) -> None:
        if not self._room(index, 2):
            return self._update(index, at_least)
        counts = (at_least, 1, 1, 2)
        keys = {rank: [self._fresh_key() for _ in range(self.random.choice(counts))] for rank in self._ranks(index)}
        for rank, some in keys.items():
            for leaf in self.histories[index][rank]:
                leaf.extend(some)
        self._add(Op("update", (index,), keys))

    def _member(self, index: int) -> None:
        subject = self.subjects[index]
        if len(subject.leaves) < 2 or not self._room(index, 2):
            return
        at = self.random.randrange(len(subject.leaves))
        keys = {rank: [self._fresh_key()] if self.random.random() < 0.6 else [] for rank in self._ranks(index)}
        for rank, some in keys.items():
            self.histories[index][rank][at].extend(some)
        self._add(Op("update", (index,), keys, subject.leaves[at]))

    def _reset(self, index: int) -> None:
        for leaves in self.histories[index].values():
            for leaf in leaves:
                leaf.clear()
        self._add(Op("reset", (index,)))

    def _other_self(self, verb: str, index: int) -> None:
        if self.subjects[index].group is None and not any(i == index for i, _, _ in self.pending):
            self._add(Op(verb, (index,)))

    def _clone(self, index: int) -> None:
        self._other_self("clone", index)

    def _pickle(self, index: int) -> None:
        self._other_self("pickle", index)

    def _reload(self, index: int) -> None:
        self._other_self("reload", index)

    def _merge(self, index: int) -> None:
        subject = self.subjects[index]
        if not subject.can_merge or subject.kind not in ("metric", "monoid") or not self._room(index, 1):
            return
        keys = {rank: [self._fresh_key()] for rank in self._ranks(index)}
        for rank, some in keys.items():
            self.histories[index][rank][0].extend(some)
        self._add(Op("merge", (index,), keys))

    # -- calls with a sync

    def _synced(self, verb: str, indices: Sequence[int]) -> None:
        checks = [self._check(i, looked=verb in ("sync", "hold")) for i in indices]
        local = self._local(indices[0]) if verb == "sync" else {}
        size = self._size(indices)
        self._add(Op(verb, tuple(indices), checks=checks, local=local, size=size, syncs=1 + (verb == "hold")))

    def _compute(self, index: int) -> None:
        self._dirty(index)
        self._synced("compute", [index])

    def _sync(self, index: int) -> None:
        self._synced("sync", [index])

    def _context(self, index: int) -> None:
        self._dirty(index)
        self._synced("context", [index])

    def _many(self, index: int) -> None:
        chosen = [i for i, s in enumerate(self.subjects) if s.group is None]
        self.random.shuffle(chosen)
        if chosen:
            for one in chosen:
                self._dirty(one)
            self._synced("many", chosen)

    def _hold(self, index: int) -> None:
        """Have one subject show the states of all ranks while others are synced."""
        others = [i for i, s in enumerate(self.subjects) if s.group is None and i != index]
        if self.subjects[index].group is None and others:
            self._synced("hold", [index, self.random.choice(others)])

    def _async(self, index: int) -> None:
        if "compute_on" in self.subjects[index].options or len(self.pending) > 3:
            return
        self.handles += 1
        self._dirty(index)
        check = self._check(index)
        self.pending.append((index, self.handles, check))
        self._add(Op("async", (index,), handle=self.handles, size=self._size([index]), syncs=1))

    def _wait(self, index: int) -> None:
        if self.pending:
            at, handle, check = self.pending.pop(self.random.randrange(len(self.pending)))
            self._add(Op("wait", (at,), handle=handle, checks=[check]))

    def _step(self, index: int, keys: dict[int, int]) -> dict[int, Check]:
        """Add a batch on some ranks, and give the check of the value of the step on each of them."""
        subject = self.subjects[index]
        leaves = len(subject.leaves)
        for rank, key in keys.items():
            for leaf in self.histories[index][rank]:
                leaf.append(key)
        if not subject.options.get("dist_sync_on_step"):
            return {rank: Check(subject, [[(key,)] * leaves], synced=False) for rank, key in keys.items()}
        check = Check(subject, [[(key,)] * leaves for key in keys.values()], synced=len(self.histories[index]) > 1)
        return dict.fromkeys(keys, check)

    def _forward(self, index: int) -> None:
        subject = self.subjects[index]
        if not subject.can_shrink or not self._room(index, 1):
            return
        keys = {rank: self._fresh_key() for rank in self._ranks(index)}
        steps = {rank: [check] for rank, check in self._step(index, keys).items()}
        syncs = int(bool(subject.options.get("dist_sync_on_step")))
        size = self._size([index])
        self._add(Op("forward", (index,), {r: [k] for r, k in keys.items()}, steps=steps, size=size, syncs=syncs))

    def _join(self, index: int) -> None:
        subject = self.subjects[index]
        syncs = bool(subject.options.get("dist_sync_on_step"))
        if not syncs or not subject.can_shrink or self.pending or not self._room(index, 3):
            return
        ranks = self._ranks(index)
        counts = {rank: self.random.randrange(4) for rank in ranks}
        keys: dict[int, list[int]] = {rank: [] for rank in ranks}
        steps: dict[int, list[Check]] = {rank: [] for rank in ranks}
        for step in range(max(counts.values())):
            now = {rank: self._fresh_key() for rank in ranks if counts[rank] > step}
            for rank, check in self._step(index, now).items():
                keys[rank].append(now[rank])
                steps[rank].append(check)
        size = self._size([index])
        self._add(Op("join", (index,), keys, steps=steps, size=size, syncs=max(counts.values())))


# -- subjects


def draw_subject(draw: random.Random, world: int, thresholds: Thresholds) -> Subject:
    """Draw a metric or collection."""
    kind = draw.choices(("metric", "monoid", "nest", "collection", "numbers", "classes"), weights=(8, 2, 2, 4, 1, 1))[0]
    options: dict[str, Any] = {"compute_with_cache": draw.random() < 0.25}
    if draw.random() < 0.5:
        options["dist_sync_on_step"] = True
    group = None
    if draw.random() < 0.2:
        group = tuple(sorted(draw.sample(range(world), draw.randint(min(2, world - 1), world - 1))))
    size_of = partial(_state, draw, thresholds.packet_of(world), thresholds)
    if draw.random() < 0.2 and kind != "nest":
        options["compute_on"] = draw.randrange(len(group) if group else world)
    if kind in ("numbers", "classes"):
        return Subject(kind, group=group, options=options)
    if kind == "monoid":
        return Subject(kind, ((size_of("sum", "int64"),),), group, options)
    if kind == "metric":
        return Subject(kind, (_states(draw, size_of, draw.randint(1, 4)),), group, options)
    if kind == "nest":
        return Subject(kind, tuple(_states(draw, size_of, draw.randint(1, 2)) for _ in range(2)), group, options)
    first = _states(draw, size_of, draw.randint(1, 3))
    shared = draw.randint(0, 2)
    more = [_states(draw, size_of, 1) for _ in range(draw.randint(0, 2))]
    more = [one for one in more if one != first]
    return Subject(kind, (first,) * (1 + shared) + tuple(more), group, options, shared)


def _states(draw: random.Random, state_of: Any, count: int) -> tuple[State, ...]:
    """Draw states, of which at most one is large."""
    large = draw.randrange(count)
    return tuple(state_of(None, None, may_be_large=index == large) for index in range(count))


def _state(
    draw: random.Random,
    packet: int,
    thresholds: Thresholds,
    kind: str | None,
    dtype: str | None,
    may_be_large: bool = True,
) -> State:
    kind = kind or draw.choice(list(KINDS))
    chosen = getattr(torch, dtype) if dtype else draw.choice(KINDS[kind])
    nbytes = _nbytes(draw, packet, thresholds) if may_be_large else draw.randint(0, 40)
    count = nbytes // chosen.itemsize
    by_rows = kind == "cat" or kind in LISTS
    tail = draw.choice(((), (), (3,), (1, 2), (2, 0))) if by_rows and "plain" not in kind else ()
    shape, rows = (tail, count // max(1, _size(tail))) if by_rows else (_shape(draw, count), 1)
    if "plain" in kind:
        rows = min(rows // 8, 400)
    state = State(kind, chosen, shape, max(1, rows), draw.randrange(50))
    return _varied(draw, state)


def _varied(draw: random.Random, state: State) -> State:
    """Draw what else there is to a state."""
    some = vars(state)
    kind, dtype = state.kind, state.dtype
    if kind in ("sum", "mean", "min", "max") and draw.random() < 0.2:
        some = some | {"grows": True}
    elif kind in ("sum", "total", "ordered") and dtype.itemsize > 1 and draw.random() < 0.4:
        some = some | {"in_place": True}
    if kind == "sum" and dtype.is_floating_point and dtype.itemsize >= 4 and draw.random() < 0.4:
        return State(**some | {"rough": True, "grows": False})
    if kind == "sum" and draw.random() < 0.3:
        some = some | {"default": 1}
    if kind in ("min", "max") and dtype is not torch.bool and draw.random() < 0.3:
        some = some | {"default": 3}
    if kind in ("cat", "cat list", "cat buffer") and not dtype.is_complex and draw.random() < 0.4:
        some = some | {"promotes": True}
    if kind == "none" and draw.random() < 0.5:  # of other sizes on other ranks
        some = some | {"promotes": True, "dtype": draw.choice((torch.int8, torch.bfloat16, torch.int16, torch.int64))}
    if kind == "sum" and dtype in (torch.int64, torch.int32) and not some["in_place"] and draw.random() < 0.5:
        some = some | {"promotes": True}
    return State(**some)


def _nbytes(draw: random.Random, packet: int, thresholds: Thresholds) -> int:
    """Draw a size: within a packet, about as much as it takes, beyond it, and beyond what is sent with others."""
    real = thresholds.name == "real"
    size = draw.choices(SIZES, weights=(10, 4, 2, 1, 0) if real else (6, 4, 4, 4, 4))[0]
    if size == "inside":
        return draw.choice((0, draw.randint(1, 64), draw.randint(64, packet // 2)))
    if size == "edge":
        return draw.randint(packet - 512, packet + 16)
    if size == "beyond":
        return draw.randint(packet, thresholds.direct)
    if size == "direct":
        return draw.choice(
            (thresholds.direct + draw.randint(-8, 8), draw.randint(thresholds.direct, 2 * thresholds.direct))
        )
    return draw.randint(thresholds.direct, 3 * min(thresholds.chunk, 16384))


def _shape(draw: random.Random, count: int) -> tuple[int, ...]:
    if count <= 1:
        return draw.choice(((), (1,), (0,), (1, 1)))
    if count % 2 == 0 and draw.random() < 0.3:
        return (2, count // 2)
    return (count,)


def _size(shape: Sequence[int]) -> int:
    found = 1
    for side in shape:
        found *= side
    return found
