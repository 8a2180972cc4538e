"""What has nodes: a metric, a collection, what takes the part of one; and how they are found in what is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from syncmetrics import registry
from syncmetrics.sync.node import Node, Syncable, Together, by_route
from syncmetrics.sync.route import Route
from syncmetrics.transport.base import Transport

__all__ = ["Host", "grouped", "hosts_in", "together_of"]


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
    if isinstance(things, Host):
        yield path, things
        return
    if isinstance(things, (Mapping, nn.ModuleDict)):
        for key, thing in things.items():
            yield from hosts_in(thing, f"{path}[{key!r}]")
        return
    if isinstance(things, (Sequence, nn.ModuleList)) and not isinstance(things, str):
        for index, thing in enumerate(things):
            yield from hosts_in(thing, f"{path}[{index}]" if path or len(things) > 1 else "metric")
        return
    known = registry.recognise(things)
    if known is None:
        raise TypeError(
            "a Metric or MetricCollection of syncmetrics, or a metric of torchmetrics, torcheval or ignite was"
            f" expected, but a {type(things).__name__} was given; `register_adapter` makes a class of your own one"
            " of them."
        )
    yield path, known


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


def together_of(
    hosts: Iterable[tuple[str, Host]], transport: Transport | None = None, timeout: float | None = None
) -> Together:
    """Give the nodes of all hosts by whom they sync with, in an order that is the same on every rank.

    Args:
        hosts: Hosts and what they are called.
        transport: Over whom; left out, each one's own.
        timeout: Seconds to wait for the other ranks; left out, each one's own.
    """
    found: list[tuple[Route, Syncable]] = []
    seen: set[int] = set()
    for path, host in sorted(hosts, key=lambda pair: pair[0]):
        for node, route in host._hosted(path):
            keys = {id(holder.store) for _, holder in node.holders} if isinstance(node, Node) else {id(node)}
            if keys <= seen:
                continue
            seen |= keys
            if transport is not None:
                route = replace(route, transport=transport)
            found.append((route if timeout is None else replace(route, timeout=timeout), node))
    return by_route(sorted(found, key=lambda pair: pair[1].path))
