"""Plain data to bytes and back: what a list state may hold besides tensors.

Strings, numbers, None, bytes, and lists, tuples and dicts of these travel as JSON. What JSON has itself goes as it is,
at the speed of its own encoder; many dicts with the same keys go as a table, column by column, numbers in binary. Where
there is anything else, tuples, dicts and bytes are tagged, so that every value comes back with its own type:
`decode_plain(encode_plain(x)) == x`. Nothing is ever unpickled.
"""

from __future__ import annotations

import base64
import json
import struct
import sys
from array import array
from collections.abc import Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import Any

from syncmetrics.errors import PacketError

__all__ = ["check_plain", "copy_plain", "decode_plain", "encode_plain", "is_json_throughout"]

_SCALARS = frozenset({str, int, float, bool, type(None)})
_FLAT = _SCALARS | {bytes}
_KEYS = frozenset({str})
_AS_IT_IS, _TAGGED, _TABLE = b"j", b"t", b"c"
_MANY = 32  # so many rows make a table worth it
_SIZE = struct.Struct("<q")
_COLUMNS = {"f": "d", "i": "q"}  # kinds of columns that are numbers in binary, as `array` calls them
_JSON_BITS = 1024  # Python refuses to write much longer integers in decimal
_MAX_DEPTH = 100  # far below Python's recursion limit, so that a value which was accepted can always be encoded


def check_plain(value: Any, depth: int = 0) -> None:
    """Check that `value` can travel.

    Raises:
        TypeError: Some part of it is not plain data. The text names the type and its place.
    """
    if not _is_json(value) and type(value) is not bytes:
        _check(value, depth)


def _is_json(value: Any, depth: int = 0) -> bool:
    """Say whether JSON has a value itself: no tuple, no bytes, no key that is no string. It must be quick."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if depth >= _MAX_DEPTH:
        return False
    if kind is dict:
        if not _KEYS.issuperset(map(type, value)):
            return False
        return _SCALARS.issuperset(map(type, value.values())) or all(_is_json(v, depth + 1) for v in value.values())
    if kind is list:
        return _SCALARS.issuperset(map(type, value)) or all(_is_json(item, depth + 1) for item in value)
    return False


def is_json_throughout(values: Sequence[Any], depth: int = 0) -> bool:
    """Say whether JSON has all these values itself, as `_is_json`; a level at a time while it holds one kind."""
    for deeper in range(depth, _MAX_DEPTH):
        kinds = set(map(type, values))
        if kinds <= _SCALARS:
            return True
        if kinds == {dict}:
            if not _KEYS.issuperset(map(type, chain.from_iterable(values))):
                return False
            values = list(chain.from_iterable(map(dict.values, values)))
        elif kinds == {list}:
            values = list(chain.from_iterable(values))
        else:
            return all(_is_json(value, deeper) for value in values)
    return False


def _check(value: Any, depth: int) -> None:
    kind = type(value)
    if kind in _SCALARS or kind is bytes:
        return
    if depth >= _MAX_DEPTH:
        raise TypeError(f"is nested deeper than {_MAX_DEPTH} levels")
    if kind is list or kind is tuple:
        for item in value:
            _check(item, depth + 1)
        return
    if kind is dict:
        for key, item in value.items():
            _check(key, depth + 1)
            _check(item, depth + 1)
        return
    inside = " inside a list, tuple or dict" if depth else ""
    raise TypeError(f"holds a {kind.__module__}.{kind.__qualname__}{inside}")


def copy_plain(values: Sequence[Any]) -> list[Any]:
    """Copy a list of plain values, so that editing a dict or list in the copy does not reach the original."""
    return list(values) if _FLAT.issuperset(map(type, values)) else [_copy(value) for value in values]


def _copy(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        flat = _FLAT.issuperset(map(type, value.values()))
        return value.copy() if flat else {key: _copy(item) for key, item in value.items()}
    if kind is list:
        return copy_plain(value)
    if kind is tuple and not _FLAT.issuperset(map(type, value)):
        return tuple(map(_copy, value))
    return value


def encode_plain(values: Sequence[Any], depth: int = 0) -> bytes:
    """Encode a list of plain values.

    Raises:
        TypeError: A value is not plain data.
    """
    values = list(values)
    table = _as_table(values, depth)
    if table is not None:
        return table
    if is_json_throughout(values, depth):
        text = _as_it_is(values)
        if text is not None:
            return _AS_IT_IS + text.encode("ascii")
    for value in values:
        _check(value, depth)
    return _TAGGED + json.dumps([_tag(value) for value in values], separators=(",", ":")).encode("ascii")


def _as_table(rows: list[Any], depth: int) -> bytes | None:
    """Write many dicts column by column; None if they are not many, or have not the same keys in the same order."""
    if len(rows) < _MANY or depth >= _MAX_DEPTH or set(map(type, rows)) != {dict}:
        return None
    names = tuple(rows[0])
    if not names or not _KEYS.issuperset(map(type, names)) or not all(map(names.__eq__, map(tuple, rows))):
        return None
    columns = [_column(list(map(itemgetter(name), rows)), depth + 1) for name in names]
    sizes = [[kind, len(data)] for kind, data in columns]
    head = json.dumps([_tag(list(names)), len(rows), sizes], separators=(",", ":")).encode("ascii")
    return b"".join([_TABLE, _SIZE.pack(len(head)), head, *(data for _, data in columns)])


def _column(values: list[Any], depth: int) -> tuple[str, bytes]:
    kinds = set(map(type, values))
    if kinds == {bool}:
        return "b", bytes(values)
    try:
        if kinds == {float}:
            return "f", _in_binary("d", values)
        if kinds == {int}:
            return "i", _in_binary("q", values)
    except OverflowError:  # more than 64 bits
        pass
    text = _as_it_is(values) if kinds <= _SCALARS else None
    return "p", encode_plain(values, depth) if text is None else _AS_IT_IS + text.encode("ascii")


def _in_binary(code: str, values: Any) -> bytes:
    numbers = array(code, values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _of_table(data: bytes) -> list[Any]:
    (length,) = _SIZE.unpack_from(data, 1)
    at = 1 + _SIZE.size + length
    names, count, sizes = json.loads(data[1 + _SIZE.size : at].decode("ascii"))
    columns: list[Sequence[Any]] = []
    for kind, size in sizes:
        piece = data[at : at + size]
        at += size
        if kind == "p":
            column: Sequence[Any] = decode_plain(piece)
        elif kind == "b":
            column = list(map(bool, piece))
        else:
            numbers = array(_COLUMNS[kind], piece)
            if sys.byteorder == "big":
                numbers.byteswap()
            column = numbers
        if len(column) != count:
            raise ValueError("a column of another length")
        columns.append(column)
    names = _untag(names)
    if at != len(data) or len(columns) != len(names) or not columns:
        raise ValueError("no table")
    rows: list[dict[str, Any]] = list(map(dict.copy, repeat(dict.fromkeys(names), count)))
    for name, column in zip(names, columns, strict=True):
        for row, value in zip(rows, column, strict=True):
            row[name] = value
    return rows


def _as_it_is(values: list[Any]) -> str | None:
    """Write values that JSON has itself; None for those that would come back as something else."""
    try:
        text = json.dumps(values, separators=(",", ":"))
        # Python refuses to write very long integers. And JSON would join two surrogates to one letter.
        return text if "\\ud" not in text or json.loads(text) == values else None
    except ValueError:
        return None


def decode_plain(data: bytes) -> list[Any]:
    """Decode what `encode_plain` wrote.

    Raises:
        PacketError: The bytes are something else.
    """
    try:
        kind = data[:1]
        if kind == _TABLE:
            return _of_table(data)
        values = json.loads(data[1:].decode("ascii"))
        if kind not in (_AS_IT_IS, _TAGGED) or not isinstance(values, list):
            raise ValueError("not a list")
        return values if kind == _AS_IT_IS else [_untag(item) for item in values]
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError, struct.error) as error:
        raise PacketError(f"plain data cannot be decoded: {error}") from error


def _tag(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [_tag(item) for item in value]
    if kind is tuple:
        return {"t": [_tag(item) for item in value]}
    if kind is dict:
        return {"d": [[_tag(key), _tag(item)] for key, item in value.items()]}
    if kind is bytes:
        return {"b": base64.b64encode(value).decode("ascii")}
    if kind is int and value.bit_length() > _JSON_BITS:
        return {"i": hex(value)}
    if kind is str and not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        return {"s": [ord(letter) for letter in value]}  # JSON would join two surrogates to one letter
    return value


def _untag(value: Any) -> Any:
    if isinstance(value, list):
        return [_untag(item) for item in value]
    if isinstance(value, dict):
        ((tag, body),) = value.items()
        if tag == "t":
            return tuple(_untag(item) for item in body)
        if tag == "d":
            return {_untag(key): _untag(item) for key, item in body}
        if tag == "b":
            return base64.b64decode(body, validate=True)
        if tag == "i":
            return int(body, 16)
        if tag == "s":
            return "".join(map(chr, body))
        raise ValueError(f"unknown tag {tag!r}")
    return value
