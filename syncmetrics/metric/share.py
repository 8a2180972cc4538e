"""Who may share states in a collection, and who does.

Who may follows from what is declared and set (`StatefulModule._sharing_key`), so it is the same on every rank, and
those metrics are one entry of a sync. Who does is a matter of each process: a metric that is updated, reset or loaded
by itself takes a store of its own, and shares again when all of them are reset.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from syncmetrics.metric.module import StatefulModule
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.epoch import after_reset
from syncmetrics.states.store import Holder, Mode, Store
from syncmetrics.sync.node import Node

__all__ = ["Group", "group", "keep_apart", "reset_together", "share"]


@dataclass(slots=True, eq=False)
class Group:
    """Metrics of a collection that may share their states; mostly one alone.

    Attributes:
        names: Their names, in alphabetical order.
        metrics: The metrics, in the order of the names.
    """

    names: tuple[str, ...]
    metrics: tuple[StatefulModule, ...]
    _node: Node | None = None

    @property
    def is_whole(self) -> bool:
        """Whether all of them have one store between them, which nobody else has. It is asked before every update."""
        if len(self.metrics) == 1:
            return self.metrics[0]._core._holder.store.holders == 1
        return self.node.is_whole

    @property
    def node(self) -> Node:
        """Their one node, if they are several."""
        if self._node is None:
            cores = [(name, metric._core) for name, metric in zip(self.names, self.metrics, strict=True)]
            self._node = cores[0][1]._node(self.names[0], cores)
        return self._node

    def nodes(self) -> list[Node]:
        """Give their nodes: one for all of them; and for a metric alone also those of the metrics inside it."""
        return self.metrics[0]._nodes(self.names[0]) if len(self.metrics) == 1 else [self.node]

    def owners(self) -> list[StatefulModule]:
        """Give one of the metrics for each store that they have between them: one, unless they have gone apart."""
        if len(self.metrics) == 1 or self.is_whole:
            return [self.metrics[0]]
        return list({id(metric._core._holder.store): metric for metric in reversed(self.metrics)}.values())[::-1]


def group(metrics: Mapping[str, StatefulModule], apart: Iterable[Iterable[str]] | None = None) -> tuple[Group, ...]:
    """Group metrics by whether they may share their states.

    Args:
        metrics: Metrics by name.
        apart: Names of those that may share with each other and with nobody else, if that is said.
    """
    allowed = None if apart is None else {name: index for index, names in enumerate(apart) for name in names}
    found: dict[Hashable, list[str]] = {}
    for name, metric in metrics.items():
        core = metric._core
        key = None if allowed is not None and name not in allowed else core._sharing_key()
        where = None if allowed is None else allowed.get(name)
        found.setdefault(("alone", id(core)) if key is None else ("share", where, key), []).append(name)
    return tuple(
        Group(tuple(sorted(names)), tuple(metrics[name] for name in sorted(names))) for names in found.values()
    )


def share(groups: Iterable[Group]) -> None:
    """Let metrics that may share their states do so, if none of them has accumulated anything yet."""
    for one in groups:
        holders = [metric._core._holder for metric in one.metrics]
        stores = {id(holder.store): holder.store for holder in holders}
        if len(stores) == 1:
            holders[0].store.key = one.metrics[0]._core._sharing_key()  # which no copy brings along
            continue
        if len({store.device for store in stores.values()}) > 1:
            continue
        if any(store.update_count or store.mode is not Mode.LOCAL for store in stores.values()):
            continue
        _hold(holders, _own_store(holders, holders[0].store), one.metrics[0]._core._sharing_key())


def keep_apart(group: Group) -> None:
    """Give the metrics of a group stores that nobody outside of it holds, so that nothing is done to others."""
    if group.is_whole:
        return
    by_store: dict[int, list[Holder]] = {}
    for metric in group.metrics:
        holder = metric._core._holder
        by_store.setdefault(id(holder.store), []).append(holder)
    for holders in by_store.values():
        store = holders[0].store
        if store.mode is Mode.LOCAL and store.holders > len(holders):
            _hold(holders, _own_store(holders, store), store.key)


def reset_together(group: Group) -> None:
    """Give every state of a group its default, and let its metrics share again."""
    holders = [metric._core._holder for metric in group.metrics]
    first = holders[0]
    with no_graph():
        states, old = first.fresh_states(), first.store
    epochs = [after_reset(holder.epoch) for holder in holders]
    fresh = Store(states, version=old.version + 1, device=old.device, shown=old.shown)
    _hold(holders, fresh, group.metrics[0]._core._sharing_key())
    for holder, epoch in zip(holders, epochs, strict=True):
        holder.epoch = epoch


def _own_store(holders: Sequence[Holder], store: Store) -> Store:
    """Give a store of this content that nobody else holds."""
    outside = store.holders > sum(holder.store is store for holder in holders)
    return store.copy(0) if outside else store


def _hold(holders: Iterable[Holder], store: Store, key: Hashable) -> None:
    holders = list(holders)
    for holder in holders:
        if holder.store is not store:
            holder.store.let_go()
            holder.store = store
    store.holders, store.key, store.bond, store.is_ready = len(holders), key, None, False
