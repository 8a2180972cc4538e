"""What a group synced before, kept so that the same sync again costs no work for what is the same.

Nothing here is believed without proof: a schema is taken again for the same declarations, a layout for the same dtypes
and shapes, and a plan only if the manifests of all ranks say, byte for byte, what they said when it was made.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import SyncRefusedError
from syncmetrics.states.spec import StateSpec
from syncmetrics.sync.alike import Columns, columns_of
from syncmetrics.sync.check import Callers
from syncmetrics.sync.manifest import Form, Manifest, Part, Record, Schema, meaning_of, schema_of
from syncmetrics.sync.packet import Said, from_bytes, packet_size, payload_layout, shared_bytes
from syncmetrics.sync.plan import SyncPlan
from syncmetrics.transport.base import Transport

__all__ = ["Buffers", "Known", "Layout", "Memory", "Verdict", "memory_of", "simple_sums", "values_inside"]

#: How many kinds of sync of one group are kept, and how many texts of manifests.
_KEPT = 16
_KEPT_TEXTS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Buffers:
    """Where packets are filled and arrive.

    Attributes:
        packet: What this rank sends, uint8.
        arrived: What all ranks sent, of shape `(world_size, packet size)`.
        outgoing: The memory of `packet`.
        incoming: The memory of `arrived`.
    """

    packet: Tensor
    arrived: Tensor
    outgoing: memoryview
    incoming: memoryview

    @classmethod
    def of(cls, world_size: int) -> Buffers:
        """Make buffers for so many ranks."""
        size = packet_size(world_size)
        outgoing, packet = shared_bytes(size)
        incoming, arrived = shared_bytes(world_size * size)
        return cls(packet, arrived.view(world_size, size), outgoing, incoming)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where in a packet the states of this rank lie that ride inside.

    Attributes:
        buffers: The buffers that `places` are views of.
        manifest_bytes: Size of the manifest in front of them.
        end: Where the last of them ends; 0 if there is none.
        states: Which states ride inside, and have bytes.
        places: For each of them its place, as a tensor.
    """

    buffers: Buffers
    manifest_bytes: int
    end: int
    states: tuple[int, ...]
    places: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What followed from the manifests of all ranks.

    Attributes:
        said: What each of them said besides its numbers.
        sizes: How many bytes that took, behind which the states lie.
        touched: Which metrics have seen an update, rank by rank.
        plan: What had to be sent.
        values: Where the states of all ranks lie in the buffers, if nothing had to be sent.
        sums: States whose values are added up as they are, many at once: their places in the schema, and the values of
            all of them rank by rank.
        buffers: The buffers that these are views of.
    """

    said: tuple[tuple[Record, ...], ...]
    sizes: tuple[int, ...]
    touched: tuple[bool, ...]
    plan: SyncPlan
    values: list[list[Tensor] | Tensor] | None
    sums: tuple[tuple[tuple[int, ...], tuple[list[Tensor], ...]], ...]
    buffers: Buffers

    def holds(
        self, manifests: Sequence[Manifest], sizes: tuple[int, ...], touched: tuple[bool, ...], buffers: Buffers
    ) -> bool:
        """Whether the same follows from these manifests."""
        return (
            self.buffers is buffers
            and self.sizes == sizes
            and self.touched == touched
            and len(self.said) == len(manifests)
            and all(before is m.records for before, m in zip(self.said, manifests, strict=True))
        )


@dataclass(slots=True, eq=False)
class Known:
    """One kind of sync.

    Attributes:
        schema: What takes part.
        fingerprint: Of what may share, however it shares on this rank.
        specs: The declarations that it was made of.
        merges: The functions that merge whole states: of methods the function, for a method keeps its metric alive.
        names: Which metrics may share.
        records: What this rank said of its states the last time.
        said: That, encoded.
        about: What else it said: which metrics are apart, and from which thread it syncs.
        layout: Where they lie in the packet.
        verdict: What followed from the manifests of all ranks.
        columns: Where the states lie if all ranks say the same: of which records, and after how large a manifest.
        meant: What settings and receiver this rank had the last time, and the hash of them.
    """

    schema: Schema
    fingerprint: int
    specs: tuple[tuple[Mapping[str, StateSpec], int], ...]
    merges: tuple[Any, ...]
    names: list[tuple[str, ...]]
    records: tuple[Record, ...] = ()
    said: bytes = b""
    about: tuple[str, str] | None = None
    layout: Layout | None = None
    verdict: Verdict | None = None
    columns: tuple[tuple[Record, ...], int, Columns | None] | None = None
    meant: tuple[Any, int] | None = None

    def meaning(self, parts: Sequence[Part], dst: int | None) -> int:
        """Give the hash of settings and receiver."""
        key = dst, [part.settings for part in parts]
        if self.meant is None or self.meant[0] != key:
            self.meant = key, meaning_of(parts, dst)
        return self.meant[1]

    def fits(self, parts: Sequence[Part]) -> bool:
        """Whether these parts declare the same."""
        return all(
            part.specs is specs and len(specs) == count and _code_of(part.merge) is merge
            for part, (specs, count), merge in zip(parts, self.specs, self.merges, strict=True)
        )

    def lay_out(self, manifest_bytes: int, buffers: Buffers) -> Layout:
        """Give the places of the states in the packet."""
        layout = self.layout
        if layout is None or layout.buffers is not buffers or layout.manifest_bytes != manifest_bytes:
            packet = buffers.packet
            offsets = payload_layout(self.records, manifest_bytes, packet.numel())
            inside = [(i, at) for i, at in enumerate(offsets) if at is not None and self.records[i].nbytes]
            places = tuple(from_bytes(packet[at:], self.records[i].dtype, self.records[i].shape) for i, at in inside)
            end = max((at + self.records[i].nbytes for i, at in inside), default=0)
            layout = self.layout = Layout(buffers, manifest_bytes, end, tuple(i for i, _ in inside), places)
        return layout

    def lay_columns(self, manifest_bytes: int, buffers: Buffers) -> Columns | None:
        """Give where the states of all ranks lie if all say the same, and all states are folded at once then."""
        if self.columns is None or self.columns[0] is not self.records or self.columns[1] != manifest_bytes:
            found = columns_of(self.schema, self.records, manifest_bytes, buffers.packet.numel())
            self.columns = self.records, manifest_bytes, found
        return self.columns[2]


def _code_of(merge: Any) -> Any:
    return getattr(merge, "__func__", merge)


class OneThread:
    """Lets one thread at a time sync over a group: two of them would meet those of the other ranks in any order.

    Attributes:
        contenders: Names of threads that have stood in each other's way here. They may have ended since.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inside = ("", "")
        self.contenders: set[str] = set()

    def enter(self, label: str, group: str) -> tuple[str, str]:
        """Begin a sync, and give what `leave` is to be called with.

        Raises:
            SyncRefusedError: Another thread is in one.
        """
        if not self._lock.acquire(blocking=False):
            thread, other = self._inside
            self.contenders |= {thread, threading.current_thread().name}
            raise SyncRefusedError(
                f"`{label}` cannot be synced over {group} by thread {threading.current_thread().name!r}: thread"
                f" {thread!r} is in the sync of `{other}`. One thread at a time may sync over one group; give each"
                " thread a process group of its own, or use compute_async()."
            )
        before, self._inside = self._inside, (threading.current_thread().name, label)
        return before

    def leave(self, before: tuple[str, str]) -> None:
        """End a sync."""
        self._inside = before
        self._lock.release()


@dataclass(slots=True, eq=False)
class Memory:
    """What one group synced before.

    Attributes:
        world_size: Number of ranks.
        known: The kinds of sync, by label and paths; the latest last.
        said: What was said in manifests.
        buffers: Those of the last sync that ended well. One that did not may have left an operation behind that still
            writes.
        votes: Those in which the ranks last agreed on the end of a transfer.
        callers: Threads of different names that were found to belong together, rank by rank.
        busy: Held by the thread that is in a sync, and what it syncs.
        synced: How many syncs there were. One to which not every rank came is not counted.
    """

    world_size: int
    known: dict[tuple[str, tuple[str, ...]], Known] = field(default_factory=dict)
    said: Said = field(default_factory=dict)
    buffers: Buffers | None = None
    votes: Buffers | None = None
    callers: set[Callers] = field(default_factory=set)
    busy: OneThread = field(default_factory=OneThread)
    synced: int = 0

    def find(self, parts: Sequence[Part], label: str, whole: Sequence[Part]) -> Known:
        """Give what is known of a sync.

        Args:
            parts: What this rank brings.
            label: What is synced.
            whole: The parts that these are blocks of.
        """
        key = label, tuple(part.path for part in parts)
        known = self.known.pop(key, None)
        names = [part.names for part in whole]
        if known is None or known.names != names or not known.fits(parts):
            specs = tuple((part.specs, len(part.specs)) for part in parts)
            schema = schema_of(parts)
            fingerprint = schema.fingerprint if parts is whole else schema_of(whole).fingerprint
            known = Known(schema, fingerprint, specs, tuple(_code_of(part.merge) for part in parts), names)
        self.known[key] = known
        while len(self.known) > _KEPT:
            del self.known[next(iter(self.known))]
        if len(self.said) > _KEPT_TEXTS:
            self.said.clear()
        return known

    def take_buffers(self) -> Buffers:
        """Give the buffers, which belong to the caller until he gives them back."""
        buffers, self.buffers = self.buffers, None
        return Buffers.of(self.world_size) if buffers is None else buffers

    def take_votes(self) -> Buffers:
        """Give buffers for what is said besides the manifests, which belong to the caller until he gives them back."""
        buffers, self.votes = self.votes, None
        return Buffers.of(self.world_size) if buffers is None else buffers


_memories: weakref.WeakKeyDictionary[Transport, Memory] = weakref.WeakKeyDictionary()


def memory_of(transport: Transport) -> Memory:
    """Give what a group synced before."""
    memory = _memories.get(transport)
    if memory is None:
        memory = _memories.setdefault(transport, Memory(transport.world_size))
    return memory


def values_inside(plan: SyncPlan, manifests: Sequence[Manifest], packets: Tensor) -> list[list[Tensor] | Tensor]:
    """Give the states of all ranks as they lie in the packets; the encoded ones as bytes."""
    values: list[list[Tensor] | Tensor] = []
    for state in plan.states:
        found = []
        for rank, offset in enumerate(state.offsets):
            record = manifests[rank].records[state.index]
            data = packets[rank, :0] if offset is None else packets[rank, offset : offset + record.nbytes]
            found.append(from_bytes(data, record.dtype, record.shape) if record.form in _PLACED else data)
        values.append(found)
    return values


_ADDED_UP = (torch.int64, torch.float64, torch.float32, torch.float16, torch.bfloat16)
_PLACED = (Form.DENSE, Form.ROWS)


def simple_sums(
    schema: Schema, plan: SyncPlan, manifests: Sequence[Manifest], values: Sequence[Any]
) -> tuple[tuple[tuple[int, ...], tuple[list[Tensor], ...]], ...]:
    """Find the states that are added up as they are: of one dtype, nothing subtracted, nobody left out."""
    groups: dict[torch.dtype, list[int]] = {}
    for entry, state in zip(schema.entries, plan.states, strict=True):
        records = [m.records[state.index] for m in manifests]
        if (
            entry.merged_by is None
            and entry.spec.reduction.adds
            and entry.spec.offset is None
            and len(state.ranks) == len(manifests)
            and state.dtype in _ADDED_UP
            and all(r.form is Form.DENSE and r.dtype is state.dtype for r in records)
        ):
            groups.setdefault(state.dtype, []).append(state.index)
    ranks = range(len(manifests))
    return tuple((tuple(group), tuple([values[i][rank] for i in group] for rank in ranks)) for group in groups.values())
