"""The verdict: whether what all ranks sent belongs together. Pure: every rank reads the same and decides the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TypeVar

from syncmetrics.errors import PeerError, SchemaMismatchError, StateError
from syncmetrics.reductions import promote
from syncmetrics.sync.manifest import Entry, Form, Manifest, Record, Schema, Status
from syncmetrics.sync.packet import Header

__all__ = ["check_headers", "check_manifests", "describe_difference", "encode_schema", "participants"]

_Key = TypeVar("_Key", bound=Hashable)
_SHOWN = 8


def check_headers(headers: Sequence[Header]) -> bool:
    """Say whether all ranks mean the same sync, as far as the headers tell."""
    first = headers[0]
    return all(h.sequence == first.sequence and h.fingerprint == first.fingerprint for h in headers[1:])


def check_manifests(label: str, schema: Schema, manifests: Sequence[Manifest]) -> None:
    """Check that the states of all ranks can be reduced.

    Raises:
        PeerError: A rank said that it cannot take part.
        SchemaMismatchError: Labels, forms, shapes or dtypes do not fit.
    """
    failures = {rank: m.message for rank, m in enumerate(manifests) if m.status is Status.ERROR}
    label = manifests[0].label  # the ranks may differ in it, the text of the error must not
    if failures:
        lines = "".join(f"\n  rank {rank}: {message}" for rank, message in failures.items())
        raise PeerError(f"the sync of `{label}` failed on {len(failures)} of {len(manifests)} ranks:{lines}", failures)
    labels = _ranks_by([m.label for m in manifests])
    if len(labels) > 1:
        raise SchemaMismatchError(f"the ranks sync different things: {_spread(labels, lambda name: f'`{name}`')}.")
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
    if entry.merged_by is not None:
        return
    ranks = participants(entry, records, counts)
    shapes = _ranks_by([records[r].shape if r in ranks else None for r in range(len(records))])
    shapes.pop(None, None)
    if kinds == {Form.DENSE} and len(shapes) > 1:
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
    if kinds <= {Form.DENSE, Form.ROWS}:
        try:
            promote([records[r].dtype for r in ranks] or [records[0].dtype])
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
    if records and any(r.form is Form.ROWS for r in records):
        filled = [r for r in ranks if records[r].form is Form.ROWS and records[r].shape[0] > 0]
        return tuple(filled or [r for r in ranks if records[r].form is Form.ROWS][:1])
    if all(r.form is Form.DENSE for r in records) and entry.spec.reduction.name in ("sum", "mean", "min", "max"):
        touched = {records[r].shape for r in ranks if counts[r] > 0}
        return tuple(r for r in ranks if counts[r] > 0 or not touched or records[r].shape in touched)
    return tuple(ranks)


def encode_schema(label: str, schema: Schema) -> bytes:
    """Encode what is sent in a second exchange when the headers differ."""
    return json.dumps([label, [entry.declared for entry in schema.entries]], separators=(",", ":")).encode("ascii")


def describe_difference(headers: Sequence[Header], schemas: Sequence[bytes]) -> SchemaMismatchError:
    """Make the error that says how the syncs of the ranks differ.

    Args:
        headers: Of every rank.
        schemas: What `encode_schema` gave on every rank.
    """
    decoded = [json.loads(data.decode("ascii")) for data in schemas]
    labels = [str(label) for label, _ in decoded]
    declared: list[dict[str, tuple[str, str]]] = [{path: (kind, fx) for path, kind, fx in rows} for _, rows in decoded]
    lines: list[str] = []
    by_label = _ranks_by(labels)
    if len(by_label) > 1:
        lines.append(f"they sync {_spread(by_label, lambda name: f'`{name}`')}")
    by_sequence = _ranks_by([h.sequence for h in headers])
    if len(by_sequence) > 1:
        lines.append(
            f"they are at {_spread(by_sequence, lambda n: f'sync number {n}')}: some rank left one out, or did one more"
        )
    lines.extend(_schema_lines(declared))
    text = "".join(f"\n  {line}" for line in lines)
    return SchemaMismatchError(f"the ranks disagree on the sync of `{labels[0]}`:{text}")


def _schema_lines(declared: Sequence[Mapping[str, tuple[str, str]]]) -> list[str]:
    lines = []
    paths = sorted(set().union(*declared))
    for path in paths:
        found = _ranks_by([rows.get(path) for rows in declared])
        if len(found) == 1:
            continue
        if None in found:
            having = [rank for ranks_of in (found[k] for k in found if k is not None) for rank in ranks_of]
            lines.append(f"state `{path}` exists on {_ranks(sorted(having))} only")
        else:
            lines.append(
                f"state `{path}` is {_spread(found, lambda row: f'a {row[0]} reduced with {row[1]!r}' if row else '')}"
            )
    if len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more states differ"]
    return lines


def _ranks_by(keys: Sequence[_Key]) -> dict[_Key, list[int]]:
    groups: dict[_Key, list[int]] = {}
    for rank, key in enumerate(keys):
        groups.setdefault(key, []).append(rank)
    return groups


def _spread(groups: Mapping[_Key, Sequence[int]], show: Callable[[_Key], str]) -> str:
    return ", ".join(f"{show(key)} on {_ranks(ranks)}" for key, ranks in groups.items())


def _ranks(ranks: Sequence[int]) -> str:
    shown = ", ".join(map(str, ranks[:_SHOWN])) + (", ..." if len(ranks) > _SHOWN else "")
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}"
