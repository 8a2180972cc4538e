"""Which states a collection has, who of its metrics shares them, and over which routes they are synced."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from syncmetrics.errors import StateError
from syncmetrics.sync.show import Node, Together, by_route, unique_nodes
from syncmetrics.metric.sharing import Group, groups_of, take_apart
from syncmetrics.states.store import Mode

__all__ = ["GroupedStates"]


class GroupedStates:
    """Methods of `MetricCollection`."""

    _known_groups: list[Group]

    def _groups(self: Any) -> list[Group]:
        """Give the metrics by the store they hold."""
        known: list[Group] = self._known_groups
        count = 0
        for group in known:  # loops, not generators: this is asked in every update
            if not group.holds:
                break
            count += len(group.names)
        if count != len(self._members):
            known = self._known_groups = groups_of((name, self[name]) for name in self._members)
        return known

    def _own_groups(self: Any) -> list[Group]:
        """Give the groups, taken apart from metrics outside that share with them: those are not to change."""
        groups: list[Group] = self._groups()
        shared = [g for g in groups if g.store.sharers > len(g.names) and g.store.mode is Mode.LOCAL]
        for group in shared:
            take_apart(group.cores)
        return self._groups() if shared else groups

    def _holders(self: Any) -> list[str]:
        """Give the names of metrics that together hold all states, the same ones whatever the order of the metrics."""
        names: list[str] = []
        for group in self._groups():
            if any(core._modules for core in group.cores):
                names += group.names
            else:
                names.append(min(group.names))
        return names

    def _nodes(self: Any, names: Sequence[str] | None = None) -> list[Node]:
        """Give the nodes of these metrics, or of all, each store once."""
        seen: set[int] = set()
        nodes: list[Node] = []
        for name in self._holders() if names is None else names:
            metric = self[name]
            core = metric._core
            if id(core._own_store) not in seen or core._modules:  # one that shares all it has brings no more
                seen.add(id(core._own_store))
                nodes += metric._nodes(name)
        return unique_nodes(nodes)

    def _by_route(self: Any, names: Sequence[str]) -> list[list[str]]:
        """Group metrics by whom they sync with: one sync each, in an order that is the same on every rank."""
        if len(names) == 1:
            return [list(names)]
        alike: dict[tuple[int, float | None], list[str]] = {}
        for name in names:
            metric = self[name]
            alike.setdefault((id(metric._group), metric.sync_timeout), []).append(name)
        if len(alike) <= 1:
            return [sorted(names)] if names else []
        routes = by_route((self[members[0]]._route(), members) for members in alike.values())
        return sorted(sorted(chain.from_iterable(members)) for members, _ in routes)

    def _together(self: Any, names: Sequence[str]) -> Together:
        """Give the nodes of these metrics, by the route that they are synced over."""
        return [(self._nodes(members), self[members[0]]._route()) for members in self._by_route(names)]

    def _merges(self: Any, group: Group) -> bool:
        """Whether the states of a batch can be merged into the running ones of all metrics of a group."""
        twice = any(self[name].full_state_update for name in group.names)
        return not twice and all(node.can_merge for node in self._nodes(group.names))

    def _refuse_synced(self: Any, advice: str) -> None:
        if any(node.store.mode is Mode.SYNCED for node in self._nodes()):
            raise StateError(f"`{self._label}`, or a metric of it, is synced already; {advice}.")

    def _refuse_updates(self: Any) -> None:
        """Refuse an update of states that are not those of this process, before the first metric has had it."""
        for group in self._groups():
            group.cores[0]._refuse_synced("update")
