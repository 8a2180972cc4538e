"""Where states live: a store, which several metrics that accumulate the same may hold, and what each of them has.

`States` is a dict from name to value. It is replaced in one assignment and never edited while anything shares it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.merge import own_copy
from syncmetrics.states.rows import RowBuffer, RowMark, back_to, mark_of, rows_like
from syncmetrics.states.spec import State, States, StateSpec, check_value, fresh_states, moved, own_tensor

__all__ = ["Before", "Holder", "Mode", "Store"]

#: Up to so many elements a tensor on the CPU is copied before an update, so that an edit in place can be undone: the
#: copy costs less than half of the addition that follows.
COPIED_NUMEL = 4096

_use_count = torch._C._storage_Use_Count
_ALONE: int = _use_count(torch.empty(1, device="cpu").untyped_storage()._cdata)


#: Of each list, the tensors that `update` has appended, and how often each was edited by then: the list, the ids of the
#: tensors, and their versions.
Appended: TypeAlias = "dict[str, tuple[list[Any], list[int], list[int]]]"


class Mode(enum.Enum):
    """Whose states a store shows at the moment."""

    LOCAL = "local"  #: what this process accumulated
    SYNCED = "synced"  #: what all ranks accumulated
    COPY = "copy"  #: a copy of what this process accumulated, to compute on
    STEP = "step"  #: what one batch brought, inside forward


@dataclass(frozen=True, slots=True)
class Aside:
    """What a store had when it began to show something else.

    Attributes:
        states: Its states.
        update_count: Number of updates in them.
        mode: Whose states they are.
        appended: As in the store.
    """

    states: States
    update_count: int
    mode: Mode
    appended: Appended


@dataclass(slots=True, eq=False)
class Store:
    """The one place where the states of a metric live.

    Attributes:
        states: What the metric shows at the moment.
        update_count: Number of updates in `states`.
        mode: Whose states these are.
        aside: What is put aside while these are shown: the local states at the bottom, steps within steps above.
        holders: Number of metrics that hold this store.
        key: What these have in common, if they are several.
        version: Counts changes, so that a value computed from the states knows when it is out of date.
        device: Where the states lie.
        shown: Counts how often other states were shown: what is shown twice need not be the same.
        derived: What metrics that share the store have made of its states: of which, at which version, and what.
        appended: What `update` has appended to the lists.
        on_cpu: Whether the states lie on the CPU.
        before_update: What has to be done once, before the next batch is added.
    """

    states: States = field(default_factory=dict)
    update_count: int = 0
    mode: Mode = Mode.LOCAL
    aside: list[Aside] = field(default_factory=list)
    holders: int = 1
    version: int = 0
    device: torch.device = field(default_factory=lambda: torch.empty(0).device)
    shown: int = 0
    derived: tuple[States, int, dict[Hashable, Any]] | None = None
    appended: Appended = field(default_factory=dict)
    key: Hashable = None
    before_update: Callable[[], None] | None = None
    on_cpu: bool = field(init=False)

    def __post_init__(self) -> None:
        self.on_cpu = self.device.type == "cpu"

    def show(self, states: States, update_count: int, mode: Mode) -> None:
        """Show other states, and put the present ones aside."""
        self.aside.append(Aside(self.states, self.update_count, self.mode, self.appended))
        self.states, self.update_count, self.mode, self.appended = states, update_count, mode, {}
        self.shown += 1
        self.derived = None

    def put_back(self) -> None:
        """Show again what was put aside last. It does nothing if nothing was, as after a reset."""
        if self.aside:
            top = self.aside[-1]
            self.states, self.update_count, self.mode, self.appended = (
                top.states,
                top.update_count,
                top.mode,
                top.appended,
            )
            self.aside.pop()
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

    def grow(self, states: States, update_count: int) -> None:
        """Take over states that what is shown was merged into."""
        self.states, self.update_count = states, update_count
        self.version += 1

    def replace(self, states: States, update_count: int) -> None:
        """Give the store new local states, whatever it shows."""
        self.aside.clear()
        self.appended = {}
        self.mode = Mode.LOCAL
        self.grow(states, update_count)

    @property
    def local(self) -> tuple[States, int]:
        """The local states and their number of updates, whatever is shown."""
        if not self.aside:
            return self.states, self.update_count
        return self.aside[0].states, self.aside[0].update_count

    def copy(self, holders: int = 1) -> Store:
        """Give an independent store with the same content, for so many metrics."""
        states, appended = _copied(self.states, self.appended)
        aside = []
        for below in self.aside:
            copies, marks = _copied(below.states, below.appended)
            aside.append(Aside(copies, below.update_count, below.mode, marks))
        return Store(
            states,
            self.update_count,
            self.mode,
            aside,
            holders,
            self.version,
            self.device,
            self.shown,  # a value computed from what was shown is not taken for one of what will be
            appended=appended,
        )

    def fork(self, holders: int = 1) -> Store:
        """Give a copy to some of the metrics that hold this store."""
        self.holders -= holders
        return self.copy(holders)

    def move(self, specs: dict[str, StateSpec], device: torch.device) -> None:
        """Bring all states to another device. What comes from the meta device had no values, and gets its defaults."""
        if self.device.type == "meta":
            self.replace(fresh_states(specs, device), 0)
        else:
            self.states = moved(self.states, device)
            self.aside = [Aside(moved(a.states, device), a.update_count, a.mode, {}) for a in self.aside]
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
            if not isinstance(rows, list):
                continue
            known = self.appended.get(name)
            start = 0 if known is None or known[0] is not rows else _still_there(rows, known[1])
            try:
                check_value(rows, start)
            except TypeError as error:
                raise TypeError(f"`{label}`: state `{name}` {error}") from None
            if not rows or not isinstance(rows[0], Tensor) or isinstance(rows, RowBuffer):
                continue
            if known is None or not start:
                known = self.appended[name] = (rows, [], [])
            _, ids, versions = known
            for index in range(start, len(rows)):
                item = rows[index]
                if item.requires_grad or item.is_inference():
                    item = rows[index] = own_tensor(item)
                ids.append(id(item))
                versions.append(item._version)

    def check_appended(self, label: str) -> None:
        """Check that no tensor was edited in place since `update` appended it.

        Raises:
            StateError: One was: the state is not what was accumulated any more.
        """
        states = self.local[0]
        for name, (rows, ids, versions) in self._appended_locally().items():
            count = len(versions)
            if states.get(name) is not rows or _still_there(rows, ids) < count:
                continue  # the user has taken some out: which is which is not known any more
            if [rows[index]._version for index in range(count)] == versions:
                continue
            index = next(index for index in range(count) if rows[index]._version != versions[index])
            raise StateError(
                f"`{label}`: element {index} of state `{name}` was edited in place after `update` had appended it, so"
                f" the state is not what was accumulated any more; append a copy, `self.{name}.append(x.clone())`, and"
                " call reset()."
            )

    def _appended_locally(self) -> Appended:
        return self.aside[0].appended if self.aside else self.appended

    def keep_own(self, before: States) -> None:
        """Copy tensors that an update has put in place of others, where somebody else has their memory too."""
        for name, value in self.states.items():
            if isinstance(value, Tensor) and value is not before.get(name) and _is_shared(value):
                with no_graph():
                    self.states[name] = value.clone()


def _cast(item: Any, dtype: torch.dtype) -> Any:
    return item.to(dtype) if isinstance(item, Tensor) and item.is_floating_point() else item


def _copied(states: States, appended: Appended) -> tuple[States, Appended]:
    """Copy states, and what is known of the tensors in their lists, which the copies share."""
    copies, marks = own_copy(states), {}
    for name, (rows, ids, versions) in appended.items():
        copied = copies.get(name)
        if rows is states.get(name) and isinstance(copied, list):
            marks[name] = (copied, ids.copy(), versions.copy())
    return copies, marks


def _still_there(rows: list[Any], ids: list[int]) -> int:
    """Give how many of the tensors that were appended first stand where they stood; 0 if the list was edited."""
    count = len(ids)
    if len(rows) < count or (count and (id(rows[0]) != ids[0] or id(rows[count - 1]) != ids[-1])):
        return 0
    return count


def _is_shared(value: Tensor) -> bool:
    try:
        return int(_use_count(value.untyped_storage()._cdata)) > _ALONE
    except (RuntimeError, NotImplementedError):  # a tensor without a storage of its own
        return False


class Before:
    """What a store had before an update, to be put back if the update fails.

    Lists and states that are bound to other tensors are put back to the byte. A tensor that is edited in place is put
    back if it was copied: if `atomic` says so, and by default where it is on the CPU and small.
    """

    __slots__ = ("_copies", "_lists", "_states", "_store", "_uncopied", "_update_count")

    def __init__(self, holder: Holder) -> None:
        atomic = False if holder.rebinds and holder.atomic is None else holder.atomic
        self._store = store = holder.store
        self._states = states = store.states.copy()
        self._update_count = store.update_count
        self._lists: list[tuple[list[Any], RowMark | int]] = []
        self._copies: States = {}
        self._uncopied: list[tuple[str, Tensor, int]] = []
        for name, value in states.items():
            if isinstance(value, list):
                self._lists.append((value, mark_of(value)))
            elif atomic or (atomic is None and value.is_cpu and value.numel() <= COPIED_NUMEL):
                self._copies[name] = value.clone()
            elif not value.is_inference():
                self._uncopied.append((name, value, value._version))

    def put_back(self) -> list[str]:
        """Put it back, and give the names of the states that were edited in place and not copied."""
        for rows, mark in self._lists:
            back_to(rows, mark)
        self._store.states = {**self._states, **self._copies}
        self._store.update_count = self._update_count
        return [name for name, value, version in self._uncopied if value._version != version]


@dataclass(slots=True, eq=False)
class Holder:
    """What one metric has: its declarations, and its hold on the store that its states live in.

    Attributes:
        specs: What `add_state` declared.
        store: Where the states live. Metrics that accumulate the same hold the same one.
        fresh: Whether the metric was reset since its last sync, or never synced.
        lists: Names of the list states.
        atomic: Whether tensors are copied before an update; None for those where it is cheap.
        rebinds: Whether `update` is known to edit none, so that nothing need be copied.
        is_plain: Whether all states are tensors, of which nothing special is asked.
    """

    specs: dict[str, StateSpec] = field(default_factory=dict)
    store: Store = field(default_factory=Store)
    fresh: bool = True
    lists: tuple[str, ...] = ()
    atomic: bool | None = None
    rebinds: bool = False
    is_plain: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_plain = not self.lists and self.atomic is None

    def declare(self, spec: StateSpec) -> None:
        """Add a state, or declare one anew."""
        self.specs[spec.name] = spec
        self.lists = tuple(name for name, known in self.specs.items() if known.is_list)
        self.is_plain = not self.lists and self.atomic is None
        self.store.states = {**self.store.states, **fresh_states({spec.name: spec}, self.store.device)}
        self.store.version += 1

    def copy(self) -> Holder:
        """Give an independent holder of the same content, for a copy of the metric."""
        return Holder(dict(self.specs), self.store.copy(), self.fresh, self.lists, self.atomic, self.rebinds)

    def cast(self, dtype: torch.dtype) -> None:
        """Keep floating point states in another dtype from now on; a sum or mean in at least float32."""
        with no_graph():
            for name, spec in self.specs.items():
                if isinstance(spec.default, Tensor) and spec.default.is_floating_point():
                    default = own_tensor(spec.default.to(dtype), spec)
                    offset = None if spec.offset is None else default
                    self.specs[name] = replace(spec, default=default, offset=offset)
            states = {
                name: own_tensor(value.to(dtype), self.specs[name])
                if isinstance(value, Tensor) and value.is_floating_point()
                else rows_like(value, [_cast(item, dtype) for item in value])
                if isinstance(value, list)
                else value
                for name, value in self.store.local[0].items()
            }
        self.store.replace(states, self.store.local[1])

    def leave(self) -> None:
        """Take a store of its own, with the same content, if others hold this one too."""
        if self.store.holders > 1:
            self.store = self.store.fork()

    def reset(self) -> None:
        """Give every state its default, in a store of its own."""
        states, store = fresh_states(self.specs, self.store.device), self.store
        if store.holders > 1:
            store.holders -= 1
            self.store = Store(states, version=store.version + 1, device=store.device, shown=store.shown)
        else:
            store.replace(states, 0)
        self.fresh = True

    def set(self, name: str, value: State) -> None:
        """Put a value in place of a state that is shown."""
        self.store.states[name] = value
        self.store.version += 1
