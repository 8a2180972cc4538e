"""Steps: add one batch and give its value, for one metric and for many.

1. Every metric shows fresh states, and is updated with the batch, once.
2. Where a step is synced, the states of the batch are those of all ranks: one sync.
3. Each metric computes of what is shown.
4. What the batch brought is merged into the running states, at a cost that does not grow with them.

Merging a batch is the same as updating with it for most metrics, and not for those whose `update` reads its states.
Which is which is found out: a metric is updated in full too, on a copy of its states, in steps 2, 3, 4, 8, 16, ...,
and the two are compared. If they differ, all of its class are updated in full from then on, which takes a second
`update` a step. Attributes and random numbers are what they were before it, so that all is as after one.

Whatever is raised, no state of any metric is changed.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from syncmetrics.metric.again import Again
from syncmetrics.metric.books import aside
from syncmetrics.metric.inputs import DTENSORS, are_plain, local_batch, modules
from syncmetrics.metric.members import Members
from syncmetrics.metric.module import StatefulModule
from syncmetrics.metric.origins import remember
from syncmetrics.metric.update import (
    all_or_nothing,
    apply_update,
    keywords,
    make_all_ready,
    mark_ready,
    owners_of,
    raw_update,
    update_owners,
)
from syncmetrics.metric.value import evaluate, hand_out
from syncmetrics.schedule.lanes import step_lane
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.merge import copy_rows, own_copy
from syncmetrics.states.rows import RowBuffer, rows_like
from syncmetrics.states.spec import State, States
from syncmetrics.states.store import Appended, Holder, Mode
from syncmetrics.sync import Merged, Node, absorb, put_back, sync_parts

__all__ = ["step"]

_grad_mode = torch.is_grad_enabled

#: Classes of which it was found that merging a batch is not updating with it.
_in_full: set[type] = set()

_RTOL = {torch.float64: 1e-9, torch.float32: 1e-4, torch.complex128: 1e-9, torch.complex64: 1e-4}


def step(members: Members, args: tuple[Any, ...], kwargs: Mapping[str, Any], due: Sequence[str] = ()) -> dict[str, Any]:
    """Add one batch to all members, and give the value that each has for it.

    Collective if any of them is due: every rank of the group must call this.

    Args:
        members: Who.
        args: What `update` is called with.
        kwargs: Likewise; each metric gets those that its `update` takes.
        due: The members whose values are those of the batches of all ranks.

    Raises:
        TypeError: No member takes one of the keyword arguments.
        StateError: A member shows the states of all ranks, which are not to be changed.
    """
    if DTENSORS in modules and not are_plain(args, kwargs):
        args, kwargs = local_batch(members.metrics.values(), args, kwargs)
    chosen = keywords(members, kwargs)
    own = [name for name, metric in members.metrics.items() if name and _has_own_forward(metric, name in due)]
    if own and len(own) < len(members.metrics):  # one that is inside of another member too is stepped with that
        inside = Counter(id(module) for module in members.inside())
        own = [name for name in own if inside[id(members.metrics[name])] == 1]
    if not own:
        return _step(members, args, chosen, due)
    rest = members.without(own)
    with all_or_nothing(members.metrics.values()):
        values = {name: _step_by_itself(members.metrics[name], args, chosen(name), name in due) for name in own}
        if rest.metrics:
            values |= _step(rest, args, chosen, [name for name in due if name in rest.metrics])
    return {name: values[name] for name in members.metrics}


def _step_by_itself(metric: StatefulModule, args: tuple[Any, ...], kwargs: Mapping[str, Any], is_due: bool) -> Any:
    """Run a `forward` that is not ours. If it comes to ours, that counts no step, and knows whether to sync."""
    metric._books.is_due = is_due
    try:
        return metric(*args, **kwargs)
    finally:
        metric._books.is_due = None


def _has_own_forward(metric: StatefulModule, is_due: bool) -> bool:
    """Whether the user wrote a `forward`, which is what runs then."""
    if metric._overrides_forward:
        return not (is_due and metric._forward_is_local)
    return "forward" in metric.__dict__


def _step(
    members: Members, args: tuple[Any, ...], chosen: Callable[[str], Mapping[str, Any]], due: Sequence[str]
) -> dict[str, Any]:
    owners = make_all_ready(members, "forward", args, chosen)
    nodes = members.nodes()
    graph = _grad_mode()
    if graph:
        for name, metric in owners:
            if metric.is_differentiable is None:
                _tell_lost_gradient(metric, args, chosen(name))
    full = {name: metric for name, metric in owners if _is_in_full(metric)}
    trial = {n: m for n, m in owners if m.full_state_update is None and _is_due(m) and n not in full}
    repeats: dict[str, Again] = {}
    synced: list[Node] = []
    with no_graph():
        try:
            for node in nodes:
                node.show_fresh()
            kept = _update_with(owners, args, chosen, graph, repeats if full or trial else None)
            steps, late = _step_of_all(members, due, owners, full, trial) if due else ([], [])
            owners += late
            if repeats:
                repeats |= {name: Again(metric) for name, metric in late}  # others were updated for them
            brought = [_Brought(node, holder, kept) for node in nodes for holder in node.owners]
            try:
                for node, result in steps:
                    synced.append(node)
                    node.show(result, mode=Mode.STEP)
                values = {name: _value_of(metric, graph) for name, metric in members.metrics.items()}
            finally:
                put_back(synced)
        finally:
            try:
                put_back(nodes)
            except BaseException:  # an interrupt as it began: no metric stays in a step
                put_back([node for node in nodes if not node.is_local])
                raise

        def update(name: str, metric: StatefulModule, for_good: bool = True) -> None:
            batch = partial(apply_update, metric, raw_update(metric), args, chosen(name))
            if name in repeats:
                repeats[name].update(batch, for_good=for_good)
            else:
                batch()

        _take_in(owners, brought, full, trial, update)
    for name, metric in members.metrics.items():
        remember(values[name], metric, "forward", is_global=name in due)
    for _, metric in owners:
        mark_ready(metric)
    return values


def _update_with(
    owners: Sequence[tuple[str, StatefulModule]],
    args: tuple[Any, ...],
    chosen: Callable[[str], Mapping[str, Any]],
    graph: bool,
    repeats: dict[str, Again] | None,
) -> bool:
    """Update what is shown with a batch, and say whether any graph of it is kept.

    Args:
        owners: Whom, by name.
        args: What `update` is called with.
        chosen: Likewise, by name.
        graph: Whether a graph is recorded.
        repeats: Where to put what each is before the batch; None if nobody asks.
    """

    def update(name: str, metric: StatefulModule) -> None:
        if repeats is not None:
            repeats[name] = Again(metric)
        if graph and metric.is_differentiable:
            with torch.enable_grad():
                apply_update(metric, raw_update(metric), args, chosen(name), keep_graph=True)
        else:
            apply_update(metric, raw_update(metric), args, chosen(name))
        if repeats is not None:
            repeats[name].note_updated()

    update_owners(owners, update)
    return graph and any([metric.is_differentiable for _, metric in owners])  # noqa: C419 - on the way of every step


def _value_of(metric: StatefulModule, graph: bool) -> Any:
    if graph and metric.is_differentiable:
        with torch.enable_grad():
            value = evaluate(metric)
            given = hand_out(value, metric)
    else:
        value = evaluate(metric)
        given = hand_out(value, metric)
    metric._books.step_value = aside(value, given)
    return given


class _Brought:
    """What a batch brought: the states that are shown after the update.

    `compute` sees them too, and may edit them. Whether it does is found out in the first step; then, and where it does,
    what it sees is not what is kept.

    Args:
        node: Of whom.
        holder: Whose store shows them.
        graph: Whether they may have a graph.
    """

    __slots__ = ("_is_copy", "_marks", "appended", "delta", "holder", "node")

    def __init__(self, node: Node, holder: Holder, graph: bool) -> None:
        self.node, self.holder = node, holder
        store = holder.store
        states = store.states.copy()
        self._is_copy = graph or holder.edited_by_compute is not False
        self._marks: list[tuple[Tensor, int]] = []
        for name, value in states.items():
            if isinstance(value, list):
                states[name] = _detached(value) if graph else copy_rows(value)
            else:
                self._marks.append((value, value._version))
                if self._is_copy:
                    states[name] = value.detach().clone()
        self.delta = Merged(states, store.update_count, samples=store.samples)
        self.appended = store.appended

    def is_lost(self) -> bool:
        """Whether `compute` has edited it, so that the batch has to be added once more."""
        holder = self.holder
        edited = any([item._version != version for item, version in self._marks])  # noqa: C419 - on the way of every step
        if edited or holder.edited_by_compute is None:
            holder.edited_by_compute = edited
        return edited and not self._is_copy

    @property
    def arrived(self) -> tuple[Node, Holder, Merged, dict[str, Appended]]:
        """It, for `absorb`."""
        return self.node, self.holder, self.delta, self.appended


def _detached(rows: list[Any]) -> list[Any]:
    for item in rows:
        if isinstance(item, Tensor) and item.requires_grad:
            return rows_like(rows, [item.detach() for item in rows])
    return copy_rows(rows)


def _step_of_all(
    members: Members,
    due: Sequence[str],
    owners: Sequence[tuple[str, StatefulModule]],
    full: dict[str, StatefulModule],
    trial: dict[str, StatefulModule],
) -> tuple[list[tuple[Node, Merged]], list[tuple[str, StatefulModule]]]:
    """Give what the batches of all ranks brought, for each node, and one metric for each store that came of that.

    Metrics that share their states here, and do not on another rank, share them no more: what is shown differs. Each is
    treated as the one that it shared with.

    Collective, if any metric is due.
    """
    steps: list[tuple[Node, Merged]] = []
    is_apart = False
    for names, route in members.by_route(due):
        nodes = members.nodes(names)
        results = sync_parts(
            [node.shown_part() for node in nodes], step_lane(route), label=f"{members.label}, one step"
        )
        assert results is not None, "a step is synced to every rank"
        for node, result in zip(nodes, results, strict=True):
            node.note_step()
            is_apart = is_apart or bool(result.blocks)
            steps += node.take_apart(result)
    before = dict(owners)
    late = [(name, metric) for name, metric in owners_of(members) if name not in before] if is_apart else []
    for name, metric in late:
        shared = next(one.names for one in members.groups if name in one.names)
        for some in (full, trial):
            if any(other in some for other in shared):
                some[name] = metric
    return steps, late


# -- into the running states


def _take_in(
    owners: Sequence[tuple[str, StatefulModule]],
    brought: Sequence[_Brought],
    full: dict[str, StatefulModule],
    trial: Mapping[str, StatefulModule],
    update: Callable[..., None],
) -> None:
    """Take a batch into the running states of all members, or of none: merge it, or update in full.

    Args:
        owners: Whom, by name.
        brought: What the batch brought.
        full: Those that are to be updated in full.
        trial: Those of which it is to be found out whether they are.
        update: Adds the batch to what a metric shows.
    """
    lost = [id(one.holder.store) for one in brought if one.is_lost()]
    if lost:
        full |= {name: m for name, m in owners if any(id(s) in lost for node in m._core._nodes() for s in node.stores)}
    if trial:
        deltas = {id(one.holder.store): one.delta for one in brought}
        full |= {name: m for name, m in trial.items() if name not in full and _differs(name, m, deltas, update)}
    if not full:
        absorb([one.arrived for one in brought])
        return
    merged = [metric for name, metric in owners if name not in full]
    stores = {id(store) for metric in full.values() for node in metric._core._nodes() for store in node.stores}
    stores -= {id(metric._core._holder.store) for metric in merged}  # it is inside of one of those, and beside it
    with all_or_nothing(full.values()):
        update_owners(list(full.items()), update, merged)
        absorb([one.arrived for one in brought if id(one.holder.store) not in stores])


def _is_in_full(metric: StatefulModule) -> bool:
    """Whether what a batch brings cannot be merged into the states of a metric: it is updated with it once more."""
    core = metric._core
    if core.full_state_update or type(metric) in _in_full:
        return True
    if core._modules:
        return not all(node.can_merge for node in core._nodes())
    return not core._holder.merges and core._merge is None


def _is_due(metric: StatefulModule) -> bool:
    """Whether it is to be found out in this step if a batch can be merged into the states of a metric."""
    books, core = metric._books, metric._core
    store = core._holder.store
    count = max(node.update_count for node in core._nodes()) if core._modules else store.update_count
    if count < books.next_trial:
        return False
    books.next_trial = count + 1 if count < 4 else 2 * count
    return True


def _differs(name: str, metric: StatefulModule, deltas: Mapping[int, Merged], update: Callable[..., None]) -> bool:
    """Whether it makes a difference that a batch is merged and not updated with. Nothing is changed by the question."""
    nodes = [one for node in metric._core._nodes() for one in node.apart]
    merged = [_merged(node, deltas[id(node.store)]) for node in nodes]
    shown: list[Node] = []
    try:
        for node in nodes:
            states, count = node.store.local
            shown.append(node)
            node.store.show(own_copy(states), count, Mode.STEP)
        update_owners([(name, metric)], partial(update, for_good=False))
        updated = [node.store.states for node in nodes]
    finally:
        put_back(shown)
    if all(map(_alike, merged, updated)):
        return False
    _in_full.add(type(metric))
    count = max(node.update_count for node in nodes)
    late = ""
    if count > 1:
        late = (
            f" It was found out after {count} updates that were merged, so what was accumulated so far may be wrong:"
            " call reset() and begin anew."
        )
    warnings.warn(
        f"`{metric._label}` reads its states in `update`, so that what a batch brings cannot be merged into them:"
        f" `forward` calls `update` twice from now on.{late} Set `full_state_update = True` on the class to say so"
        " beforehand, or override `merge_states`.",
        UserWarning,
        stacklevel=6,
    )
    return True


def _merged(node: Node, delta: Merged) -> States:
    """Give what merging would make of the running states, which stay as they are."""
    with no_graph():
        if delta.update_count == 0:
            return node.store.local[0]
        return node.merged_with(delta)


def _alike(a: States, b: States) -> bool:
    """Whether states are the same, but for the order in which floats were added."""
    return a.keys() == b.keys() and all(_alike_state(a[name], b[name]) for name in a)


def _alike_state(a: State, b: State) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        if isinstance(b, RowBuffer):  # which keeps no batch without rows
            a, b = ([rows for rows in some if rows.shape[0]] for some in (a, b))
        return len(a) == len(b) and all(map(_alike_item, a, b))
    return _alike_item(a, b)


def _alike_item(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return type(a) is type(b) and bool(a == b)
    if a.shape != b.shape:
        return False
    if not (a.is_floating_point() or a.is_complex()) or not a.numel():
        return bool(torch.equal(a.to(b.dtype), b))
    rtol = max(_RTOL.get(a.dtype, 1e-2), _RTOL.get(b.dtype, 1e-2))
    a, b = (x.to(torch.complex128 if x.is_complex() else torch.float64) for x in (a, b))
    finite = torch.cat([a.abs().reshape(-1), b.abs().reshape(-1)])
    finite = finite[finite.isfinite()]
    size = float(finite.max()) if finite.numel() else 0.0
    return torch.allclose(a, b, rtol=rtol, atol=rtol * size, equal_nan=True)


# -- gradients


_told: set[type] = set()


def _tell_lost_gradient(metric: StatefulModule, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Tell once of a class that does not say whether it is differentiable, if its value could have had a gradient."""
    if type(metric) in _told:
        return
    if any([isinstance(x, Tensor) and x.requires_grad for x in (*args, *kwargs.values())]):  # noqa: C419 - likewise
        _told.add(type(metric))
        warnings.warn(
            f"`{metric._label}` was called with tensors that require a gradient, but its value has none. Set"
            " `is_differentiable = True` on the class for the value of a batch to keep its graph, or `= False` to say"
            " that none is wanted.",
            UserWarning,
            stacklevel=5,
        )
