"""What one rank says of its states: the schema that all ranks must share, and the manifest of what this rank holds.

The schema is what was declared (paths, kinds, reductions) and must be equal on all ranks. The manifest is what the
data happens to be (dtypes, shapes, lengths, update counts) and may differ.
"""

from __future__ import annotations

import enum
import hashlib
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from syncmetrics.errors import StateError
from syncmetrics.states.epoch import NEW
from syncmetrics.states.joined import Run, runs_of
from syncmetrics.states.reductions import promote
from syncmetrics.states.rows import RowBuffer
from syncmetrics.states.samples import UNKNOWN
from syncmetrics.states.spec import State, States, StateSpec, check_value, say_default
from syncmetrics.sync.tally import Heard, Runs

__all__ = [
    "STEP",
    "Entry",
    "Form",
    "Manifest",
    "Part",
    "Record",
    "Schema",
    "Settings",
    "Status",
    "describe_state",
    "is_described_by",
    "meaning_of",
    "schema_of",
]


#: What stands among the settings of a metric in a step.
STEP = "number of synced steps since the last reset"

#: Names of metrics, each with attributes and their values.
Settings: TypeAlias = "tuple[tuple[str, tuple[tuple[str, str], ...]], ...]"


@dataclass(frozen=True, slots=True)
class Part:
    """What one metric brings to a sync.

    Attributes:
        path: Name of the metric inside what is synced; "" if it is the whole.
        specs: Its declared states.
        states: Its local states. They are read, never edited.
        update_count: Number of updates in them.
        device: Where the result is wanted.
        merge: The metric's own `merge_states`, if it has one: then whole states are folded with it.
        epoch: Which epoch the states belong to, as `states.epoch` counts: one on every rank.
        names: The metrics whose states these are, if several may share them: the same on every rank.
        each: Gives what each of these metrics has, in the order of the names, as a part of its own.
        settings: What `update` and `compute` of each of these metrics read besides: its name, and attributes with their
            values. It must be the same on every rank.
        blocks: If they do not have the same on this rank: for each of them the place of the first that has what it has.
        samples: Number of samples in the states; negative if it is unknown.
        heard: Gets what all ranks brought, once that is known.
    """

    path: str
    specs: Mapping[str, StateSpec]
    states: States
    update_count: int
    device: torch.device
    merge: Callable[[States, States], States] | None = None
    epoch: int = NEW
    names: tuple[str, ...] = ()
    each: Callable[[], Sequence[Part]] | None = None
    blocks: tuple[int, ...] = ()
    settings: Settings = ()
    samples: int = UNKNOWN
    heard: Heard | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One state of one part, at its place in the canonical order."""

    part: int
    spec: StateSpec
    path: str
    merged_by: str | None = None

    @property
    def declared(self) -> tuple[str, str, str, str]:
        """Path, kind, reduction and what it starts from: what must be equal on all ranks."""
        kind, default = "list" if self.spec.is_list else "tensor", say_default(self.spec.default)
        return self.path, kind, self.merged_by or self.spec.reduction.name, default


@dataclass(frozen=True, slots=True)
class Schema:
    """The canonical, sorted description of which states take part.

    Attributes:
        entries: All states, sorted by path, whatever the order of declaration.
        fingerprint: Stable 63-bit hash of what was declared.
    """

    entries: tuple[Entry, ...]
    fingerprint: int


def schema_of(parts: Sequence[Part]) -> Schema:
    """Make the schema of what takes part in a sync."""
    entries = []
    for index, part in enumerate(parts):
        merged_by = None
        if part.merge is not None:
            merged_by = getattr(part.merge, "__qualname__", type(part.merge).__qualname__)
        for name, spec in part.specs.items():
            entries.append(Entry(index, spec, f"{part.path}.{name}" if part.path else name, merged_by))
    entries.sort(key=lambda entry: entry.path)
    text = repr([(part.path, part.merge is not None, part.names) for part in sorted(parts, key=lambda part: part.path)])
    digest = hashlib.blake2b(digest_size=8)
    digest.update(text.encode())
    digest.update(repr([entry.declared for entry in entries]).encode())
    return Schema(tuple(entries), int.from_bytes(digest.digest(), "little") >> 1)


class Status(enum.IntEnum):
    """How a rank enters a sync."""

    OK = 0
    ERROR = 1
    JOINED = 2  #: this rank has no more steps: it takes part in the transfers, and brings nothing


class Form(enum.Enum):
    """How a state looks on the wire."""

    DENSE = "d"  #: one tensor
    ROWS = "r"  #: the rows of a "cat" state: one tensor after concatenation
    NOTHING = "n"  #: an empty list
    BUNDLE = "b"  #: a list of tensors that stay apart
    PLAIN = "p"  #: a list of plain data


@dataclass(frozen=True, slots=True)
class Record:
    """What one rank holds of one state.

    Attributes:
        form: How it looks on the wire.
        dtype: Dtype of the tensor; uint8 for the forms that are encoded.
        shape: Shape of the tensor, or the number of bytes.
        device: Type of the device that it lies on.
        runs: How many rows each element of the list has, run-length coded; nothing if it does not matter who appended
            which row.
    """

    form: Form
    dtype: torch.dtype = torch.uint8
    shape: tuple[int, ...] = (0,)
    device: str = "cpu"
    runs: tuple[Run, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes on the wire."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one rank says when it enters a sync.

    Attributes:
        status: OK, or ERROR with `message` in place of everything else.
        sequence: Which sync of the group the rank takes this for.
        fingerprint: Of its schema.
        label: What the rank is syncing: a metric's or a collection's name.
        update_counts: Of each part, in the order of the sorted paths.
        records: Of each entry of the schema.
        epochs: Of each part, in the order of the sorted paths.
        message: Why it cannot take part; or, if it can, which metrics do not share that share on other ranks.
        caller: The thread that syncs, if it is not the one that usually does.
        meaning: Stable 32-bit hash of what else changes the value: settings of the metrics, and who receives it.
        samples: Numbers of samples of the parts, in the order of the sorted paths, run-length coded.
    """

    status: Status
    sequence: int
    fingerprint: int
    label: str
    update_counts: tuple[int, ...] = ()
    records: tuple[Record, ...] = ()
    epochs: tuple[int, ...] = ()
    message: str = ""
    caller: str = ""
    meaning: int = 0
    samples: Runs = ()


def meaning_of(parts: Sequence[Part], dst: int | None) -> int:
    """Give what is equal on two ranks whose metrics have equal settings, and that send to the same rank."""
    said = [(part.path, part.settings) for part in parts if part.settings]
    return zlib.crc32(repr((dst, sorted(said))).encode()) if said or dst is not None else 0


def describe_state(spec: StateSpec, value: State, apart: bool = False) -> tuple[Record, list[Tensor]]:
    """Describe one local state, and give the tensors that make it up. Nothing is copied.

    For the encoded forms the record has no size yet: the packet module encodes them.

    Args:
        spec: What was declared.
        value: The local value.
        apart: Whether the values of the ranks stay apart, so that rows must not be joined.

    Raises:
        TypeError: It is no value that a state can have.
        StateError: Its rows do not fit together.
    """
    if not (isinstance(value, list) and value and not isinstance(value[0], Tensor)):
        check_value(value)  # plain data is checked as it is encoded
        for tensor in [value] if isinstance(value, Tensor) else value:
            if type(tensor) not in _PLAIN_TENSORS or tensor.is_meta:
                _check_has_data(tensor)
    rowwise = spec.reduction.name == "cat" and not apart
    if isinstance(value, Tensor):
        tensor = value.detach()
        if rowwise:
            return _describe_rows([tensor], keeps_elements=False)
        return Record(Form.DENSE, tensor.dtype, tuple(tensor.shape), tensor.device.type), [tensor]
    if not value:
        return Record(Form.NOTHING), []
    if not isinstance(value[0], Tensor):
        return Record(Form.PLAIN), []
    tensors = [item.detach() for item in value]
    if rowwise:
        return _describe_rows(tensors, keeps_elements=not isinstance(spec.default, RowBuffer))
    return Record(Form.BUNDLE, device=tensors[0].device.type), tensors


#: Tensors of which it is known without a look that they have memory of their own.
_PLAIN_TENSORS = (Tensor, torch.nn.Parameter)


def _check_has_data(tensor: Tensor) -> None:
    """Check that there are bytes to send.

    Raises:
        TypeError: It has none, or they are spread over ranks already.
    """
    kind = type(tensor)
    if tensor.is_meta:
        raise TypeError("lies on the meta device, where a tensor has no data to send: call metric.to_empty(device=...)")
    if kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        hint = "; write full_tensor() or to_local()" if kind.__name__ == "DTensor" else ""
        raise TypeError(f"is a {kind.__name__}, which has no plain data of its own to send{hint}")


def is_described_by(value: Tensor, record: Record) -> bool:
    """Whether a record of one dense tensor describes this one too."""
    return (
        record.form is Form.DENSE
        and type(value) in _PLAIN_TENSORS
        and value.dtype is record.dtype
        and value.shape == record.shape
        and (value.is_cpu if record.device == "cpu" else value.device.type == record.device)
        and value.layout is torch.strided
    )


def _describe_rows(tensors: list[Tensor], *, keeps_elements: bool) -> tuple[Record, list[Tensor]]:
    runs = runs_of(tensors) if keeps_elements else ()
    rows = [t.reshape(1) if t.dim() == 0 else t for t in tensors]
    filled = [t for t in rows if t.shape[0] > 0] or rows[:1]
    tail = filled[0].shape[1:]
    total = 0
    for t in filled:
        if t.shape[1:] != tail:
            raise StateError(
                f"rows of one 'cat' state must have one trailing shape, but have {tuple(tail)} and"
                f" {tuple(t.shape[1:])};"
                " pad them in `update`, or declare the list with dist_reduce_fx=None to keep tensors of any shape."
            )
        total += t.shape[0]
    dtype = promote([t.dtype for t in filled])
    return Record(Form.ROWS, dtype, (total, *tail), filled[0].device.type, runs), filled
