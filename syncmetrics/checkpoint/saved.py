"""What a saved state looks like: a flat dict of tensors, which any format for tensors can hold. Pure.

One key, `syncmetrics`, has a text as its bytes: the version of the format, the number of ranks, and of each metric its
names, the updates of each rank, and how its states are declared. Every other key is a state of a metric, of all ranks:
tensors of one shape and dtype are stacked in rank order; what differs between ranks, and lists, are bundles of bytes.
Nothing here is pickled, and nothing is allocated beyond what the tensors have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from syncmetrics.checkpoint.state_dict import (
    FORMAT,
    UNREADABLE,
    Declared,
    declared,
    decode_list,
    dtype_name,
    encode_list,
    read_declared,
)
from syncmetrics.errors import StateError
from syncmetrics.states.spec import State, States
from syncmetrics.sync.manifest import Form, Part
from syncmetrics.sync.packet import decode_bundle, encode_bundle, read_bytes, write_bytes

__all__ = ["Held", "Saved", "decode", "encode", "is_empty", "is_saved", "pack", "pack_one", "unpack_one"]

_ABOUT = "syncmetrics"
Layout: TypeAlias = Literal["stacked", "bundle", "lists"]


@dataclass(frozen=True, slots=True)
class Held:
    """What ranks have of one metric, or of several that share their states.

    Attributes:
        names: Their names; the first one stands in the keys.
        declared: How each state is declared.
        update_counts: Of each rank.
        states: Of each rank.
    """

    names: tuple[str, ...]
    declared: dict[str, Declared]
    update_counts: tuple[int, ...]
    states: tuple[States, ...]


@dataclass(frozen=True, slots=True)
class Saved:
    """A saved state.

    Attributes:
        ranks: Of how many ranks.
        held: What they have.
        steps: How far each thing that counts steps had come, by its name.
    """

    ranks: int
    held: tuple[Held, ...]
    steps: dict[str, list[int]]


def pack_one(held: Sequence[tuple[tuple[str, ...], Part]], steps: Mapping[str, list[int]]) -> Tensor:
    """Give what one rank has as 1-d uint8, to be sent to the others."""
    found = []
    for names, part in held:
        states = {name: _on_cpu(part.states[name]) for name in part.specs}
        found.append(Held(names, declared(part.specs), (part.update_count,), (states,)))
    return _pack(encode(Saved(1, tuple(found), dict(steps))))


def unpack_one(data: Tensor) -> Saved:
    """Read what `pack_one` gave."""
    return decode(_unpack(data))


def pack(tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Give a flat dict as one value without a shape, for formats that want to know all shapes before they load."""
    return {_ABOUT: read_bytes(_pack(tensors)) if tensors else b""}


def is_saved(value: Any) -> bool:
    """Whether this is meant to be what `save_state` or `pack` gave."""
    return isinstance(value, Mapping) and _ABOUT in value


def is_empty(value: Mapping[str, Any]) -> bool:
    """Whether this is what `pack` gives of nothing: where a checkpoint that was loaded had no such thing."""
    return value[_ABOUT] == b"" if isinstance(value[_ABOUT], bytes) else False


def _pack(tensors: Mapping[str, Tensor]) -> Tensor:
    return encode_bundle([write_bytes(json.dumps(list(tensors)).encode()), *tensors.values()])


def _unpack(data: Tensor) -> dict[str, Tensor]:
    keys, *tensors = decode_bundle(Form.BUNDLE, data)
    return dict(zip(json.loads(read_bytes(keys)), tensors, strict=True))


def _on_cpu(value: State) -> State:
    return value.detach().cpu() if isinstance(value, Tensor) else value


def encode(saved: Saved) -> dict[str, Tensor]:
    """Give the flat dict."""
    tensors: dict[str, Tensor] = {}
    about: list[Any] = []
    for held in saved.held:
        layouts: dict[str, Layout] = {}
        for name in held.declared:
            layouts[name], tensors[_key(held.names[0], name)] = _lay_out([states[name] for states in held.states])
        states = {
            name: [*held.declared[name], layout, dtype_name(tensors[_key(held.names[0], name)].dtype)]
            for name, layout in layouts.items()
        }
        about.append({"names": held.names, "update_counts": held.update_counts, "states": states})
    text = json.dumps({"format": FORMAT, "ranks": saved.ranks, "metrics": about, "steps": saved.steps})
    return {_ABOUT: write_bytes(text.encode()), **tensors}


def _key(metric: str, state: str) -> str:
    return f"{metric}.{state}" if metric else state


def _lay_out(values: Sequence[State]) -> tuple[Layout, Tensor]:
    tensors = [value for value in values if isinstance(value, Tensor)]
    if len(tensors) < len(values):
        return "lists", encode_bundle([encode_list(v) if isinstance(v, list) else encode_list([v]) for v in values])
    if len({(tensor.shape, tensor.dtype) for tensor in tensors}) == 1:
        return "stacked", torch.stack(tensors)
    return "bundle", encode_bundle(tensors)


def decode(tensors: Any) -> Saved:
    """Read the flat dict.

    Raises:
        StateError: It is something else.
    """
    if is_saved(tensors) and isinstance(tensors[_ABOUT], bytes):
        try:
            tensors = _unpack(write_bytes(tensors[_ABOUT]))
        except UNREADABLE as error:
            raise StateError(f"the saved state cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(tensors, Mapping) or not isinstance(tensors.get(_ABOUT), Tensor):
        raise StateError(
            f"what is loaded must be a dict that `save_state` gave, which has the key {_ABOUT!r}, but is"
            f" {_said(tensors)} instead."
        )
    try:
        about = json.loads(read_bytes(tensors[_ABOUT].to(torch.uint8)).decode("ascii"))
        version = about["format"]
        if version != FORMAT:
            raise ValueError(f"it was saved in format {version!r}, and this version reads format {FORMAT}")
        ranks = about["ranks"]
        if type(ranks) is not int or ranks < 1:
            raise ValueError(f"{ranks!r} ranks")
        held = tuple(_read(metric, tensors, ranks) for metric in about["metrics"])
        steps = {str(name): [int(n) for n in counts] for name, counts in about["steps"].items()}
    except UNREADABLE as error:
        raise StateError(f"the saved state cannot be read: {type(error).__name__}: {error}") from error
    return Saved(ranks, held, steps)


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict with the keys {sorted(map(str, value))[:8]}"
    return f"a {type(value).__name__}"


def _read(metric: Mapping[str, Any], tensors: Mapping[str, Any], ranks: int) -> Held:
    names, counts = tuple(map(str, metric["names"])), tuple(map(int, metric["update_counts"]))
    if len(counts) != ranks or min(counts) < 0 or not names:
        raise ValueError(f"`{names}` has the updates {counts}, of {ranks} ranks")
    states: list[States] = [{} for _ in range(ranks)]
    for name, (*_, layout, dtype) in metric["states"].items():
        key = _key(names[0], name)
        value = tensors[key]
        if not isinstance(value, Tensor):
            raise TypeError(f"`{key}` is a {type(value).__name__}, not a tensor")
        if dtype_name(value.dtype) != dtype:
            raise TypeError(f"`{key}` was saved as {dtype}, but is {dtype_name(value.dtype)} now")
        values = _take_apart(value.detach().cpu(), layout)
        if len(values) != ranks:
            raise ValueError(f"`{key}` has the states of {len(values)} ranks, not of {ranks}")
        for rank, one in enumerate(values):
            states[rank][name] = one
    return Held(names, read_declared(metric["states"]), counts, tuple(states))


def _take_apart(value: Tensor, layout: Layout) -> Sequence[State]:
    if layout == "stacked":
        return value.unbind(0)
    values: list[Tensor] = decode_bundle(Form.BUNDLE, value)
    return [decode_list(one) for one in values] if layout == "lists" else values
