"""Pieces of any sizes, from every rank to all or to one: which way they go, that they arrive, and what that holds."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from syncmetrics import dim_zero_cat, sync_states
from syncmetrics.states.reductions import resolve_reduction
from syncmetrics.sync.ragged import FEW_RANKS, STEP_BYTES, Way, choose_way, gather_ragged_bytes, windows
from syncmetrics.sync.route import MAX_CHUNK_BYTES, Route
from syncmetrics.sync.slices import cut_evenly, reduce_in_slices
from syncmetrics.transport import resolve_transport
from syncmetrics.transport.base import span_of
from syncmetrics.transport.threads import ThreadsTransport, run_threads
from tests.samples import bits

BIG = STEP_BYTES + 1
MANY = FEW_RANKS + 1
LOCAL = 300_000  # elements


# ---- which way ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "way"),
    [
        ([0, 0, 0], Way.NOTHING),
        ([9, 9, 9], Way.WHOLE),
        ([9, 8, 9], Way.STEPS),
        ([9, 0, 9], Way.STEPS),
        ([9, 0, 0], Way.BROADCASTS),
        ([BIG, BIG, BIG], Way.BROADCASTS),
        ([BIG, BIG // 2, BIG], Way.BROADCASTS),
        ([BIG] * MANY, Way.WHOLE),
        ([BIG, *[BIG - 1] * (MANY - 1)], Way.STEPS),
        ([BIG, *[1] * (MANY - 1)], Way.BROADCASTS),
        ([MAX_CHUNK_BYTES] * MANY, Way.STEPS),
    ],
)
def test_the_way_follows_from_the_sizes(sizes: list[int], way: Way) -> None:
    assert choose_way(sizes, MAX_CHUNK_BYTES) is way


SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=5)


@given(SIZES, st.integers(1, 60))
def test_windows_hold_every_byte_once_and_not_too_many_at_a_time(sizes: list[int], max_bytes: int) -> None:
    pieces = list(enumerate(torch.split(torch.zeros(sum(sizes), dtype=torch.uint8), sizes)))
    for window in windows(pieces, max_bytes):
        assert window
        assert sum(chunk.numel() for _, chunk in window) <= max_bytes
        for _, chunk in window:
            chunk += 1
    assert all(bool((piece == 1).all()) for _, piece in pieces)


@given(st.integers(0, 30), st.integers(0, 50), st.integers(1, 7))
def test_slices_cover_a_range(start: int, size: int, ranks: int) -> None:
    slices = cut_evenly(start, start + size, ranks)
    assert [slices[0][0], slices[-1][1]] == [start, start + size]
    assert all(before[1] == after[0] for before, after in pairwise(slices))
    lengths = {stop - begin for begin, stop in slices}
    assert max(lengths) - min(lengths) <= 1


def test_a_span_is_found_where_pieces_lie_one_behind_another() -> None:
    whole = torch.arange(10, dtype=torch.uint8)
    assert bits(span_of(torch.split(whole, [3, 0, 7]))) == bits(whole)
    assert bits(span_of([whole[2:5], whole[5:6]])) == bits(whole[2:6])
    assert bits(span_of([whole[:0], whole[:0]])) == bits(whole[:0])
    for pieces in ([whole[:3], whole[4:]], [whole[4:], whole[:4]], [whole[:4], whole[4:].clone()]):
        assert span_of(pieces) is None


# ---- that they arrive -----------------------------------------------------------------------------------------------


@given(SIZES, st.integers(1, 60), st.booleans(), st.booleans())
def test_pieces_arrive(sizes: list[int], max_chunk_bytes: int, together: bool, to_one: bool) -> None:
    wanted = [(torch.arange(size) + 10 * rank).to(torch.uint8) for rank, size in enumerate(sizes)]
    dst = len(sizes) - 1 if to_one else None

    def body(rank: int, world_size: int) -> list[Tensor]:
        whole = torch.split(torch.zeros(sum(sizes), dtype=torch.uint8), sizes)
        pieces = list(whole) if together else [piece.clone() for piece in whole]
        pieces[rank].copy_(wanted[rank])
        route = Route(resolve_transport(), dst, max_chunk_bytes=max_chunk_bytes)
        gather_ragged_bytes(route, pieces, sizes)
        return pieces if dst in (None, rank) else wanted

    for got in run_threads(body, len(sizes)):
        assert bits(got) == bits(wanted)


def finished(steps: Generator[None, None, Tensor]) -> Tensor:
    """Run what yields when it is ready, and give what it gives."""
    next(steps)
    with pytest.raises(StopIteration) as stopped:
        next(steps)
    value: Tensor = stopped.value.value
    return value


@given(
    st.integers(1, 5),
    st.integers(1, 50),
    st.sampled_from(["sum", "mean", "min", "max"]),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.complex64]),
    st.integers(16, 300),
    st.data(),
)
def test_slices_give_the_bits_of_one_rank_that_reduces_all(
    world_size: int, size: int, fx: Any, dtype: torch.dtype, max_chunk_bytes: int, data: st.DataObject
) -> None:
    if dtype.is_complex and fx in ("min", "max"):
        return
    generator = torch.Generator().manual_seed(size)
    values = [
        (1e3 * torch.randn(size, 3, generator=generator, dtype=torch.float64)).to(dtype) for _ in range(world_size)
    ]
    counts = data.draw(st.lists(st.integers(0, 3), min_size=world_size, max_size=world_size))
    offset = data.draw(st.sampled_from([None, torch.tensor(2.0), torch.ones(size, 3)])) if fx == "sum" else None
    wanted = resolve_reduction(fx).over_ranks(values, counts, offset)
    dst = data.draw(st.sampled_from([None, 0]))

    def body(rank: int, _: int) -> Tensor:
        route = Route(resolve_transport(), dst, max_chunk_bytes=max_chunk_bytes)
        before = bits(values[rank])
        got = finished(reduce_in_slices(route, values[rank], resolve_reduction(fx), counts, offset))
        assert bits(values[rank]) == before
        return got if route.receives else wanted

    for got in run_threads(body, world_size):
        assert bits(got) == bits(wanted)


@pytest.mark.parametrize("fx", ["sum", "mean", "min", "max"])
def test_nan_comes_through_slices_and_is_the_same_on_all_ranks(fx: Any) -> None:
    def body(rank: int, world_size: int) -> Tensor:
        value = torch.full((LOCAL,), 1.0 + rank)
        value[rank::7] = float("nan")
        return sync_states({"x": value}, {"x": fx})["x"]  # type: ignore[return-value]

    results = run_threads(body, 3)
    assert len({bits(result) for result in results}) == 1
    assert [bool(x) for x in results[0].isnan()[:7]] == [True, True, True, False, False, False, False]


@pytest.mark.parametrize("fx", ["sum", "mean", "min", "max"])
@pytest.mark.parametrize("dst", [None, 1])
def test_large_states_that_are_reduced_in_slices(fx: Any, dst: int | None) -> None:
    generator = torch.Generator().manual_seed(3)
    values = [torch.randn(40_000, 3, generator=generator).t() for _ in range(3)]  # not contiguous
    wanted = resolve_reduction(fx).over_ranks(values, [1, 2, 3], None)

    def body(rank: int, world_size: int) -> Any:
        return sync_states({"x": values[rank]}, {"x": fx}, dst=dst, update_count=rank + 1)

    for rank, got in enumerate(run_threads(body, 3)):
        assert got == {} if dst not in (None, rank) else bits(got["x"]) == bits(wanted)


# ---- what it holds --------------------------------------------------------------------------------------------------


class Watch:
    """Sees what is handed to the transport, and whether it lies in the result or in a buffer beside it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.storages: dict[int, int] = {}
        for name in ("all_gather", "broadcast", "gather", "all_to_all"):
            monkeypatch.setattr(ThreadsTransport, name, self._seeing(getattr(ThreadsTransport, name)))

    def _seeing(self, method: Any) -> Any:
        def call(transport: ThreadsTransport, *args: Any, **kwargs: Any) -> None:
            if transport.rank == 0:
                for x in args:
                    for tensor in x if isinstance(x, Sequence) else [x]:
                        if isinstance(tensor, Tensor) and tensor.numel():
                            storage = tensor.untyped_storage()
                            self.storages[storage.data_ptr()] = storage.nbytes()
            method(transport, *args, **kwargs)

        return call

    def beside(self, *kept: Tensor) -> int:
        """Give the bytes of all buffers that are none of these."""
        known = {tensor.untyped_storage().data_ptr() for tensor in kept}
        return sum(nbytes for pointer, nbytes in self.storages.items() if pointer not in known)


PACKETS = 10 * (33 << 10)


@pytest.mark.parametrize("sizes", [(LOCAL,) * 3, (LOCAL, LOCAL // 2, 0), (1, LOCAL, 1), (0, 0, LOCAL)], ids=str)
def test_rows_go_from_their_place_in_the_result_to_their_place_in_the_result(
    sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    values = [torch.arange(size, dtype=torch.float32) + rank for rank, size in enumerate(sizes)]

    def body(rank: int, world_size: int) -> Any:
        result = sync_states({"x": [values[rank]]}, {"x": "cat"})["x"]
        assert bits(dim_zero_cat(result)) == bits(torch.cat(values))
        return watch.beside(dim_zero_cat(result)) if rank == 0 else 0

    assert run_threads(body, 3)[0] <= PACKETS


def test_who_does_not_receive_sends_from_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    values = [torch.arange(LOCAL, dtype=torch.float32) + rank for rank in range(2)]
    run_threads(lambda rank, _: sync_states({"x": values[rank]}, {"x": "cat"}, dst=1), 2)
    assert watch.beside(values[0]) <= PACKETS
    assert values[0].untyped_storage().data_ptr() in watch.storages


def test_slices_are_sent_from_the_state_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    values = [torch.arange(LOCAL, dtype=torch.float32) + rank for rank in range(2)]

    def body(rank: int, _: int) -> int:
        result = sync_states({"x": values[rank]}, {"x": "sum"})["x"]
        return watch.beside(values[0], result) if rank == 0 else 0  # type: ignore[arg-type]

    assert run_threads(body, 2)[0] <= LOCAL * 4 + PACKETS  # what arrives: a slice of each rank
