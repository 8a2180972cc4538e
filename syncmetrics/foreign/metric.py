"""A metric of another library as one of ours, so that it can stand in a `MetricCollection` and share its one sync."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from syncmetrics.errors import StateError
from syncmetrics.foreign.adapter import Adapter, ForeignNode, foreign_nodes
from syncmetrics.metric import Metric
from syncmetrics.metric.members import one
from syncmetrics.metric.module import StatefulModule
from syncmetrics.metric.step import step
from syncmetrics.metric.update import make_ready
from syncmetrics.states.merge import own_copy
from syncmetrics.states.samples import samples_in
from syncmetrics.states.spec import States
from syncmetrics.states.store import Mode, all_replaced
from syncmetrics.sync import Merged, Node, Part, Route
from syncmetrics.sync.fold import fold_states

__all__ = ["AdaptedMetric"]


@dataclass(slots=True, eq=False)
class _Shown:
    """Other states than those before, in the foreign metrics.

    Attributes:
        undo: What puts back what they had.
        is_told: Whether they know that these are not their own: they sync no more then.
    """

    undo: list[Callable[[], None]]
    is_told: bool


class AdaptedMetric(Metric):
    """Hold a metric of another library. Its states stay where they are; only their sync goes through the engine.

    Args:
        metric: A metric for which there is an adapter.
        adapter: The adapter.
        **kwargs: Arguments of `Metric`.
    """

    _forward_is_local = True

    def __init__(self, metric: Any, adapter: Adapter, **kwargs: Any) -> None:
        super().__init__(process_group=adapter.process_group(metric), **kwargs)
        self.inner = metric
        self._adapter = adapter
        self._shown: list[_Shown] = []
        self._holder.merges = False  # a metric around this one adds a batch by updating, not by merging states
        for name in ("higher_is_better", "plot_lower_bound", "plot_upper_bound", "plot_legend_name"):
            setattr(self, name, getattr(metric, name, None))
        self.plot_name, self.plot_kind = type(metric).__name__, adapter.plot_kind(metric)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update the metric inside."""
        self.inner.update(*args, **kwargs)

    def compute(self) -> Any:
        """Give the value of the metric inside. Collective, as every `compute`."""
        if self._holder.store.mode is not Mode.STEP or (self._shown and self._shown[-1].is_told):
            return self._adapter.compute(self.inner)
        guests = self._guests()  # what is shown is their own, so they would sync it themselves
        try:
            for guest in guests:
                part = guest.local_part()
                guest.show(Merged(part.states, part.update_count))
            return self._adapter.compute(self.inner)
        finally:
            for guest in reversed(guests):
                guest.put_back()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add one batch, and give its value as the metric inside does, which may be None.

        Collective where the value is that of all ranks, with `sync_every` of a collection: then it is ours.
        """
        if self._is_due():
            return step(one(self), args, kwargs, [""])[""]
        nodes = self._nodes()
        if any(not node.is_local for node in nodes):
            self.update(*args, **kwargs)  # which refuses it
        store = self._holder.store
        value = self._adapter.forward(self.inner, args, kwargs)
        self._forward_cache = value
        store.grow(store.states, store.update_count + 1, store.samples + samples_in(args, kwargs))
        return value

    def reset(self) -> None:
        """Reset the metric inside."""
        self.inner.reset()
        super().reset()

    def merge_state(self, incoming_state: StatefulModule | States) -> None:
        """Add what the metric inside of another one has accumulated. It does not communicate.

        Args:
            incoming_state: Another one, of a metric of the same class, which is left as it is.

        Raises:
            StateError: It is something else, one of the two is synced, or keeps more than its states.
        """
        other = incoming_state
        if not isinstance(other, AdaptedMetric) or type(other.inner) is not type(self.inner):
            name = other._label if isinstance(other, StatefulModule) else type(other).__name__
            raise StateError(f"`{self._label}` cannot merge a `{name}`; give a metric of the same class and settings.")
        make_ready(self, "merge_state", (), {})
        (mine,), (theirs,) = self._nodes(), other._nodes()
        ((names, part),), ((_, more),) = mine.held(), theirs.held()
        if list(part.specs) != list(more.specs):
            raise StateError(f"`{self._label}` has the states {list(part.specs)}, but was given {list(more.specs)}.")
        merged = fold_states(part, [part.states, own_copy(more.states)], [part.update_count, more.update_count])
        with all_replaced([mine.as_it_is()]):
            mine.take(names, merged.states, merged.update_count)

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """Names of the values of the metric inside, if it gives several and they are known."""
        return self._adapter.output_names(self.inner)

    def _update_parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.inner.update).parameters

    def _before_guests(self) -> list[tuple[str, Callable[[], list[str]]]]:
        undo = [node.adapter.before(node.metric) for node in self._guests()]

        def put_back() -> list[str]:
            for undo_one in undo:
                undo_one()
            return []

        return [(self._label, put_back)]

    def _guests(self) -> list[ForeignNode]:
        return [node for node, _ in foreign_nodes("", self.inner, self._adapter) if isinstance(node, ForeignNode)]

    def _node(self, path: str, sharing: Sequence[tuple[str, StatefulModule]]) -> Node:
        plain = super()._node(path, sharing)
        return _AdaptedNode(
            plain.path,
            plain.label,
            plain.holders,
            plain.merge,
            plain.metrics,
            guests=tuple(self._guests()),
        )


@dataclass(slots=True, eq=False)
class _AdaptedNode(Node):
    """The node of a metric whose states are those of one or several foreign metrics.

    Attributes:
        guests: What they bring.
    """

    guests: tuple[ForeignNode, ...] = ()

    @property
    def shown(self) -> list[_Shown]:
        """What they show, each time that it is something else. The metric keeps it: another node may put them back."""
        metric = self.metrics[0]()
        assert isinstance(metric, AdaptedMetric), "who syncs a metric holds it"
        return metric._shown

    def local_part(self) -> Part:
        parts = [guest.local_part() for guest in self.guests]
        update_count = self.store.local[1]
        if len(parts) == 1:
            (part,) = parts
            specs, states, merge = part.specs, part.states, part.merge
        else:
            named = [(f"{p.path}.{name}", spec, p.states[name]) for p in parts for name, spec in p.specs.items()]
            specs = {name: replace(spec, name=name) for name, spec, _ in named}
            states = {name: value for name, _, value in named}
            merge = None
        device = next((part.device for part in parts), self.store.device)
        epoch, samples = self.holders[0][1].epoch, self.store.local_samples
        return Part(self.path, specs, states, update_count, device, merge, epoch, samples=samples, heard=self._hear)

    def held(self) -> list[tuple[tuple[str, ...], Part]]:
        if self.shown:
            raise StateError(f"`{self.path or self.label}` is synced already; call unsync() first.")
        for guest in self.guests:
            guest.adapter.check_saved(guest.metric)
        return [((self.path,), self.local_part())]

    def take(self, names: Sequence[str], states: States, update_count: int) -> None:
        for guest, own in self._apart(states):
            guest.take(names, own, update_count)
        Node.take(self, names, {}, update_count)

    def as_it_is(self) -> Callable[[], None]:
        before = [Node.as_it_is(self), *(guest.as_it_is() for guest in self.guests)]

        def put_back() -> None:
            for put_back_one in before:
                put_back_one()

        return put_back

    def anew(self) -> States:
        return {f"{self._prefix(guest)}{name}": s for guest in self.guests for name, s in guest.anew().items()}

    def shown_part(self) -> Part:
        step = Node.shown_part(self)
        return replace(
            self.local_part(), update_count=self.store.update_count, epoch=step.epoch, settings=step.settings
        )

    def show_fresh(self) -> None:
        for guest in self.guests:
            if not callable(getattr(guest.metric, "reset", None)):
                raise StateError(
                    f"a {type(guest.metric).__name__} inside of `{self.label}` has no `reset`, so there is no value of"
                    " one batch; call update() and compute()."
                )
        self.shown.append(_Shown([guest.adapter.before(guest.metric) for guest in self.guests], is_told=False))
        for guest in self.guests:
            guest.metric.reset()
        self.store.show({}, 0, Mode.STEP)

    def show(self, result: Merged, route: Route | None = None, mode: Mode = Mode.SYNCED) -> None:
        self._show_guests(result.states, result.update_count)
        self.store.show({}, result.update_count, mode)

    def show_copy(self) -> None:
        part = self.local_part()
        self._show_guests(own_copy(part.states), part.update_count)
        self.store.show({}, part.update_count, Mode.COPY)

    def put_back(self) -> None:
        if self.shown:
            for undo in reversed(self.shown.pop().undo):
                undo()
        self.store.put_back()

    def _show_guests(self, states: States, update_count: int) -> None:
        level: list[Callable[[], None]] = []
        self.shown.append(_Shown(level, is_told=True))
        for guest, own in self._apart(states):
            level.append(guest.put_back)
            guest.show(Merged(own, update_count))

    def _apart(self, states: States) -> Iterator[tuple[ForeignNode, States]]:
        """Give each of the foreign metrics with the states that are its own."""
        for guest in self.guests:
            prefix = self._prefix(guest)
            yield guest, {name: states[prefix + name] for name in guest.adapter.reductions(guest.metric)}

    def _prefix(self, guest: ForeignNode) -> str:
        return f"{guest.path}." if len(self.guests) > 1 else ""
