"""ignite: its metrics in `synced`, and metrics of syncmetrics on an `ignite.engine.Engine` with `attach`.

What is reduced is what `sync_all_reduce` says on the metric's `compute`; lists of tensors, which metrics over a whole
epoch keep, are joined in rank order. While the states of all ranks are shown, `compute` of such a metric sees a world
of one, so that ignite does not reduce them once more.
"""

from __future__ import annotations

import copy
import dis
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Number
from types import FunctionType
from typing import Any

import ignite.distributed.utils as world
import torch
from ignite.distributed.comp_models.base import _SerialModel
from ignite.engine import Engine, Events
from ignite.metrics import Frequency, MetricGroup, MetricsLambda
from ignite.metrics.metric import Metric
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.foreign.adapter import AttributesAdapter, register_adapter
from syncmetrics.metric import Metric as OurMetric
from syncmetrics.metric import MetricCollection
from syncmetrics.states.reductions import ReduceFx, Reduction
from syncmetrics.states.spec import States

__all__ = ["IgniteAdapter", "attach"]

#: One plain dict a rank: which attributes are numbers there, and the values of its flags.
_ABOUT = "about"

_OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "SUM": torch.add,
    "PRODUCT": torch.mul,
    "MIN": torch.minimum,
    "MAX": torch.maximum,
}


class IgniteAdapter(AttributesAdapter):
    """How an `ignite.metrics.Metric` takes part; of a combination of metrics (`MetricsLambda`), those inside it."""

    def reductions(self, metric: Any) -> Mapping[str, ReduceFx | Reduction]:
        """Give the states: what is reduced comes apart, for a rank without data may hold another shape or a number."""
        operations, rows, _ = _attributes(metric)
        return {**dict.fromkeys(operations), **rows, _ABOUT: None}

    def local_states(self, metric: Any) -> States:
        """Give the local states."""
        operations, rows, flags = _attributes(metric)
        states: States = {name: [_as_tensor(metric.__dict__[name])] for name in operations}
        states.update({name: list(metric.__dict__[name]) for name in rows})
        numbers = [name for name in operations if not isinstance(metric.__dict__[name], Tensor)]
        states[_ABOUT] = [{"numbers": numbers, "flags": {name: metric.__dict__[name] for name in flags}}]
        return states

    def shown_attributes(self, metric: Any, states: States) -> Mapping[str, Any]:
        """Give what the ranks have together, and a `compute` that does not communicate."""
        operations, rows, _ = _attributes(metric)
        about: list[Any] = list(states[_ABOUT])
        shown: dict[str, Any] = {name: states[name] for name in rows}
        for name, operation in operations.items():
            merged = functools.reduce(_OPERATIONS[operation], states[name])
            if isinstance(metric, Frequency) and name == "_elapsed":
                merged = merged / len(about)  # the ranks ran at the same time
            is_number = all(name in rank["numbers"] for rank in about)
            shown[name] = merged.item() if is_number else merged.to(metric._device)
        for name in dict.fromkeys(name for rank in about for name in rank["flags"]):
            said = [rank["flags"][name] for rank in about if name in rank["flags"]]
            shown[name] = any(said) if isinstance(said[0], bool) else said[0]
        if "_result" in metric.__dict__:
            shown["_result"] = None
        compute = metric.compute

        def compute_alone() -> Any:
            with _alone():
                return compute()

        return {**shown, "compute": compute_alone}

    def members(self, metric: Any) -> Iterator[tuple[str, Any]]:
        """Give the metric, or those it is made of: each once."""
        seen: set[int] = set()
        for name, member in _members("", metric):
            if id(member) not in seen:
                seen.add(id(member))
                yield name, member


@contextmanager
def _alone() -> Iterator[None]:
    """Let ignite believe in a world of one."""
    before = world._model, world._need_to_sync
    world._model, world._need_to_sync = _SerialModel(), False
    try:
        yield
    finally:
        world._model, world._need_to_sync = before


def _members(name: str, metric: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(metric, MetricsLambda):
        inside = {**{f"args[{i}]": arg for i, arg in enumerate(metric.args)}, **metric.kwargs}
    elif isinstance(metric, MetricGroup):
        inside = dict(metric.metrics)
    else:
        yield name, metric
        return
    for key, member in inside.items():
        if isinstance(member, Metric):
            yield from _members(f"{name}.{key}" if name else str(key), member)


def _attributes(metric: Any) -> tuple[dict[str, str], dict[str, ReduceFx], list[str]]:
    """Give what is reduced, with the operations; the lists, with whether their rows are joined; and the flags.

    Raises:
        StateError: The metric keeps something else.
    """
    operations = {name: op for name, op in _declared(type(metric)).items() if name in metric.__dict__}
    rows: dict[str, ReduceFx] = {}
    flags: list[str] = []
    cls: Any = type(metric)
    accumulated = _accumulated(cls)
    said = tuple(getattr(cls, "_state_dict_all_req_keys", ()))
    for name in dict.fromkeys((*said, *sorted(accumulated))):
        value = metric.__dict__.get(name)
        if name in operations or (value is None and name not in said):
            continue
        if name not in accumulated and (value is None or isinstance(value, (Number, str, Tensor))):
            continue  # what no epoch begins anew, or nobody reads: a kernel, say, that follows from the settings
        if isinstance(value, (bool, str, int)) and name not in said and name in _unknown_before(metric):
            flags.append(name)  # what the first batch was like
        elif isinstance(value, bool):
            flags.append(name)
        elif isinstance(value, list) and all(isinstance(item, Tensor) for item in value):
            rows[name] = "cat" if name in said else None  # of the latter nobody says how they are joined
        elif name in ("_weight", "_num_examples"):  # reduced inside of `compute`, or forgotten there
            operations[name] = "SUM"
        else:
            raise StateError(_refusal(metric, f"keeps a {type(value).__name__} in `{name}`, which nothing reduces"))
    wrong = [name for name in operations if not isinstance(metric.__dict__[name], (Number, Tensor))]
    if wrong:
        raise StateError(_refusal(metric, f"reduces `{wrong[0]}`, which is neither a number nor a tensor"))
    if not operations and not rows:
        raise StateError(_refusal(metric, "does not say what it keeps: no `sync_all_reduce`, no list of tensors"))
    return operations, rows, flags


@functools.cache
def _accumulated(cls: type) -> frozenset[str]:
    """Give the attributes that a metric accumulates: those that `reset` sets and `compute` reads."""
    return _names(cls, "reset", {"STORE_ATTR"}) & _names(cls, "compute", {"LOAD_ATTR", "LOAD_METHOD"})


_unknown: dict[type, frozenset[str]] = {}


def _unknown_before(metric: Any) -> frozenset[str]:
    """Give the attributes of which nothing is known before the first batch."""
    cls = type(metric)
    if cls not in _unknown:
        twin = copy.deepcopy(metric)
        twin.reset()
        _unknown[cls] = frozenset(name for name, value in vars(twin).items() if value is None)
    return _unknown[cls]


def _names(cls: type, method: str, operations: set[str]) -> frozenset[str]:
    """Give the names of attributes that a method does something with, itself or in methods that it calls."""
    found: set[str] = set()
    left, seen = [method], set[str]()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        for base in cls.__mro__:
            function = vars(base).get(name)
            while isinstance(function, FunctionType):
                for step in dis.get_instructions(function):
                    if step.opname in operations:
                        found.add(str(step.argval))
                    if callable(getattr(cls, str(step.argval), None)):
                        left.append(str(step.argval))
                function = getattr(function, "__wrapped__", None)
    return frozenset(found)


def _refusal(metric: Any, what: str) -> str:
    name = type(metric).__name__
    return f"{name} of ignite {what}; write an adapter for it: `syncmetrics.register_adapter({name}, ...)`."


def _declared(cls: type) -> dict[str, str]:
    """Give the attributes that `sync_all_reduce` names, with their operations, on the methods of a class."""
    declared: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for method in vars(base).values():
            while isinstance(method, FunctionType):
                names = method.__code__.co_freevars
                if method.__globals__.get("__name__") == Metric.__module__ and "attrs" in names and method.__closure__:
                    for attribute in method.__closure__[names.index("attrs")].cell_contents:
                        name, _, operation = attribute.partition(":")
                        declared[name] = operation or "SUM"
                method = getattr(method, "__wrapped__", None)
    return declared


def _as_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)


# ---- metrics of syncmetrics on an engine ----------------------------------------------------------------------------


def attach(
    metric: OurMetric | MetricCollection,
    engine: Engine,
    name: str,
    *,
    output_transform: Callable[[Any], Any] = lambda output: output,
) -> None:
    """Attach a metric to an engine, as `metric.attach(engine, name)` does for ignite's own.

    It is reset when an epoch starts, updated in every iteration from `engine.state.output`, and computed when the epoch
    is complete, which is collective: every rank of the group must run its engine to that point.

    Args:
        metric: A metric, or a collection of them, which is synced once for all.
        engine: To which engine.
        name: Where the value goes in `engine.state.metrics`. Those of a collection also go there by their own names.
        output_transform: Makes of the engine's output what `update` takes: a tuple or list of its arguments, a dict of
            them, or the only one.
    """

    def update(engine: Engine) -> None:
        output = output_transform(engine.state.output)
        if isinstance(output, Mapping):
            metric.update(**output)
        elif isinstance(output, (tuple, list)):
            metric.update(*output)
        else:
            metric.update(output)

    def compute(engine: Engine) -> None:
        value = metric.compute()
        if isinstance(value, Mapping):
            plain = {key: _plain(item) for key, item in value.items()}
            engine.state.metrics.update(plain)
            engine.state.metrics[name] = plain
        else:
            engine.state.metrics[name] = _plain(value)

    engine.add_event_handler(Events.EPOCH_STARTED, lambda: metric.reset())
    engine.add_event_handler(Events.ITERATION_COMPLETED, update)
    engine.add_event_handler(Events.EPOCH_COMPLETED, compute)


def _plain(value: Any) -> Any:
    """Give a value as ignite gives it: a number instead of a tensor without dimensions."""
    return value.item() if isinstance(value, Tensor) and value.dim() == 0 else value


register_adapter(Metric, IgniteAdapter())
