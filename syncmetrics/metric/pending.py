"""Handles: what `compute_async` and `sync_async` give at once, and what they give once it is waited for."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from syncmetrics.errors import StateError
from syncmetrics.metric.members import Members
from syncmetrics.metric.value import absent_in, evaluate, hand_out
from syncmetrics.schedule.background import Job, start_sync
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.merge import own_copy
from syncmetrics.states.spec import States
from syncmetrics.states.store import Mode
from syncmetrics.sync import Merged, Node, Part, leave_epoch, note_try, put_back

__all__ = ["PendingStates", "PendingValue", "compute_async", "sync_async"]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a call took: copies, on their way.

    Attributes:
        members: Gives the members as they are now.
        names: The members at the time of the call.
        jobs: The syncs, each with the names of what it brings: of every metric that may share, rank by rank.
        kept: States of metrics that are not synced, by name.
    """

    members: Callable[[], Members]
    names: tuple[str, ...]
    jobs: tuple[tuple[Job, tuple[tuple[str, ...], ...]], ...]
    kept: Mapping[str, Merged]

    def results(self) -> dict[str, Merged]:
        """Give the states of all ranks, by the name of each metric, those inside others too."""
        found = dict(self.kept)
        for job, brought in self.jobs:
            for names, result in zip(brought, job.result(), strict=True):
                blocks = result.blocks or ((names, result),)
                found.update({name: merged for block, merged in blocks for name in block})
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

    def __init__(self, taken: Taken, label: str, finish: Callable[[dict[str, Any]], Any]):
        super().__init__(taken, label)
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
        results, members = taken.results(), taken.members()
        absent = absent_in(members)
        if not absent and all(result.update_count == 0 for result in results.values()):
            warnings.warn(f"`{self._label}` computes before any update on any rank.", UserWarning, stacklevel=4)
        values: dict[str, Any] = {}
        for names in _rounds(taken, members, results):
            with _showing(members, names, results, taken), no_graph():
                for name in names:
                    metric = members.metrics[name]
                    values[name] = absent[name] if name in absent else hand_out(evaluate(metric), metric)
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
            for name, value in own_copy(result.states, elements=True).items()
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
        members, results = taken.members(), taken.results()
        rounds = _rounds(taken, members, results)
        if len(rounds) > 1:
            raise StateError(
                f"`{self._label}`: metrics share their states that did not at the call, so one of the two cannot be"
                " shown; use wait()."
            )
        copies = {path: replace(r, states=own_copy(r.states)) for path, r in results.items()}
        with _showing(members, rounds[0], copies, taken):
            yield


def compute_async(
    members: Members, now: Callable[[], Members], finish: Callable[[dict[str, Any]], Any]
) -> PendingValue:
    """Ask for the values of all ranks as of now, and go on. Collective, as `Metric.compute_async`.

    Args:
        members: Whose values.
        now: Gives them as they are when the values are there.
        finish: Makes of the values, by name, what `wait` gives.

    Raises:
        StateError: A member is synced, or has `compute_on`.
    """
    ranks = {metric.compute_on for metric in members.metrics.values() if metric.sync_on_compute}
    if members.compute_on is not None or ranks - {None}:
        raise StateError(f"`{members.label}` has `compute_on`, so its value is not to be had by compute_async().")
    syncing = [name for name, metric in members.metrics.items() if metric.sync_on_compute]
    return PendingValue(_take(members, now, syncing), members.label, finish)


def sync_async(members: Members, now: Callable[[], Members]) -> PendingStates:
    """Ask for the states of all ranks as of now, and go on. Collective, as `Metric.sync_async`."""
    return PendingStates(_take(members, now, list(members.metrics)), members.label)


def _take(members: Members, now: Callable[[], Members], syncing: Sequence[str]) -> Taken:
    """Copy the states of all members, and start to sync some of them."""
    members.local_nodes()  # refuses what is synced
    jobs = []
    for nodes, route in members.together(syncing):
        note_try(nodes, route)  # interrupted before the next line, this rank has no value where others have
        job = start_sync(partial(_local_parts, nodes), route, f"{members.label}, in the background")
        leave_epoch(nodes)
        jobs.append((job, tuple(tuple(name for name, _ in node.holders) for node in nodes)))
    kept: dict[str, Merged] = {}
    alone = [name for name in members.metrics if name not in syncing]
    for node in members.nodes(alone) if alone else []:
        for name, holder in node.holders:
            part = replace(node, path=name, holders=((name, holder),)).local_part()
            kept[name] = Merged(own_copy(part.states), part.update_count)
    return Taken(now, tuple(members.metrics), tuple(jobs), kept)


def _local_parts(nodes: Sequence[Node]) -> list[Part]:
    return [node.local_part() for node in nodes]


def _rounds(taken: Taken, members: Members, results: Mapping[str, Merged]) -> list[list[str]]:
    """Give the members that can be shown at once: all, unless a store is shared now by some that did not then."""
    by_store: dict[int, Merged] = {}
    for node in members.nodes(taken.names):
        for name, holder in node.holders:
            if by_store.setdefault(id(holder.store), results[name]) is not results[name]:
                return [[one] for one in taken.names]
    return [list(taken.names)]


@contextmanager
def _showing(members: Members, names: Sequence[str], results: Mapping[str, Merged], taken: Taken) -> Iterator[None]:
    """Show results in place of the local states.

    The last values of each metric are put aside too: they belong to the local states as they are now, and stay good.
    """
    nodes = members.nodes(names)
    members.refuse_shown(nodes)
    books = {id(metric._books): metric._books for metric in members.inside()}
    values = [(one, one.values, one.settings) for one in books.values()]
    shown: list[Node] = []
    try:
        for one, _, _ in values:
            one.values = []
        for node in nodes:
            for holder in node.owners:
                alike = [name for name, other in node.holders if other.store is holder.store]
                name = next((name for name in alike if name in names), alike[0])
                mode = Mode.COPY if name in taken.kept else Mode.SYNCED
                shown.append(replace(node, path=name, holders=((name, holder),)))
                shown[-1].show(results[name], mode=mode)
        yield
    finally:
        put_back(shown)
        for one, known, settings in values:
            one.values, one.settings = known, settings  # what `compute` sets in itself is no setting
