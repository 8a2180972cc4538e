"""A buffer that joins rows: the rows of a plain list, in few tensors, and nothing that was read is ever written to."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from syncmetrics import Metric, RowBuffer, StateError, dim_zero_cat
from syncmetrics.transport.threads import run_threads
from tests.samples import bits


def batch(count: int, start: int = 0, dtype: torch.dtype = torch.float32, tail: tuple[int, ...] = ()) -> Tensor:
    return torch.arange(start, start + count).to(dtype).reshape(-1, *[1] * len(tail)).expand(count, *tail)


class Bare(Metric):
    """Declares nothing."""

    def update(self) -> None:
        """Do nothing."""

    def compute(self) -> None:
        """Give nothing."""


class Kept(Metric):
    """Keeps rows in a buffer, or in a list."""

    def __init__(self, default: Any = None) -> None:
        super().__init__()
        self.add_state("rows", RowBuffer() if default is None else default, "cat", persistent=True)

    def update(self, x: Tensor, fail: bool = False) -> None:
        self.rows.append(x)
        if fail:
            raise ValueError("on purpose")

    def compute(self) -> Tensor:
        return dim_zero_cat(self.rows)


# ---- the buffer alone -----------------------------------------------------------------------------------------------

BATCHES = st.lists(
    st.builds(
        batch,
        st.integers(0, 9),
        st.integers(0, 99),
        st.sampled_from([torch.float32, torch.float32, torch.int64]),
        st.sampled_from([(2,), (2,), (2,)]),
    ),
    max_size=40,
)


@given(BATCHES)
def test_it_holds_the_rows_of_a_list(batches: list[Tensor]) -> None:
    buffer, seen = RowBuffer(), []
    for rows in batches:
        buffer.append(rows)
        seen.append((list(buffer), [t.clone() for t in buffer]))
    assert bits(dim_zero_cat(buffer)) == bits(dim_zero_cat(batches))
    for read, then in seen:
        assert bits(read) == bits(then), "a tensor that was read has changed"


def test_ten_thousand_batches_are_a_few_tensors() -> None:
    buffer = RowBuffer(batch(8, start=8 * i) for i in range(10_000))
    assert len(buffer) < 16
    assert torch.equal(dim_zero_cat(buffer), batch(80_000))
    held = sum(t.untyped_storage().nbytes() for t in buffer)
    assert held <= 3 * 80_000 * 4


def test_no_tensor_gets_more_room_than_the_bound() -> None:
    big = torch.zeros(1 << 20)
    buffer = RowBuffer(big for _ in range(40))
    assert max(t.untyped_storage().nbytes() for t in buffer) <= 16 << 20
    assert dim_zero_cat(buffer).shape == (40 << 20,)


def test_what_is_appended_is_a_copy_without_a_graph() -> None:
    source = torch.ones(2, requires_grad=True)
    buffer = RowBuffer([source * 1])
    assert not buffer[0].requires_grad
    with torch.inference_mode():
        frozen = torch.ones(2)
        buffer.append(frozen)
    frozen_before = [t.clone() for t in buffer]
    with torch.no_grad():
        source += 1
    assert bits(list(buffer)) == bits(frozen_before)
    assert not any(t.is_inference() for t in buffer)


def test_a_number_is_one_row() -> None:
    buffer = RowBuffer([torch.tensor(1.0), torch.tensor(2.0)])
    assert bits(dim_zero_cat(buffer)) == bits(torch.tensor([1.0, 2.0]))


def test_no_rows_bring_no_dtype() -> None:
    buffer = RowBuffer([torch.zeros(0)])
    assert bits(list(buffer)) == bits([torch.zeros(0)])
    buffer.append(torch.zeros(2, 3, dtype=torch.int64))
    buffer.append(torch.zeros(0))
    assert bits(list(buffer)) == bits([torch.zeros(2, 3, dtype=torch.int64)])


@pytest.mark.parametrize("value", [1.0, "a", torch.zeros(2, 2).to_sparse()], ids=["float", "str", "sparse"])
def test_what_is_no_dense_tensor_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="holds a"):
        RowBuffer([value])


def test_copies_grow_apart() -> None:
    one = RowBuffer([batch(1), batch(100)])
    other = one.copy()
    one.append(batch(3))
    other.append(batch(5, start=50))
    assert bits(dim_zero_cat(one)) == bits(torch.cat([batch(1), batch(100), batch(3)]))
    assert bits(dim_zero_cat(other)) == bits(torch.cat([batch(1), batch(100), batch(5, start=50)]))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_it_is_copied_without_its_spare_room(again: Any) -> None:
    one = RowBuffer([batch(1), batch(3), batch(2)])
    other = again(one)
    assert type(other) is RowBuffer
    assert bits(list(other)) == bits(list(one))
    assert sum(t.untyped_storage().nbytes() for t in other) == 6 * 4
    other.append(batch(2))
    assert sum(len(t) for t in one) == 6


def test_edits_of_the_list_are_those_of_a_list() -> None:
    edits: list[Any] = [
        lambda x: x.clear(),
        lambda x: x.pop(),
        lambda x: x.reverse(),
        lambda x: x.insert(0, batch(2)),
        lambda x: x.__setitem__(0, batch(2)),
        lambda x: x.__delitem__(slice(1, None)),
        lambda x: x.__iadd__([batch(2)]),
        lambda x: x.sort(key=len),
        lambda x: x.remove(x[0]) if len(x[0]) == 1 else None,
    ]
    for edit in edits:
        buffer = RowBuffer([batch(1), batch(9)])
        plain: list[Tensor] = list(buffer)
        edit(buffer)
        edit(plain)
        buffer.append(batch(4))
        plain.append(batch(4))
        assert bits(dim_zero_cat(buffer)) == bits(dim_zero_cat(plain))


# ---- in a metric ----------------------------------------------------------------------------------------------------


def filled(default: Any = None, count: int = 20) -> Kept:
    metric = Kept(default)
    for i in range(count):
        metric.update(batch(3, start=3 * i))
    return metric


def test_it_joins_rows_over_ranks_only() -> None:
    with pytest.raises(StateError, match="RowBuffer joins its rows"):
        Bare().add_state("rows", RowBuffer(), None)
    with pytest.raises(StateError, match="empty list"):
        Bare().add_state("rows", RowBuffer([batch(1)]), "cat")


def test_a_metric_keeps_a_buffer() -> None:
    metric = filled()
    assert type(metric.rows) is RowBuffer
    assert len(metric.rows) < 5
    assert bits(metric.compute()) == bits(filled([]).compute())
    metric.reset()
    assert (type(metric.rows), len(metric.rows)) == (RowBuffer, 0)
    assert metric._holder.specs["rows"].default == []


def test_forward_merges_into_the_buffer() -> None:
    metric = Kept()
    for i in range(50):
        assert bits(metric(batch(3, start=3 * i))) == bits(batch(3, start=3 * i))
    assert type(metric.rows) is RowBuffer
    assert len(metric.rows) < 6
    assert bits(metric.compute()) == bits(batch(150))


def test_a_failing_update_leaves_the_rows_as_they_were() -> None:
    metric = filled()
    kept, before = metric.rows, bits(dim_zero_cat(metric.rows))
    with pytest.raises(ValueError, match="on purpose"):
        metric.update(batch(2), fail=True)
    with pytest.raises(TypeError, match="sparse"):
        metric.update(torch.zeros(2, 2).to_sparse())
    assert metric.rows is kept
    assert bits(dim_zero_cat(metric.rows)) == before
    metric.update(batch(1))
    assert metric.compute().shape == (61,)


def test_it_stays_a_buffer_wherever_it_goes() -> None:
    metric = filled()
    loaded = Kept()
    stream = io.BytesIO()
    torch.save(metric.state_dict(), stream)
    stream.seek(0)
    loaded.load_state_dict(torch.load(stream, weights_only=True))
    assigned = Kept()
    assigned.rows = [batch(60)]
    merged = filled(count=10)
    merged.merge_state({"rows": [batch(30, start=30)]})
    for other in (loaded, assigned, merged, metric.clone(), pickle.loads(pickle.dumps(metric)), metric.to("cpu")):
        assert type(other.rows) is RowBuffer
        assert bits(dim_zero_cat(other.rows)) == bits(batch(60))
        other.update(batch(1))
    assert type(filled().to("meta").rows) is RowBuffer


def test_a_checkpoint_of_a_list_fits_a_buffer_and_the_other_way_round() -> None:
    for default, other in ((None, []), ([], None)):
        loaded = Kept(default)
        loaded.load_state_dict(filled(other).state_dict())
        assert bits(loaded.compute()) == bits(filled().compute())


def test_a_row_that_was_read_is_not_written_to() -> None:
    metric = Kept()
    metric.update(batch(1))
    metric.update(batch(2))
    held = metric.rows[-1]
    before = bits(held)
    for _ in range(100):
        metric.update(batch(5))
    assert bits(held) == before


def test_a_value_is_not_the_memory_of_the_rows() -> None:
    metric = Kept()
    metric.update(batch(3))
    metric.compute().zero_()
    assert bits(metric.rows[0]) == bits(batch(3))


def test_synced() -> None:
    def body(rank: int, world_size: int) -> Any:
        metric = Kept()
        for i in range(100 * rank):
            metric.update(batch(3, start=3 * i))
        before = bits(list(metric.rows))
        value = metric.compute()
        assert bits(list(metric.rows)) == before
        return bits(value)

    assert run_threads(body, 3) == [bits(torch.cat([batch(300), batch(600)]))] * 3
