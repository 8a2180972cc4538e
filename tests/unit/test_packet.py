from __future__ import annotations

import contextlib
import dataclasses
import json
import struct
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from syncmetrics import PacketError
from syncmetrics.sync.manifest import Form, Manifest, Record, Status
from syncmetrics.sync.packet import (
    ALIGNMENT,
    HEADER_BYTES,
    MAX_MANIFEST_BYTES,
    Header,
    Said,
    as_bytes,
    decode_bundle,
    decode_header,
    decode_manifest,
    encode_bundle,
    encode_header,
    encode_manifest,
    encode_said,
    from_bytes,
    packet_size,
    payload_layout,
    payload_start,
    read_bytes,
    write_bytes,
)
from tests.samples import DTYPES, bits
from tests.strategies import PLAIN, manifests, noise, records, tensors

INT63 = st.integers(0, (1 << 63) - 1)
HEADERS = st.builds(Header, st.sampled_from(Status), INT63, INT63, st.integers(0, MAX_MANIFEST_BYTES), INT63)


def header_of(manifest: Manifest) -> Header:
    return Header(manifest.status, manifest.sequence, manifest.fingerprint, 0)


# ---- round trips ----------------------------------------------------------------------------------------------------


@given(HEADERS, st.binary(max_size=8))
def test_header(header: Header, behind: bytes) -> None:
    data = encode_header(header)
    assert len(data) == HEADER_BYTES
    assert decode_header(data + behind) == header


@given(manifests())
def test_manifest(manifest: Manifest) -> None:
    assert decode_manifest(header_of(manifest), encode_manifest(manifest)) == manifest


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_in_a_manifest_and_in_a_bundle(dtype: torch.dtype) -> None:
    manifest = Manifest(Status.OK, 1, 2, "x", (3,), (Record(Form.DENSE, dtype, (2, 3)),), (True,))
    assert decode_manifest(header_of(manifest), encode_manifest(manifest)) == manifest
    values = [noise(dtype, shape, 1) for shape in ((), (0,), (3,), (2, 0, 4), (5, 7))]
    assert bits(decode_bundle(Form.BUNDLE, encode_bundle(values))) == bits(values)


@given(st.lists(tensors(), min_size=1, max_size=5))
def test_bundle_of_tensors(values: list[Tensor]) -> None:
    data = encode_bundle(values)
    assert data.dtype is torch.uint8
    assert data.dim() == 1
    assert bits(decode_bundle(Form.BUNDLE, data)) == bits(values)


@given(st.lists(PLAIN, max_size=5))
def test_bundle_of_plain_data(values: list[object]) -> None:
    assert bits(decode_bundle(Form.PLAIN, encode_bundle(values))) == bits(values)


@given(st.binary(max_size=100))
def test_bytes_in_and_out_of_torch(data: bytes) -> None:
    assert read_bytes(write_bytes(data)) == data


@given(tensors())
def test_a_tensor_as_bytes(tensor: Tensor) -> None:
    assert bits(from_bytes(as_bytes(tensor).clone(), tensor.dtype, tensor.shape)) == bits(tensor)


@pytest.mark.parametrize("rows", [0, 1])
def test_a_column_of_few_rows(rows: int) -> None:
    """Torch calls such a view contiguous whatever its stride."""
    column = noise(torch.float32, (rows, 5), 1)[:, 2]
    assert as_bytes(column).numel() == 4 * rows
    assert bits(decode_bundle(Form.BUNDLE, encode_bundle([column]))) == bits([column])


def test_lazy_conjugates_and_negatives_are_resolved() -> None:
    z = torch.tensor([1 + 2j, 3 - 4j])
    assert bits(decode_bundle(Form.BUNDLE, encode_bundle([z.conj(), z.conj().imag]))) == bits(
        [z.conj().resolve_conj(), z.conj().imag.resolve_neg()]
    )


# ---- the layout -----------------------------------------------------------------------------------------------------


@given(st.lists(records(), max_size=12), st.integers(0, 3000), st.integers(1, 300))
def test_layout(drawn: list[Record], manifest_bytes: int, units: int) -> None:
    size = units * ALIGNMENT
    offsets = payload_layout(drawn, manifest_bytes, size)
    assert len(offsets) == len(drawn)
    taken = sorted((o, r.nbytes) for o, r in zip(offsets, drawn, strict=True) if o is not None)
    for offset, nbytes in taken:
        assert offset % ALIGNMENT == 0
        assert payload_start(manifest_bytes) <= offset
        assert offset + nbytes <= size
    assert all(a + n <= b for (a, n), (b, _) in pairwise([(a, n) for a, n in taken if n]))
    largest_inside = max((n for _, n in taken), default=0)
    assert all(r.nbytes >= largest_inside for r, o in zip(drawn, offsets, strict=True) if o is None and taken)


def test_a_manifest_larger_than_the_packet_leaves_no_room() -> None:
    assert payload_layout([Record(Form.NOTHING)], 1000, 1024) == (None,)


@given(st.integers(1, 100_000))
def test_size_of_a_packet(world_size: int) -> None:
    size = packet_size(world_size)
    assert size % ALIGNMENT == 0
    assert 1 << 10 <= size <= 32 << 10
    assert size * world_size <= max(4 << 20, world_size << 10)
    assert packet_size(world_size + 1) <= size


# ---- bytes that nobody wrote: PacketError and nothing else ----------------------------------------------------------


def decode_everything(data: bytes) -> None:
    raw = write_bytes(data)
    decoders = [
        lambda: decode_header(data),
        *(lambda s=s: decode_manifest(Header(s, 1, 2, 0), data) for s in Status),
        *(lambda f=f: decode_bundle(f, raw) for f in (Form.BUNDLE, Form.PLAIN)),
    ]
    for decode in decoders:
        with contextlib.suppress(PacketError):
            decode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["d", "r", "cpu", "float32", ""]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=15,
)


def bundle(head: object, behind: int = 64) -> bytes:
    text = json.dumps(head).encode()
    return struct.pack("<q", len(text)) + text + bytes(behind)


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    decode_everything(data)


@given(JSON, st.integers(-1, 40))
@example([["float32", 0, 1 << 61, 1 << 61]], 64)
@example([["float32", *[1] * 5000]], 64)
@example([["float32", *[1 << 61] * 50]], 64)
@example([["float64", 0]], 3)
@example([["float64", 1]], 11)
@example(["x", [0], [["d", "float32", "cpu", 0, 1 << 61, 1 << 61]], [0]], 0)
@example(["x", [0], [["d", "float32", "cpu", *[2] * 62]], [0]], 0)
@example(["x", [True], [], [0]], 0)
def test_json_of_another_shape(value: object, behind: int) -> None:
    decode_everything(json.dumps(value).encode())
    decode_everything(bundle(value, max(behind, 0)))
    decode_everything(json.dumps(["x", [1], value, [1]]).encode())
    decode_everything(json.dumps(["x", value, [value], value]).encode())


@given(manifests(), st.lists(tensors(), min_size=1, max_size=3), HEADERS, st.data())
def test_damaged_and_truncated_bytes(
    manifest: Manifest, values: list[Tensor], header: Header, data: st.DataObject
) -> None:
    for whole in (encode_manifest(manifest), read_bytes(encode_bundle(values)), encode_header(header)):
        place = data.draw(st.integers(0, len(whole) - 1))
        damaged = bytearray(whole)
        damaged[place] = data.draw(st.integers(0, 255))
        decode_everything(bytes(damaged))
        decode_everything(whole[:place])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "fewer than its header"),
        (bytes(HEADER_BYTES), "not a packet"),
        (b"GET / HTTP/1.1" + bytes(HEADER_BYTES), "not a packet"),
        (encode_header(Header(Status.OK, 1, 2, 3))[:-1], "fewer"),
    ],
)
def test_no_header(data: bytes, words: str) -> None:
    with pytest.raises(PacketError, match=words):
        decode_header(data)


def test_a_header_of_another_version_and_of_another_status() -> None:
    whole = bytearray(encode_header(Header(Status.OK, 1, 2, 3)))
    whole[8] += 1
    with pytest.raises(PacketError, match="version 7, this process 6"):
        decode_header(bytes(whole))
    whole[8] -= 1
    whole[10] = 9
    with pytest.raises(PacketError, match="unknown status 9"):
        decode_header(bytes(whole))


@pytest.mark.parametrize(
    "record",
    [
        ["q"],
        ["d", "float31", "cpu", 1],
        ["d", "float32", 5, 1],
        ["d", "float32", "cpu", -1],
        ["d", "float32", "cpu", True],
        ["d", "float32", "cpu", 1.0],
        ["d", "float32", "cpu", 1 << 62, 1 << 62],
        ["r", "float32", "cpu"],
        [],
        5,
    ],
    ids=str,
)
def test_an_impossible_record(record: object) -> None:
    data = struct.pack("<qq?", 1, 1, True) + json.dumps(["x", [record]]).encode()
    with pytest.raises(PacketError):
        decode_manifest(Header(Status.OK, 1, 2, len(data)), data)


def test_a_bundle_that_promises_more_than_it_has_allocates_nothing() -> None:
    with pytest.raises(PacketError, match="has only"):
        decode_bundle(Form.BUNDLE, write_bytes(bundle([["float64", 1 << 50]])))
    with pytest.raises(PacketError, match="does not fit"):
        decode_bundle(Form.BUNDLE, write_bytes(struct.pack("<q", 1 << 60)))


def test_a_zero_size_does_not_hide_an_impossible_shape() -> None:
    """Torch cannot make such a tensor on every build; whoever reads the record must be able to."""
    said = json.dumps(["x", [["d", "float32", "cpu", 0, 1 << 62, 1 << 62]]]).encode()
    head = struct.pack("<qq?", 1, 1, True) + said
    try:
        (record,) = decode_manifest(Header(Status.OK, 1, 2, len(head)), head).records
    except PacketError:
        return
    assert from_bytes(torch.zeros(16, dtype=torch.uint8), record.dtype, record.shape).shape == record.shape


@pytest.mark.parametrize(
    "numbers", [b"", struct.pack("<q", -1), struct.pack("<q", 1 << 40), struct.pack("<qq?", 1, -1, True)]
)
def test_impossible_numbers(numbers: bytes) -> None:
    data = numbers + json.dumps(["x", []]).encode()
    with pytest.raises(PacketError):
        decode_manifest(Header(Status.OK, 1, 2, len(data)), data)


def test_what_was_said_before_is_taken_again() -> None:
    manifest = Manifest(Status.OK, 1, 2, "x", (3,), (Record(Form.DENSE, torch.int64, (2,)),), (4,))
    later = dataclasses.replace(manifest, sequence=2, update_counts=(4,), epochs=(2,))
    known: Said = {}
    first = decode_manifest(header_of(manifest), encode_manifest(manifest), known)
    second = decode_manifest(header_of(later), encode_manifest(later, encode_said(manifest)), known)
    assert (first, second) == (manifest, later)
    assert second.records is first.records
    assert len(known) == 1


@pytest.mark.parametrize("claimed", [-1, MAX_MANIFEST_BYTES + 1, 1 << 40, (1 << 63) - 1])
def test_a_manifest_that_is_claimed_to_be_huge_is_refused_before_there_is_room_for_it(claimed: int) -> None:
    with pytest.raises(PacketError, match=f"{claimed} bytes"):
        decode_header(encode_header(Header(Status.OK, 1, 2, claimed)))
