"""MetricCollection: many metrics that are updated together and synced as one. It is names over members."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from syncmetrics import registry
from syncmetrics.checkpoint import stateful
from syncmetrics.errors import StateError
from syncmetrics.metric.compiled import know, update_in_graph
from syncmetrics.metric.deltas import add_states
from syncmetrics.metric.eager import eager, leave_out_of_graphs
from syncmetrics.metric.members import Members
from syncmetrics.metric.metric import Metric
from syncmetrics.metric.module import SETTINGS, StatefulModule, leave_out_of_script, names_for_script
from syncmetrics.metric.names import Naming, check_affix, clashing, flatten
from syncmetrics.metric.options import check_period, check_rank
from syncmetrics.metric.pending import PendingStates, PendingValue, compute_async, sync_async
from syncmetrics.metric.share import Group, group, reset_together, share
from syncmetrics.metric.showing import SyncContext, unsync
from syncmetrics.metric.step import step
from syncmetrics.metric.update import all_or_nothing, make_all_ready, update_together
from syncmetrics.metric.value import compute
from syncmetrics.registry import meet_hosts
from syncmetrics.schedule.every import is_due
from syncmetrics.states.spec import States
from syncmetrics.states.store import all_replaced
from syncmetrics.sync import Host, Node, Route, Syncable
from syncmetrics.transport import WORLD, bind_group

__all__ = ["MetricCollection"]

_Self = TypeVar("_Self", bound="MetricCollection")


@dataclass(slots=True, eq=False)
class _Known:
    """The members of a collection, and what has to be as it was for them to be so still.

    Attributes:
        own: Settings of the collection.
        settings: How often any setting of any metric had been changed.
        of_each: How often those of its metrics had been.
        members: The members.
        names: The prefix and postfix, and what the one value of each metric is named; None if two had one name.
    """

    own: tuple[Any, ...]
    settings: int
    of_each: list[tuple[int, ...]]
    members: Members
    names: tuple[str | None, str | None, dict[str, str] | None] | None = None


class MetricCollection(nn.Module, Host):
    """Metrics that are updated with the same batches and synced in one exchange.

    Metrics that accumulate the same thing with the same settings (see `Metric.compute_group`) share one state: it is
    updated once, and synced once. That cannot be seen: whatever is done to one of them, its value is what it would be
    alone.

    Args:
        metrics: A metric, a sequence or ModuleList of metrics (named by their classes), a mapping or ModuleDict from
            name to metric, or another collection. Collections inside are taken apart: their metrics become metrics of
            this one, under the names they had. Metrics of other libraries may be among them.
        *additional_metrics: More metrics.
        prefix: Put in front of every name in the results.
        postfix: Put behind every name in the results.
        compute_groups: Whether metrics that accumulate the same share their states; or lists of names, each of metrics
            that may.
        process_group: Over which ranks all of these metrics are synced, and those added later, as for `Metric`; left
            out, each metric says it. `over(mesh, "dp")` takes the place of a group where ranks see the same data.
        sync_every: With a number n, `forward` gives the values of all ranks in every n-th step since the last reset, by
            one sync; left out, each metric says when it is synced per step.
        compute_on: The rank in the group that gets the states of all and computes; the others receive the values.

    Raises:
        ValueError: Two metrics would have the same name.
        TypeError: Something is no metric.
    """

    def __init__(
        self,
        metrics: Any,
        *additional_metrics: Any,
        prefix: str | None = None,
        postfix: str | None = None,
        compute_groups: bool | Sequence[Sequence[str]] = True,
        process_group: Any = WORLD,
        sync_every: int | None = None,
        compute_on: int | None = None,
    ) -> None:
        super().__init__()
        self._group = None if process_group is WORLD else bind_group(process_group)
        know(self)
        meet_hosts()
        self.sync_every = check_period(sync_every)
        self.compute_on = check_rank(compute_on)
        self.prefix = check_affix("prefix", prefix)
        self.postfix = check_affix("postfix", postfix)
        self._compute_groups = compute_groups
        self._namings: dict[str, Naming] = {}
        self._known: _Known | None = None
        self._steps = 0
        self._named_apart = False
        self.add_metrics(metrics, *additional_metrics)
        if not isinstance(compute_groups, bool):
            unknown = sorted({name for names in compute_groups for name in names} - set(self._namings))
            if unknown:
                raise ValueError(f"`compute_groups` names {unknown}, but the metrics are {list(self._namings)}.")

    def add_metrics(self, metrics: Any, *additional_metrics: Any) -> None:
        """Add metrics, given as to the constructor."""
        for name, metric in _named(metrics, additional_metrics):
            if isinstance(metric, MetricCollection):
                self._add_collection(name, metric)
            else:
                self._add(name if name is not None else type(metric).__name__, metric)
        self._settle_names()
        share(self._members().groups)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        leave_out_of_script(cls)

    @property
    def __jit_ignored_attributes__(self) -> list[str]:
        return names_for_script(self)

    # -- as a mapping

    def keys(self, keep_base: bool = False) -> Iterable[str]:
        """Names of the metrics; with `keep_base`, without prefix and postfix."""
        return [name if keep_base else self._affixed(name) for name in self._namings]

    def values(self, copy_state: bool = True) -> Iterable[Metric]:
        """The metrics. What is done to one of them is done to it alone, whatever `copy_state` says."""
        modules = self._modules
        return [modules[name] for name in self._namings]  # type: ignore[misc]  # what `_add` has checked

    def items(self, keep_base: bool = False, copy_state: bool = True) -> Iterable[tuple[str, Metric]]:
        """Names and metrics."""
        return list(zip(self.keys(keep_base), self.values(), strict=True))

    def __getitem__(self, name: str, copy_state: bool = True) -> Metric:
        return self._modules[self._base(name)]  # type: ignore[return-value]  # what `_add` has checked

    def __setitem__(self, name: str, metric: Any) -> None:
        """Add a metric, or put it in the place of the one of this name."""
        try:
            before: list[str] = list(self._namings)
            base = self._base(name)
        except KeyError:
            self.add_metrics({name: metric})
            return
        naming, old = self._namings.pop(base), self._modules[base]
        del self._modules[base]
        try:
            self.add_metrics({base: metric})
        except BaseException:
            self._namings[base], self._modules[base] = naming, old
            raise
        finally:
            self._namings = {known: self._namings[known] for known in before}
            self._known = None

    def __delitem__(self, name: str) -> None:
        """Take a metric out."""
        self.pop(name)

    def pop(self, name: str) -> Metric:
        """Take a metric out, and give it."""
        base = self._base(name)
        metric = self[base]
        del self._namings[base], self._modules[base]
        self._known = None
        metric._core._leave_group()
        return metric

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self._base(name) is not None
        except KeyError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._namings)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of all values that `compute` gives, known from the construction on."""
        return tuple(
            self._affixed(name)
            for base, naming in self._namings.items()
            for name in naming.names(self[base].output_names, apart=self._named_apart)
        )

    @property
    def compute_groups(self) -> dict[int, list[str]]:
        """Names of the metrics that share their states, group by group."""
        found: dict[int, list[str]] = {}
        for name, metric in zip(self._namings, self.values(), strict=True):
            found.setdefault(id(metric._core._holder.store), []).append(name)
        return dict(enumerate(found.values()))

    @property
    def metric_state(self) -> dict[str, States]:
        """Copies of the states of each metric as they are now."""
        return {name: metric._core.metric_state for name, metric in self.items()}

    # -- the life of the metrics

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update every metric with one batch, or none: if one of them raises, all have the states they had.

        Keyword arguments go to the metrics whose `update` takes them.
        """
        if torch.compiler.is_compiling():
            update_in_graph(self, args, kwargs)
        else:
            update_together(self._members(), args, kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Add one batch to every metric, and give the values of that batch; or to none, if one of them raises.

        Collective if a metric has `dist_sync_on_step=True`: one sync for all that have it.
        """
        return self.named(step(self._members(), args, kwargs, self._count_step()))

    @leave_out_of_graphs
    def compute(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Give the values of all metrics.

        Collective: every rank of the group must call this. One sync serves all metrics (one for each process group, if
        they differ).

        Args:
            *args: Given to the `compute` of every metric.
            **kwargs: Likewise.

        Returns:
            One value for each of `output_names`.
        """
        with eager():
            return self.named(compute(self._members(), args, kwargs))

    def merge_state(self, incoming_state: MetricCollection | Mapping[str, Metric | States]) -> None:
        """Add what the metrics of another collection have accumulated, all of it or nothing. It does not communicate.

        Args:
            incoming_state: A collection of the same metrics, which is left as it is; or metrics or states by name, as
                `metric_state` gives these.

        Raises:
            StateError: It has other metrics, or other states, or something is synced.
        """
        if isinstance(incoming_state, MetricCollection):
            theirs: dict[str, Any] = dict(incoming_state.items(keep_base=True))
        else:
            theirs = {self._base(name) if name in self else name: given for name, given in incoming_state.items()}
        if set(theirs) != set(self._namings):
            raise StateError(
                f"`{self._label}` has the metrics {sorted(self._namings)}, but was given {sorted(theirs)}."
            )
        members = self._members()
        for one in members.groups:
            if not _share_alike(one, [theirs[name] for name in one.names]):
                for metric in one.metrics:
                    metric._core._leave_group()
        owners = make_all_ready(members, "merge_state", (), lambda _: {})
        with all_or_nothing([metric for _, metric in owners]):
            for name, metric in owners:
                given = theirs[name]
                if type(metric).merge_state is not Metric.merge_state:  # type: ignore[attr-defined]
                    metric.merge_state(given)
                elif isinstance(given, StatefulModule) and metric is not self[name]:  # that inside of a wrapper
                    add_states(metric, given._core)
                else:
                    add_states(metric, given)

    def reset(self) -> None:
        """Give every state its default. It does not communicate."""
        members = self._members()
        with all_replaced(holder.as_it_is() for node in members.nodes() for _, holder in node.holders):
            self._begin_steps()
            for one in members.groups:
                if len(one.metrics) == 1:
                    one.metrics[0].reset()
                    continue
                reset_together(one)
                for metric in one.metrics:
                    for module in metric.modules():
                        if isinstance(module, StatefulModule):
                            module._books.forget()

    def sync(
        self,
        dist_sync_fn: None = None,
        process_group: Any = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Show the states of all ranks from now on, as `Metric.sync`.

        Collective: every rank of the group must call this.
        """
        SyncContext(self._members(), dist_sync_fn, process_group, should_sync, False, distributed_available).__enter__()

    def unsync(self, should_unsync: bool = True) -> None:
        """Show the local states again, as `Metric.unsync`. It does not communicate."""
        unsync(self._members(), should_unsync)

    def sync_context(
        self,
        dist_sync_fn: None = None,
        process_group: Any = None,
        should_sync: bool = True,
        should_unsync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> AbstractContextManager[None]:
        """Show the states of all ranks inside a `with` block, as `Metric.sync_context`.

        Collective: every rank of the group must enter it.
        """
        members = self._members()
        return SyncContext(members, dist_sync_fn, process_group, should_sync, should_unsync, distributed_available)

    def compute_async(self) -> PendingValue:
        """Ask for the values of all ranks as of now, and go on: one sync for all metrics, as for `compute`.

        See `Metric.compute_async`. Collective: every rank of the group must call this, in the same order as other such
        calls.

        Raises:
            StateError: A metric is synced, or has `compute_on`.
        """
        return compute_async(self._members(), self._members, self._naming())

    def sync_async(self) -> PendingStates:
        """Ask for the states of all ranks as of now, and go on. As `compute_async`, and as collective."""
        return sync_async(self._members(), self._members)

    def plot(
        self, val: Any = None, ax: Any = None, together: bool = False, *, labels: Sequence[str] | None = None
    ) -> Any:
        """Draw the values of all metrics, as `Metric.plot` draws each. It takes matplotlib.

        Collective if `val` is None, as `compute`: every rank of the group must call this.

        Args:
            val: What to draw: a dict of values by name, as `compute` or `forward` gives it, or a list of such, which is
                drawn over steps. Left out, `compute()` is.
            ax: A sequence of axes, one for each metric; with `together`, one pair of axes. Left out, those of new
                figures.
            together: Whether all are drawn into one pair of axes: numbers, as many of each metric, or curves of one
                kind.
            labels: Names of the classes, for all metrics.

        Returns:
            A list with a pair of figure and axes for each metric; with `together`, one pair. As for `Metric.plot`.

        Raises:
            ImportError: matplotlib is missing.
            TypeError: A value cannot be drawn, or not together with the others.
            ValueError: There is nothing to draw, or `labels` or `ax` are more or fewer than what is drawn.
        """
        values = self.compute() if val is None else val
        parts = list(self._outputs_of_each())
        return registry.painter().plot_collection(
            parts, values, ax, together=together, labels=labels, computed=val is None
        )

    def clone(self: _Self, prefix: str | None = None, postfix: str | None = None) -> _Self:
        """Give an independent copy, with another prefix or postfix if one is given."""
        twin = copy.deepcopy(self)
        if prefix is not None:
            twin.prefix = check_affix("prefix", prefix)
        if postfix is not None:
            twin.postfix = check_affix("postfix", postfix)
        return twin

    def persistent(self, mode: bool = True) -> None:
        """Say for all states whether they go into `state_dict`."""
        for metric in self.values():
            metric.persistent(mode)

    def set_dtype(self: _Self, dst_type: str | torch.dtype) -> _Self:
        """Keep floating point states in another dtype from now on, as `Metric.set_dtype`."""
        for metric in self.values():
            metric.set_dtype(dst_type)
        return self

    def extra_repr(self) -> str:
        """Give what stands in the parentheses of `repr`."""
        return ", ".join(f"{k}={v!r}" for k, v in (("prefix", self.prefix), ("postfix", self.postfix)) if v)

    def __copy__(self: _Self) -> _Self:
        """Give a collection whose metrics have states of their own."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_known": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        know(self)
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        share(self._members().groups)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Give the persistent states, as a module does, and whose they are; to some all of them, as `Metric` does."""
        purpose = None if args or kwargs else stateful.asked_for(sys._getframe(1))
        return super().state_dict(*args, **kwargs) if purpose is None else stateful.whole(self, purpose)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Take the states out of a state dict, or of what `save_state` gave. It does not communicate."""
        if stateful.load_whole(self, state_dict):
            state_dict, kwargs = {}, {"strict": False}
        return super().load_state_dict(state_dict, *args, **kwargs)

    # -- as a host

    def _hosted(self, path: str) -> list[tuple[Syncable, Route]]:
        together = self._members().together()
        return [(self._renamed(node, path), route) for nodes, route in together for node in nodes]

    def _hosted_steps(self) -> list[list[Node]]:
        members = self._members()
        stepped = [n for n, m in members.metrics.items() if m.dist_sync_on_step or self.sync_every is not None]
        alone = [nodes for metric in self.values() for nodes in metric._hosted_steps()]
        return alone + [members.nodes(names) for names, _ in members.by_route(stepped)]

    def _hosted_groups(self) -> list[list[tuple[str, Any]]]:
        groups = [one for one in self._members().groups if len(one.names) > 1]
        return [[(n, m._core) for n, m in zip(one.names, one.metrics, strict=True)] for one in groups]

    def _hosted_value(self) -> Any:
        return self.compute()

    def _steps_taken(self) -> list[int]:
        return [self._steps, *(n for metric in self.values() for n in metric._steps_taken())]

    def _go_on_from(self, steps: Sequence[int]) -> None:
        self._steps, at = steps[0], 1
        for metric in self.values():
            count = len(metric._steps_taken())
            metric._go_on_from(steps[at : at + count])
            at += count

    def _begin_steps(self) -> None:
        self._steps = 0
        for metric in self.values():
            metric._begin_steps()

    def _hosted_outputs(self) -> dict[str, tuple[Any, str]]:
        each = self._outputs_of_each()
        return {name: (metric, key or "") for _, metric, names in each for name, key in names.items()}

    def _outputs_of_each(self) -> Iterator[tuple[str, Metric, dict[str, str | None]]]:
        """Give the name of each metric, the metric, and the names of its values with their keys in what it gives."""
        for base, naming in self._namings.items():
            metric, keys = self[base], self[base].output_names
            names = naming.names(keys, apart=self._named_apart)
            inside: tuple[str | None, ...] = (None,) if keys is None else keys
            yield self._affixed(base), metric, {self._affixed(n): k for n, k in zip(names, inside, strict=True)}

    def _hosted_versions(self) -> tuple[Any, ...]:
        return tuple(node.versions for node in self._members().nodes())

    def _renamed(self, node: Node, path: str) -> Node:
        """Give a node under the names that its metrics have outside of this collection."""

        def full(name: str) -> str:
            base, dot, inside = name.partition(".")
            return f"{path}[{self._affixed(base)!r}]{dot}{inside}"

        holders = tuple((full(name), holder) for name, holder in node.holders)
        return replace(node, path=full(node.path), holders=holders)

    # -- inside

    def _members(self) -> Members:
        """Give the metrics for the verbs, and who of them may share states: found anew when a setting has changed."""
        known, own = self._known, (self.sync_every, self.compute_on, self.prefix)
        if known is not None and known.own == own:
            if known.settings == SETTINGS[0]:
                return known.members
            if known.of_each == [metric._settings() for metric in self.values()]:
                known.settings = SETTINGS[0]  # it was another metric's
                return known.members
        of_each = [metric._settings() for metric in self.values()]
        apart = [[name] for name in self._namings] if self._compute_groups is False else None
        if not isinstance(self._compute_groups, bool):
            apart = [list(some) for some in self._compute_groups]
        metrics = dict(zip(self._namings, self.values(), strict=True))
        members = Members(self._label, metrics, group(metrics, apart), self.sync_every, self.compute_on)
        self._known = _Known(own, SETTINGS[0], of_each, members)
        return members

    @property
    def _label(self) -> str:
        return self.prefix.rstrip("/_.") if self.prefix else type(self).__name__

    def _affixed(self, name: str) -> str:
        return f"{self.prefix or ''}{name}{self.postfix or ''}"

    def _base(self, name: str) -> str:
        """Give the name of a metric in here, with or without prefix and postfix."""
        if name in self._namings:
            return name
        base = name.removeprefix(self.prefix or "").removesuffix(self.postfix or "")
        if base not in self._namings:
            raise KeyError(f"no metric `{name}` in this collection; it has {list(self._namings)}.")
        return base

    def _count_step(self) -> list[str]:
        """Count a call of `forward` since the last reset, and give the metrics whose values are those of all ranks."""
        self._steps += 1
        due = [name for name in self._namings if self[name]._count_step()]
        if self.sync_every is None:
            return due
        return list(self._namings) if is_due(self._steps, self.sync_every) else []

    def named(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Name every value, those inside a metric's dict too."""
        names = self._plain_names()
        if names is not None and set(map(type, values.values())) == {Tensor}:
            return {names[base]: value for base, value in values.items()}
        return self._naming()(values)

    def _plain_names(self) -> dict[str, str] | None:
        """Give the names of the values of metrics that give one each; None if that is not known, or not to be had."""
        known = self._known
        if known is None:
            return None
        if known.names is None or known.names[:2] != (self.prefix, self.postfix):
            names = {base: self._affixed(naming.name) for base, naming in self._namings.items()}
            known.names = self.prefix, self.postfix, names if len(set(names.values())) == len(names) else None
        return known.names[2]

    def _naming(self) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """Give what names values by the names of now, whatever becomes of the collection until they are there."""
        namings, settled = dict(self._namings), self._named_apart
        prefix, postfix = self.prefix or "", self.postfix or ""

        def flat(values: Mapping[str, Any]) -> dict[str, Any]:
            for apart in (False, True)[settled:]:
                found: dict[str, Any] = {}
                clash = []
                for _, name, value in flatten(namings, values, apart=apart):
                    full = f"{prefix}{name}{postfix}"
                    if full in found:
                        clash.append(full)
                    found[full] = value
                if not clash:
                    return found
                if not apart:
                    self._name_apart(clash)
            raise ValueError(f"two metrics of `{self._label}` give a value named {clash}; give them other names.")

        return flat

    def _settle_names(self) -> None:
        """See to it that no two values have one name.

        Raises:
            ValueError: They do, whatever is put in front of them.
        """
        keys = {base: self[base].output_names for base in self._namings}
        clash = clashing(self._namings, keys, apart=self._named_apart)
        if clash and not self._named_apart:
            self._name_apart(clash)
            clash = clashing(self._namings, keys, apart=True)
        if clash:
            raise ValueError(f"two metrics of `{self._label}` would give a value named {clash}; name one otherwise.")

    def _name_apart(self, clash: Sequence[str]) -> None:
        """Put the name of its metric in front of every key from now on, and tell."""
        if self._named_apart:
            return
        self._named_apart = True
        warnings.warn(
            f"more than one metric of `{self._label}` gives a value named {', '.join(map(repr, clash))}: the name of"
            " the metric stands in front of each key of those that give a dict; `prefix=` of a wrapper gives other"
            " names.",
            UserWarning,
            stacklevel=4,
        )

    # -- construction

    def _add(self, name: str, metric: Any, naming: Naming | None = None) -> None:
        if not isinstance(metric, Metric):
            known = registry.recognise(metric)
            metric = metric if known is None else known.as_metric()
        if not isinstance(metric, Metric):
            raise TypeError(
                f"`{name}` must be a syncmetrics.Metric or a MetricCollection, but is a {type(metric).__name__}."
            )
        if name in self._namings:
            raise ValueError(
                f"two metrics would be named `{name}`; give them names: MetricCollection({{'a': ..., 'b': ...}})."
            )
        if not name or "." in name or hasattr(type(self), name) or name in self.__dict__:
            raise ValueError(
                f"a metric cannot be named {name!r}: a name is not empty, has no dot, and is no attribute"
                " of the collection."
            )
        if self._group is not None:
            for module in metric.modules():
                if isinstance(module, StatefulModule):
                    module.process_group = self._group
        self.add_module(name, metric)
        self._namings[name] = naming or Naming(name, name)
        self._known = None

    def _add_collection(self, name: str | None, collection: MetricCollection) -> None:
        for option in ("compute_on", "sync_every"):
            if getattr(collection, option) is not None:
                raise ValueError(
                    f"a collection inside another one must have no `{option}`, but has {getattr(collection, option)};"
                    " give it to the outer one."
                )
        outer = f"{name}_" if name is not None else ""
        for base, naming in collection._namings.items():
            self._add(
                outer + collection._affixed(base),
                collection[base],
                Naming(
                    outer + collection._affixed(naming.name),
                    naming.own,
                    outer + (collection.prefix or "") + naming.prefix,
                    naming.postfix + (collection.postfix or ""),
                ),
            )


leave_out_of_script(MetricCollection)


def _share_alike(one: Group, theirs: Sequence[Any]) -> bool:
    """Whether metrics that share their states can take in at once what others have: one alone, or where those share."""
    if len(one.metrics) == 1:
        return True
    alike = all(type(metric) is type(other) for metric, other in zip(one.metrics, theirs, strict=True))
    return alike and len({id(other._core._holder.store) for other in theirs}) == 1


def _named(metrics: Any, more: Sequence[Any]) -> Iterator[tuple[str | None, Any]]:
    if isinstance(metrics, (Mapping, nn.ModuleDict)):
        if more:
            raise TypeError("metrics given as a mapping cannot be followed by more; put them into the mapping.")
        for name, metric in metrics.items():
            yield str(name), metric
        return
    first: list[Any] = list(metrics) if isinstance(metrics, (Sequence, nn.ModuleList)) else [metrics]
    for metric in [*first, *more]:
        yield None, metric
