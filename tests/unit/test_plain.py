from __future__ import annotations

import collections
import contextlib
import enum
import json

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from syncmetrics import PacketError
from syncmetrics.states.plain import check_plain, decode_plain, encode_plain
from tests.samples import bits
from tests.strategies import PLAIN

NESTED = {"a": [(1, "x"), {2: b"\x00\xff", (1, None): [True, 1, 1.0]}], None: ()}


@given(st.lists(PLAIN, max_size=5))
@example([NESTED])
@example([float("nan"), float("inf"), -float("inf"), -0.0, 5e-324, 1 << 70, -(1 << 70)])
@example(["\ud800", "\udc80file", "😀", "\x00", ""])
@example([[], (), {}, b""])
def test_round_trip(values: list[object]) -> None:
    for value in values:
        check_plain(value)
    assert bits(decode_plain(encode_plain(values))) == bits(values)


NUMBERS = st.integers(-(1 << 65), 1 << 65)
COLUMNS = st.one_of(
    *(st.lists(kind, min_size=1, max_size=4) for kind in (st.booleans(), st.floats(), NUMBERS, st.text(), PLAIN)),
    st.lists(st.fixed_dictionaries({"x": st.integers(0, 3), "y": PLAIN}), min_size=1, max_size=4),
)


@st.composite
def tables(draw: st.DrawFn) -> list[object]:
    """Draw as many dicts as go column by column; sometimes one among them is another."""
    columns = draw(st.dictionaries(st.text(max_size=3), COLUMNS, min_size=1, max_size=4))
    rows: list[object] = [
        {name: values[i % len(values)] for name, values in columns.items()} for i in range(draw(st.integers(30, 40)))
    ]
    other = draw(st.none() | PLAIN | st.just(dict(reversed(list(rows[0].items())))))  # type: ignore[attr-defined]
    if other is not None:
        rows[draw(st.integers(0, len(rows) - 1))] = other
    return rows


@given(tables())
@example([{"a": i, "b": i / 3, "c": i > 5, "d": str(i), "e": [i], "f": {"g": i}} for i in range(40)])
@example([{"a": True if i else 1} for i in range(40)])
@example([{"a": 1 << 62 + i % 3} for i in range(40)])
def test_round_trip_of_many_rows(rows: list[object]) -> None:
    assert bits(decode_plain(encode_plain(rows))) == bits(rows)


def test_rows_that_are_decoded_share_nothing() -> None:
    first, second, *_ = decode_plain(encode_plain([{"a": [1], "b": 0} for _ in range(40)]))
    first["a"].append(2)
    first["b"] = 1
    assert second == {"a": [1], "b": 0}


@given(tables(), st.data())
def test_damaged_tables_raise_nothing_else(rows: list[object], data: st.DataObject) -> None:
    whole = bytearray(encode_plain(rows))
    place = data.draw(st.integers(0, min(len(whole), 150) - 1))  # the head, where the damage is not only in a value
    whole[place] = data.draw(st.integers(0, 255))
    for damaged in (bytes(whole), bytes(whole[:place])):
        with contextlib.suppress(PacketError):
            decode_plain(damaged)


def test_two_surrogates_do_not_become_one_character() -> None:
    assert decode_plain(encode_plain(["\ud83d\ude00"])) == ["\ud83d\ude00"]


def test_a_dict_keeps_its_order() -> None:
    (back,) = decode_plain(encode_plain([{"b": 1, "a": 2}]))
    assert list(back) == ["b", "a"]


class Text(str):
    pass


class Number(enum.IntEnum):
    ONE = 1


REFUSED = {
    "set": {1},
    "object": object(),
    "tensor": torch.tensor(1),
    "complex": 1j,
    "bytearray": bytearray(b"x"),
    "subclass of str": Text("x"),
    "enum": Number.ONE,
    "ordered dict": collections.OrderedDict(),
    "range": range(3),
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_what_is_not_plain_is_refused_by_type(value: object) -> None:
    kind = type(value).__qualname__
    with pytest.raises(TypeError, match=kind):
        check_plain(value)
    for nested in ([value], (value,), {"k": value}, [{"k": (value,)}]):
        with pytest.raises(TypeError, match=f"{kind} inside"):
            encode_plain([nested])


def test_a_key_is_checked_too() -> None:
    with pytest.raises(TypeError, match="frozenset"):
        check_plain({frozenset(): 1})


def test_nesting_is_bounded() -> None:
    deep: list[object] = []
    for _ in range(99):
        deep = [deep]
    check_plain(deep)
    assert decode_plain(encode_plain([deep])) == [deep]
    with pytest.raises(TypeError, match="nested deeper"):
        check_plain([[deep]])
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(TypeError, match="nested deeper"):
        check_plain(loop)
    rows: list[object] = [1]
    for _ in range(101):
        rows = [{"a": row} for row in rows * 40][:40]
    with pytest.raises(TypeError, match="nested deeper"):
        encode_plain(rows)


def test_what_is_accepted_can_be_encoded() -> None:
    """An integer beyond the limit of Python's own conversion is refused at once, or travels."""
    try:
        check_plain(10**5000)
    except TypeError:
        return
    assert decode_plain(encode_plain([10**5000])) == [10**5000]


@given(st.binary(max_size=64) | st.text(max_size=64).map(lambda text: json.dumps([text]).encode()))
def test_random_bytes_are_no_plain_data_or_some(data: bytes) -> None:
    try:
        decoded = decode_plain(data)
    except PacketError:
        return
    assert isinstance(decoded, list)


@given(st.lists(PLAIN, min_size=1, max_size=3), st.data())
def test_damaged_bytes_raise_nothing_else(values: list[object], data: st.DataObject) -> None:
    whole = bytearray(encode_plain(values))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    for damaged in (bytes(whole), bytes(whole[:place])):
        with contextlib.suppress(PacketError):
            decode_plain(damaged)


WRONG = [b"", b"{}", b"1", b"[", b"\xff", b'[{"x":1}]', b'[{"t":1}]', b'[{"d":[[1]]}]', b'[{"d":[[[],1]]}]']
WRONG += [b'[{"b":"%"}]', b'[{"b":5}]', b"[{}]", b'[{"t":[],"d":[]}]', b"[" * 100_000, b'[{"t":' * 2000]


@pytest.mark.parametrize("data", WRONG, ids=lambda data: data[:12].decode("latin1"))
def test_what_nobody_wrote_is_a_packet_error(data: bytes) -> None:
    with pytest.raises(PacketError):
        decode_plain(data)
