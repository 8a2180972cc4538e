"""What is synced: metrics and collections of random states, and the package's own; and what the oracle makes of them.

A subject has leaves: metrics that are updated alike unless one of them is picked out. A history says, for each rank and
each leaf, the keys of its updates since the last reset. A key stands for a batch, which every rank can make.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from syncmetrics import (
    CatMetric,
    ClasswiseWrapper,
    MaxMetric,
    MeanMetric,
    Metric,
    MetricCollection,
    MinMetric,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    RowBuffer,
    SumMetric,
    dim_zero_cat,
)
from tests.fuzz import states
from tests.fuzz.states import LISTS, UNMERGED, State

#: For each rank and leaf the keys of its updates.
Histories: TypeAlias = Sequence[Sequence[Sequence[int]]]

_PRIME = (1 << 31) - 1
_CLASSES = 5
_LABELS = ("a", "b", "c", "d", "e")


class Fuzzed(Metric):
    """A metric of random states, which are its value.

    Args:
        declared: Its states.
        **kwargs: Arguments of `Metric`.
    """

    def __init__(self, declared: tuple[State, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.declared = declared
        for index, state in enumerate(declared):
            default: Any = [] if state.kind in LISTS else states.declared_default(state)
            default = RowBuffer() if state.kind == "cat buffer" else default
            self.add_state(f"s{index}", default, dist_reduce_fx=state.reduction)

    @property
    def compute_group(self) -> Any:
        return "fuzzed", self.declared

    def update(self, key: int) -> None:
        for index, state in enumerate(self.declared):
            name, added = f"s{index}", states.piece(state, key)
            added = added.clone() if isinstance(added, Tensor) else added
            before = getattr(self, name)
            if state.kind in LISTS:
                before.append(added)
            elif state.in_place:
                before += added
                setattr(self, name, before)
            else:
                setattr(self, name, _next(state, before, added, self.update_count))

    def compute(self) -> Any:
        return self.look()

    def look(self) -> Any:
        """Give all that can be seen of the states that are shown."""
        return tuple(_seen(state, getattr(self, f"s{index}")) for index, state in enumerate(self.declared))


class Turned(Fuzzed):
    """Another value of the same states, which a collection keeps once."""

    def compute(self) -> Any:
        return self.look()[::-1]


def _next(state: State, before: Tensor, added: Tensor, count: int) -> Tensor:
    if state.kind == "mean":
        return before + states.divided(added - before, count) if count > 1 else added
    if state.kind in ("min", "max", "largest"):
        return (torch.minimum if state.kind == "min" else torch.maximum)(before, added)
    if state.kind == "none":
        return added
    if state.kind == "cat":
        return torch.cat([before, added]) if added.shape[0] else before
    return before + added


def _seen(state: State, shown: Any) -> Any:
    """Give a state as a part of a value: the rows of a list joined and one by one, in one order or the other."""
    if state.kind == "cat buffer":
        return dim_zero_cat(shown)
    if state.kind == "cat list":
        if state.salt % 2:
            rows = dim_zero_cat(shown)
            return rows, list(shown)
        items = list(shown)
        return dim_zero_cat(shown), items
    return list(shown) if state.kind in LISTS else shown


class Monoid(Metric):
    """States that belong together, merged by an operation in which the order matters.

    Args:
        shape: Of both states.
        **kwargs: Arguments of `Metric`.
    """

    hashed: Tensor
    power: Tensor
    keys: list[int]

    def __init__(self, shape: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = shape
        self.add_state("hashed", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("power", torch.ones(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("keys", [], dist_reduce_fx=None)

    def update(self, key: int) -> None:
        self.hashed, self.power = _hash(self.hashed, self.power, states.numbers(key, 0, self.shape) + 31)
        self.keys.append(key)

    def merge_states(self, a: Any, b: Any) -> Any:
        return {
            "hashed": (a["hashed"] * b["power"] + b["hashed"]) % _PRIME,
            "power": a["power"] * b["power"] % _PRIME,
            "keys": [*a["keys"], *b["keys"]],
        }

    def compute(self) -> Any:
        return self.look()

    def look(self) -> Any:
        return self.hashed.clone(), self.power.clone(), list(self.keys)


def _hash(hashed: Tensor, power: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    return (hashed * 1_000_003 + x) % _PRIME, power * 1_000_003 % _PRIME


class Nest(Metric):
    """Metrics inside of a metric, beside states of its own.

    Args:
        declared: The states of each metric inside.
        **kwargs: Arguments of `Metric`.
    """

    batches: Tensor

    def __init__(self, declared: tuple[tuple[State, ...], ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = Fuzzed(declared[0], **kwargs)
        self.others: Any = nn.ModuleList(Fuzzed(one, **kwargs) for one in declared[1:])
        self.add_state("batches", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, key: int) -> None:
        self.first.update(key)
        for other in self.others:
            other.update(key)
        self.batches = self.batches + 1

    def compute(self) -> Any:
        return [self.first.compute(), [other.compute() for other in self.others], self.batches]

    def look(self) -> Any:
        return [self.first.look(), [other.look() for other in self.others], self.batches]


@dataclass(frozen=True)
class Subject:
    """What is updated and synced as one.

    Attributes:
        kind: `"metric"`, `"monoid"`, `"nest"`, `"collection"`, `"numbers"` or `"classes"`.
        declared: The states of each metric in it.
        group: The ranks that have it; None for all.
        options: Arguments of every metric, and of a collection.
        shared: How many of the metrics of a collection, besides the first, declare what the first one does.
    """

    kind: str
    declared: tuple[tuple[State, ...], ...] = ()
    group: tuple[int, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    shared: int = 0

    @property
    def leaves(self) -> tuple[str, ...]:
        """Names of what can be updated by itself; one if nothing can."""
        if self.kind != "collection":
            return ("",)
        return tuple(f"m{index}" for index in range(len(self.declared)))

    @property
    def can_merge(self) -> bool:
        """Whether the states of two batches can be merged."""
        return not any(state.kind in UNMERGED for declared in self.declared for state in declared)

    @property
    def can_shrink(self) -> bool:
        """Whether it has a value of fewer ranks than the group has."""
        return not any(state.kind == "ordered" for declared in self.declared for state in declared)


def build(subject: Subject, process_group: Any = None) -> Any:
    """Make the metric or collection, on a rank that has it."""
    options = dict(subject.options)
    if process_group is not None:
        options["process_group"] = process_group
    if subject.kind == "metric":
        return Fuzzed(subject.declared[0], **options)
    if subject.kind == "monoid":
        return Monoid(subject.declared[0][0].shape, **options)
    if subject.kind == "nest":
        return Nest(subject.declared, **options)
    whole = {name: options.pop(name) for name in ("sync_every", "compute_on") if name in options}
    if subject.kind == "collection":
        kinds = [Turned if 0 < index <= subject.shared else Fuzzed for index in range(len(subject.declared))]
        found = {f"m{i}": kind(subject.declared[i], **options) for i, kind in enumerate(kinds)}
        return MetricCollection(found, **whole)
    if subject.kind == "numbers":
        made = {"sum": SumMetric, "mean": MeanMetric, "min": MinMetric, "max": MaxMetric, "cat": CatMetric}
        return MetricCollection({name: kind(**options) for name, kind in made.items()}, **whole)
    accuracy = MulticlassAccuracy(num_classes=_CLASSES, average=None, **options)
    return MetricCollection(
        {
            "matrix": MulticlassConfusionMatrix(num_classes=_CLASSES, **options),
            "micro": MulticlassAccuracy(num_classes=_CLASSES, average="micro", **options),
            "each": ClasswiseWrapper(accuracy, _LABELS, prefix="of_"),
        },
        **whole,
    )


def batch(subject: Subject, key: int) -> tuple[Any, ...]:
    """Give the arguments of an update."""
    if subject.kind == "numbers":
        return (states.numbers(key, 1, (key % 5,)).double(),)
    if subject.kind == "classes":
        x = states.numbers(key, 2, (2, 3 + key % 6)) % _CLASSES
        return x[0], x[1]
    return (key,)


def look(subject: Subject, metric: Any) -> Any:
    """Give what can be seen of the states that are shown."""
    if subject.kind == "collection":
        return {name: member.look() for name, member in metric.items()}
    if subject.kind in ("numbers", "classes"):
        return None
    return metric.look()


def expected(subject: Subject, histories: Histories, *, synced: bool, looked: bool = False) -> Any:
    """Give the value of all these updates in one process.

    Args:
        subject: Of what.
        histories: The updates of each rank that takes part; of one alone, if it is not synced.
        synced: Whether the states were reduced over ranks.
        looked: Whether `look` is to be compared with it, and not `compute`.
    """
    of_leaf = [[list(leaves[i]) for leaves in histories] for i in range(len(subject.leaves))]
    if subject.kind == "metric":
        return _of_states(subject.declared[0], of_leaf[0], synced)
    if subject.kind == "monoid":
        return _of_monoid(subject.declared[0][0].shape, of_leaf[0])
    if subject.kind == "nest":
        first, *others = (_of_states(declared, of_leaf[0], synced) for declared in subject.declared)
        return [first, others, torch.tensor(sum(map(len, of_leaf[0])))]
    if subject.kind == "collection":
        found = {}
        for i, declared in enumerate(subject.declared):
            of_one = _of_states(declared, of_leaf[i], synced)
            found[f"m{i}"] = of_one[::-1] if 0 < i <= subject.shared and not looked else of_one
        return found
    if looked:
        return None
    batches = [batch(subject, key) for keys in of_leaf[0] for key in keys]
    return _of_numbers(batches) if subject.kind == "numbers" else _of_classes(batches)


def _of_states(declared: Sequence[State], histories: Sequence[Sequence[int]], synced: bool) -> Any:
    found: list[Any] = []
    for state in declared:
        what = states.value(state, histories) if synced else states.local(state, histories[0])
        if state.kind == "cat buffer":
            found.append(states.joined(what))
        else:
            found.append((states.joined(what), what) if state.kind == "cat list" else what)
    return tuple(found)


def _of_monoid(shape: tuple[int, ...], histories: Sequence[Sequence[int]]) -> Any:
    hashed, power = torch.zeros(shape, dtype=torch.int64), torch.ones(shape, dtype=torch.int64)
    keys = [key for some in histories for key in some]
    for key in keys:
        hashed, power = _hash(hashed, power, states.numbers(key, 0, shape) + 31)
    return hashed, power, keys


def _of_numbers(batches: Sequence[tuple[Tensor, ...]]) -> Any:
    rows = [x for (x,) in batches if x.numel()]
    values = torch.cat(rows) if rows else torch.zeros(0)
    wide = values.double()
    return {
        "sum": wide.sum(),
        "mean": wide.sum() / wide.numel() if wide.numel() else torch.tensor(math.nan, dtype=torch.float64),
        "min": wide.min() if wide.numel() else torch.tensor(math.inf, dtype=torch.float64),
        "max": wide.max() if wide.numel() else torch.tensor(-math.inf, dtype=torch.float64),
        "cat": values,
    }


def _of_classes(batches: Sequence[tuple[Tensor, ...]]) -> Any:
    matrix = torch.zeros(_CLASSES, _CLASSES, dtype=torch.int64)
    for preds, target in batches:
        for p, t in zip(preds.tolist(), target.tolist(), strict=True):
            matrix[t, p] += 1
    right, of_class = matrix.diag(), matrix.sum(1)
    each = (right.double() / of_class.clamp(min=1)).float()
    return {
        "matrix": matrix,
        "micro": (right.sum().double() / matrix.sum().clamp(min=1)).float(),
        **{f"of_{label}": each[i] for i, label in enumerate(_LABELS)},
    }


def nbytes(subject: Subject, histories: Histories) -> int:
    """Say how many bytes the largest state of a rank has, about."""
    sizes = [0]
    for leaves in histories:
        for i, declared in enumerate(subject.declared):
            keys = leaves[i if subject.kind == "collection" else 0]
            sizes += [states.nbytes(state, keys) for state in declared]
    return max(sizes)
