"""The verdict: whether what all ranks sent belongs together. Pure: every rank reads the same and decides the same."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from syncmetrics.errors import PacketError, PeerError, SchemaMismatchError, StateError
from syncmetrics.states.epoch import agree, is_fresh, went_on
from syncmetrics.states.reductions import promote
from syncmetrics.sync.manifest import STEP, Entry, Form, Manifest, Part, Record, Schema, Status
from syncmetrics.sync.packet import Header

__all__ = [
    "Callers",
    "callers_of",
    "check_failures",
    "check_manifests",
    "describe_difference",
    "encode_schema",
    "mean_the_same",
    "participants",
    "peer_error",
    "threads_fit",
]

#: The threads that sync, rank by rank.
Callers: TypeAlias = tuple[str, ...]

_Key = TypeVar("_Key", bound=Hashable)
_SHOWN = 8


def mean_the_same(headers: Sequence[Header], manifests: Sequence[Manifest], agreed: Container[Callers] = ()) -> bool:
    """Say whether all ranks that have not joined mean the same sync.

    Args:
        headers: Of every rank.
        manifests: Of every rank.
        agreed: Threads that were found to belong together.
    """
    keys = {
        (h.sequence, h.fingerprint, m.label, m.epochs, m.message, m.caller, h.meaning)
        for h, m in zip(headers, manifests, strict=True)
        if h.status is not Status.JOINED
    }
    if len(keys) <= 1:
        return True
    if len({(*key[:3], key[6]) for key in keys}) > 1 or (
        len({key[5] for key in keys}) > 1 and callers_of(manifests) not in agreed
    ):
        return False
    # Ranks whose metrics share in other ways bring other parts, and sync once more: then it is time to ask.
    return len({key[4] for key in keys}) > 1 or all(map(agree, zip(*{key[3] for key in keys}, strict=True)))


def callers_of(manifests: Sequence[Manifest]) -> Callers:
    """Give the threads that sync, rank by rank."""
    return tuple(m.caller for m in manifests)


def threads_fit(texts: Sequence[bytes]) -> bool:
    """Say whether threads of other names are each the only one of their rank that can be meant.

    They are not if one rank has a thread, too, or had one that was refused, of the name that syncs on another: then two
    threads of a rank sync over one group, and meet in any order.

    Args:
        texts: What `encode_schema` gave on every rank; nothing for a rank that has joined.
    """
    said = list(_read(texts).values())
    callers = {str(body[4]) for body in said}
    return all(not (callers - {str(body[4])}) & set(map(str, body[5])) for body in said)


def check_failures(manifests: Sequence[Manifest]) -> None:
    """Check that every rank can take part.

    Raises:
        PeerError: A rank said that it cannot.
    """
    failures = {rank: m.message for rank, m in enumerate(manifests) if m.status is Status.ERROR}
    if failures:
        # The ranks may differ in what they were about to sync; the text of the error must not.
        label = next((m.label for m in manifests if m.status is Status.OK), manifests[0].label)
        raise peer_error(label, failures, len(manifests))


def peer_error(label: str, failures: Mapping[int, str], world_size: int) -> PeerError:
    """Make the error that says which ranks have failed, and why."""
    lines = "".join(f"\n  rank {rank}: {message}" for rank, message in failures.items())
    return PeerError(f"the sync of `{label}` failed on {len(failures)} of {world_size} ranks:{lines}", failures)


def check_manifests(label: str, schema: Schema, manifests: Sequence[Manifest]) -> None:
    """Check that the states of all ranks can be reduced.

    Raises:
        SchemaMismatchError: Forms, shapes or dtypes do not fit.
    """
    for index, entry in enumerate(schema.entries):
        counts = [m.update_counts[entry.part] for m in manifests]
        _check_entry(label, entry, [m.records[index] for m in manifests], counts)


def _check_entry(label: str, entry: Entry, records: Sequence[Record], counts: Sequence[int]) -> None:
    where = f"state `{entry.path}` of `{label}`"
    forms = _ranks_by([r.form for r in records])
    kinds = set(forms) - {Form.NOTHING}
    if len(kinds) > 1:
        names = {
            Form.DENSE: "a tensor",
            Form.ROWS: "tensors",
            Form.BUNDLE: "tensors",
            Form.PLAIN: "plain data",
            Form.NOTHING: "nothing",
        }
        raise SchemaMismatchError(f"{where} holds different kinds of data: {_spread(forms, lambda form: names[form])}.")
    ranks = participants(entry, records, counts)
    shapes = _ranks_by([records[r].shape if r in ranks else None for r in range(len(records))])
    shapes.pop(None, None)
    if kinds == {Form.DENSE} and len(shapes) > 1 and entry.merged_by is None:
        raise SchemaMismatchError(
            f"{where} has different shapes, which {entry.spec.reduction.name!r} cannot reduce: {_spread(shapes, str)}."
            " Make them equal (num_classes, say); tensors of different shapes go into a list state."
        )
    if kinds == {Form.ROWS}:
        tails: dict[tuple[int, ...], list[int]] = {}
        for shape, members in shapes.items():
            assert shape is not None
            tails.setdefault(shape[1:], []).extend(members)
        if len(tails) > 1:
            raise SchemaMismatchError(
                f"{where} has rows of different trailing shapes: {_spread(tails, str)}."
                " Pad them in `update`, or declare a list with dist_reduce_fx=None."
            )
    if kinds == {Form.ROWS} or (kinds == {Form.DENSE} and entry.merged_by is None):
        try:
            promote([records[r].dtype for r in ranks])
        except StateError as error:
            dtypes = _ranks_by([r.dtype for r in records])
            raise SchemaMismatchError(
                f"{where} has dtypes without a common one: {_spread(dtypes, str)}; {error}"
            ) from None


def participants(entry: Entry, records: Sequence[Record], counts: Sequence[int]) -> tuple[int, ...]:
    """Decide whose values of a state are reduced: all, but for ranks that have nothing to say.

    Ranks without rows do not speak for a `"cat"` state if others have rows. A tensor that no update has touched and
    whose shape is not that of the touched ones is a default that was going to be replaced.
    """
    ranks = range(len(records))
    if any(r.form is Form.ROWS for r in records):
        filled = [r for r in ranks if records[r].form is Form.ROWS and records[r].shape[0] > 0]
        return tuple(filled or [r for r in ranks if records[r].form is Form.ROWS][:1])
    if any(r.form is Form.DENSE for r in records):
        dense = [r for r in ranks if records[r].form is Form.DENSE]
        touched = {records[r].shape for r in dense if counts[r] > 0}
        if touched and entry.spec.reduction.by_element:
            dense = [r for r in dense if counts[r] > 0 or records[r].shape in touched]
        return tuple(dense)
    return tuple(ranks)


def encode_schema(
    label: str,
    schema: Schema,
    parts: Sequence[Part],
    notes: Sequence[str],
    caller: str,
    contenders: Iterable[str],
    dst: int | None,
) -> bytes:
    """Encode what is sent in a second exchange when the ranks mean different syncs.

    Args:
        label: What this rank syncs.
        schema: Its schema.
        parts: Its parts.
        notes: What it did before in this group.
        caller: The thread that syncs.
        contenders: Threads that have stood in each other's way in this group.
        dst: The rank that receives the result, if it is not every rank.
    """
    epochs = {part.path: part.epoch for part in parts}
    declared = [entry.declared for entry in schema.entries]
    alive = ["" if thread is threading.main_thread() else thread.name for thread in threading.enumerate()]
    threads = sorted({*alive, *contenders})
    shared = [[part.path, list(part.names)] for part in parts if len(part.names) > 1]
    settings = [list(one) for part in parts for one in part.settings]
    body = [label, declared, epochs, list(notes), caller, threads, shared, settings, dst]
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def _read(texts: Sequence[bytes]) -> dict[int, list[Any]]:
    """Read what `encode_schema` gave on every rank that has not joined.

    Raises:
        PacketError: A rank sent something else.
    """
    said = {}
    for rank, text in enumerate(texts):
        if not text:
            continue
        try:
            body = json.loads(text.decode("ascii"))
            label, declared, epochs, before, caller, threads, shared, settings, dst = body
            rows = [(str(path), str(kind), str(fx), str(default)) for path, kind, fx, default in declared]
            groups = [(str(path), tuple(map(str, names))) for path, names in shared]
            values = [(str(name), {str(k): str(v) for k, v in items}) for name, items in settings]
            texts_of = [list(map(str, some)) for some in (before, threads)]
            parts = {str(path): int(epoch) for path, epoch in epochs.items()}
            if dst is not None and type(dst) is not int:
                raise ValueError(f"{dst!r} is no rank")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise PacketError(f"rank {rank} did not say what it syncs: {error}") from error
        said[rank] = [str(label), rows, parts, texts_of[0], str(caller), texts_of[1], groups, values, dst]
    return said


def describe_difference(headers: Sequence[Header], texts: Sequence[bytes]) -> SchemaMismatchError:
    """Make the error that says how the syncs of the ranks differ.

    Args:
        headers: Of every rank.
        texts: What `encode_schema` gave on every rank; nothing for a rank that has joined.
    """
    said = _read(texts)
    lines: list[str] = []
    labels = _group({rank: str(body[0]) for rank, body in said.items()})
    if len(labels) > 1:
        lines.append(f"they sync {_spread(labels, lambda name: f'`{name}`')}")
    sequences = _group({rank: headers[rank].sequence for rank in said})
    if len(sequences) > 1:
        lines.append(
            f"they are at {_spread(sequences, lambda n: f'sync number {n}')}: some rank left one out, or did one more"
        )
    lines.extend(_schema_lines({rank: {row[0]: tuple(row[1:]) for row in body[1]} for rank, body in said.items()}))
    lines.extend(_setting_lines({rank: {name: dict(rows) for name, rows in body[7]} for rank, body in said.items()}))
    receivers = _group({rank: body[8] for rank, body in said.items()})
    if len(receivers) > 1:
        whom = _spread(receivers, lambda dst: "every rank" if dst is None else f"rank {dst}")
        lines.append(f"the result goes to {whom}: `dst` and `compute_on` must be the same on every rank")
    lines.extend(_sharing_lines({rank: {path: tuple(names) for path, names in body[6]} for rank, body in said.items()}))
    callers = _group({rank: str(body[4]) for rank, body in said.items()})
    if len(callers) > 1:
        names = _spread(callers, lambda name: f"thread {name!r}" if name else "the main thread")
        lines.append(
            f"they sync from {names}: one thread of a rank may sync over one group; give each a process group of its"
            " own"
        )
    if not lines:
        lines.extend(_epoch_lines({rank: body[2] for rank, body in said.items()}))
    for notes, ranks in _group({rank: tuple(body[3]) for rank, body in said.items()}).items():
        before = ", then ".join(notes) if notes else "nothing"
        lines.append(f"before this, {_ranks(ranks)} did: {before}")
    text = "".join(f"\n  {line}" for line in lines)
    return SchemaMismatchError(f"the ranks disagree on the sync of `{next(iter(labels))}`:{text}")


def _sharing_lines(shared: Mapping[int, Mapping[str, tuple[str, ...]]]) -> list[str]:
    """Say which metrics accumulate the same on some ranks, and not on others."""
    lines = []
    for path in sorted(set().union(*shared.values())):
        found = _group({rank: groups.get(path, (path,)) for rank, groups in shared.items()})
        if len(found) > 1:
            lines.append(f"`{path}` is one state of {_spread(found, lambda names: ' and '.join(map(repr, names)))}")
    return lines


def _epoch_lines(epochs: Mapping[int, Mapping[str, int]]) -> list[str]:
    """Say which ranks have reset a metric since their last sync of it, and which have not."""
    lines = []
    for path in sorted(set().union(*epochs.values())):
        of_rank = {rank: parts[path] for rank, parts in epochs.items() if path in parts}
        if agree(set(of_rank.values())):
            continue
        name = f"`{path}`" if path else "it"
        was_reset = _group({rank: is_fresh(epoch) for rank, epoch in of_rank.items()})
        if len(was_reset) > 1:
            which = f"was reset since its last sync on {_ranks(was_reset[True])}, but not on {_ranks(was_reset[False])}"
        else:
            ahead = [rank for rank, epoch in of_rank.items() if epoch in went_on(of_rank.values())]
            again = [rank for rank in of_rank if rank not in ahead]
            which = (
                f"had a value in a sync that gave none on {_ranks(again)}, and was reset since on {_ranks(ahead)},"
                " where the others sync again for that value"
            )
        lines.append(f"{name} {which}: these ranks are in different epochs")
    return lines


def _setting_lines(settings: Mapping[int, Mapping[str, Mapping[str, str]]]) -> list[str]:
    """Say which attributes of which metrics have other values on some ranks."""
    lines = []
    for metric in sorted(set().union(*settings.values())):
        having = {rank: metrics.get(metric, {}) for rank, metrics in settings.items()}
        for name in sorted(set().union(*having.values())):
            found = _group({rank: values.get(name, "not set, or no plain value") for rank, values in having.items()})
            if len(found) > 1:
                of = f"of `{metric}` " if metric else ""
                hint = "" if name == STEP else " (one that may differ between ranks begins with an underscore)"
                lines.append(f"`{name}` {of}is {_spread(found, str)}{hint}")
    return lines[:_SHOWN]


def _schema_lines(declared: Mapping[int, Mapping[str, tuple[str, ...]]]) -> list[str]:
    lines = []
    for path in sorted(set().union(*declared.values())):
        found = _group({rank: rows.get(path) for rank, rows in declared.items()})
        if len(found) == 1:
            continue
        if None in found:
            having = sorted(rank for row, ranks in found.items() if row is not None for rank in ranks)
            lines.append(f"state `{path}` exists on {_ranks(having)} only")
        else:
            kinds = {row[:2] for row in found if row is not None}
            if len(kinds) == 1:
                lines.append(f"state `{path}` starts from {_spread(found, lambda row: row[2] if row else '')}")
            else:
                shown = _spread(found, lambda row: f"a {row[0]} reduced with {row[1]!r}" if row else "")
                lines.append(f"state `{path}` is {shown}")
    if len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more states differ"]
    return lines


def _group(keys: Mapping[int, _Key]) -> dict[_Key, list[int]]:
    groups: dict[_Key, list[int]] = {}
    for rank, key in keys.items():
        groups.setdefault(key, []).append(rank)
    return groups


def _ranks_by(keys: Sequence[_Key]) -> dict[_Key, list[int]]:
    return _group(dict(enumerate(keys)))


def _spread(groups: Mapping[_Key, Sequence[int]], show: Callable[[_Key], str]) -> str:
    return ", ".join(f"{show(key)} on {_ranks(ranks)}" for key, ranks in groups.items())


def _ranks(ranks: Sequence[int]) -> str:
    shown = ", ".join(map(str, ranks[:_SHOWN])) + (", ..." if len(ranks) > _SHOWN else "")
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}"
