"""A node: what takes part in a sync as one. It brings a part, shows a result, and puts back what it had.

Most nodes are one metric, or several that share their states. Others are metrics of other libraries.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeAlias, TypeVar

from syncmetrics.errors import StateError
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.epoch import NEW, after_sync, after_try, of_several
from syncmetrics.states.merge import grow, merge_delta, merge_over_time, own_copy
from syncmetrics.states.spec import States, StateSpec, check_value
from syncmetrics.states.store import Appended, Holder, Mode, Store
from syncmetrics.sync.fold import Merged
from syncmetrics.sync.manifest import STEP, Part, Settings
from syncmetrics.sync.route import Route
from syncmetrics.sync.tally import Heard, Tally

__all__ = ["Node", "Syncable", "Together", "absorb", "by_route"]

_Thing = TypeVar("_Thing")

#: Nodes, and the route that they are synced over.
Together: TypeAlias = "Sequence[tuple[Sequence[Syncable], Route]]"


class Syncable(Protocol):
    """A node of any kind: a metric of ours, or one that an adapter handles."""

    @property
    def path(self) -> str:
        """Name of the metric inside what is synced together."""
        ...

    def local_part(self) -> Part:
        """Give what this process brings to a sync."""
        ...

    def opening_part(self, route: Route) -> Part:
        """Give what this process brings to a sync whose result every rank shows at once."""
        ...

    def show(self, result: Merged, route: Route | None = None) -> None:
        """Show the states of all ranks. `route` is that of the sync which `opening_part` has opened."""
        ...

    def put_back(self) -> None:
        """Show the local states again, if others are shown."""
        ...

    def leave_epoch(self) -> None:
        """Remember that the states were exchanged."""
        ...

    def note_try(self, tag: int) -> None:
        """Remember that a sync of the states has begun, and which."""
        ...

    def held(self) -> list[tuple[tuple[str, ...], Part]]:
        """Give what is saved: of each metric, or of those that share their states, the names and what they have."""
        ...

    def take(self, names: Sequence[str], states: States, update_count: int) -> None:
        """Put states in place of those of these metrics, for good."""
        ...

    def anew(self) -> States:
        """Give new states as after a reset, for `take`."""
        ...

    def as_it_is(self) -> Callable[[], None]:
        """Remember what there is, and give what puts it back after `take`."""
        ...


class HasSettings(Protocol):
    """A metric, as far as it says what changes its value besides its states."""

    def _said(self) -> tuple[tuple[str, str], ...]:
        """Give names and values of settings."""
        ...

    @property
    def _settings_changed(self) -> int:
        """How often a setting of any metric was changed: `_said` gives the same as long as this is the same."""
        ...

    def _stepped(self) -> tuple[int, int | None]:
        """Give the number of synced steps since the last reset, and `sync_every`."""
        ...

    def _note_step(self) -> None:
        """Count a synced step."""
        ...

    def _hear(self, tally: Tally, index: int) -> None:
        """Keep what all ranks brought to the last sync, and which of its metrics this one was."""
        ...

    @property
    def _heard(self) -> tuple[Tally, int] | None:
        """What was kept."""
        ...


@dataclass(slots=True, eq=False)
class Node:
    """One metric in whatever is synced together, or several that may share their states.

    Attributes:
        path: Name of the metric; of several, the first name in alphabetical order.
        label: What to call it in an error.
        holders: What the metrics have, by name, in alphabetical order.
        merge: Their own `merge_states`, if they have one.
        metrics: The metrics themselves, in the same order; held weakly, as they keep their nodes.
        bond: What the store of all of them said, when it was found to be theirs alone.
    """

    path: str
    label: str
    holders: tuple[tuple[str, Holder], ...]
    merge: Callable[[States, States], States] | None = None
    metrics: tuple[weakref.ref[HasSettings], ...] = ()
    bond: object = None
    _names: tuple[str, ...] | None = field(default=None, init=False)
    _said: tuple[int, Settings] | None = field(default=None, init=False)

    @property
    def specs(self) -> Mapping[str, StateSpec]:
        """What is declared."""
        return self.holders[0][1].specs

    @property
    def store(self) -> Store:
        """Where the states live; of the first metric, if they have gone apart."""
        return self.holders[0][1].store

    @property
    def is_whole(self) -> bool:
        """Whether they have one store between them, which nobody else has."""
        store = self.holders[0][1].store
        if len(self.holders) == 1:
            return store.holders == 1
        if store.bond is None or store.bond is not self.bond:
            holders = {id(holder): holder for _, holder in self.holders}.values()
            if store.holders != len(holders) or any(holder.store is not store for holder in holders):
                return False
            self.bond = store.bond = store.bond or object()
        return True

    @property
    def owners(self) -> list[Holder]:
        """One of the metrics for each store that they have between them: one, unless they have gone apart."""
        if len(self.holders) == 1 or self.is_whole:
            return [self.holders[0][1]]
        return list({id(holder.store): holder for _, holder in reversed(self.holders)}.values())[::-1]

    @property
    def stores(self) -> list[Store]:
        """The stores that they have between them."""
        return [holder.store for holder in self.owners]

    @property
    def apart(self) -> list[Node]:
        """A node for each of these stores."""
        if len(self.holders) == 1 or self.is_whole:
            return [self]
        found: dict[int, list[tuple[str, Holder]]] = {}
        for name, holder in self.holders:
            found.setdefault(id(holder.store), []).append((name, holder))
        return [replace(self, path=some[0][0], holders=tuple(some)) for some in found.values()]

    @property
    def can_merge(self) -> bool:
        """Whether the states of a batch can be merged into the running ones."""
        return self.merge is not None or self.holders[0][1].merges

    @property
    def update_count(self) -> int:
        """The number of updates in what is shown."""
        if len(self.holders) == 1 or self.is_whole:
            return self.holders[0][1].store.update_count
        return max(holder.store.update_count for _, holder in self.holders)

    @property
    def is_local(self) -> bool:
        """Whether the local states are shown."""
        if len(self.holders) == 1 or self.is_whole:
            return self.holders[0][1].store.mode is Mode.LOCAL
        return all(holder.store.mode is Mode.LOCAL for _, holder in self.holders)

    @property
    def versions(self) -> tuple[tuple[int, int], ...]:
        """What changes whenever the local states do."""
        return tuple((id(holder.store), holder.store.version) for _, holder in self.holders)

    # -- in a sync

    def local_part(self) -> Part:
        """Give what this process brings to a sync.

        Raises:
            StateError: A tensor was edited in place after it had been appended to a list state.
        """
        return self._part(self._local_part_of, of_several([holder.epoch for _, holder in self.holders]))

    def opening_part(self, route: Route) -> Part:
        """Give what this process brings to a sync over `route` whose result all its ranks show at once."""
        return self.local_part()

    def shown_part(self) -> Part:
        """Give what is shown: in a step, what the batch brought."""
        steps = [metric._stepped() for ref in self.metrics if (metric := ref()) is not None]
        done, every = steps[0] if steps else (0, None)
        said = (STEP, str(done) if every is None else f"{done}, every {every} steps")
        return self._part(self._shown_part_of, True, (said,))

    def note_step(self) -> None:
        """Count a step whose states were exchanged."""
        for ref in self.metrics:
            metric = ref()
            if metric is not None:
                metric._note_step()

    def _settings(self, more: tuple[tuple[str, str], ...]) -> Settings:
        first = self.metrics[0]() if self.metrics else None
        if first is None or more:
            return self._settings_now(more)
        if self._said is None or self._said[0] != first._settings_changed:
            self._said = first._settings_changed, self._settings_now(())
        return self._said[1]

    def _settings_now(self, more: tuple[tuple[str, str], ...]) -> Settings:
        found = []
        for (name, _), ref in zip(self.holders, self.metrics, strict=False):
            metric = ref()
            said = () if metric is None else metric._said()
            if said or more:
                found.append((name, said + more if more else said))
        return tuple(found)

    def _part(
        self, part_of: Callable[[str, Holder, Settings], Part], epoch: int, more: tuple[tuple[str, str], ...] = ()
    ) -> Part:
        _, first = self.holders[0]
        settings = self._settings(more)
        part = part_of(self.path, first, settings)
        if len(self.holders) == 1:
            return part
        if self._names is None:
            self._names = tuple(name for name, _ in self.holders)
        blocks: tuple[int, ...] = ()
        if not self.is_whole and any(holder.store is not first.store for _, holder in self.holders):
            stores = [id(holder.store) for _, holder in self.holders]
            blocks = tuple(stores.index(store) for store in stores)
        return Part(
            self.path,
            part.specs,
            part.states,
            part.update_count,
            part.device,
            part.merge,
            epoch,
            self._names,
            # Whoever asks for these has compared the settings.
            lambda: [
                replace(part_of(name, holder, ()), heard=self._hear_of(place))
                for place, (name, holder) in enumerate(self.holders)
            ],
            blocks,
            settings,
            part.samples,
            self._hear,
        )

    def _local_part_of(self, path: str, holder: Holder, settings: Settings) -> Part:
        store = holder.store
        if store.appended or store.aside:
            store.check_appended(self.label)
        return self._part_of(path, holder, settings, store.local, store.local_samples, holder.epoch)

    def _shown_part_of(self, path: str, holder: Holder, settings: Settings) -> Part:
        store = holder.store
        return self._part_of(path, holder, settings, (store.states, store.update_count), store.samples, NEW)

    def _part_of(
        self, path: str, holder: Holder, settings: Settings, brought: tuple[States, int], samples: int, epoch: int
    ) -> Part:
        states, update_count = brought
        return Part(
            path,
            holder.specs,
            states,
            update_count,
            holder.store.device,
            self.merge,
            epoch,
            settings=settings,
            samples=samples,
            heard=self._hear if len(self.holders) == 1 else None,  # of several, whoever asks says who hears
        )

    def _hear_of(self, place: int) -> Heard:
        """Give what tells one of several metrics what all ranks brought."""
        return replace(self, holders=self.holders[place : place + 1], metrics=self.metrics[place : place + 1])._hear

    def _hear(self, tally: Tally, index: int) -> None:
        for ref in self.metrics:
            metric = ref()
            if metric is not None:
                metric._hear(tally, index)

    def show(self, result: Merged, route: Route | None = None, mode: Mode = Mode.SYNCED) -> None:
        """Show the states of all ranks."""
        for node, merged in self.take_apart(result):
            node.store.show(merged.states, merged.update_count, mode)

    def take_apart(self, result: Merged) -> list[tuple[Node, Merged]]:
        """Give a node for each block of a result; metrics of different blocks share their states no more."""
        if not result.blocks:
            return [(self, result)]
        found: list[tuple[Node, Merged]] = []
        seen: set[int] = set()
        by_name = dict(self.holders)
        for names, merged in result.blocks:
            holders = tuple((name, by_name[name]) for name in names)
            store = holders[0][1].store
            if id(store) in seen:
                own = store.fork(len(holders))
                for _, holder in holders:
                    holder.store = own
            seen.add(id(holders[0][1].store))
            found.append((replace(self, path=names[0], holders=holders), merged))
        return found

    def show_copy(self) -> None:
        """Show copies of the local states."""
        for holder in self.owners:
            store = holder.store
            if store.appended or store.aside:
                store.check_appended(self.label)
            states, update_count = store.local
            store.show(own_copy(states), update_count, Mode.COPY)

    def show_fresh(self) -> None:
        """Show states as after a reset, for one batch. As `Holder.fresh_states`."""
        for holder in self.owners:
            holder.store.show(holder.fresh_states(), 0, Mode.STEP)

    def put_back(self) -> None:
        """Show again what was put aside last."""
        for holder in self.owners:
            holder.store.put_back()

    def leave_epoch(self) -> None:
        """Remember that the states were exchanged."""
        self._turn(after_sync)

    def note_try(self, tag: int) -> None:
        """Remember that a sync of the states has begun, and which."""
        self._turn(partial(after_try, tag=tag))

    def _turn(self, next_of: Callable[[int], int]) -> None:
        """Give each metric its next epoch. Mostly all are in the same one."""
        before = after = -1
        for _, holder in self.holders:
            if holder.epoch != before:
                before = holder.epoch
                after = next_of(before)
            holder.epoch = after

    def held(self) -> list[tuple[tuple[str, ...], Part]]:
        """Give what is saved: of each metric, or of those that share their states, the names and what they have."""
        sharing: dict[int, list[tuple[str, Holder]]] = {}
        for name, holder in self.holders:
            sharing.setdefault(id(holder.store), []).append((name, holder))
        return [
            (tuple(name for name, _ in some), self._local_part_of(some[0][0], some[0][1], ()))
            for some in sharing.values()
        ]

    def take(self, names: Sequence[str], states: States, update_count: int) -> None:
        """Put states in place of those of these metrics, for good."""
        holders = [holder for name, holder in self.holders if name in names]
        store = holders[0].store
        if store.holders == len(holders) and all(holder.store is store for holder in holders):
            store.replace(states, update_count)
        else:
            for holder in holders:
                holder.leave()
                holder.store.replace(own_copy(states), update_count)
        for holder in holders:
            holder.epoch = NEW

    def anew(self) -> States:
        """Give new states as after a reset, for `take`."""
        with no_graph():
            return self.holders[0][1].fresh_states()

    def as_it_is(self) -> Callable[[], None]:
        """Remember what there is, and give what puts it back after `take`."""
        before = [holder.as_it_is() for _, holder in self.holders]

        def put_back() -> None:
            for one in before:
                one()

        return put_back

    def merged_with(self, delta: Merged) -> States:
        """Give what a merge makes of the local states, which stay as they are."""
        states = _merge(self, self.holders[0][1], delta)
        if self.merge is not None:
            return states
        running = self.store.states
        lists = {name: [*rows, *delta.states[name]] for name, rows in running.items() if isinstance(rows, list)}
        return {name: states.get(name, lists.get(name, running[name])) for name in running}


def by_route(pairs: Iterable[tuple[Route, _Thing]]) -> list[tuple[list[_Thing], Route]]:
    """Put together what goes over one transport with one timeout, in the order given."""
    routes: list[tuple[list[_Thing], Route]] = []
    for route, thing in pairs:
        for things, other in routes:
            if other.transport is route.transport and other.timeout == route.timeout:
                things.append(thing)
                break
        else:
            routes.append(([thing], route))
    return routes


def absorb(arrived: Iterable[tuple[Node, Holder, Merged, Mapping[str, Appended]]]) -> None:
    """Merge what came later into local states, at a cost that does not grow with them: of all metrics, or of none.

    It is to be called where no graph is recorded, and in no inference mode.

    Args:
        arrived: What came: for which node and which of its owners; and what is known of the elements of its lists.

    Raises:
        StateError: Something does not fit; nothing is changed.
    """
    merged = [(node, holder, delta, _merge(node, holder, delta), new) for node, holder, delta, new in arrived]
    before = [
        (holder, holder.store.states, holder.store.update_count, holder.lengths(), holder.store.samples)
        for _, holder, *_ in merged
    ]
    try:
        _take_over(merged)
    except BaseException:  # an interrupt: no metric has half of a batch, nor one of them what another has not
        for holder, states, update_count, lengths, samples in before:
            holder.undo(holder.store, states, update_count, lengths, samples)
        raise


def _take_over(merged: Iterable[tuple[Node, Holder, Merged, States, Mapping[str, Appended]]]) -> None:
    """Put what was merged in place."""
    for node, holder, delta, states, appended in merged:
        if delta.update_count == 0:
            continue
        store = holder.store
        if not holder.lists:
            store.grow(states, store.update_count + delta.update_count, store.samples + delta.samples)
            continue
        if node.merge is None:
            states = grow(node.specs, store.states, delta.states, states)
        store.grow(states, store.update_count + delta.update_count, store.samples + delta.samples)
        store.take_appended(holder.lists, appended, node.label)


def _merge(node: Node, holder: Holder, delta: Merged) -> States:
    store = holder.store
    running, count = store.states, store.update_count
    try:
        if delta.update_count == 0:
            return running
        if node.merge is None:
            merge = merge_delta if holder.lists else merge_over_time
            return merge(holder.specs, running, delta.states, (count, delta.update_count))
        states = node.merge(running, delta.states) if count > 0 else delta.states
    except StateError as error:
        raise StateError(f"`{node.label}`: {error}") from None
    if states.keys() != holder.specs.keys():
        raise StateError(
            f"`{node.label}`: `merge_states` gave the states {sorted(states)}, but must give {sorted(holder.specs)}."
        )
    for name, value in states.items():
        try:
            check_value(value)
        except TypeError as error:
            raise StateError(f"`{node.label}`: state `{name}`, from `merge_states`, {error}") from None
    return states
