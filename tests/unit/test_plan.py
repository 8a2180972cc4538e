"""The plan follows from the manifests alone: no tensors here, and no ranks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syncmetrics.states.spec import States, declare_state
from syncmetrics.sync.check import participants
from syncmetrics.sync.manifest import Form, Manifest, Part, Record, Schema, Status, schema_of
from syncmetrics.sync.packet import ALIGNMENT, packet_size, payload_start
from syncmetrics.sync.plan import DIRECT_BYTES, SyncPlan, plan_sync

LARGE = DIRECT_BYTES // 8  # int64 elements
MEDIUM = 6000  # int64 elements: more than any packet holds, less than a transfer of its own is worth
BODY = 100  # bytes of a manifest
ROOT = Path(__file__).parents[2]


def part(path: str = "", merge: Any = None, **declared: Any) -> Part:
    specs = {name: declare_state(name, *arguments) for name, arguments in declared.items()}
    return Part(path, specs, {}, 1, torch.device("cpu"), merge)


SUM = (torch.tensor(0), "sum")
CAT = ([], "cat")
KEEP = ([], None)


def dense(*shape: int, dtype: torch.dtype = torch.int64, device: str = "cpu") -> Record:
    return Record(Form.DENSE, dtype, shape, device)


def rows(count: int, dtype: torch.dtype = torch.int64) -> Record:
    return Record(Form.ROWS, dtype, (count,))


def manifest(*records: Record, counts: tuple[int, ...] = (1,)) -> Manifest:
    return Manifest(Status.OK, 1, 2, "x", counts, records)


def plan(parts: list[Part], *manifests: Manifest) -> SyncPlan:
    return plan_sync(schema_of(parts), manifests, [BODY] * len(manifests), packet_size(len(manifests)))


# ---- the schema -----------------------------------------------------------------------------------------------------


def test_the_schema_is_sorted_and_its_fingerprint_does_not_depend_on_the_order() -> None:
    one = schema_of([part("a", y=SUM, x=CAT), part("b", z=SUM)])
    assert [entry.path for entry in one.entries] == ["a.x", "a.y", "b.z"]
    assert one.fingerprint == schema_of([part("a", x=CAT, y=SUM), part("b", z=SUM)]).fingerprint
    assert 0 <= one.fingerprint < 1 << 63


def merge(a: States, b: States) -> States:
    return a


def test_the_fingerprint_tells_what_was_declared() -> None:
    different: list[Schema] = [
        schema_of([part("a", x=SUM)]),
        schema_of([part("a", x=(torch.tensor(0), "max"))]),
        schema_of([part("a", x=(torch.tensor(0), None))]),
        schema_of([part("a", x=KEEP)]),
        schema_of([part("a", x=CAT)]),
        schema_of([part("a", y=SUM)]),
        schema_of([part("b", x=SUM)]),
        schema_of([part("a", x=SUM, y=SUM)]),
        schema_of([part("a", merge=merge, x=SUM)]),
        schema_of([part("a", x=SUM), part("b")]),
        schema_of([]),
    ]
    assert len({schema.fingerprint for schema in different}) == len(different)


def test_the_fingerprint_does_not_depend_on_the_process() -> None:
    code = "from tests.unit.test_plan import *; print(schema_of([part('a', x=SUM, y=CAT)]).fingerprint)"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert run.stdout.split() == [str(schema_of([part("a", x=SUM, y=CAT)]).fingerprint)], run.stderr


# ---- the four ways --------------------------------------------------------------------------------------------------


def test_small_states_ride_inside() -> None:
    got = plan([part(n=SUM, r=CAT)], manifest(dense(), rows(3)), manifest(dense(), rows(0)))
    assert (got.reduced, got.shared, got.direct) == (None, None, ())
    start = payload_start(BODY)
    assert [state.offsets for state in got.states] == [(start, start), (start + ALIGNMENT, start)]
    assert [state.ranks for state in got.states] == [(0, 1), (0,)]


def test_states_that_do_not_fit_share_one_buffer() -> None:
    parts = [part("a", r=CAT), part("b", r=CAT), part("c", n=SUM)]
    one = manifest(rows(MEDIUM), rows(10), dense(), counts=(1, 1, 1))
    other = manifest(rows(2), rows(MEDIUM + 1), dense(), counts=(1, 1, 1))
    got = plan(parts, one, other)
    assert got.shared is not None
    assert (got.reduced, got.direct) == (None, ())
    assert got.shared.states == (0, 1)
    assert got.shared.offsets == ((0, None), (None, 0))  # the others' ride inside
    assert got.shared.sizes == (MEDIUM * 8, (MEDIUM + 1) * 8 // 16 * 16 + 16)


def test_a_large_state_has_its_own_transfer() -> None:
    got = plan([part(r=CAT)], manifest(rows(LARGE)), manifest(rows(3)), manifest(rows(0)))
    assert (got.reduced, got.shared) == (None, None)
    (direct,) = got.direct
    assert (direct.state, direct.offsets, direct.sizes, direct.total) == (
        0,
        (0, LARGE * 8, LARGE * 8 + 24),
        (LARGE * 8, 24, 0),
        LARGE * 8 + 24,
    )
    assert got.states[0].offsets[0] is None
    assert got.states[0].offsets[1:] == (payload_start(BODY),) * 2


def test_rows_are_sent_in_the_dtype_of_the_result() -> None:
    got = plan([part(r=CAT)], manifest(rows(LARGE, torch.int16)), manifest(rows(LARGE, torch.float64)))
    assert got.direct[0].sizes == (LARGE * 8, LARGE * 8)
    assert got.states[0].dtype is torch.float64


def test_tensors_that_stay_apart_are_aligned() -> None:
    record = dense(LARGE * 8 + 1, dtype=torch.uint8)
    got = plan([part(x=(torch.tensor(0), None))], manifest(record), manifest(record))
    assert got.direct[0].offsets == (0, LARGE * 8 + 16)
    assert got.direct[0].sizes == (LARGE * 8 + 1,) * 2


def test_large_integer_sums_are_reduced_natively() -> None:
    large = dense(LARGE, 1)
    got = plan([part(a=SUM, b=SUM)], manifest(large, large), manifest(large, large))
    assert got.reduced is not None
    assert (got.reduced.states, got.reduced.shapes) == ((0, 1), ((LARGE, 1), (LARGE, 1)))
    assert (got.shared, got.direct) == (None, ())


def test_what_is_reduced_element_by_element_is_reduced_in_slices() -> None:
    floats = dense(LARGE // 4, 4, dtype=torch.float64)
    for fx in ("sum", "mean", "min", "max"):
        parts = [part(x=(torch.tensor(0.0), fx))]
        got = plan(parts, manifest(floats), manifest(floats), manifest(floats, counts=(0,)))
        assert [(s.state, s.shape) for s in got.sliced] == [(0, (LARGE // 4, 4))]
        assert (got.reduced, got.shared, got.direct) == (None, None, ())
        assert not plan(parts, manifest(dense()), manifest(dense())).sliced


def never_in_slices() -> dict[str, tuple[list[Part], list[Manifest]]]:
    floats = dense(LARGE, dtype=torch.float64)
    zero = torch.tensor(0.0)
    return {
        "stacked": ([part(x=(zero, None))], [manifest(floats), manifest(floats)]),
        "a callable": ([part(x=(zero, torch.median))], [manifest(floats), manifest(floats)]),
        "own merge": ([part(merge=merge, x=(zero, "sum"))], [manifest(floats), manifest(floats)]),
        "a rank has only the default": ([part(x=(zero, "max"))], [manifest(floats), manifest(dense(), counts=(0,))]),
        "other dtypes": ([part(x=(zero, "sum"))], [manifest(floats), manifest(dense(LARGE, dtype=torch.float32))]),
        "a rank has joined": (
            [part(x=(zero, "sum"))],
            [manifest(floats), manifest(Record(Form.NOTHING), counts=(0,))],
        ),
    }


@pytest.mark.parametrize("case", never_in_slices())
def test_what_must_not_be_reduced_in_slices(case: str) -> None:
    parts, manifests = never_in_slices()[case]
    got = plan(parts, *manifests)
    assert not got.sliced
    assert len(got.direct) == 1


def never_native() -> dict[str, tuple[list[Part], list[Manifest]]]:
    large, floats = dense(LARGE), dense(LARGE, dtype=torch.float64)
    default = torch.tensor(0)
    return {
        "floats": ([part(x=SUM)], [manifest(floats), manifest(floats)]),
        "min": ([part(x=(default, "min"))], [manifest(large), manifest(large)]),
        "own merge": ([part(merge=merge, x=SUM)], [manifest(large), manifest(large)]),
        "a rank has only the default": ([part(x=SUM)], [manifest(large), manifest(dense(), counts=(0,))]),
        "a rank has floats": ([part(x=SUM)], [manifest(large), manifest(floats)]),
    }


@pytest.mark.parametrize("case", never_native())
def test_what_the_backend_must_not_sum(case: str) -> None:
    parts, manifests = never_native()[case]
    got = plan(parts, *manifests)
    assert got.reduced is None
    assert len(got.direct) + len(got.sliced) == 1


def test_rows_that_are_left_alone_go_straight_to_their_place() -> None:
    medium = rows(MEDIUM)
    got = plan([part(a=CAT)], manifest(medium), manifest(rows(0)))
    assert (got.shared, [d.state for d in got.direct]) == (None, [0])
    got = plan([part(a=CAT, small=SUM)], manifest(medium, dense()), manifest(medium, dense()))
    assert (got.shared, [d.state for d in got.direct]) == (None, [0])
    got = plan([part(a=CAT, b=CAT)], manifest(medium, medium), manifest(medium, rows(0)))
    assert got.shared is not None
    assert (got.shared.states, got.direct) == ((0, 1), ())


def test_a_mix_of_all() -> None:
    parts = [part(big=CAT, medium=KEEP, small=SUM, total=SUM)]
    medium = Record(Form.BUNDLE, torch.uint8, (MEDIUM * 8,))
    full = manifest(rows(LARGE), medium, dense(), dense(LARGE))
    empty = manifest(rows(0), Record(Form.NOTHING), dense(), dense(LARGE))
    got = plan(parts, full, empty)
    assert got.shared is not None
    assert got.reduced is not None
    assert (got.shared.states, got.reduced.states, [d.state for d in got.direct]) == ((1,), (3,), [0])
    assert got.devices == (("cpu", "cpu"), ("cpu",), ("cpu", "cpu"), ("cpu", "cpu"))


# ---- who takes part -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fx", "records", "counts", "ranks"),
    [
        ("cat", [rows(0), rows(2), rows(0), rows(1)], [0, 1, 1, 1], (1, 3)),
        ("cat", [rows(0), rows(0)], [0, 0], (0,)),
        ("sum", [dense(), dense(3), dense(3)], [0, 1, 0], (1, 2)),
        ("sum", [dense(), dense()], [0, 0], (0, 1)),
        ("sum", [dense(), dense(3)], [1, 1], (0, 1)),
        (None, [dense(), dense(3)], [0, 1], (0, 1)),
    ],
)
def test_participants(fx: Any, records: list[Record], counts: list[int], ranks: tuple[int, ...]) -> None:
    default: Any = torch.zeros(0) if fx == "cat" else torch.tensor(0)
    (entry,) = schema_of([part(x=(default, fx))]).entries
    assert participants(entry, records, counts) == ranks


# ---- laws -----------------------------------------------------------------------------------------------------------

SIZES = st.sampled_from([0, 1, 7, 500, MEDIUM, LARGE, LARGE + 3])


@given(st.integers(2, 6), st.data())
def test_every_byte_travels_once(world_size: int, data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(["cat", "sum", "keep"]), min_size=1, max_size=6))
    declared = {f"s{i}": {"cat": CAT, "sum": SUM, "keep": KEEP}[kind] for i, kind in enumerate(kinds)}
    lengths = {i: data.draw(SIZES) for i in range(len(kinds))}

    def record(i: int, kind: str) -> Record:
        if kind == "sum":
            return dense(lengths[i], dtype=data.draw(st.sampled_from([torch.int64, torch.float32])))
        size = data.draw(SIZES)
        return rows(size) if kind == "cat" else Record(Form.BUNDLE, torch.uint8, (size * 8,))

    manifests = [manifest(*(record(i, k) for i, k in enumerate(kinds))) for _ in range(world_size)]
    got = plan([part(**declared)], *manifests)
    shared = dict(zip(got.shared.states, got.shared.offsets, strict=True)) if got.shared else {}
    reduced = (got.reduced.states if got.reduced else ()) + tuple(s.state for s in got.sliced)
    direct = {d.state: d for d in got.direct}
    ways = [*shared, *direct, *reduced]
    assert len(ways) == len(set(ways))
    for i, state in enumerate(got.states):
        nbytes = [m.records[i].nbytes for m in manifests]
        waiting = any(offset is None for offset in state.offsets)
        assert waiting == (i in shared or i in direct or i in reduced)
        if i in shared:
            assert max(nbytes) < DIRECT_BYTES
            for rank, offset in enumerate(shared[i]):
                assert (offset is None) == (state.offsets[rank] is not None)
                assert offset is None or (
                    offset % ALIGNMENT == 0 and offset + nbytes[rank] <= got.shared.sizes[rank]  # type: ignore[union-attr]
                )
        if i in direct:
            ends = [o + n for o, n in zip(direct[i].offsets, direct[i].sizes, strict=True)]
            assert all(end <= after for end, after in zip(ends, [*direct[i].offsets[1:], direct[i].total], strict=True))
    assert plan([part(**declared)], *manifests) == got
