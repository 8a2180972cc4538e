"""`compute_on`: the states go to one rank alone, which computes; the others receive the value.

1. The sync sends to that rank alone: the others never hold the states of all.
2. That rank computes. The others wait in rounds; in each the computing rank says that it is still at it, from a second
   thread, so that no wait is as long as the computation.
3. The last round carries the value, or says what was raised. A value that does not fit is broadcast between two votes,
   as a large transfer is. Values travel as the states of a sync do, never pickled.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import Mark, PacketError, PeerError, StateError, SyncError, is_marked, mark, said_by
from syncmetrics.states.plain import decode_plain, encode_plain
from syncmetrics.sync import (
    Merged,
    Node,
    Route,
    Syncable,
    episode,
    leave_epoch,
    put_back,
    settle,
    sync_nodes,
)
from syncmetrics.sync.exchange import attempt, vote
from syncmetrics.sync.manifest import Form
from syncmetrics.sync.memory import Buffers
from syncmetrics.sync.packet import decode_bundle, encode_bundle, packet_size, read_bytes, write_bytes
from syncmetrics.transport.patience import current_patience

__all__ = ["compute_on_one", "decode_value", "encode_value"]

_HEADER = struct.Struct("<bq")
_ALIVE, _VALUE, _FAILED = 1, 2, 3
#: So often the computing rank says that it is alive: before those that wait turn to the store.
_BEAT_SECONDS = 0.5


def compute_on_one(nodes: Sequence[Node], route: Route, label: str, compute: Callable[[], Any]) -> Any:
    """Compute on the rank `route.dst`, and give the value on every rank.

    Collective: every rank of the group must call this.

    Args:
        nodes: Whose states. Tensors of the value that were computed on an accelerator are put where these lie.
        route: Over whom and to whom.
        label: What to call it in an error.
        compute: What is called while the states of all ranks are shown, on that rank alone.

    Raises:
        PeerError: `compute` raised on that rank, which itself raises what it was.
        SyncError: The sync, or the delivery of the value, did not come to its end.
        ValueError: The group has no such rank.
    """
    rank = route.dst
    assert rank is not None
    _check_in_group(rank, route.transport.world_size)
    settle(route.transport)
    # One episode: who is interrupted between the sync and the delivery leaves the others in the middle.
    with episode(route.transport, route.timeout, f"`{label}` on rank {rank}"):
        return _compute_on_one(nodes, route, rank, label, compute)


def _compute_on_one(nodes: Sequence[Node], route: Route, rank: int, label: str, compute: Callable[[], Any]) -> Any:
    transport = route.transport
    failure: Exception | None = None
    merged: list[Merged] | None = None
    try:
        merged = sync_nodes(nodes, route, label, leaving=False)
    except Exception as error:
        if transport.rank != rank or transport.world_size == 1 or not is_marked(error, Mark.AFTERWARDS):
            raise
        failure = error  # the states were exchanged, and could not be reduced: the others wait for the value already
    if transport.world_size == 1:
        assert merged is not None
        leave_epoch(nodes)
        return _compute_shown(nodes, merged, compute)
    # Rounds go over the CPU: those of an accelerator would queue up behind what is being computed. Its twin is free:
    # what `join` may have left there was waited for by the sync.
    lane = transport if transport.wire_device(["cpu"]).type == "cpu" else transport.twin()
    delivery = _Delivery(replace(route, transport=lane, what=f"the value of `{label}` from rank {rank}"), rank, label)

    def evaluate() -> Any:
        if failure is not None:
            raise failure
        assert merged is not None
        return _compute_shown(nodes, merged, compute)

    try:
        with delivery.episode:
            if transport.rank == rank:
                value = delivery.send(evaluate)
            else:
                value = delivery.receive(nodes[0].store.device if nodes else torch.device("cpu"))
    except BaseException as error:
        if is_marked(error, Mark.AGREED):  # that rank could not compute, and all know
            leave_epoch(nodes)
        raise
    leave_epoch(nodes)
    return value


def _check_in_group(rank: int, world_size: int) -> None:
    if rank >= world_size:
        raise ValueError(f"`compute_on` must be a rank in the group, 0 to {world_size - 1}, but is {rank} instead.")


def _compute_shown(nodes: Sequence[Syncable], merged: Sequence[Merged], compute: Callable[[], Any]) -> Any:
    shown: list[Syncable] = []
    try:
        for node, result in zip(nodes, merged, strict=True):
            shown.append(node)
            node.show(result)
        return compute()
    finally:
        put_back(shown)


class _Delivery:
    """Brings a value from one rank to the others."""

    def __init__(self, route: Route, rank: int, label: str) -> None:
        self._route = route
        self._rank = rank
        self._label = label
        self._timeout = route.timeout if route.timeout is not None else current_patience().timeout
        self._beat_error: Exception | None = None
        # As a sync sends: nothing that a rank could meet that is at another operation is of another size.
        self._packet_bytes = packet_size(route.transport.world_size)
        self._inline_bytes = self._packet_bytes - _HEADER.size
        self.episode = episode(route.transport, route.timeout, route.what)

    def send(self, evaluate: Callable[[], Any]) -> Any:
        """Compute, and send the value; whatever is raised, the others hear of it."""
        finished = threading.Event()
        beating = threading.Thread(target=self._beat, args=(finished,), name="syncmetrics compute_on", daemon=True)
        try:
            try:
                beating.start()
                value = evaluate()
                data = encode_value(value, self._label)
            finally:
                finished.set()
                if beating.ident is not None:  # else it was interrupted as it began, and finds that it has finished
                    beating.join()
        except BaseException as error:
            mark(error, Mark.REPORTED)  # `share_errors` need not tell the others again
            if self._beat_error is None:
                with suppress(SyncError):  # nobody is there to hear it; the error itself is what matters
                    self._tell(_FAILED, said_by(error).encode("utf-8", "backslashreplace"))
                    mark(error, Mark.AGREED)
            raise
        if self._beat_error is not None:
            raise self._beat_error
        self._tell(_VALUE, read_bytes(data))
        return value

    def _beat(self, finished: threading.Event) -> None:
        """Say that this rank is alive, until it has finished."""
        pause = _BEAT_SECONDS if self._timeout is None else min(_BEAT_SECONDS, self._timeout / 4)
        try:
            while not finished.wait(pause):
                self._round(_HEADER.pack(_ALIVE, 0))
        except Exception as error:  # a rank that waits is gone: it is raised when the value is there
            self._beat_error = error

    def _tell(self, status: int, data: bytes) -> None:
        if status == _FAILED:
            data = data[: self._inline_bytes]
        self._round(_HEADER.pack(status, len(data)) + data[: self._inline_bytes])
        if len(data) > self._inline_bytes:
            buffer = write_bytes(data).to(self._route.transport.wire_device(["cpu"]))
            self._vote(None)
            self._broadcast(buffer)
            self._vote(None)

    def _vote(self, error: Exception | None) -> None:
        """Agree on whether all ranks can take a value that is large: all have it then, or none.

        Raises:
            PeerError: A rank cannot.
        """
        vote(self._route, self._label, error, Buffers.of(self._route.transport.world_size))

    def receive(self, device: torch.device) -> Any:
        """Wait until the value is there."""
        while True:
            packet = self._round(b"")
            status, size = _HEADER.unpack_from(packet)
            if status != _ALIVE:
                break
        if status not in (_VALUE, _FAILED) or size < 0:
            raise PacketError(f"rank {self._rank} did not send a value of `{self._label}`.")
        data = packet[_HEADER.size : _HEADER.size + size]
        if status == _FAILED:
            text = data.decode(errors="replace")
            error = PeerError(f"`compute` of `{self._label}` failed on rank {self._rank}: {text}", {self._rank: text})
            mark(error, Mark.AGREED)
            raise error
        return decode_value(write_bytes(data), device) if size == len(data) else self._receive_large(size, device)

    def _receive_large(self, size: int, device: torch.device) -> Any:
        """Receive a value that does not fit into a round. All ranks can hold it, or all raise."""
        wire = self._route.transport.wire_device(["cpu"])
        buffer, failure = attempt(lambda: torch.zeros(size, dtype=torch.uint8, device=wire))
        self._vote(failure)
        assert buffer is not None
        self._broadcast(buffer)
        value, failure = attempt(lambda: decode_value(buffer.cpu(), device))
        self._vote(failure)
        return value

    def _round(self, mine: bytes) -> bytes:
        """Meet all ranks, and give what the computing one brought. All to all, so that all see who is gone."""
        route = self._route
        device = route.transport.wire_device(["cpu"])
        size = self._packet_bytes
        local = write_bytes(mine.ljust(size, b"\0")).to(device)
        out = torch.empty(size * route.transport.world_size, dtype=torch.uint8, device=device)
        route.transport.all_gather(out, local, timeout=route.timeout, what=route.what)
        return read_bytes(out[size * self._rank :][:size])

    def _broadcast(self, buffer: Tensor) -> None:
        route = self._route
        route.transport.broadcast(buffer, self._rank, timeout=route.timeout, what=route.what)


def encode_value(value: Any, label: str) -> Tensor:
    """Encode what a `compute` gave: tensors, plain data, and lists, tuples and dicts of these.

    Raises:
        StateError: Some part of it cannot travel.
    """
    tensors: list[Tensor] = []
    try:
        shape = encode_plain([_outline(value, tensors)])
    except TypeError as error:
        raise StateError(
            f"the value of `{label}` {error}, which cannot travel to the other ranks; with `compute_on` a value is made"
            " of tensors, str, int, float, bool, None, bytes, and lists, tuples and dicts of these."
        ) from None
    return encode_bundle([write_bytes(shape), *(tensor.detach().cpu() for tensor in tensors)])


def _outline(value: Any, tensors: list[Tensor]) -> tuple[Any, ...]:
    """Write down the structure, with numbers in place of the tensors."""
    if isinstance(value, Tensor):
        if value.layout is not torch.strided or value.is_quantized:
            raise TypeError("holds a tensor that is not dense")
        tensors.append(value)
        return ("tensor", len(tensors) - 1, value.device.type == "cpu")
    if type(value) is dict:
        return ("dict", [(key, _outline(item, tensors)) for key, item in value.items()])
    if type(value) is list or type(value) is tuple:
        return (type(value).__name__, [_outline(item, tensors) for item in value])
    return ("plain", value)


def decode_value(data: Tensor, device: torch.device) -> Any:
    """Decode what `encode_value` wrote.

    Args:
        data: The bytes.
        device: Where tensors are put that lay on an accelerator.

    Raises:
        PacketError: The bytes are something else.
    """
    outline, *tensors = decode_bundle(Form.BUNDLE, data)
    try:
        (value,) = decode_plain(read_bytes(outline))
        return _fill(value, tensors, device)
    except (ValueError, TypeError, IndexError) as error:
        raise PacketError(f"a value cannot be decoded: {error}") from error


def _fill(outline: Any, tensors: Sequence[Tensor], device: torch.device) -> Any:
    kind, body, *rest = outline
    if kind == "tensor":
        return tensors[body].clone() if rest == [True] else tensors[body].to(device, copy=True)
    if kind == "dict":
        return {key: _fill(item, tensors, device) for key, item in body}
    if kind in ("list", "tuple"):
        items = [_fill(item, tensors, device) for item in body]
        return items if kind == "list" else tuple(items)
    return body
