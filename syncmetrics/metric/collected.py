"""What a collection does as a whole beyond updating and computing: in the background, on one rank, every n-th step."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from syncmetrics.foreign.adapted import AdaptedMetric
from syncmetrics.states.autograd import no_graph
from syncmetrics.schedule.every import is_due
from syncmetrics.schedule.one_rank import compute_on_one
from syncmetrics.errors import StateError
from syncmetrics.metric.naming import flatten
from syncmetrics.schedule.pending import PendingStates, PendingValue, Taken, take
from syncmetrics.metric.returned import remember
from syncmetrics.sync.show import Node, copied, synced
from syncmetrics.states.store import Mode
from syncmetrics.sync import note

__all__ = ["WholeCollection"]


class WholeCollection:
    """Methods of `MetricCollection`."""

    compute_on: int | None = None
    sync_every: int | None = None
    _steps: int = 0

    def compute_async(self: Any) -> PendingValue:
        """Ask for the values of all ranks as of now, and go on: one sync for all metrics, as for `compute`.

        See `Metric.compute_async`. Collective: every rank of the group must call this, in the same order as other such
        calls.

        Raises:
            StateError: A metric is synced, or has `compute_on`.
        """
        if self._computing_rank() is not None:
            raise StateError(f"`{self._label}` has `compute_on`, so its values are not to be had by compute_async().")
        taken = _take(self, [name for name in self._members if self[name].sync_on_compute])
        members, prefix, postfix = dict(self._members), self.prefix or "", self.postfix or ""
        return PendingValue(
            taken, self._label, lambda name: self[name]._compute_shown(), lambda v: flatten(members, v, prefix, postfix)
        )

    def sync_async(self: Any) -> PendingStates:
        """Ask for the states of all ranks as of now, and go on. As `compute_async`, and as collective."""
        return PendingStates(_take(self, list(self._members)), self._label)

    def persistent(self: Any, mode: bool = True) -> None:
        """Say for all states whether they go into `state_dict`."""
        for metric in self.values():
            metric._core.persistent(mode)

    def extra_repr(self: Any) -> str:
        """Give what stands in the parentheses of `repr`."""
        return ", ".join(f"{k}={v!r}" for k, v in (("prefix", self.prefix), ("postfix", self.postfix)) if v)

    def _computing_rank(self: Any) -> int | None:
        """Give the rank that computes: what the collection says, or else what all its metrics say.

        Raises:
            StateError: They say different things.
        """
        if self.compute_on is not None:
            return int(self.compute_on)
        ranks = {metric.compute_on for metric in self.values() if metric.sync_on_compute}
        if len(ranks) > 1:
            raise StateError(
                f"the metrics of `{self._label}` have `compute_on` {sorted(ranks, key=str)}, but are computed together;"
                " give it to the collection."
            )
        return ranks.pop() if ranks else None

    def _values_from_one(self: Any) -> dict[str, Any] | None:
        """Give the values that one rank computes; None if every rank computes, or has what it needs.

        Collective: every rank of the group must call this.
        """
        rank = self._computing_rank()
        if rank is None or all(self[name]._is_cached() for name in self._members):
            return None
        if any(node.store.mode is not Mode.LOCAL for node in self._nodes()):
            return None
        values: dict[str, Any] = {}
        for names in self._by_route([name for name in self._members if self[name].sync_on_compute]):
            route = replace(self[names[0]]._route(), dst=rank)
            values |= compute_on_one(self._nodes(names), route, self._label, partial(_computed, self, names))
            for name in names:
                metric = self[name]
                metric._cache = (*metric._cache_keys(), values[name])
                remember(values[name], metric, "compute", is_global=True)
        alone = [name for name in self._members if not self[name].sync_on_compute]
        with copied(self._nodes(alone)):
            values |= _computed(self, alone)
        return {name: values[name] for name in self._members}

    def _stepped(self: Any) -> list[str]:
        """Give the metrics whose steps are synced, every one or every n-th."""
        if self.sync_every is None:
            return [name for name in self._members if self[name].dist_sync_on_step]
        return [name for name in self._members if not isinstance(self[name], AdaptedMetric)]

    def _count_step(self: Any) -> list[str]:
        """Count a call of `forward` since the last reset, and give the metrics whose values are those of all ranks."""
        self._steps += 1
        due = [name for name in self._members if self[name]._count_step()]
        if self.sync_every is None:
            return due
        return self._stepped() if is_due(self._steps, self.sync_every) else []

    def _restart_steps(self: Any) -> None:
        self._steps = 0
        for metric in self.values():
            metric._steps = 0

    def _step_members(self: Any) -> list[list[str]]:
        """Give the metrics that are synced per step, those together that go in one sync."""
        return list(self._by_route(self._stepped()))

    def _step_nodes(self: Any) -> list[list[Node]]:
        return [self._nodes(members) for members in self._step_members()]

    def _note_cached(self: Any) -> None:
        for metric in self.values():
            if metric.sync_on_compute and metric._store.mode is Mode.LOCAL:
                note(metric._route().transport, f"cached values of `{self._label}`, without a sync")
                return

    def _values(self: Any) -> dict[str, Any]:
        """Give the values of all metrics, of the states of all ranks unless every value is still good.

        Collective, if they are not: one sync for each route.
        """
        names = list(self._members)
        if all(metric._is_cached() for metric in self.values()):
            self._note_cached()
            return _computed(self, names)
        holders = self._holders()
        together = self._together([name for name in holders if self[name].sync_on_compute])
        alone = self._nodes([name for name in holders if not self[name].sync_on_compute])
        nodes = [*alone, *(node for members, _ in together for node in members)]
        if any(node.store.mode is not Mode.LOCAL for node in nodes):  # someone shows already what is wanted
            return _computed(self, names)
        with synced(together, self._label), copied(alone), no_graph():
            if any(node.store.update_count == 0 for node in nodes):
                self._warn_of_idle()
            return {name: self[name]._compute_shown() for name in names}

    def _warn_of_idle(self: Any) -> None:
        idle = [name for name in self._members if self[name]._is_idle()]
        if idle:
            warnings.warn(
                f"{idle} of `{self._label}` compute before any update on any rank.", UserWarning, stacklevel=4
            )

    def _refuse_options_of(self, inner: Any) -> None:
        """Refuse a collection inside that has options which only hold for the whole."""
        for option in ("compute_on", "sync_every"):
            if getattr(inner, option) is not None:
                raise ValueError(
                    f"a collection inside another one must have no `{option}`, but has {getattr(inner, option)};"
                    " give it to the outer one."
                )


def _computed(collection: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: collection[name].compute() for name in names}


def _take(collection: Any, synced: Sequence[str]) -> Taken:
    collection._refuse_synced("call unsync() first")
    return take(
        collection,
        lambda names: {name: collection[name]._nodes(name) for name in names},
        list(collection._members),
        [(together, collection[together[0]]._route()) for together in collection._by_route(synced)],
        collection._label,
    )
