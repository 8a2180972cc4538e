"""Persistent states in a `state_dict`: plain tensors under stable keys, whatever the kind of state.

A tensor state is saved as it is. A list state is saved as one uint8 tensor, in the encoding that also travels between
ranks, so that the key is there when the list is empty, and that any format which can hold tensors can hold it.

Beside them stands a note, `_about`, a text as the bytes of a uint8 tensor: the version of the format, whose states they
are (those of all ranks, or of one of how many), the number of updates, and how each state was declared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from syncmetrics.errors import PacketError
from syncmetrics.states.rows import rows_like
from syncmetrics.states.spec import State, States, StateSpec, check_value, own_tensor
from syncmetrics.states.store import Holder, Mode
from syncmetrics.sync.manifest import Form
from syncmetrics.sync.packet import decode_bundle, encode_bundle, read_bytes, write_bytes

__all__ = [
    "ABOUT",
    "FORMAT",
    "UNREADABLE",
    "Declared",
    "Place",
    "compare",
    "declared",
    "decode_list",
    "dtype_name",
    "encode_list",
    "fitted",
    "load",
    "note",
    "read_declared",
    "save",
]

FORMAT = 1
#: The key of the note. It is a name that a metric has, for what takes a state dict apart looks up its keys.
ABOUT = "_about"
#: As torchmetrics names it, and versions before the note did.
_COUNT = "_update_count"
_ALL = "all ranks"
#: The note is filled up to a multiple of so many bytes: some formats want one size in every checkpoint.
_NOTE_BYTES = 512
#: What reading something else may raise. RecursionError is a RuntimeError.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, PacketError)
_FORMS = {Form.NOTHING: 0, Form.BUNDLE: 1, Form.PLAIN: 2}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process is.

    Attributes:
        rank_in_group: Its rank among those that the metric is synced over.
        rank: Its rank among all.
        world_size: Their number.
    """

    rank_in_group: int
    rank: int
    world_size: int

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world_size}"


class Declared(NamedTuple):
    """How a state was declared, as it is saved.

    Attributes:
        reduction: Its name.
        dtype: Of the default: `"float32"`; of a list, `"list"`.
        shape: Of the default.
    """

    reduction: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        kind = "a list" if self.dtype == "list" else f"{self.dtype} {self.shape}"
        return f"{kind} reduced by {self.reduction}"


def dtype_name(dtype: torch.dtype) -> str:
    """Give what a dtype is called in a file: `"float32"`."""
    return str(dtype).removeprefix("torch.")


def declared(specs: Mapping[str, StateSpec]) -> dict[str, Declared]:
    """Give how states are declared."""
    found = {}
    for name, spec in specs.items():
        default = spec.default
        reduction = str(spec.reduction.name)
        if isinstance(default, list):
            found[name] = Declared(reduction, "list", ())
        else:
            found[name] = Declared(reduction, dtype_name(default.dtype), tuple(default.shape))
    return found


def read_declared(text: Mapping[str, Any]) -> dict[str, Declared]:
    """Read what was saved of declarations."""
    return {
        str(name): Declared(str(reduction), str(dtype), tuple(map(int, shape)))
        for name, (reduction, dtype, shape, *_) in text.items()
    }


def compare(saved: Mapping[str, Declared], here: Mapping[str, Declared]) -> str:
    """Say what differs between what was saved and what is here; nothing if it fits. Floats of all widths are alike."""
    if saved.keys() != here.keys():
        return f"it was saved with the states {sorted(saved)}, but has {sorted(here)} here"
    for name, before in saved.items():
        now = here[name]
        floats = "float" in before.dtype and "float" in now.dtype
        if before != (now._replace(dtype=before.dtype) if floats else now):
            why = "; settings such as num_classes must be equal" if before.shape != now.shape else ""
            return f"its state `{name}` was saved as {before}, but is {now} here{why}"
    return ""


def note(specs: Mapping[str, StateSpec], update_count: int, whose: str) -> Tensor:
    """Give the note that stands beside states in a state dict, as 1-d uint8."""
    text = json.dumps(
        {"format": FORMAT, "states_of": whose, "update_count": update_count, "states": declared(specs)}
    ).encode()
    return write_bytes(text.ljust(-(-len(text) // _NOTE_BYTES) * _NOTE_BYTES))


def save(destination: dict[str, Any], prefix: str, holder: Holder, place: Place) -> None:
    """Put the persistent states into a state dict: those of all ranks if they are shown, else those of this process.

    Args:
        destination: The state dict.
        prefix: Of the keys.
        holder: Of the metric.
        place: Where this process is.
    """
    kept = {name: spec for name, spec in holder.specs.items() if spec.persistent}
    if not kept:
        return
    store = holder.store
    is_global = store.mode is Mode.SYNCED
    states, update_count = (store.states, store.update_count) if is_global else store.local
    for name, spec in kept.items():
        destination[prefix + name] = _encode(states[name], spec)
    whose = _ALL if is_global or place.world_size == 1 else str(place)
    destination[prefix + ABOUT] = note(kept, update_count, whose)


@torch.no_grad()
def load(
    state_dict: Mapping[str, Any],
    prefix: str,
    holder: Holder,
    strict: bool,
    missing_keys: list[str],
    error_msgs: list[str],
    place: Place,
) -> tuple[dict[str, Any], tuple[States, int] | None]:
    """Take the states out of a state dict, which stays as it is: all that are there, persistent here or not.

    Those of all ranks count once: rank 0 takes them, and the others begin with nothing. Those of one rank are for that
    rank of as many. Of a metric inside of a module of which nothing was saved, nothing is missing: it was added since.

    Returns:
        What is left in the state dict; and the states with their number of updates, or None if there are none.
    """
    specs = holder.specs
    keys = {prefix + name for name in [*specs, _COUNT, ABOUT]} if specs else set()
    rest = {key: value for key, value in state_dict.items() if key not in keys}
    found = [name for name in specs if prefix + name in state_dict]
    is_new = bool(prefix) and not any(key.startswith(prefix) for key in state_dict)
    if strict and not is_new:
        missing_keys.extend(prefix + name for name, spec in specs.items() if spec.persistent and name not in found)
    if not found:
        return rest, None
    told = len(error_msgs)
    try:
        said = _read_note(state_dict.get(prefix + ABOUT), state_dict.get(prefix + _COUNT), found)
        problem = (
            "" if said.declared is None else compare(said.declared, declared({name: specs[name] for name in found}))
        )
    except UNREADABLE as error:
        problem = f"what was saved about it cannot be read: {error}"
    if problem:
        error_msgs.append(f"`{prefix.rstrip('.') or 'metric'}` cannot be loaded: {problem}.")
        return rest, None
    states: States = {}
    for name in found:
        try:
            with torch.inference_mode(False):
                value = _decode(state_dict[prefix + name], specs[name])
                states[name] = fitted(value, specs[name], holder.store.device, was_declared=said.declared is not None)
        except (PacketError, TypeError) as error:
            error_msgs.append(f"state `{prefix}{name}` cannot be loaded: {error}")
    if len(error_msgs) > told:  # of one metric all states, or none
        return rest, None
    if said.whose == _ALL and place.rank_in_group > 0:
        nothing = holder.fresh_states()
        return rest, ({name: nothing[name] for name in states}, 0)
    if said.whose not in ("", _ALL, str(place)) and said.update_count > 0:
        error_msgs.append(
            f"the states of `{prefix.rstrip('.') or 'metric'}` are those of {said.whose} alone, and this is {place}:"
            " save those of all ranks, with syncmetrics.save_state or inside of sync_context()."
        )
        return rest, None
    return rest, (states, said.update_count)


class _Said(NamedTuple):
    whose: str
    update_count: int
    declared: dict[str, Declared] | None


def _read_note(value: Any, count: Any, found: list[str]) -> _Said:
    """Read the note; other libraries save none, but perhaps the number of updates."""
    if value is None:
        return _Said("", 1 if count is None else int(count), None)
    about = json.loads(read_bytes(value.detach().cpu().reshape(-1).to(torch.uint8)).decode("ascii"))
    if about["format"] != FORMAT:
        raise ValueError(f"it was saved in format {about['format']!r}, and this version reads format {FORMAT}")
    states = read_declared(about["states"])
    count = int(about["update_count"])
    if count < 0:
        raise ValueError(f"{count} updates")
    return _Said(str(about["states_of"]), count, {name: one for name, one in states.items() if name in found})


def _encode(value: State, spec: StateSpec) -> Tensor:
    if isinstance(value, Tensor) and not spec.is_list:
        return value.detach().clone()
    return encode_list([value] if isinstance(value, Tensor) else value)


def encode_list(value: list[Any]) -> Tensor:
    """Encode a list state as 1-d uint8, on the CPU: an empty one too."""
    form = Form.NOTHING if not value else Form.BUNDLE if isinstance(value[0], Tensor) else Form.PLAIN
    mark = torch.zeros(16, dtype=torch.uint8)  # one byte is needed, sixteen keep what follows aligned
    mark[0] = _FORMS[form]
    return mark if form is Form.NOTHING else torch.cat([mark, encode_bundle(value).cpu()])


def _decode(value: Any, spec: StateSpec) -> State:
    if isinstance(value, list) and spec.is_list:  # as other libraries save it
        return value
    if not isinstance(value, Tensor):
        raise TypeError(f"it is a {type(value).__name__}, not a tensor")
    return decode_list(value) if spec.is_list else value


def decode_list(value: Tensor) -> list[Any]:
    """Decode what `encode_list` gave.

    Raises:
        TypeError: It is something else. The text begins with "it".
        PacketError: Likewise.
    """
    if value.dtype is not torch.uint8 or value.numel() < 16:
        raise TypeError("it is not a list that was saved by this package")
    forms = {code: form for form, code in _FORMS.items()}
    form = forms.get(int(value[0]))
    if form is None:
        raise PacketError("it has an unknown encoding")
    return [] if form is Form.NOTHING else decode_bundle(form, value[16:].clone())


def fitted(value: State, spec: StateSpec, device: torch.device, *, was_declared: bool) -> State:
    """Give a state that was saved as one that the metric can have, on its device.

    Args:
        value: The state.
        spec: How it is declared here.
        device: Of the metric.
        was_declared: Whether it is known to have been declared so where it was saved; a dtype that `update` gave it
            stays then. One of another library gets the dtype of the default.

    Raises:
        TypeError: It cannot. The text begins with "it".
    """
    default = spec.default
    if isinstance(value, list):
        if not spec.is_list:
            raise TypeError("it was saved as a list, but is a tensor here")
        try:
            check_value(value)
        except TypeError as error:
            raise TypeError(f"it {error}") from None
        moved = [item.to(device, copy=True) if isinstance(item, Tensor) else item for item in value]
        return rows_like(default, moved) if isinstance(default, list) else moved
    if isinstance(default, list):
        raise TypeError("it was saved as a tensor, but is a list here")
    if default.numel() > 1 and spec.reduction.same_shape and value.shape != default.shape:
        raise TypeError(
            f"it was saved with the shape {tuple(value.shape)}, but has {tuple(default.shape)} here; settings such as"
            " num_classes must be equal"
        )
    dtype = value.dtype
    if not was_declared:
        if value.is_floating_point() and default.is_floating_point():
            dtype = torch.promote_types(dtype, default.dtype)
        elif torch.can_cast(dtype, default.dtype) or _are_counts(value, default):
            dtype = default.dtype
        else:
            raise TypeError(f"it was saved as {dtype}, but is {default.dtype} here")
        if value.numel() == default.numel() == 1:  # (1,) there and () here
            value = value.reshape(default.shape)
    return own_tensor(value.detach().to(device, dtype, copy=True), spec)


def _are_counts(value: Tensor, default: Tensor) -> bool:
    """Whether floats are whole numbers, as other libraries keep counts, that fit an integer state."""
    if not value.is_floating_point() or default.is_floating_point() or default.dtype is torch.bool:
        return False
    bounds = torch.iinfo(default.dtype)
    return bool(((value == value.trunc()) & (value >= bounds.min) & (value < bounds.max)).all())
