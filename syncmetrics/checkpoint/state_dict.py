"""Persistent states in a `state_dict`: plain tensors under stable keys, whatever the kind of state.

A tensor state is saved as it is. A list state is saved as one uint8 tensor, in the encoding that also travels between
ranks, so that the key is there when the list is empty, and that any format which can hold tensors can hold it. What is
saved while a metric shows the states of all ranks holds these, and a note that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import PacketError
from syncmetrics.states.rows import rows_like
from syncmetrics.states.spec import State, States, StateSpec, check_value, own_tensor
from syncmetrics.states.store import Holder, Mode
from syncmetrics.sync.manifest import Form
from syncmetrics.sync.packet import decode_bundle, encode_bundle, write_bytes

__all__ = ["load", "save"]

_COUNT, _OF = "_update_count", "_states_of"
_FORMS = {Form.NOTHING: 0, Form.BUNDLE: 1, Form.PLAIN: 2}


def save(destination: dict[str, Any], prefix: str, holder: Holder) -> None:
    """Put the persistent states into a state dict: those of all ranks if they are shown, else those of this process."""
    persistent = [name for name, spec in holder.specs.items() if spec.persistent]
    store = holder.store
    is_global = store.mode is Mode.SYNCED
    states, update_count = (store.states, store.update_count) if is_global else store.local
    for name in persistent:
        destination[prefix + name] = _encode(states[name], holder.specs[name])
    if persistent:
        destination[prefix + _COUNT] = torch.tensor(update_count)
        if is_global:
            destination[prefix + _OF] = write_bytes(b"all ranks")


@torch.no_grad()
def load(
    state_dict: Mapping[str, Any],
    prefix: str,
    holder: Holder,
    strict: bool,
    missing_keys: list[str],
    error_msgs: list[str],
) -> tuple[dict[str, Any], tuple[States, int] | None]:
    """Take the states out of a state dict, which stays as it is: all that are there, persistent here or not.

    Returns:
        What is left in the state dict; and the states with their number of updates, or None if there are none.
    """
    specs = holder.specs
    keys = {prefix + name for name in [*specs, _COUNT, _OF]} if specs else set()
    rest = {key: value for key, value in state_dict.items() if key not in keys}
    found = [name for name in specs if prefix + name in state_dict]
    if strict:
        missing_keys.extend(prefix + name for name, spec in specs.items() if spec.persistent and name not in found)
    states: States = {}
    told = len(error_msgs)
    for name in found:
        try:
            with torch.inference_mode(False):
                states[name] = _decode(state_dict[prefix + name], specs[name], holder.store.device)
        except (PacketError, TypeError) as error:
            error_msgs.append(f"state `{prefix}{name}` cannot be loaded: {error}")
    if not states or len(error_msgs) > told:  # of one metric all states, or none
        return rest, None
    return rest, (states, int(state_dict.get(prefix + _COUNT, 1)))


def _encode(value: State, spec: StateSpec) -> Tensor:
    if isinstance(value, Tensor) and not spec.is_list:
        return value.detach().clone()
    value = [value] if isinstance(value, Tensor) else value
    form = Form.NOTHING if not value else Form.BUNDLE if isinstance(value[0], Tensor) else Form.PLAIN
    mark = torch.zeros(16, dtype=torch.uint8)  # one byte is needed, sixteen keep what follows aligned
    mark[0] = _FORMS[form]
    return mark if form is Form.NOTHING else torch.cat([mark, encode_bundle(value).cpu()])


def _decode(value: Any, spec: StateSpec, device: torch.device) -> State:
    if isinstance(value, list) and spec.is_list:  # as other libraries save it
        return _on(device, spec, value)
    if not isinstance(value, Tensor):
        raise TypeError(f"it is a {type(value).__name__}, not a tensor")
    if not spec.is_list:
        return own_tensor(value.detach().to(device, copy=True), spec)
    if value.dtype is not torch.uint8 or value.numel() < 16:
        raise TypeError("it is not a list that was saved by this package")
    forms = {code: form for form, code in _FORMS.items()}
    form = forms.get(int(value[0]))
    if form is None:
        raise PacketError("it has an unknown encoding")
    return _on(device, spec, [] if form is Form.NOTHING else decode_bundle(form, value[16:].clone()))


def _on(device: torch.device, spec: StateSpec, items: list[Any]) -> list[Any]:
    check_value(items)
    moved = [item.to(device) if isinstance(item, Tensor) else item for item in items]
    return rows_like(spec.default, moved) if isinstance(spec.default, list) else moved
