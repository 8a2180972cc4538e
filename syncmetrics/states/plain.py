"""Plain data to bytes and back: what a list state may hold besides tensors.

Strings, numbers, None, bytes, and lists, tuples and dicts of these travel as JSON. Tuples, dicts and bytes are tagged,
so that every value comes back with its own type: `decode_plain(encode_plain(x)) == x`. Nothing is ever unpickled.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from syncmetrics.errors import PacketError

__all__ = ["check_plain", "decode_plain", "encode_plain"]

_SCALARS = (str, int, float, bool, type(None))
_JSON_BITS = 1024  # Python refuses to write much longer integers in decimal
_MAX_DEPTH = 100  # far below Python's recursion limit, so that a value which was accepted can always be encoded


def check_plain(value: Any, depth: int = 0) -> None:
    """Check that `value` can travel.

    Raises:
        TypeError: Some part of it is not plain data. The text names the type and its place.
    """
    kind = type(value)
    if kind in _SCALARS or kind is bytes:
        return
    if depth >= _MAX_DEPTH:
        raise TypeError(f"is nested deeper than {_MAX_DEPTH} levels")
    if kind is list or kind is tuple:
        for item in value:
            check_plain(item, depth + 1)
        return
    if kind is dict:
        for key, item in value.items():
            check_plain(key, depth + 1)
            check_plain(item, depth + 1)
        return
    inside = " inside a list, tuple or dict" if depth else ""
    raise TypeError(f"holds a {kind.__module__}.{kind.__qualname__}{inside}")


def encode_plain(values: Sequence[Any]) -> bytes:
    """Encode a list of plain values.

    Raises:
        TypeError: A value is not plain data.
    """
    for value in values:
        check_plain(value)
    return json.dumps([_tag(value) for value in values], separators=(",", ":")).encode("ascii")


def decode_plain(data: bytes) -> list[Any]:
    """Decode what `encode_plain` wrote.

    Raises:
        PacketError: The bytes are something else.
    """
    try:
        tagged = json.loads(data.decode("ascii"))
        if not isinstance(tagged, list):
            raise ValueError("not a list")
        return [_untag(item) for item in tagged]
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
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
