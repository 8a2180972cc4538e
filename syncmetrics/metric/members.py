"""What is updated, stepped, synced, computed and reset together: metrics by name. One metric is a collection of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from syncmetrics.errors import StateError
from syncmetrics.metric.module import StatefulModule
from syncmetrics.metric.share import Group
from syncmetrics.sync.node import Node, by_route
from syncmetrics.sync.route import Route
from syncmetrics.transport import is_absent

__all__ = ["Members", "Policy", "one"]


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """What settings say of metrics that are computed together.

    Attributes:
        is_absent: Whether this rank takes no part in the sync of one of them.
        syncing: Those whose value is that of all ranks.
        alone: Those whose value is that of this process.
        ranks: Which ranks compute, by what the metrics say.
    """

    is_absent: bool
    syncing: list[str]
    alone: list[str]
    ranks: frozenset[int | None]


@dataclass(slots=True, eq=False)
class Members:
    """Metrics by name, and what is said of them as a whole. They are made anew when a setting has changed.

    Attributes:
        label: What to call them in an error.
        metrics: The metrics by name; a metric by itself has the name "".
        groups: Who of them may share states.
        sync_every: In which steps all of them are synced; None leaves it to each metric.
        compute_on: The rank that computes; None leaves it to the metrics.
    """

    label: str
    metrics: Mapping[str, StatefulModule]
    groups: tuple[Group, ...]
    sync_every: int | None = None
    compute_on: int | None = None
    _nodes: list[Node] | None = None
    _policy: Policy | None = None

    @property
    def policy(self) -> Policy:
        """What the settings of all metrics say."""
        if self._policy is None:
            syncing = [name for name, metric in self.metrics.items() if metric.sync_on_compute]
            found = [self.metrics[name] for name in syncing]
            groups = {id(metric._books.group): metric._books.group for metric in found}
            self._policy = Policy(
                any(map(is_absent, groups.values())),
                syncing,
                [name for name in self.metrics if name not in syncing],
                frozenset(metric.compute_on for metric in found),
            )
        return self._policy

    def nodes(self, names: Sequence[str] | None = None) -> list[Node]:
        """Give the nodes of these metrics, or of all, each once."""
        if names is None or len(names) == len(self.metrics):
            simple = not any([metric._modules for metric in self.metrics.values()])  # noqa: C419 - of many metrics
            if simple and self._nodes is not None:
                return self._nodes
            chosen = self.groups
            if simple:
                self._nodes = self._nodes_of(chosen)
                return self._nodes
        else:
            wanted = set(names)
            chosen = tuple(one for one in self.groups if not wanted.isdisjoint(one.names))
        return self._nodes_of(chosen)

    @staticmethod
    def _nodes_of(chosen: Sequence[Group]) -> list[Node]:
        if len(chosen) == 1:
            return chosen[0].nodes()
        nodes, seen = [], set[int]()
        # A metric inside of another one may be a member too, and share its states with other members.
        for one in sorted(chosen, key=lambda one: len(one.metrics) == 1 and bool(one.metrics[0]._modules)):
            for node in one.nodes():
                holders = {id(holder) for _, holder in node.holders}
                if not holders <= seen:  # a metric may be in several places
                    seen |= holders
                    nodes.append(node)
        return nodes

    def without(self, names: Iterable[str]) -> Members:
        """Give the others."""
        gone = set(names)
        left = {name: metric for name, metric in self.metrics.items() if name not in gone}
        groups = tuple(one for one in self.groups if one.names[0] in left)
        return replace(self, metrics=left, groups=groups, _nodes=None, _policy=None)

    def by_route(self, names: Iterable[str]) -> list[tuple[list[str], Route]]:
        """Group these metrics by whom they sync with: one sync each, in an order that is the same on every rank."""
        names = list(names)
        if not names:
            return []
        first = self.metrics[names[0]]
        group, timeout = first._books.group, first.sync_timeout
        others = [n for n in names if (m := self.metrics[n])._books.group is not group or m.sync_timeout != timeout]
        if not others:
            return [(names, first._route())]
        alike: dict[tuple[object, float | None], list[str]] = {}
        for name in names:
            metric = self.metrics[name]
            alike.setdefault((metric._books.group, metric.sync_timeout), []).append(name)
        routes = by_route((self.metrics[found[0]]._route(), found) for found in alike.values())
        return sorted(
            ((sorted(name for found in several for name in found), route) for several, route in routes),
            key=lambda pair: pair[0],
        )

    def together(self, names: Sequence[str] | None = None) -> list[tuple[list[Node], Route]]:
        """Give the nodes of these metrics, or of all, by the route that they are synced over."""
        routes = self.by_route(self.metrics if names is None else names)
        return [(self.nodes(found), route) for found, route in routes]

    def local_nodes(self) -> list[Node]:
        """Give the nodes of all.

        Raises:
            StateError: One of them shows other states than those of this process.
        """
        nodes = self.nodes()
        self.refuse_shown(nodes)
        return nodes

    def refuse_shown(self, nodes: Iterable[Node]) -> None:
        """Refuse nodes that show other states than those of this process.

        Raises:
            StateError: One of them does.
        """
        if any(not node.is_local for node in nodes):
            raise StateError(f"`{self.label}`, or a metric inside, is synced already; call unsync() first.")

    def inside(self) -> Iterator[StatefulModule]:
        """Give all metrics, those inside others too."""
        for metric in self.metrics.values():
            for module in metric.modules():
                if isinstance(module, StatefulModule):
                    yield module


def one(metric: StatefulModule) -> Members:
    """Give a metric by itself."""
    return Members(metric._label, {"": metric}, (Group(("",), (metric,)),))
