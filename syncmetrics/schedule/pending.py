"""Handles: what `compute_async` and `sync_async` give at once, and what they give once it is waited for."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from syncmetrics.states.autograd import no_graph
from syncmetrics.schedule.background import Job, start_sync
from syncmetrics.errors import StateError
from syncmetrics.sync.show import Node, put_back, unique_nodes
from syncmetrics.metric.stateful import StatefulModule
from syncmetrics.states.store import Mode, States, own_copy
from syncmetrics.sync import Merged, Route

__all__ = ["AsyncMetric", "PendingStates", "PendingValue", "Taken", "take"]

#: The nodes of each member, by its name; those of a metric by itself are under "".
_Members = Mapping[str, Sequence[Node]]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a call took: the copies, on their way.

    Attributes:
        host: The metric or collection.
        members: Gives its members and their nodes as they are now, for these names.
        names: The members at the time of the call.
        jobs: The syncs, each with the paths of its parts.
        kept: States of metrics that are not synced, by path.
        where: For every path the one under which its store was synced: shared stores are synced once.
    """

    host: Any
    members: Callable[[Sequence[str]], _Members]
    names: tuple[str, ...]
    jobs: tuple[tuple[Job, tuple[str, ...]], ...]
    kept: Mapping[str, Merged]
    where: Mapping[str, str]

    def results(self) -> dict[str, Merged]:
        """Give the states of all ranks, by path."""
        found = dict(self.kept)
        for job, paths in self.jobs:
            found.update(zip(paths, job.result(), strict=True))
        return found


class _Pending:
    """Something that was asked for and is on its way."""

    def __init__(self, taken: Taken, label: str) -> None:
        self._taken: Taken | None = taken
        self._label = label
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Say whether the sync has come to its end, well or badly: `wait` will not wait. It does not communicate."""
        return self._taken is None or all(job.done() for job, _ in self._taken.jobs)

    def _arrive(self, timeout: float | None) -> Taken:
        """Wait for all syncs.

        Raises:
            TimeoutError: They go on; wait again.
        """
        taken = self._taken
        assert taken is not None
        start = time.monotonic()
        for job, _ in taken.jobs:
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - start))
            if not job.finished_within(left):
                raise TimeoutError(f"`{self._label}` is not there after {timeout} s; it goes on, wait again.")
        return taken


class PendingValue(_Pending):
    """The value of all ranks at the moment of the call of `compute_async`."""

    def __init__(self, taken: Taken, label: str, compute: Callable[[str], Any], finish: Callable[..., Any]):
        super().__init__(taken, label)
        self._compute = compute
        self._finish = finish
        self._value: Any = None

    def wait(self, timeout: float | None = None) -> Any:
        """Give the value. The sync may have ended long ago; `compute` runs now, in this thread, the first time.

        It does not communicate. Call it from the thread that updates, and not while the metric is synced.

        Args:
            timeout: Seconds to wait for the sync; left out, until it ends, which the timeout of the sync sees to.

        Raises:
            SyncError: The sync did not come to its end; on every rank the same, as from `compute`.
            TimeoutError: The sync has not ended within `timeout`. It goes on, and can be waited for again.
            StateError: The metric is synced at the moment.
        """
        if self._error is not None:
            raise self._error
        if self._taken is not None:
            taken = self._arrive(timeout)
            try:
                self._value = self._evaluate(taken)
            except StateError:
                raise
            except Exception as error:
                self._error = error
                self._taken = None
                raise
            self._taken = None
        return self._value

    def _evaluate(self, taken: Taken) -> Any:
        results, members = taken.results(), taken.members(taken.names)
        if all(result.update_count == 0 for result in results.values()):
            warnings.warn(f"`{self._label}` computes before any update on any rank.", UserWarning, stacklevel=4)
        values: dict[str, Any] = {}
        for names in _rounds(taken, members):
            with _showing(taken, members, names, results), no_graph():
                values |= {name: self._compute(name) for name in names}
        return self._finish({name: values[name] for name in taken.names})


class PendingStates(_Pending):
    """The states of all ranks at the moment of the call of `sync_async`."""

    def wait(self, timeout: float | None = None) -> States:
        """Give copies of the states. It shows nothing and does not communicate.

        Args:
            timeout: Seconds to wait for the sync; left out, until it ends, which the timeout of the sync sees to.

        Returns:
            The states by their path: `"total"` for a metric, `"accuracy.correct"` for a collection.

        Raises:
            SyncError: The sync did not come to its end; on every rank the same, as from `sync`.
            TimeoutError: The sync has not ended within `timeout`. It goes on, and can be waited for again.
        """
        results = self._arrive(timeout).results()
        return {
            f"{path}.{name}" if path else name: value
            for path, result in results.items()
            for name, value in own_copy(result.states).items()
        }

    @contextmanager
    def shown(self, timeout: float | None = None) -> Iterator[None]:
        """Show the states in the metric inside a `with` block, whose local states are put back at its end.

        `compute` gives the value of all ranks at the moment of the call there, and `update` is refused. It does not
        communicate.

        Args:
            timeout: As for `wait`.

        Raises:
            SyncError: As from `wait`.
            TimeoutError: As from `wait`.
            StateError: The metric is synced at the moment, or its states are shared with others than at the call.
        """
        taken = self._arrive(timeout)
        members = taken.members(taken.names)
        rounds = _rounds(taken, members)
        if len(rounds) > 1:
            raise StateError(
                f"`{self._label}`: metrics share their states that did not at the call, so one of the two cannot be"
                " shown; use wait()."
            )
        copies = {path: replace(r, states=own_copy(r.states)) for path, r in taken.results().items()}
        with _showing(taken, members, rounds[0], copies):
            yield


def _rounds(taken: Taken, members: _Members) -> list[list[str]]:
    """Give the members that can be shown at once: all, unless a store is shared now by some that did not then."""
    holders: dict[int, str] = {}
    for nodes in members.values():
        for node in nodes:
            path = taken.where[node.path]
            if holders.setdefault(id(node.store), path) != path:
                return [[name] for name in taken.names]
    return [list(taken.names)]


@contextmanager
def _showing(taken: Taken, members: _Members, names: Sequence[str], results: Mapping[str, Merged]) -> Iterator[None]:
    """Show results in place of the local states.

    The last value of each metric is put aside too: it belongs to the local states as they are now.
    """
    nodes = unique_nodes([node for name in names for node in members[name]])
    if any(node.store.mode is not Mode.LOCAL for node in nodes):
        raise StateError("the metric is synced already; leave sync_context() or call unsync() first.")
    values = [(module, module._cache) for module in taken.host.modules() if isinstance(module, StatefulModule)]
    try:
        for module, _ in values:
            module._cache = None
        for node in nodes:
            path = taken.where[node.path]
            _show(node, results[path], is_global=path not in taken.kept)
        yield
    finally:
        put_back(nodes)
        for module, value in values:
            module._cache = value


def _show(node: Node, result: Merged, *, is_global: bool) -> None:
    if is_global or type(node) is not Node:
        node.show(result)
    else:
        node.store.show(result.states, result.update_count, Mode.COPY)


def take(
    host: Any,
    members: Callable[[Sequence[str]], _Members],
    names: Sequence[str],
    syncs: Sequence[tuple[Sequence[str], Route]],
    label: str,
) -> Taken:
    """Copy the states of all members, and start to sync some of them. Collective, as `Metric.compute_async`.

    Args:
        host: The metric or collection.
        members: Gives its members and their nodes as they are now, for these names.
        names: All members.
        syncs: Those that are synced together, and over whom.
        label: What to call it in an error.
    """
    by_name = members(names)
    where: dict[str, str] = {}
    first: dict[int, str] = {}
    for nodes in by_name.values():
        for node in nodes:
            where[node.path] = first.setdefault(id(node.store), node.path)
    jobs = []
    for together, route in syncs:
        nodes = unique_nodes([node for name in together for node in by_name[name]])
        jobs.append((_start(nodes, route, label), tuple(where[node.path] for node in nodes)))
    synced = {name for together, _ in syncs for name in together}
    kept = {}
    for node in unique_nodes([node for name in names if name not in synced for node in by_name[name]]):
        part = node.local_part()
        kept[where[node.path]] = Merged(own_copy(dict(part.states)), part.update_count)
    return Taken(host, members, tuple(names), tuple(jobs), kept, where)


def _start(nodes: Sequence[Node], route: Route, label: str) -> Job:
    job = start_sync(lambda: [node.local_part() for node in nodes], route, f"{label}, in the background")
    for node in nodes:
        node.leave_epoch()
    return job


class AsyncMetric:
    """Syncs of a metric that go on while it is updated."""

    def compute_async(self: Any) -> PendingValue:
        """Ask for the value of all ranks as of now, and go on.

        The states are copied and synced in the background, over a CPU group of their own: no collective of the model
        or of another metric can get between. Several may be on their way; they arrive in the order of the calls.

        Collective: every rank of the group must call this, in the same order as other such calls. The first call of a
        process opens the group and waits for the other ranks; the others return at once.

        Raises:
            StateError: The metric is synced, or has `compute_on`.
        """
        if self.compute_on is not None:
            raise StateError(f"`{self._label}` has `compute_on`, so its value is not to be had by compute_async().")
        return PendingValue(
            _take_metric(self, self.sync_on_compute), self._label, lambda _: self._compute_shown(), _only
        )

    def sync_async(self: Any) -> PendingStates:
        """Ask for the states of all ranks as of now, and go on. As `compute_async`, and as collective."""
        return PendingStates(_take_metric(self, True), self._label)


def _take_metric(metric: Any, is_global: bool) -> Taken:
    metric._local_nodes()  # refuses a metric that is synced
    return take(
        metric,
        lambda names: {name: metric._nodes() for name in names},
        [""],
        [([""], metric._route())] if is_global else [],
        metric._label,
    )


def _only(values: Mapping[str, Any]) -> Any:
    (value,) = values.values()
    return value
