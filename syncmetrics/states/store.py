"""Where states live: a store, which several metrics that accumulate the same may hold, and what each of them has.

`States` is a dict from name to value. It is replaced in one assignment and never edited while anything shares it.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.epoch import NEW, after_reset
from syncmetrics.states.merge import own_copy
from syncmetrics.states.numbers import tensor_of
from syncmetrics.states.plain import copy_plain
from syncmetrics.states.rows import RowBuffer, rows_like
from syncmetrics.states.samples import UNKNOWN
from syncmetrics.states.spec import (
    State,
    States,
    StateSpec,
    check_value,
    defaults_on,
    fresh_copies,
    fresh_states,
    moved,
    own_tensor,
)

__all__ = ["COPIED_NUMEL", "Holder", "Mode", "Store", "all_replaced"]

#: Up to so many elements a tensor on the CPU is copied before an update, so that an edit in place can be undone: the
#: copy costs less than half of the addition that follows.
COPIED_NUMEL = 4096

#: Up to so many elements a list is copied before an update; of a longer one, only what is appended can be undone.
COPIED_ELEMENTS = 64

_STRIDED = torch.strided
_use_count = torch._C._storage_Use_Count
_ONE: int = _use_count(torch.empty(1, device="cpu").untyped_storage()._cdata)


@dataclass(slots=True, eq=False)
class Appended:
    """What `update` has appended to one list.

    Attributes:
        rows: The list.
        first: Id of its first element.
        last: Id of the one that was appended last.
        versions: How often each tensor had been edited by then; of plain data, 0.
    """

    rows: list[Any]
    first: int
    last: int
    versions: list[int]

    @property
    def stand(self) -> bool:
        """Whether they stand where they stood; if not, the user has edited the list, and nothing is known of it."""
        count, rows = len(self.versions), self.rows
        if not count:
            return True
        return len(rows) >= count and id(rows[0]) == self.first and id(rows[count - 1]) == self.last

    def note(self) -> None:
        """Take in what was appended since, and take the graphs off it.

        Raises:
            TypeError: Something in the list cannot be a state. The text begins with the verb.
        """
        rows, versions = self.rows, self.versions
        if versions and not self.stand:
            versions.clear()
        start, stop = len(versions), len(rows)
        if start == stop:
            return
        if not isinstance(rows[0], Tensor):
            check_value(rows, start)
            rows[start:] = copy_plain(rows[start:])  # whoever gave it may edit it
            versions.extend(repeat(0, stop - start))
        else:
            for index in range(start, stop):
                item = rows[index]
                if type(item) is not Tensor or item.layout is not _STRIDED or item.requires_grad:
                    check_value(rows[: index + 1], index)
                    item = rows[index] = own_tensor(item)
                try:
                    versions.append(item._version)
                except RuntimeError:  # it was made in inference mode
                    item = rows[index] = own_tensor(item)
                    versions.append(item._version)
        if not start:
            self.first = id(rows[0])
        self.last = id(rows[-1])

    def edited(self) -> int | None:
        """Give the index of one that was edited in place since, if any was."""
        rows = self.rows
        if not rows or not isinstance(rows[0], Tensor) or not self.stand:
            return None
        return next((i for i, version in enumerate(self.versions) if rows[i]._version != version), None)


class Mode(enum.Enum):
    """Whose states a store shows at the moment."""

    LOCAL = "local"  #: what this process accumulated
    SYNCED = "synced"  #: what all ranks accumulated
    COPY = "copy"  #: a copy of what this process accumulated, to compute on
    STEP = "step"  #: what one batch brought, inside forward


@dataclass(slots=True, eq=False)
class Aside:
    """What a store had when it began to show something else.

    Attributes:
        states: Its states.
        update_count: Number of updates in them.
        mode: Whose states they are.
        appended: As in the store.
        is_ready: As in the store.
        samples: Number of samples in them.
    """

    states: States
    update_count: int
    mode: Mode
    appended: dict[str, Appended]
    is_ready: bool = False
    samples: int = UNKNOWN

    def __reduce__(self) -> tuple[Any, ...]:
        return Aside, (_in_own_memory(self.states), self.update_count, self.mode, {}, False, self.samples)


@dataclass(slots=True, eq=False)
class Store:
    """The one place where the states of a metric live.

    Attributes:
        states: What the metric shows at the moment.
        update_count: Number of updates in `states`.
        mode: Whose states these are.
        aside: What is put aside while these are shown: the local states at the bottom, steps within steps above.
        holders: Number of metrics that hold this store.
        bond: Stands for who holds it: another one whenever that changes; None until somebody asks.
        key: What these have in common, if they are several.
        version: Counts changes, so that a value computed from the states knows when it is out of date.
        device: Where the states lie.
        shown: Counts how often other states were shown: what is shown twice need not be the same.
        samples: Number of samples in `states`, as `states.samples` counts; in what other ranks have brought, unknown.
        derived: What metrics that share the store have made of its states: of which, at which version, and what.
        appended: What `update` has appended to each list.
        on_cpu: Whether the states lie on the CPU.
        before_update: What has to be done once, before the next batch is added.
        lent: What an update under way will put back if it fails: these states are copied before one of them is set.
        is_ready: Whether an update needs no preparation: the states are local, are no one else's, and have seen one.
    """

    states: States = field(default_factory=dict)
    update_count: int = 0
    mode: Mode = Mode.LOCAL
    aside: list[Aside] = field(default_factory=list)
    holders: int = 1
    version: int = 0
    device: torch.device = field(default_factory=lambda: torch.empty(0).device)
    shown: int = 0
    samples: int = 0
    derived: tuple[States, int, dict[Hashable, Any]] | None = None
    appended: dict[str, Appended] = field(default_factory=dict)
    key: Hashable = None
    bond: object = None
    before_update: Callable[[], None] | None = None
    lent: States | None = None
    is_ready: bool = False
    on_cpu: bool = field(init=False)

    def __post_init__(self) -> None:
        self.on_cpu = self.device.type == "cpu"

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out what holds for these very objects: what was appended, and in common with whom."""
        own = (
            _in_own_memory(self.states),
            self.update_count,
            self.mode,
            self.aside,
            self.holders,
            self.version,
            self.device,
        )
        return Store, (*own, self.shown, self.samples)

    def show(self, states: States, update_count: int, mode: Mode) -> None:
        """Show other states, and put the present ones aside."""
        self.aside.append(Aside(self.states, self.update_count, self.mode, self.appended, self.is_ready, self.samples))
        self.states, self.update_count, self.mode, self.appended = states, update_count, mode, {}
        self.samples = UNKNOWN if update_count else 0
        self.is_ready = False
        self.shown += 1
        self.derived = None

    def put_back(self) -> None:
        """Show again what was put aside last. It does nothing if nothing was, as after a reset."""
        if self.aside:
            top = self.aside[-1]
            self.states, self.update_count, self.mode = top.states, top.update_count, top.mode
            self.appended, self.is_ready, self.samples = top.appended, top.is_ready, top.samples
            del self.aside[-1]  # no call: no interrupt comes between this and what is above
        self.derived = None

    def derive(self, key: Hashable, function: Callable[..., Any], *args: Any) -> Any:
        """Give what a function makes of the states that are shown: computed once for all metrics that share them."""
        derived = self.derived
        if derived is None or derived[0] is not self.states or derived[1] != self.version:
            derived = self.derived = (self.states, self.version, {})
        made = derived[2]
        if key not in made:
            made[key] = function(*args)
        return made[key]

    def grow(self, states: States, update_count: int, samples: int) -> None:
        """Take over states that what is shown was merged into."""
        self.states, self.update_count, self.samples = states, update_count, samples
        self.version += 1

    def replace(self, states: States, update_count: int, samples: int = UNKNOWN) -> None:
        """Give the store new local states, whatever it shows."""
        self.aside.clear()
        self.appended = {}
        self.mode = Mode.LOCAL
        self.is_ready = False
        self.grow(states, update_count, samples if update_count else 0)

    @property
    def local(self) -> tuple[States, int]:
        """The local states and their number of updates, whatever is shown."""
        if not self.aside:
            return self.states, self.update_count
        return self.aside[0].states, self.aside[0].update_count

    @property
    def local_samples(self) -> int:
        """The number of samples in the local states, whatever is shown."""
        return self.aside[0].samples if self.aside else self.samples

    def copy(self, holders: int = 1) -> Store:
        """Give an independent store with the same content, for so many metrics."""
        states, appended = _copied(self.states, self.appended)
        aside = []
        for below in self.aside:
            copies, known = _copied(below.states, below.appended)
            aside.append(Aside(copies, below.update_count, below.mode, known, samples=below.samples))
        return Store(
            states,
            self.update_count,
            self.mode,
            aside,
            holders,
            self.version,
            self.device,
            self.shown,  # a value computed from what was shown is not taken for one of what will be
            self.samples,
            appended=appended,
        )

    def fork(self, holders: int = 1) -> Store:
        """Give a copy to some of the metrics that hold this store."""
        self.let_go(holders)
        return self.copy(holders)

    def let_go(self, holders: int = 1) -> None:
        """Note that so many metrics hold this store no more."""
        self.holders -= holders
        self.bond = None

    def move(self, specs: dict[str, StateSpec], device: torch.device) -> None:
        """Bring all states to another device. What comes from the meta device had no values, and gets its defaults."""
        if self.device.type == "meta":
            self.replace(fresh_states(specs, device), 0)
        else:
            self.states = moved(self.states, device)
            self.aside = [
                Aside(moved(a.states, device), a.update_count, a.mode, {}, samples=a.samples) for a in self.aside
            ]
            self.appended = {}
        self.device, self.on_cpu = device, device.type == "cpu"

    # -- what update did to the lists

    def note_appended(self, names: Iterable[str], label: str) -> None:
        """Check what an update put into the lists, take the graphs off, and remember how often each was edited.

        Raises:
            TypeError: Something in a list cannot be a state.
        """
        for name in names:
            rows = self.states[name]
            known = self.appended.get(name)
            if known is None or known.rows is not rows:
                if not isinstance(rows, list) or isinstance(rows, RowBuffer):  # a buffer checks what it is given
                    continue
                known = self.appended[name] = Appended(rows, 0, 0, [])
            try:
                known.note()
            except TypeError as error:
                raise TypeError(f"`{label}`: state `{name}` {error}") from None

    def take_appended(self, names: Iterable[str], appended: Mapping[str, Appended], label: str) -> None:
        """Remember what was appended to other lists, whose elements are the last ones of these lists now.

        Raises:
            TypeError: As from `note_appended`.
        """
        for name in names:
            rows, known, new = self.states[name], self.appended.get(name), appended.get(name)
            if known is not None and new is not None and known.rows is rows:  # noqa: SIM102 - it would be too long
                if len(known.versions) + len(new.versions) == len(rows):
                    known.versions += new.versions
                    known.last = new.last
                    continue
            self.note_appended((name,), label)

    def check_appended(self, label: str) -> None:
        """Check that no tensor was edited in place since `update` appended it.

        Raises:
            StateError: One was: the state is not what was accumulated any more.
        """
        states, appended = (
            (self.aside[0].states, self.aside[0].appended) if self.aside else (self.states, self.appended)
        )
        for name, known in appended.items():
            index = known.edited() if states.get(name) is known.rows else None
            if index is not None:
                raise StateError(
                    f"`{label}`: element {index} of state `{name}` was edited in place after `update` had appended it,"
                    " so the state is not what was accumulated any more; append a copy,"
                    f" `self.{name}.append(x.clone())`, and call reset()."
                )

    def keep_own(self, before: States) -> None:
        """Copy tensors that an update has put in place of others, where somebody else has them or their memory too."""
        states = self.states
        for name in states:
            if states[name] is before.get(name) or not isinstance(states[name], Tensor):
                continue
            if _references(states, name) > _ALONE or _shares_memory(states[name]):
                value = states[name]
                with no_graph():
                    states = states | {name: value.clone() if isinstance(value, Tensor) else value}
        if states is not self.states:
            self.states = states
            self.version += 1

    def set(self, name: str, value: State) -> None:
        """Put a value in place of a state that is shown."""
        if self.states is self.lent:
            self.states = self.states.copy()
        self.states[name] = value
        self.version += 1


@contextmanager
def all_replaced(put_backs: Iterable[Callable[[], None]]) -> Iterator[None]:
    """Replace the states of several metrics in a `with` block, or of none: what is raised there puts all back.

    Args:
        put_backs: What `as_it_is` gives for each of them.
    """
    before = list(put_backs)
    try:
        yield
    except BaseException:  # an interrupt, too
        for put_back in before:
            put_back()
        raise


def _cast(item: Any, dtype: torch.dtype) -> Any:
    return item.to(dtype) if isinstance(item, Tensor) and item.is_floating_point() else item


def _copied(states: States, appended: Mapping[str, Appended]) -> tuple[States, dict[str, Appended]]:
    """Copy states, and what is known of the elements of their lists, which the copies share."""
    copies, known = own_copy(states), {}
    for name, one in appended.items():
        copied = copies.get(name)
        if one.rows is states.get(name) and isinstance(copied, list):
            known[name] = Appended(copied, one.first, one.last, one.versions.copy())
    return copies, known


def _in_own_memory(states: States) -> States:
    """Copy tensors that are a part of something larger, all of which would be saved with them."""
    with no_graph():
        return {
            name: _cut(value)
            if isinstance(value, Tensor)
            else rows_like(value, map(_cut, value))
            if type(value) is list
            else value
            for name, value in states.items()
        }


def _cut(item: Any) -> Any:
    if isinstance(item, Tensor) and item.layout is _STRIDED and item.untyped_storage().nbytes() > item.nbytes:
        return item.clone(memory_format=torch.contiguous_format)
    return item


def _references(states: Mapping[str, Any], name: str) -> int:
    """Count who refers to a state. What Python counts for a call like this depends on its version: see `_ALONE`."""
    return sys.getrefcount(states[name])


#: What it is for a state that nobody else refers to.
_ALONE = _references({"": torch.empty(0, device="cpu")}, "")


def _shares_memory(value: Any) -> bool:
    try:
        return int(_use_count(value.untyped_storage()._cdata)) > _ONE
    except (RuntimeError, NotImplementedError):  # a tensor without a storage of its own
        return False


@dataclass(slots=True, eq=False)
class Holder:
    """What one metric has: its declarations, and its hold on the store that its states live in.

    Attributes:
        specs: What `add_state` declared.
        store: Where the states live. Metrics that accumulate the same hold the same one.
        epoch: Which epoch the states belong to, as `states.epoch` counts.
        lists: Names of the list states.
        atomic: Whether tensors are copied before an update; None for those where it is cheap.
        rebinds: Whether `update` is known to edit none, and to bind none that is another's: nothing need be copied.
        is_trusted: Whether no update has anything to undo but what it binds anew.
        numbers: Whether every state was declared as one number, which may be edited and is to be copied.
        edited_by_compute: Whether `compute` edits the tensors that it sees; None if it is not known yet.
        merges: Whether every state can be merged with what came later, by its reduction.
        defaults: The defaults on the device of the store, and that device.
    """

    specs: dict[str, StateSpec] = field(default_factory=dict)
    store: Store = field(default_factory=Store)
    epoch: int = NEW
    lists: tuple[str, ...] = ()
    atomic: bool | None = None
    rebinds: bool = False
    is_trusted: bool = False
    numbers: bool = False
    edited_by_compute: bool | None = None
    merges: bool = True
    defaults: tuple[torch.device | None, States] = field(default=(None, {}), init=False)

    def declare(self, spec: StateSpec) -> None:
        """Add a state, or declare one anew."""
        self.specs[spec.name] = spec
        self.lists = tuple(name for name, known in self.specs.items() if known.is_list)
        self.is_trusted = self.rebinds and self.atomic is None and not self.lists
        copied = not self.rebinds if self.atomic is None else self.atomic
        self.numbers = copied and all(
            isinstance(s.default, Tensor) and s.default.numel() == 1 for s in self.specs.values()
        )
        self.merges = all(known.is_list or known.reduction.over_time is not None for known in self.specs.values())
        self.defaults = (None, {})
        self.store.states = {**self.store.states, **fresh_states({spec.name: spec}, self.store.device)}
        self.store.version += 1

    def fresh_states(self) -> States:
        """Give new states as after `reset`. It is to be called where no graph is recorded, and in no inference mode.

        The defaults are kept on the device, so that nothing waits for it.
        """
        device, defaults = self.defaults
        if device is not self.store.device:
            device, defaults = self.defaults = self.store.device, defaults_on(self.specs, self.store.device)
        return fresh_copies(defaults)

    def copy(self) -> Holder:
        """Give an independent holder of the same content, for a copy of the metric."""
        return replace(self, specs=dict(self.specs), store=self.store.copy())

    def cast(self, dtype: torch.dtype) -> None:
        """Keep floating point states in another dtype from now on; a sum or mean in at least float32."""
        with no_graph():
            for name, spec in self.specs.items():
                if isinstance(spec.default, Tensor) and spec.default.is_floating_point():
                    default = own_tensor(spec.default.to(dtype), spec)
                    offset = None if spec.offset is None else default
                    self.specs[name] = replace(spec, default=default, offset=offset)
            self.defaults = (None, {})
            states = {
                name: own_tensor(value.to(dtype), self.specs[name])
                if isinstance(value, Tensor) and value.is_floating_point()
                else rows_like(value, [_cast(item, dtype) for item in value])
                if isinstance(value, list)
                else value
                for name, value in self.store.local[0].items()
            }
        self.store.replace(states, self.store.local[1], self.store.local_samples)

    # -- what an update may have to undo

    def marks(self) -> list[Any]:
        """Give what `undo` needs to put back what is shown, state by state, in the order of the states.

        For a list, a copy or its length. For a tensor, what is in it, where it is copied; else how often it was edited,
        in a tuple. This is on the way of every update, so it asks as little as it can.
        """
        store = self.store
        if self.is_trusted:
            return []
        trusted = self.rebinds and self.atomic is None
        marks: list[Any] = []
        keep = marks.append
        on_cpu = store.on_cpu
        most = -1 if trusted else COPIED_NUMEL if on_cpu and self.atomic is None else sys.maxsize if self.atomic else 0
        for value in store.states.values():
            if isinstance(value, list):
                keep(len(value) if len(value) > COPIED_ELEMENTS and type(value) is list else value[:])
            elif most < 0:
                keep(None)
            elif (count := value.numel()) == 1 and on_cpu and most:
                keep(value.item())
            elif count <= most:
                keep(value.clone())
            else:
                keep(None if value.is_inference() else (value._version,))
        return marks

    def lengths(self) -> list[Any]:
        """Give what `undo` needs where lists have grown, and tensors were bound anew."""
        if not self.lists:
            return []
        # Rows of a buffer go into its last element.
        states = self.store.states.values()
        return [None if isinstance(v, Tensor) else len(v) if type(v) is list else v[:] for v in states]

    def before(self) -> Callable[[], list[str]]:
        """Remember what is shown, and give what puts it back, as `undo` does."""
        store = self.store
        return partial(self.undo, store, store.states, store.update_count, self.marks(), store.samples)

    @staticmethod
    def undo(store: Store, states: States, update_count: int, marks: Sequence[Any], samples: int) -> list[str]:
        """Put back what was shown.

        Args:
            store: Where.
            states: What it was.
            update_count: The number of updates in it.
            marks: What `marks` gave for it.
            samples: The number of samples in it.

        Returns:
            Names of the states that cannot be put back: what is in them has changed, and was not copied.
        """
        found, lost = dict(states), []
        for (name, value), mark in zip(states.items(), marks, strict=False):
            if isinstance(value, list):
                if isinstance(mark, list):
                    value[:] = mark
                else:
                    known = store.appended.get(name)
                    if len(value) < mark or (known is not None and known.rows is value and not known.stand):
                        lost.append(name)
                    del value[mark:]
            elif isinstance(mark, tuple):
                if value._version != mark[0]:
                    lost.append(name)
            elif mark is not None:
                found[name] = mark if isinstance(mark, Tensor) else tensor_of(mark, value.dtype, value.shape)
        store.states, store.update_count, store.samples = found, update_count, samples
        return lost

    def as_it_is(self) -> Callable[[], None]:
        """Remember the store and what it shows, and give what puts that back where other states took its place."""
        store, epoch, aside = self.store, self.epoch, self.store.aside[:]
        shown = store.states, store.update_count, store.samples, store.mode, store.appended, store.is_ready
        held = store.holders, store.key, store.bond

        def put_back() -> None:
            self.store, self.epoch, store.aside = store, epoch, aside
            store.states, store.update_count, store.samples, store.mode, store.appended, store.is_ready = shown
            store.holders, store.key, store.bond = held

        return put_back

    def leave(self) -> None:
        """Take a store of its own, with the same content, if others hold this one too."""
        if self.store.holders > 1:
            self.store = self.store.fork()

    def reset(self) -> None:
        """Give every state its default, in a store of its own."""
        with no_graph():
            states, store = self.fresh_states(), self.store
        epoch = after_reset(self.epoch)
        if store.holders > 1:
            store.let_go()
            self.store = Store(states, version=store.version + 1, device=store.device, shown=store.shown)
        else:
            store.replace(states, 0)
        self.epoch = epoch
