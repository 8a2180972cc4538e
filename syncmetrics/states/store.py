"""States as values: what a metric declares, holds, and hands around.

`States` is a dict from state name to `State`. It is replaced in one assignment and never edited while anything shares
it. A `Store` is the one place where the states of a metric live; metrics that accumulate the same thing hold the same
store.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from syncmetrics.states.autograd import no_graph
from syncmetrics.errors import StateError
from syncmetrics.states.plain import check_plain
from syncmetrics.states.reductions import ReduceFx, Reduction, check_arithmetic, resolve_reduction
from syncmetrics.states.rows import RowBuffer, check_dense, dim_zero_cat, rows_like

__all__ = [
    "Mode",
    "State",
    "StateSpec",
    "States",
    "Store",
    "check_value",
    "declare_state",
    "dim_zero_cat",
    "fresh_states",
    "grow",
    "merge_delta",
    "merge_over_time",
    "own_copy",
    "own_tensor",
    "spec_key",
    "spec_of_value",
]

State: TypeAlias = Tensor | list[Tensor] | list[Any]
States: TypeAlias = dict[str, State]


@dataclass(frozen=True, slots=True)
class StateSpec:
    """What `add_state` declared.

    Attributes:
        name: Name of the state.
        default: The value after `reset`: a tensor, or an empty list.
        reduction: Row of the reductions table.
        persistent: Whether the state goes into `state_dict`.
        offset: The default that a sum starts from; None where it starts from zero.
    """

    name: str
    default: State
    reduction: Reduction
    persistent: bool = False
    offset: Tensor | None = None

    @property
    def is_list(self) -> bool:
        """Whether the state is a list."""
        return isinstance(self.default, list)


def declare_state(
    name: str, default: State, dist_reduce_fx: ReduceFx | Reduction = None, persistent: bool = False
) -> StateSpec:
    """Check a declaration and make the spec of it.

    Raises:
        StateError: The declaration cannot work; the text says what to write instead.
    """
    reduction = resolve_reduction(dist_reduce_fx)
    if isinstance(default, list):
        if default:
            raise StateError(
                f"the default of a list state must be an empty list, but has {len(default)} elements;"
                " append them in `update`."
            )
        if not reduction.for_lists:
            raise StateError(
                f"a list state cannot be reduced with {dist_reduce_fx!r}; use 'cat', None or a callable,"
                " or declare a tensor."
            )
        if isinstance(default, RowBuffer) and reduction.name != "cat":
            raise StateError(
                f"a RowBuffer joins its rows, so it cannot be reduced with {dist_reduce_fx!r}; use 'cat', or [] in its"
                " place."
            )
        return StateSpec(name, rows_like(default, []), reduction, persistent)
    if not isinstance(default, Tensor):
        raise StateError(
            f"`default` must be a torch.Tensor or an empty list, but is a {type(default).__name__}"
            f" instead; write torch.tensor({default!r})."
        )
    check_value(default)
    check_arithmetic(reduction, default)
    with no_graph():
        default = default.detach().clone().contiguous()
        counted = reduction.name == "sum" and not default.is_meta and bool((default != 0).any())
    return StateSpec(name, default, reduction, persistent, default if counted else None)


def spec_of_value(
    name: str, value: State, dist_reduce_fx: ReduceFx | Reduction, default: Tensor | None = None
) -> StateSpec:
    """Make a spec for a value that was accumulated elsewhere.

    Args:
        name: Name of the state.
        value: Its value.
        dist_reduce_fx: As for `add_state`, or a row that is not in the table.
        default: What a sum started from; zero if left out.

    Raises:
        StateError: The reduction cannot work for it.
    """
    try:
        check_value(value)
        if not isinstance(value, Tensor):
            return declare_state(name, [], dist_reduce_fx)
        if default is not None:
            return declare_state(name, default, dist_reduce_fx)
        reduction = resolve_reduction(dist_reduce_fx)
        check_arithmetic(reduction, value)
        zero = torch.zeros((), dtype=value.dtype, device=value.device)  # shown in the shape of the value at no cost
        return StateSpec(name, zero.expand(value.shape), reduction)
    except (StateError, TypeError) as error:
        colon = "" if isinstance(error, TypeError) else ":"
        raise StateError(f"state `{name}`{colon} {error}") from None


def check_value(value: Any, start: int = 0) -> None:
    """Check that `value` can be a state, looking at the elements of a list from `start` on.

    Raises:
        TypeError: It cannot. The text begins with the verb, to be put behind the name of the state.
    """
    if isinstance(value, Tensor):
        check_dense(value)
    elif isinstance(value, list):
        if start == len(value):
            return
        if isinstance(value[0], Tensor):
            for item in value[start:]:
                if not isinstance(item, Tensor):
                    raise TypeError(
                        f"holds a {type(item).__name__} beside tensors; append torch.as_tensor(...), or"
                        " keep it in a state of its own."
                    )
                check_dense(item)
            return
        for item in value[start:]:
            try:
                check_plain(item)
            except TypeError as error:
                raise TypeError(
                    f"{error}, which cannot travel between ranks; a list state holds either tensors, or"
                    " plain data: str, int, float,"
                    " bool, None, bytes, and lists, tuples and dicts of these (`.item()`, `.tolist()` and"
                    " `str()` make it plain)."
                ) from None
    else:
        raise TypeError(f"is a {type(value).__name__}; it must be a tensor or a list.")


def fresh_states(specs: Mapping[str, StateSpec], device: torch.device) -> States:
    """Give new states as after `reset`, sharing nothing with the specs."""
    with no_graph():
        return {name: _fresh(spec, device) for name, spec in specs.items()}


def _fresh(spec: StateSpec, device: torch.device) -> State:
    if isinstance(spec.default, list):
        return rows_like(spec.default, [])
    return _to(spec.default, device).clone()


def _to(tensor: Tensor, device: torch.device) -> Tensor:
    """Bring a tensor to a device, in float32 if that is the widest float it has."""
    narrow = device.type == "mps" and tensor.dtype is torch.float64
    return tensor.to(device, torch.float32 if narrow else tensor.dtype)


def own_tensor(value: Tensor) -> Tensor:
    """Give a tensor that can be a state: without a graph, and one that may be edited outside of inference mode."""
    if value.requires_grad:
        value = value.detach()
    if value.is_inference():
        with no_graph():
            return value.clone()
    return value


def own_copy(states: States) -> States:
    """Copy tensors and lists, so that editing the copy does not reach the original. Elements of lists are shared."""
    with no_graph():
        return {name: value.clone() if isinstance(value, Tensor) else value.copy() for name, value in states.items()}


def merge_over_time(specs: Mapping[str, StateSpec], a: States, b: States, counts: tuple[int, int]) -> States:
    """Merge the states `b` of later updates into `a`. Neither is edited, but the result may share tensors with both.

    Args:
        specs: The specs of all states.
        a: Earlier states.
        b: Later states.
        counts: Number of updates in `a` and in `b`.

    Raises:
        StateError: A state can only be kept (a tensor with dist_reduce_fx=None), or the values do not fit.
    """
    merged: States = {}
    for name, spec in specs.items():
        left, right = a[name], b[name]
        if isinstance(left, list) and isinstance(right, list):
            merged[name] = rows_like(left, left + right)
        elif isinstance(left, Tensor) and isinstance(right, Tensor):
            if spec.reduction.over_time is None:
                raise StateError(
                    f"state `{name}` is a tensor with dist_reduce_fx=None, of which two cannot become one;"
                    " override `merge_states(a, b)`."
                )
            if 0 in counts:  # no update has touched a default: there is nothing of it to merge
                merged[name] = left if counts[1] == 0 else right
            elif spec.reduction.same_shape and left.shape != right.shape:
                raise StateError(
                    f"state `{name}` has the shapes {tuple(left.shape)} and {tuple(right.shape)}, which"
                    f" {spec.reduction.name!r} cannot merge; their settings (num_classes, say) must be equal."
                )
            else:
                merged[name] = spec.reduction.over_time(left, right, counts, spec.offset)
        else:
            merged[name] = _merge_mixed(name, left, right)
    return merged


def merge_delta(specs: Mapping[str, StateSpec], running: States, delta: States, counts: tuple[int, int]) -> States:
    """Merge the tensors of `delta` into those of `running`, editing neither. Lists are left for `grow`.

    This is the part that can fail, so it is done for all metrics before the first of them is changed.
    """
    left = {n: spec for n, spec in specs.items() if not (isinstance(running[n], list) and isinstance(delta[n], list))}
    return merge_over_time(left, running, delta, counts)


def grow(specs: Mapping[str, StateSpec], running: States, delta: States, merged: States) -> States:
    """Put what `merge_delta` gave together with the lists, at a cost that does not depend on how long these are.

    Args:
        specs: The specs of all states.
        running: The states that were merged into. Their lists are extended in place.
        delta: The states that were merged into them.
        merged: The merged tensors.
    """
    states: States = {}
    for name in specs:
        rows = running[name]
        if name not in merged and isinstance(rows, list):
            rows.extend(delta[name])
            states[name] = rows
        else:
            states[name] = merged[name]
    return states


def _merge_mixed(name: str, left: State, right: State) -> State:
    """Merge a list with a tensor: `compute` or a sync may have left one tensor where a list was declared."""
    both = [value if isinstance(value, list) else [value] for value in (left, right)]
    return both[0] + both[1]


class Mode(enum.Enum):
    """Whose states a store shows at the moment."""

    LOCAL = "local"  #: what this process accumulated
    SYNCED = "synced"  #: what all ranks accumulated
    COPY = "copy"  #: a copy of what this process accumulated, to compute on
    STEP = "step"  #: what one batch brought, inside forward


@dataclass(slots=True)
class Store:
    """The one place where the states of a metric live.

    Attributes:
        states: What the metric shows at the moment.
        update_count: Number of updates in `states`.
        mode: Whose states these are.
        aside: What is put aside while these are shown: the local states at the bottom, steps within steps above.
        sharers: Number of metrics that hold this store.
        version: Counts changes, so that a value computed from the states knows when it is out of date.
        device: Where the states lie.
        fresh: Whether the states were reset since their last sync, or never synced.
        shown: Counts how often other states were shown: what is shown twice need not be the same.
        derived: What metrics that share the store have made of its states: of which, at which version, and what.
    """

    states: States = field(default_factory=dict)
    update_count: int = 0
    mode: Mode = Mode.LOCAL
    aside: list[tuple[States, int, Mode]] = field(default_factory=list)
    sharers: int = 1
    version: int = 0
    device: torch.device = field(default_factory=lambda: torch.empty(0).device)
    fresh: bool = True
    shown: int = 0
    derived: tuple[States, int, dict[Hashable, Any]] | None = None

    def show(self, states: States, update_count: int, mode: Mode) -> None:
        """Show other states, and put the present ones aside."""
        self.aside.append((self.states, self.update_count, self.mode))
        self.states, self.update_count, self.mode = states, update_count, mode
        self.shown += 1
        self.derived = None

    def put_back(self) -> None:
        """Show again what was put aside last. It does nothing if nothing was, as after a reset."""
        if self.aside:
            self.states, self.update_count, self.mode = self.aside[-1]
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
        self.mode = Mode.LOCAL
        self.grow(states, update_count)

    def reset(self, states: States) -> None:
        """Start over with these states."""
        self.replace(states, 0)
        self.fresh = True

    @property
    def local(self) -> tuple[States, int]:
        """The local states and their number of updates, whatever is shown."""
        return self.aside[0][:2] if self.aside else (self.states, self.update_count)

    def fork(self) -> Store:
        """Give an independent store with the same local content, for one of the metrics that share this one."""
        self.sharers -= 1
        states, update_count = self.local
        mine = Store(own_copy(states), update_count, version=self.version, device=self.device, fresh=self.fresh)
        mine.shown = self.shown  # a value computed from what was shown is not taken for one of what will be
        return mine

    def move(self, device: torch.device) -> None:
        """Bring all states to another device."""
        self.states = _moved(self.states, device)
        self.aside = [(_moved(states, device), count, mode) for states, count, mode in self.aside]
        self.device = device


def _moved(states: States, device: torch.device) -> States:
    with no_graph():
        return {
            name: _to(value, device)
            if isinstance(value, Tensor)
            else rows_like(value, [_to(item, device) if isinstance(item, Tensor) else item for item in value])
            for name, value in states.items()
        }


def spec_key(specs: Iterable[StateSpec]) -> tuple[tuple[Any, ...], ...]:
    """Give what the declarations of two metrics must have in common for them to share a store."""
    return tuple(
        (
            spec.name,
            spec.reduction.name,
            None if isinstance(spec.default, list) else (spec.default.dtype, tuple(spec.default.shape)),
        )
        for spec in specs
    )
