"""MetricCollection: many metrics that are updated together and synced as one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

from torch import nn

from syncmetrics.foreign.adapted import AdaptedMetric
from syncmetrics.foreign.adapter import adapter_of
from syncmetrics.states.autograd import no_graph
from syncmetrics.schedule.every import check_period
from syncmetrics.metric.collected import WholeCollection
from syncmetrics.schedule.one_rank import check_rank
from syncmetrics.errors import StateError
from syncmetrics.metric.grouped import GroupedStates
from syncmetrics.metric.metric import Metric
from syncmetrics.metric.naming import Member, check_affix, check_unique, flatten, keyword_names
from syncmetrics.metric.returned import remember
from syncmetrics.sync.show import put_back, show_together, stepping, synced
from syncmetrics.metric.sharing import Group, share_states
from syncmetrics.states.store import Mode

__all__ = ["MetricCollection"]

_Self = TypeVar("_Self", bound="MetricCollection")


class MetricCollection(WholeCollection, GroupedStates, nn.Module):
    """Metrics that are updated with the same batches and synced in one exchange.

    Metrics that accumulate the same thing with the same settings (see `Metric.compute_group`) share one state: it is
    updated once, and synced once.

    Args:
        metrics: A metric, a sequence of metrics (named by their classes), a mapping from name to metric, or another
            collection. Collections inside are taken apart: their metrics become metrics of this one, under the names
            they had.
        *more: More metrics.
        prefix: Put in front of every name in the results.
        postfix: Put behind every name in the results.
        sync_every: With a number n, `forward` gives the values of all ranks in every n-th step since the last reset, by
            one sync; left out, each metric says when it is synced per step.
        compute_on: The rank in the group that gets the states of all and computes; the others receive the values.

    Raises:
        ValueError: Two values would have the same name.
        TypeError: Something is no metric.
    """

    def __init__(
        self,
        metrics: Metric
        | MetricCollection
        | Sequence[Metric | MetricCollection]
        | Mapping[str, Metric | MetricCollection],
        *more: Metric | MetricCollection,
        prefix: str | None = None,
        postfix: str | None = None,
        sync_every: int | None = None,
        compute_on: int | None = None,
    ) -> None:
        super().__init__()
        self.sync_every = check_period(sync_every)
        self.compute_on = check_rank(compute_on)
        self.prefix = check_affix("prefix", prefix)
        self.postfix = check_affix("postfix", postfix)
        self._members: dict[str, Member] = {}
        self._known_groups: list[Group] = []
        self.add_metrics(metrics, *more)

    def add_metrics(
        self,
        metrics: Metric
        | MetricCollection
        | Sequence[Metric | MetricCollection]
        | Mapping[str, Metric | MetricCollection],
        *more: Metric | MetricCollection,
    ) -> None:
        """Add metrics, given as to the constructor."""
        for name, metric in _named(metrics, more):
            if isinstance(metric, MetricCollection):
                self._refuse_options_of(metric)
                self._add_collection(name, metric)
            else:
                shown = name if name is not None else type(metric).__name__
                self._add(shown, metric)
        check_unique({base: member.output_names(self[base]) for base, member in self._members.items()})
        share_states(self.values())

    # -- as a mapping

    def keys(self, keep_base: bool = False) -> Iterable[str]:
        """Names of the metrics; with `keep_base`, without prefix and postfix."""
        return [name if keep_base else self._affixed(name) for name in self._members]

    def values(self) -> Iterable[Metric]:
        """The metrics."""
        modules = self._modules
        return [modules[name] for name in self._members]  # type: ignore[misc]  # what `_add` has checked

    def items(self, keep_base: bool = False) -> Iterable[tuple[str, Metric]]:
        """Names and metrics."""
        return list(zip(self.keys(keep_base), self.values(), strict=True))

    def __getitem__(self, name: str) -> Metric:
        if name in self._members:
            return self._modules[name]  # type: ignore[return-value]  # what `_add` has checked
        base = name.removeprefix(self.prefix or "").removesuffix(self.postfix or "")
        if base not in self._members:
            raise KeyError(f"no metric `{name}` in this collection; it has {list(self._members)}.")
        return self[base]

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self[name] is not None
        except KeyError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._members)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of all values that `compute` gives, known from the construction on."""
        return tuple(
            self._affixed(name) for base, member in self._members.items() for name in member.output_names(self[base])
        )

    @property
    def compute_groups(self) -> tuple[tuple[str, ...], ...]:
        """Names of the metrics that share their states, group by group."""
        return tuple(group.names for group in self._groups())

    # -- the life of the metrics

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update every metric with one batch. Keyword arguments go to the metrics whose `update` takes them."""
        if kwargs:
            self._check_keywords(kwargs)
        self._refuse_updates()
        for group in self._own_groups():
            self._update_group(group, args, kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Add one batch to every metric, and give the values of that batch.

        Collective if a metric has `dist_sync_on_step=True`: one sync for all that have it.
        """
        due = self._count_step()
        self._check_keywords(kwargs)
        self._refuse_updates()
        groups = self._own_groups()
        guests = [
            group for group in groups if isinstance(self[group.names[0]], AdaptedMetric)
        ]  # they share with nobody
        values = {g.names[0]: self[g.names[0]].forward(*args, **self._chosen(g.names[0], kwargs)) for g in guests}
        values |= self._step([group for group in groups if group not in guests], args, kwargs, due)
        in_order = {name: values[name] for name in self._members}
        return flatten(self._members, in_order, self.prefix or "", self.postfix or "")

    def _step(
        self, groups: list[Group], args: tuple[Any, ...], kwargs: Mapping[str, Any], due: Sequence[str]
    ) -> dict[str, Any]:
        """Run one batch through groups of metrics: update fresh states, sync what is due, give the values, merge."""
        names = [name for group in groups for name in group.names]
        merges = [self._merges(group) for group in groups]
        once = {name: alone for group, alone in zip(groups, merges, strict=True) for name in group.names}
        with ExitStack() as stack:
            twice = self._nodes([name for name in names if not once[name]])
            stores = {id(node.store) for node in twice}
            sync_step = stack.enter_context(stepping([n for n in self._nodes(names) if id(n.store) not in stores]))
            if twice:
                stack.enter_context(stepping(twice, merge=False))
            for group in groups:
                self._update_group(group, args, kwargs)
            for members in self._by_route(due):
                sync_step(self._nodes(members), self[members[0]]._step_route(), self._label)
            with no_graph():
                values = {name: self[name]._compute_step() for name in names}
            for name, value in values.items():
                remember(value, self[name], "forward", is_global=name in due)
        for group in groups:
            if not once[group.names[0]]:
                self._update_group(group, args, kwargs)
        return values

    def compute(self) -> dict[str, Any]:
        """Give the values of all metrics.

        Collective: every rank of the group must call this. One sync serves all metrics (one for each process group, if
            they differ).

        Returns:
            One value for each of `output_names`.
        """
        values = self._values_from_one()
        if values is None:
            values = self._values()
        return flatten(self._members, values, self.prefix or "", self.postfix or "")

    def reset(self) -> None:
        """Give every state its default. It does not communicate."""
        self._own_groups()
        for node in self._nodes():
            node.reset()
        for metric in self.values():
            metric._forget()
        self._restart_steps()
        share_states(self.values())

    def sync(self) -> None:
        """Show the states of all ranks from now on. Collective: every rank of the group must call this."""
        self._refuse_synced("call unsync() first")
        show_together(self._together(self._holders()), self._label)

    def unsync(self) -> None:
        """Show the local states again. It does not communicate."""
        nodes = self._nodes()
        if not any(node.store.mode is Mode.SYNCED for node in nodes):
            raise StateError("the collection is not synced; call sync() first.")
        put_back(nodes)

    def sync_context(self) -> AbstractContextManager[None]:
        """Show the states of all ranks inside a `with` block. Collective: every rank of the group must enter it."""
        self._refuse_synced("call unsync() first")
        return synced(self._together(self._holders()), self._label)

    def clone(self: _Self, prefix: str | None = None, postfix: str | None = None) -> _Self:
        """Give an independent copy, with another prefix or postfix if one is given."""
        twin = copy.deepcopy(self)
        if prefix is not None:
            twin.prefix = check_affix("prefix", prefix)
        if postfix is not None:
            twin.postfix = check_affix("postfix", postfix)
        return twin

    # -- construction

    def _add(self, name: str, metric: Any, member: Member | None = None) -> None:
        if not isinstance(metric, Metric) and adapter_of(metric) is not None:
            metric = AdaptedMetric(metric)
        if not isinstance(metric, Metric):
            raise TypeError(
                f"`{name}` must be a syncmetrics.Metric or a MetricCollection, but is a {type(metric).__name__}."
            )
        if name in self._members:
            raise ValueError(
                f"two metrics would be named `{name}`; give them names: MetricCollection({{'a': ..., 'b': ...}})."
            )
        if not name or "." in name or hasattr(type(self), name) or name in self.__dict__:
            raise ValueError(
                f"a metric cannot be named {name!r}: a name is not empty, has no dot, and is no attribute"
                " of the collection."
            )
        self.add_module(name, metric)
        self._members[name] = member or Member(name, "", "", keyword_names(metric))

    def _add_collection(self, name: str | None, collection: MetricCollection) -> None:
        outer = f"{name}_" if name is not None else ""
        for base, member in collection._members.items():
            full = outer + collection._affixed(base)
            affixed = Member(
                outer + collection._affixed(member.name),
                outer + (collection.prefix or "") + member.prefix,
                member.postfix + (collection.postfix or ""),
                member.takes,
            )
            self._add(full, collection[base], affixed)

    # -- inside

    @property
    def _label(self) -> str:
        return self.prefix.rstrip("/_.") if self.prefix else type(self).__name__

    def _affixed(self, name: str) -> str:
        return f"{self.prefix or ''}{name}{self.postfix or ''}"

    def _update_group(self, group: Group, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Update what these metrics share, once."""
        name = group.names[0]
        chosen = self._chosen(name, kwargs) if kwargs else kwargs
        if len(group.names) == 1:
            self[name].update(*args, **chosen)
        else:
            group.cores[0]._update_shared(args, chosen)

    def _chosen(self, name: str, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        takes = self._members[name].takes
        return kwargs if takes is None else {k: v for k, v in kwargs.items() if k in takes}

    def _check_keywords(self, kwargs: Mapping[str, Any]) -> None:
        taken = [member.takes for member in self._members.values()]
        unknown = [k for k in kwargs if all(takes is not None and k not in takes for takes in taken)]
        if unknown:
            raise TypeError(f"no metric of this collection takes the keyword argument(s) {unknown} in `update`.")


def _named(metrics: Any, more: Sequence[Any]) -> Iterator[tuple[str | None, Any]]:
    if isinstance(metrics, Mapping):
        if more:
            raise TypeError("metrics given as a mapping cannot be followed by more; put them into the mapping.")
        for name, metric in metrics.items():
            yield str(name), metric
        return
    first = list(metrics) if isinstance(metrics, Sequence) else [metrics]
    for metric in [*first, *more]:
        yield None, metric
