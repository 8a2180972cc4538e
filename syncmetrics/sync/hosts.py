"""What has nodes: a metric, a collection, what takes the part of one; and how they are found in what is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from torch import nn

from syncmetrics import registry
from syncmetrics.errors import StateError
from syncmetrics.sync.node import Node, Syncable, Together, by_route
from syncmetrics.sync.route import Route
from syncmetrics.transport.base import Transport

__all__ = ["Host", "Hosting", "grouped", "host_of", "hosts_in", "refuse_shown", "things_in", "together_of"]


@runtime_checkable
class Hosting(Protocol):
    """What has nodes, and counts steps: a host, or what holds some without being one, as a logger."""

    def _hosted(self, path: str) -> list[tuple[Syncable, Route]]:
        """Give the nodes of all that is inside, as `Host` does."""

    def _steps_taken(self) -> list[int]:
        """Give how many steps were counted."""

    def _go_on_from(self, steps: Sequence[int]) -> None:
        """Count steps from here on: as many numbers as `_steps_taken` gives."""


class Host:
    """The interface of what takes part in syncs, for the rooms that need no more of it."""

    def _hosted(self, path: str) -> list[tuple[Syncable, Route]]:
        """Give the nodes of all that is inside, with the route of each.

        Args:
            path: What this is called among what is synced together.
        """
        raise NotImplementedError

    def _hosted_steps(self) -> list[list[Node]]:
        """Give the nodes that may be synced together in one step, for each sync that there may be."""
        return []

    def _hosted_groups(self) -> list[list[tuple[str, Any]]]:
        """Give the metrics that may share their states, with their names, for each group of several."""
        return []

    def _hosted_value(self) -> Any:
        """Give the value of what is shown."""
        raise NotImplementedError

    def _hosted_outputs(self) -> dict[str, tuple[Any, str]]:
        """Give for each of `output_names` the metric that gives the value, and its key in what that metric gives.

        The one value of a metric without `output_names` has the name and the key "".
        """
        raise NotImplementedError

    def _hosted_versions(self) -> tuple[Any, ...]:
        """Give what changes whenever the local states do."""
        return tuple(node.versions for node, _ in self._hosted("") if isinstance(node, Node))

    def _begin_steps(self) -> None:
        """Count steps anew, if there are any."""

    def _steps_taken(self) -> list[int]:
        """Give how many steps were counted, for `_go_on_from`."""
        return []

    def _go_on_from(self, steps: Sequence[int]) -> None:
        """Count steps from here on."""

    def _begin_as(self, steps: Sequence[int]) -> None:
        """Make place for what was saved where `_steps_taken` gave these numbers."""

    def _hosted_before_update(self, act: Callable[[], None]) -> None:
        """Have something done once, before the next batch is added."""
        for node, _ in self._hosted(""):
            for holder in node.owners if isinstance(node, Node) else ():
                holder.store.before_update, holder.store.is_ready = act, False


def hosts_in(things: Any, path: str = "") -> Iterator[tuple[str, Host]]:
    """Find the metrics and collections in lists, dicts and their like, under names that are the same on every rank.

    Args:
        things: A metric, a collection, a metric of another library, or lists, tuples, dicts, ModuleLists and
            ModuleDicts of them.
        path: What stands in front of the names.

    Raises:
        TypeError: Something is none of these.
    """
    for where, thing in things_in(things, path, _in_brackets):
        yield where, host_of(thing)


def host_of(thing: Any) -> Host:
    """Give a metric or a collection, or what takes the part of a metric of another library.

    Raises:
        TypeError: It is none of these.
    """
    if isinstance(thing, Host):
        return thing
    known: Host | None = registry.recognise(thing)
    if known is None:
        raise TypeError(
            "a Metric or MetricCollection of syncmetrics, or a metric of torchmetrics, torcheval or ignite was"
            f" expected, but a {type(thing).__name__} was given; `register_adapter` makes a class of your own one"
            " of them."
        )
    return known


def things_in(things: Any, path: str, name_of: Callable[[str, Any, int], str]) -> Iterator[tuple[str, Any]]:
    """Find what is in lists, dicts and their like, with a name for each.

    Args:
        things: One thing, or lists, tuples, dicts, ModuleLists and ModuleDicts of them. A host is one thing.
        path: Its name.
        name_of: Gives the name of what is inside, of that of the container, the key or index, and the number of items.
    """
    inside: Iterable[tuple[Any, Any]] | None = None
    if isinstance(things, (Mapping, nn.ModuleDict)) and not isinstance(things, Host):
        inside = things.items()
    elif isinstance(things, (Sequence, nn.ModuleList)) and not isinstance(things, (str, Host)):
        inside = enumerate(things)
    if inside is None:
        yield path, things
        return
    for key, thing in inside:
        yield from things_in(thing, name_of(path, key, len(things)), name_of)


def _in_brackets(path: str, key: Any, count: int) -> str:
    """Give the name that stands in errors: a list of one has none of its own."""
    return "metric" if key == 0 and type(key) is int and count == 1 and not path else f"{path}[{key!r}]"


def grouped(things: Any, given: Any) -> Any:
    """Give the same structure with something else in the place of each metric."""
    if isinstance(things, (Mapping, nn.ModuleDict)) and not isinstance(things, Host):
        return {key: grouped(thing, given) for key, thing in things.items()}
    if isinstance(things, (Sequence, nn.ModuleList)) and not isinstance(things, (str, Host)):
        values = [grouped(thing, given) for thing in things]
        if isinstance(things, nn.ModuleList):
            return values
        kind: Any = type(things)
        return kind(*values) if hasattr(things, "_fields") else kind(values)
    return given(things)


def refuse_shown(path: str, nodes: Iterable[tuple[Syncable, Route]]) -> None:
    """Refuse nodes that show other states than those of this process.

    Raises:
        StateError: One of them does.
    """
    for node, _ in nodes:
        if isinstance(node, Node) and not node.is_local:
            raise StateError(f"`{path or node.label}` is synced already; call unsync() first.")


def together_of(
    hosts: Iterable[tuple[str, Hosting]],
    transport: Transport | None = None,
    timeout: float | None = None,
    *,
    also_shown: bool = False,
) -> Together:
    """Give the nodes of all hosts by whom they sync with, in an order that is the same on every rank.

    Args:
        hosts: Hosts and what they are called.
        transport: Over whom; left out, each one's own.
        timeout: Seconds to wait for the other ranks; left out, each one's own.
        also_shown: Whether they may show other states than those of this process.

    Raises:
        StateError: One of them does, and may not.
    """
    found: list[tuple[Route, Syncable]] = []
    seen: set[int] = set()
    for path, host in sorted(hosts, key=lambda pair: pair[0]):
        nodes = host._hosted(path)
        if not also_shown:
            refuse_shown(path, nodes)
        for node, route in nodes:
            keys = {id(holder.store) for _, holder in node.holders} if isinstance(node, Node) else {id(node)}
            if keys <= seen:
                continue
            seen |= keys
            if transport is not None:
                route = replace(route, transport=transport)
            found.append((route if timeout is None else replace(route, timeout=timeout), node))
    return by_route(sorted(found, key=lambda pair: pair[1].path))
