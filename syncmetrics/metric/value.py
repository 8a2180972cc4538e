"""Values: of which states they are computed, how long they are good, and what of them is handed out.

For one metric and for many: what is still good is given again; for the rest there is one sync (one for each process
group); each metric then computes of what is shown, and its value is kept.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.metric.books import Kept, Key
from syncmetrics.metric.code import raw_function
from syncmetrics.metric.eager import eager, leave_out_of_graphs
from syncmetrics.metric.members import Members, one
from syncmetrics.metric.module import StatefulModule
from syncmetrics.metric.origins import remember
from syncmetrics.schedule.one_rank import compute_on_one
from syncmetrics.states.autograd import no_graph, without_grad
from syncmetrics.states.joined import joined_of
from syncmetrics.states.spec import State
from syncmetrics.states.store import Mode, Store
from syncmetrics.sync import copied, note, synced
from syncmetrics.transport import always_meets, is_absent

__all__ = ["absent_in", "compute", "evaluate", "hand_out", "is_good", "is_in_states", "keep", "wrap_compute"]

#: Values for so many sets of arguments are kept.
_KEPT = 8

#: What `compute` was called with, mostly.
NOTHING: Key = ((), {})

#: A larger tensor is not copied to be kept: it would be in memory twice.
_LARGE_BYTES = 1 << 20


def wrap_compute(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the `compute` of a class: the user's own, of the states of all ranks, whose value is kept."""

    @functools.wraps(function)
    def wrapped(self: StatefulModule, *args: Any, **kwargs: Any) -> Any:
        if type(self).compute is not wrapped:  # reached through super()
            return function(self, *args, **kwargs)
        if self._core._holder.store.mode is Mode.STEP:  # what one batch brought, inside of a metric around this one
            if self.is_differentiable and torch.is_grad_enabled():
                return function(self, *args, **kwargs)
            return without_grad(function, self, args, kwargs)
        with eager():
            return compute(one(self), args, kwargs)[""]

    wrapped._wraps = (wrapped, function)  # type: ignore[attr-defined]
    return leave_out_of_graphs(wrapped)


def compute(members: Members, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give the value of each member.

    Collective: every rank of the group must call this, unless all values are still good, or nothing is to be synced.

    Args:
        members: Whose values.
        args: Arguments of the user's own `compute`.
        kwargs: Likewise.
    """
    metrics, asked = members.metrics, (args, kwargs or {}) if args or kwargs else NOTHING
    absent = absent_in(members)
    if absent:
        rest = members.without(absent)
        values = compute(rest, args, kwargs) if rest.metrics else {}
        return {name: absent[name] if name in absent else values[name] for name in metrics}
    good = _find_all(metrics, asked)
    if good is not None:
        _note_kept(members)
        return {name: _given_again(metrics[name], kept) for name, kept in good.items()}
    nodes = members.nodes()
    shown = [node for node in nodes if not node.is_local]
    if shown and len(metrics) > 1:  # some show already what is wanted
        return {name: compute(one(metric), args, kwargs)[""] for name, metric in metrics.items()}
    rank = _computing_rank(members)
    if rank is not None and not shown:
        return _from_one(members, rank, asked)
    syncing, alone = members.policy.syncing, members.policy.alone
    together, copies = members.together(syncing), members.nodes(alone) if alone else []
    if shown:
        together = [([node for node in found if node.is_local], route) for found, route in together]
        together = [(found, route) for found, route in together if found]
        copies = [node for node in copies if node.is_local]
    with synced(together, _label(members, asked)), copied(copies) if copies else nullcontext(), no_graph():
        if len(shown) < len(nodes) and any(node.update_count == 0 for node in nodes):
            _warn_of_idle(members)
        stays = bool(shown)
        return {name: keep(metric, evaluate(metric, asked), asked, stays=stays) for name, metric in metrics.items()}


def absent_in(members: Members) -> dict[str, Any]:
    """Give what this rank gets for the members whose sync it takes no part in: None for each value that others get."""
    if not members.policy.is_absent:
        return {}
    absent = {n: m.output_names for n, m in members.metrics.items() if is_absent(m._books.group) and m.sync_on_compute}
    return {name: None if names is None else dict.fromkeys(names) for name, names in absent.items()}


def evaluate(metric: StatefulModule, asked: Key = NOTHING) -> Any:
    """Run the user's `compute` on what is shown, for a caller that shows it and has seen to gradients."""
    args, kwargs = asked
    own = metric.__dict__.get("compute")
    return raw_function(type(metric).compute)(metric, *args, **kwargs) if own is None else own(*args, **kwargs)


def keep(metric: StatefulModule, value: Any, asked: Key, *, stays: bool = False) -> Any:
    """Keep a value as long as it is good, and give what is handed out: a copy of it.

    Args:
        metric: Whose value.
        value: What its `compute` gave.
        asked: The arguments that it was called with.
        stays: Whether the states that it was computed of go on to be shown.
    """
    books, store = metric._books, metric._core._holder.store
    large: list[int] = []
    local, shown = _keys(metric, store)  # now: `compute` may have changed what it saw
    given = hand_out(value, metric, large, stays=stays)
    kept = Kept(asked, local, shown, given if large else value, tuple(large))
    known = books.values
    if not known or (len(known) == 1 and known[0].asked is asked):
        books.values = [kept]
    else:
        books.values = [*[one for one in known if not _same(one.asked, asked)][1 - _KEPT :], kept]
    remember(given, metric, "compute", is_global=local[0])
    return given


def is_good(metric: StatefulModule) -> bool:
    """Whether the value that was computed last is still good."""
    return _find(metric, NOTHING) is not None


def hand_out(value: Any, metric: StatefulModule, large: list[int] | None = None, *, stays: bool = True) -> Any:
    """Give a value that is nobody else's: editing it changes no state and no value that is kept.

    Tensors with one element lose their dimensions. Large tensors are copied only if they are the memory of a state.

    Args:
        value: A tensor, or dicts, lists, tuples, dataclasses and namespaces of them; whatever else is in there is given
            as it is.
        metric: Whose states it may be the memory of.
        large: Gets the version of each large tensor that was not copied.
        stays: Whether what is shown goes on to be shown; else only the local states can be edited by editing the value.
    """
    if isinstance(value, Tensor):
        if value.numel() == 1:
            return value.reshape(()).clone() if value.dim() else value.clone()
        if value.layout is not torch.strided:
            return value
        if value.nbytes > _LARGE_BYTES and not value.requires_grad and not is_in_states(value, metric, shown=stays):
            if large is not None:
                large.append(value._version)
            return value
        return value.clone()
    kind = type(value)
    if kind is dict:
        return {key: hand_out(item, metric, large, stays=stays) for key, item in value.items()}
    if isinstance(value, list):
        return [hand_out(item, metric, large, stays=stays) for item in value]
    if isinstance(value, tuple):
        items = [hand_out(item, metric, large, stays=stays) for item in value]
        return kind(*items) if hasattr(value, "_fields") else tuple(items) if kind is tuple else value
    if isinstance(value, Mapping) and not isinstance(value, torch.nn.Module):
        try:
            return kind((key, hand_out(item, metric, large, stays=stays)) for key, item in value.items())
        except TypeError:  # a mapping that is made in another way
            return value
    if kind is SimpleNamespace or (is_dataclass(value) and not isinstance(value, type)):
        given = copy.copy(value)
        names = [field.name for field in fields(value)] if is_dataclass(value) else list(vars(value))
        for name in names:  # those of a frozen one too
            object.__setattr__(given, name, hand_out(getattr(value, name), metric, large, stays=stays))
        return given
    return value


def is_in_states(value: Tensor, metric: StatefulModule, *, local: bool = True, shown: bool = True) -> bool:
    """Whether a tensor has the memory of a state, of this metric or of one inside it.

    Args:
        value: The tensor.
        metric: Whose states.
        local: Whether to look at the local ones.
        shown: Whether to look at those that are shown.
    """
    place = value.untyped_storage().data_ptr()
    for module in metric.modules() if metric._modules else (metric,):
        if isinstance(module, StatefulModule):
            store = module._core._holder.store
            for states in ([store.local[0]] if local else []) + ([store.states] if shown else []):
                for state in states.values():
                    for tensor in _tensors(state):
                        if tensor.untyped_storage().data_ptr() == place:
                            return True
    return False


def _tensors(state: State) -> Iterable[Tensor]:
    if isinstance(state, Tensor):
        return (state,)
    joined = joined_of(state)
    return [item for item in state if isinstance(item, Tensor)] if joined is None else (joined,)


# -- how long a value is good


def _keys(metric: StatefulModule, store: Store) -> tuple[Key, Key]:
    """Say from what a value is computed now: from which local states, and whether of all ranks; and what is shown."""
    mode = store.mode
    is_global = metric.sync_on_compute if mode is Mode.LOCAL else mode is Mode.SYNCED
    if not metric._modules:
        settings = metric._books.settings
        return (is_global, id(store), store.version, settings), (mode, store.shown, settings)
    stores, more = [one for node in metric._nodes() for one in node.stores], metric._settings()
    local = is_global, *[id(one) for one in stores], *[one.version for one in stores], *more
    return local, (mode, *[one.shown for one in stores], *more)


def _find_all(metrics: Mapping[str, StatefulModule], asked: Key) -> dict[str, Kept] | None:
    """Give the values of all metrics, if all of them are still good."""
    good = {}
    for name, metric in metrics.items():
        kept = _find(metric, asked)
        if kept is None:
            return None
        good[name] = kept
    return good


def _find(metric: StatefulModule, asked: Key) -> Kept | None:
    """Give a value that is still good: of what is shown, if something is, and else of the local states."""
    values = metric._books.values
    if not values or not metric.compute_with_cache:
        return None
    store = metric._core._holder.store
    is_local = store.mode is Mode.LOCAL
    if is_local and not metric._modules and values[-1].local[2] != store.version:
        return None  # which is mostly so, and seen sooner than by all of the key
    if is_local and metric.sync_on_compute and always_meets(metric._books.group):
        return None
    local, shown = _keys(metric, store)
    for kept in reversed(values):
        if (kept.local == local if is_local else kept.shown == shown) and _same(kept.asked, asked):
            return kept
    return None


def _same(a: Any, b: Any) -> bool:
    """Whether arguments are the same; of what cannot be compared with certainty, whether it is the same object."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return isinstance(a, (str, int, float, bool, bytes)) and a == b


def _given_again(metric: StatefulModule, kept: Kept) -> Any:
    """Give a value again that is still good.

    Raises:
        StateError: It is large, so there was no copy of it, and somebody has edited it.
    """
    versions: list[int] = []
    given = hand_out(kept.value, metric, versions)
    if tuple(versions) != kept.versions:
        raise StateError(
            f"`{metric._label}`: the large value that `compute` gave was edited in place, so it cannot be given again;"
            " edit a copy of it, compute().clone(), or construct the metric with compute_with_cache=False."
        )
    return given


def _note_kept(members: Members) -> None:
    for metric in members.metrics.values():
        if metric.sync_on_compute and metric._core._holder.store.mode is Mode.LOCAL:
            note(metric._route().transport, f"a cached value of `{members.label}`, without a sync")
            return


# -- what is around it


def _label(members: Members, asked: Key) -> str:
    """Name a sync: with the arguments of `compute`, if there are any, so that ranks which differ in them hear of it."""
    args, kwargs = asked
    if not args and not kwargs:
        return members.label
    text = ", ".join([*map(_briefly, args), *(f"{name}={_briefly(value)}" for name, value in kwargs.items())])
    return f"{members.label}.compute({text})"


def _briefly(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, (str, int, float, bool, bytes, tuple, list)) else type(value).__name__


def _warn_of_idle(members: Members) -> None:
    idle = [
        f"`{name}` of `{members.label}`" if name else f"`{members.label}`"
        for name, metric in members.metrics.items()
        if all(node.update_count == 0 for node in metric._nodes())
    ]
    if idle:
        verb = "computes" if len(idle) == 1 else "compute"
        warnings.warn(f"{' and '.join(idle)} {verb} before any update on any rank.", UserWarning, stacklevel=5)


def _computing_rank(members: Members) -> int | None:
    """Give the rank that computes: what is said of the whole, or else what all members say.

    Raises:
        StateError: They say different things.
    """
    if members.compute_on is not None:
        return members.compute_on
    ranks = members.policy.ranks
    if len(ranks) > 1:
        raise StateError(
            f"the metrics of `{members.label}` have `compute_on` {sorted(ranks, key=str)}, but are computed together;"
            " give it to the collection."
        )
    return next(iter(ranks), None)


def _from_one(members: Members, rank: int, asked: Key) -> dict[str, Any]:
    """Give the values that one rank computes. Collective: every rank of the group must call this."""
    metrics = members.metrics
    values: dict[str, Any] = {}
    for names, route in members.by_route(members.policy.syncing):
        found = compute_on_one(
            members.nodes(names),
            replace(route, dst=rank),
            _label(members, asked),
            functools.partial(_all_values, metrics, names, asked),
        )
        values |= {name: keep(metrics[name], found[name], asked) for name in names}
    alone = [name for name, metric in metrics.items() if not metric.sync_on_compute]
    with copied(members.nodes(alone) if alone else []), no_graph():
        values |= {name: keep(metrics[name], evaluate(metrics[name], asked), asked) for name in alone}
    return {name: values[name] for name in metrics}


def _all_values(metrics: Mapping[str, StatefulModule], names: Sequence[str], asked: Key) -> dict[str, Any]:
    with no_graph():
        return {name: hand_out(evaluate(metrics[name], asked), metrics[name]) for name in names}
