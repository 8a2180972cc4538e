"""What `add_state` declares: name, default and reduction of a state, and what a value of it can be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.exact_sum import encode_default, is_exact_sum
from syncmetrics.states.plain import check_plain, is_json_throughout
from syncmetrics.states.reductions import ReduceFx, Reduction, check_arithmetic, resolve_reduction
from syncmetrics.states.rows import RowBuffer, check_dense, rows_like

__all__ = [
    "State",
    "StateSpec",
    "States",
    "check_value",
    "declare_state",
    "defaults_on",
    "fresh_copies",
    "fresh_states",
    "is_own",
    "moved",
    "own_tensor",
    "say_default",
    "spec_key",
    "spec_of_value",
]

State: TypeAlias = Tensor | list[Tensor] | list[Any]
States: TypeAlias = dict[str, State]

#: Floats in which a sum stands still long before it is large: in bfloat16 256 + 1 is 256.
_NARROW = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.complex32: torch.complex64}


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

    @property
    def accumulates(self) -> bool:
        """Whether values are added up in it, which takes at least float32."""
        return self.reduction.adds or self.reduction.name == "mean"


def declare_state(
    name: str, default: State, dist_reduce_fx: ReduceFx | Reduction = None, persistent: bool = False
) -> StateSpec:
    """Check a declaration and make the spec of it. A sum or mean of half precision is declared in float32.

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
    if default.is_meta:
        raise StateError(
            "the default lies on the meta device, which keeps no values, so that `reset()` could not give it; make it"
            " on the CPU, torch.zeros(..., device='cpu'): the state itself goes where the metric goes."
        )
    check_value(default)
    check_arithmetic(reduction, default)
    with no_graph():
        default = default.detach().clone().contiguous()
        if reduction.name == "exact_sum":
            default = encode_default(default)
        if reduction.name in ("sum", "mean"):
            default = default.to(_NARROW.get(default.dtype, default.dtype))
        default = _compact(default)
        counted = reduction.adds and bool((default != 0).any())
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
        added = value[start:]
        for item in () if is_json_throughout(added) else added:
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


#: A larger default is kept as one element, if all of its elements are alike.
_LARGE_NUMEL = 4096


def _compact(default: Tensor) -> Tensor:
    """Give the same values, in the memory of one if all are alike: most large defaults are zeros."""
    if default.numel() <= _LARGE_NUMEL or not _is_one_value(default):
        return default
    return default[(0,) * default.dim()].clone().expand(default.shape)


def _is_one_value(default: Tensor) -> bool:
    if default.numel() == 1 or not any(default.stride()):
        return True
    bits = default.contiguous().reshape(-1).view(torch.uint8).view(default.numel(), default.element_size())
    return bool((bits == bits[0]).all())


def say_default(default: State) -> str:
    """Say what a state starts from: alike for equal values, whatever their dtype, and for one value in any shape."""
    if isinstance(default, list) or not default.numel():
        return ""
    with no_graph():
        if not _is_one_value(default):
            values = default.detach().cpu().to(torch.complex128).contiguous().view(torch.uint8)
            return f"values of digest {hashlib.blake2b(bytes(values.flatten().tolist()), digest_size=6).hexdigest()}"
        item = default[(0,) * default.dim()].item()
    if isinstance(item, int) and abs(item) > 1 << 53:
        return repr(item)
    if isinstance(item, complex) and item.imag:
        return repr(item)
    return repr(float(item.real) + 0.0)  # nothing is added to by -0.0 otherwise than by 0.0


def defaults_on(specs: Mapping[str, StateSpec], device: torch.device) -> States:
    """Give the defaults on a device. They are to be copied, and not to be edited."""
    with no_graph():
        return {
            name: rows_like(spec.default, []) if isinstance(spec.default, list) else _to(spec.default, device)
            for name, spec in specs.items()
        }


def fresh_states(specs: Mapping[str, StateSpec], device: torch.device) -> States:
    """Give new states as after `reset`, sharing nothing with the specs."""
    with no_graph():
        return fresh_copies(defaults_on(specs, device))


def fresh_copies(defaults: States) -> States:
    """Give new states of these defaults. It is to be called where no graph is recorded, and in no inference mode."""
    return {n: v.clone() if isinstance(v, Tensor) else type(v)() for n, v in defaults.items()}


def is_own(value: Tensor, spec: StateSpec) -> bool:
    """Whether a tensor can be a state as it is; it may be able to where this does not say so."""
    default = spec.default
    return (
        isinstance(default, Tensor)
        and value.dtype is default.dtype
        and not value.requires_grad
        and not value.is_inference()
    )


def own_tensor(value: Tensor, spec: StateSpec | None = None) -> Tensor:
    """Give a tensor that can be a state: without a graph, wide enough to add to, and editable everywhere.

    A tensor that was made in inference mode can be edited only there.
    """
    if value.requires_grad:
        value = value.detach()
    if spec is not None and spec.reduction.name == "exact_sum":
        check_exact(value, spec)
    if spec is not None and spec.accumulates and value.dtype in _NARROW:
        with no_graph():
            return value.to(_NARROW[value.dtype])
    if value.is_inference():
        with no_graph():
            return value.clone()
    return value


def check_exact(value: Tensor, spec: StateSpec) -> None:
    """Check that what is set in place of an exact sum is one.

    Raises:
        StateError: It is not: a float was added to its digits, say.
    """
    default = spec.default
    if isinstance(default, Tensor) and not is_exact_sum(value, default):
        raise StateError(
            f"state `{spec.name}` is an exact sum, whose digits are int64 of shape {tuple(default.shape)}, but is set"
            f" to {value.dtype} of shape {tuple(value.shape)}; write self.{spec.name} ="
            f" exact_add(self.{spec.name}, values), and exact_value(self.{spec.name}) for its value."
        )


def moved(states: States, device: torch.device) -> States:
    """Bring states to another device."""
    with no_graph():
        return {
            name: _to(value, device)
            if isinstance(value, Tensor)
            else rows_like(value, [_to(item, device) if isinstance(item, Tensor) else item for item in value])
            for name, value in states.items()
        }


def _to(tensor: Tensor, device: torch.device) -> Tensor:
    """Bring a tensor to a device, in float32 if that is the widest float it has."""
    if tensor.numel() > 1 and not any(tensor.stride()):  # all elements are one
        return _to(tensor[(0,) * tensor.dim()], device).expand(tensor.shape)
    narrow = device.type == "mps" and tensor.dtype is torch.float64
    return tensor.to(device, torch.float32 if narrow else tensor.dtype)


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
