"""torcheval: its metrics in `synced`, and its own toolkit through the engine with `install`.

The states of all ranks are merged by the metric's own `merge_state`, called once, on what rank 0 has, with all other
ranks in rank order: the value, and the order of rows, are the same on every rank.
"""

from __future__ import annotations

import copy
import inspect
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torcheval.metrics import toolkit
from torcheval.metrics.metric import Metric

from syncmetrics.foreign.adapter import AttributesAdapter, register_adapter
from syncmetrics.metric.synced import synced
from syncmetrics.states.merge import own_copy
from syncmetrics.states.reductions import ReduceFx, Reduction
from syncmetrics.states.spec import State, States
from syncmetrics.transport import WORLD

__all__ = ["TorchevalAdapter", "install", "uninstall"]

_KEYS, _VALUES = ".keys", ".values"


class TorchevalAdapter(AttributesAdapter):
    """How a `torcheval.metrics.Metric` takes part.

    A dict of tensors travels as a list of its keys and a list of its tensors, a number as a list of one.
    """

    def reductions(self, metric: Any) -> Mapping[str, ReduceFx | Reduction]:
        """Give the states. Their values stay apart, for `merge_state` makes them one."""
        names: dict[str, ReduceFx | Reduction] = {}
        for name in metric._state_name_to_default:
            is_dict = isinstance(getattr(metric, name), dict)
            names.update(dict.fromkeys((name + _KEYS, name + _VALUES) if is_dict else (name,)))
        return names

    def local_states(self, metric: Any) -> States:
        """Give the local states, prepared by the metric for being sent. The metric itself stays as it is."""
        ready = _twin(metric)
        ready._prepare_for_merge_state()
        states: States = {}
        for name in metric._state_name_to_default:
            states.update(_flatten(name, getattr(ready, name)))
        return states

    def merge(self, metric: Any) -> Callable[[States, States], States]:
        """Give a function that collects the states of all ranks, so that `merge_state` is called once, with all."""

        def merge_state(a: States, b: States) -> States:
            return {name: _Ranks([*(a[name] if isinstance(a[name], _Ranks) else [a[name]]), b[name]]) for name in a}

        merge_state.__qualname__ = f"{type(metric).__qualname__}.merge_state"
        return merge_state

    def shown_attributes(self, metric: Any, states: States) -> Mapping[str, Any]:
        """Give the attributes of what `merge_state` makes of all ranks."""
        world = max((len(value) for value in states.values() if isinstance(value, _Ranks)), default=1)
        ranks: list[States] = [
            {name: value[rank] if isinstance(value, _Ranks) else value for name, value in states.items()}
            for rank in range(world)
        ]
        first, *others = [_loaded(metric, own_copy(each)) for each in ranks]
        merged = first.merge_state(others) if others else first
        return dict(merged.__dict__)


class _Ranks(list[Any]):
    """One state of each rank, in rank order."""


def _twin(metric: Any) -> Any:
    """Copy a metric, but neither its tensors nor the models in it."""
    memo: dict[int, Any] = {}
    for value in vars(metric).values():
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, deque)) else [value]
        for item in inside:
            if isinstance(item, (Tensor, torch.nn.Module)):
                memo[id(item)] = item
    return copy.deepcopy(metric, memo)


def _flatten(name: str, value: Any) -> States:
    if isinstance(value, Tensor):
        return {name: value}
    if isinstance(value, dict):
        return {name + _KEYS: list(value), name + _VALUES: list(value.values())}
    return {name: list(value) if isinstance(value, (list, deque)) else [value]}


def _loaded(metric: Any, states: States) -> Any:
    """Give a copy of a metric with other states."""
    loaded = _twin(metric)
    for name in metric._state_name_to_default:
        setattr(loaded, name, _unflatten(name, getattr(loaded, name), states))
    return loaded


def _unflatten(name: str, like: Any, states: States) -> Any:
    """Give one state the type that the local one has."""
    if isinstance(like, dict):
        like.clear()  # it keeps its class, and its factory for missing keys
        like.update(zip(states[name + _KEYS], states[name + _VALUES], strict=True))
        return like
    value: State = states[name]
    if isinstance(like, Tensor) or isinstance(value, Tensor):
        return value
    if isinstance(like, deque):
        return deque(value, like.maxlen)
    return value if isinstance(like, list) else value[0]


# ---- the toolkit ----------------------------------------------------------------------------------------------------


def _world_size(process_group: Any) -> int:
    size: int = toolkit._get_world_size(process_group)
    toolkit._validate_rank_and_world_size(size)
    return size


def _group(process_group: Any) -> Any:
    return WORLD if process_group is None else process_group


def _get_synced_metric(metric: Any, process_group: Any = None) -> Any:
    if _world_size(process_group) == 1:
        return metric
    with synced(metric, process_group=_group(process_group)):
        return copy.deepcopy(metric)


def _get_synced_metric_collection(metric_collection: Any, process_group: Any = None) -> Any:
    if _world_size(process_group) == 1:
        return metric_collection
    with synced(metric_collection, process_group=_group(process_group)):
        return {key: copy.deepcopy(metric) for key, metric in metric_collection.items()}


def _sync_and_compute(metric: Any, process_group: Any = None) -> Any:
    return _get_synced_metric(metric, process_group).compute()


def _sync_and_compute_collection(metrics: Any, process_group: Any = None) -> Any:
    return {key: metric.compute() for key, metric in _get_synced_metric_collection(metrics, process_group).items()}


def _get_synced_state_dict(metric: Any, process_group: Any = None) -> Any:
    return _get_synced_metric(metric, process_group).state_dict()


def _get_synced_state_dict_collection(metric_collection: Any, process_group: Any = None) -> Any:
    merged = _get_synced_metric_collection(metric_collection, process_group)
    return {key: metric.state_dict() for key, metric in merged.items()}


_ROUTED: dict[str, Callable[..., Any]] = {
    "get_synced_metric": _get_synced_metric,
    "get_synced_metric_collection": _get_synced_metric_collection,
    "sync_and_compute": _sync_and_compute,
    "sync_and_compute_collection": _sync_and_compute_collection,
    "get_synced_state_dict": _get_synced_state_dict,
    "get_synced_state_dict_collection": _get_synced_state_dict_collection,
}
_originals: dict[str, Callable[..., Any]] = {}


def install() -> None:
    """Send what `torcheval.metrics.toolkit` syncs through the engine, from now on and in the whole process.

    The signatures and what is returned stay as they are. Names that were imported from the toolkit before are routed as
    well, but for `get_synced_metric` and `get_synced_metric_collection`: import these two afterwards. Every rank must
    install it. To do so twice changes nothing.

    Raises:
        RuntimeError: This torcheval has another toolkit.
    """
    if _originals:
        return
    found = {name: getattr(toolkit, name) for name in _ROUTED}
    for name, original in found.items():
        theirs, ours = list(inspect.signature(original).parameters), list(inspect.signature(_ROUTED[name]).parameters)
        if theirs != ours:
            raise RuntimeError(f"`{name}` of torcheval must take {ours}, but takes {theirs}; use torcheval 0.0.7.")
    _originals.update(found)
    for name, routed in _ROUTED.items():
        setattr(toolkit, name, routed)


def uninstall() -> None:
    """Give torcheval its own functions back. Without `install` before, it does nothing."""
    for name, original in _originals.items():
        setattr(toolkit, name, original)
    _originals.clear()


register_adapter(Metric, TorchevalAdapter())
