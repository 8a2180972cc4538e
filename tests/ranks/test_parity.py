"""One table: whatever the states, reductions, dtypes, shapes and shards, N ranks give what one process gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from syncmetrics import Metric, StateError, gather_ragged, sync_states
from syncmetrics.states.reductions import check_arithmetic
from syncmetrics.testing import run_ranks
from syncmetrics.transport.threads import run_threads
from tests.ranks import parity_bodies
from tests.samples import DTYPES, Total, Welford, bits, local_bits
from tests.strategies import PLAIN, noise, tensors

pytestmark = pytest.mark.one_core

FOLDED = ("sum", "min", "max")
ARITHMETIC = {name: [] for name in FOLDED}
for _name, _dtype in ((n, d) for n in FOLDED for d in DTYPES):
    try:
        check_arithmetic(_name, torch.zeros(1, dtype=_dtype))
        ARITHMETIC[_name].append(_dtype)
    except StateError:
        pass


def product(stack: Tensor) -> Tensor:
    return stack.prod(0)


def count_items(items: Any) -> Any:
    return torch.tensor([len(items)]) if isinstance(items, list) else items.max(0).values


# ---- what is drawn: the states of a metric, and the batches of each rank --------------------------------------------


@dataclass(frozen=True)
class Declared:
    name: str
    default: Any
    fx: Any
    elements: Any  # a strategy for what one update brings


@st.composite
def folded(draw: Any, name: str) -> Declared:
    fx = draw(st.sampled_from(FOLDED))
    dtype = draw(st.sampled_from(ARITHMETIC[fx]))
    shape = draw(st.sampled_from([(), (0,), (3,), (2, 0, 2), (2, 3)]))
    # 6 ranks with 3 updates of at most 3 stay exact in every dtype, bfloat16 and int8 included.
    numbers = st.integers(0, 1 if dtype is torch.bool else 3)
    default = torch.full(shape, draw(numbers)).to(dtype)
    return Declared(name, default, fx, numbers.map(lambda n: torch.full(shape, n).to(dtype)))


@st.composite
def mean(draw: Any, name: str) -> Declared:
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    return Declared(
        name, torch.zeros(2, dtype=dtype), "mean", st.integers(0, 8).map(lambda n: torch.full((2,), n, dtype=dtype))
    )


@st.composite
def rows(draw: Any, name: str) -> Declared:
    dtype = draw(st.sampled_from(DTYPES))
    tail = draw(st.sampled_from([(), (2,), (0,), (2, 3)]))
    default: Any = draw(st.sampled_from([[], torch.zeros((0, *tail)).to(dtype)]))

    def some(count: int, seed: int, layout: int) -> Tensor:
        if layout == 1:
            return noise(dtype, (2 * count, *tail), seed)[::2]
        if layout == 2 and not tail and count == 1:
            return noise(dtype, (), seed)
        return noise(dtype, (count, *tail), seed)

    return Declared(name, default, "cat", st.builds(some, st.integers(0, 4), st.integers(0, 99), st.integers(0, 2)))


def kept(name: str) -> st.SearchStrategy[Declared]:
    return st.sampled_from([None, count_items]).map(lambda fx: Declared(name, [], fx, tensors()))


def plain(name: str) -> st.SearchStrategy[Declared]:
    return st.just(Declared(name, [], None, PLAIN))


@st.composite
def cases(draw: Any) -> tuple[list[Declared], list[list[dict[str, Any]]]]:
    kinds = draw(st.lists(st.sampled_from([folded, folded, mean, rows, kept, plain]), min_size=1, max_size=4))
    declared = [draw(kind(f"s{index}")) for index, kind in enumerate(kinds)]
    batch = st.fixed_dictionaries({d.name: d.elements for d in declared})
    shards = draw(st.lists(st.lists(batch, max_size=3), min_size=1, max_size=6))
    return declared, shards


class Drawn(Metric):
    """Any states; `compute` gives them as they are."""

    def __init__(self, declared: list[Declared]) -> None:
        super().__init__()
        self.declared = declared
        for d in declared:
            self.add_state(d.name, d.default, d.fx)

    def update(self, batch: dict[str, Any]) -> None:
        for d in self.declared:
            old, new = getattr(self, d.name), batch[d.name]
            if isinstance(old, list):
                old.append(new)
            elif d.fx == "sum":
                setattr(self, d.name, old + new)
            elif d.fx == "cat":
                setattr(self, d.name, join([old, new]))
            elif d.fx == "mean":
                seen = self.update_count - 1
                setattr(self, d.name, (old.double() * seen + new.double()).div(seen + 1).to(old.dtype))
            else:
                setattr(self, d.name, (torch.minimum if d.fx == "min" else torch.maximum)(old, new))

    def compute(self) -> dict[str, Any]:
        return {name: value if isinstance(value, Tensor) else list(value) for name, value in self.metric_state.items()}


def join(parts: list[Tensor]) -> Tensor:
    """Concatenate rows of one dtype by their bytes: torch cannot for all of them."""
    rows_ = [t.reshape(1) if t.dim() == 0 else t for t in parts]
    tail = rows_[0].shape[1:]
    flat = [t.clone(memory_format=torch.contiguous_format).reshape(-1) for t in rows_]
    data = torch.cat([t.view(torch.uint8) for t in flat])
    return data.view(parts[0].dtype).view(sum(t.shape[0] for t in rows_), *tail)


def filled(metric: Drawn, batches: list[dict[str, Any]]) -> Drawn:
    for batch in batches:
        metric.update(batch)
    return metric


def shown(declared: list[Declared], state: dict[str, Any], world_size: int, counts: list[int]) -> Any:
    """Give the states in the one form that every grouping of the same data has."""
    result: dict[str, Any] = {}
    for d in declared:
        value = state[d.name]
        if d.fx == "cat":
            parts = [t for t in (value if isinstance(value, list) else [value]) if t.dim() == 0 or t.shape[0]]
            result[d.name] = join(parts) if parts else "no rows"
        elif d.fx is count_items and isinstance(value, list):
            result[d.name] = count_items(value) if world_size > 1 else value
        elif d.fx == "mean":
            result[d.name] = value.double().mul(1e4).round() if sum(counts) else "no mean"
        else:
            result[d.name] = value
    return bits(result)


def check(declared: list[Declared], shards: list[list[dict[str, Any]]]) -> None:
    world_size, counts = len(shards), [len(batches) for batches in shards]
    alone = filled(Drawn(declared), [batch for batches in shards for batch in batches])
    wanted = shown(declared, alone.metric_state, world_size, counts)

    def body(rank: int, _: int) -> Any:
        metric = filled(Drawn(declared), shards[rank])
        before = local_bits(metric)
        with metric.sync_context():
            synced, count = metric.metric_state, metric.update_count
            exact = bits(synced)
        assert local_bits(metric) == before
        return exact, shown(declared, synced, world_size, counts), count

    results = run_threads(body, world_size)
    assert all(result[0] == results[0][0] for result in results), "ranks differ"
    assert results[0][1] == wanted
    assert results[0][2] == sum(counts)


@given(cases())
@settings(max_examples=250)
def test_synced_equals_one_process(case: tuple[list[Declared], list[list[dict[str, Any]]]]) -> None:
    check(*case)


@given(cases(), st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_merged_in_any_grouping_equals_one_process(case: Any, random: Any) -> None:
    declared, shards = case
    counts = [len(batches) for batches in shards]
    alone = filled(Drawn(declared), [batch for batches in shards for batch in batches])
    metrics = [filled(Drawn(declared), batches) for batches in shards]
    while len(metrics) > 1:  # neighbours in any order of pairs: rows stay in order
        index = random.randrange(len(metrics) - 1)
        other = metrics.pop(index + 1)
        before = local_bits(other)
        metrics[index].merge_state(other)
        assert local_bits(other) == before
    assert shown(declared, metrics[0].metric_state, 1, counts) == shown(declared, alone.metric_state, 1, counts)
    assert metrics[0].update_count == sum(counts)


# ---- sums of floats -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("size", [5, 100_000], ids=["eager", "direct"])
def test_sums_of_floats_are_close_and_the_same_on_all_ranks(dtype: torch.dtype, size: int) -> None:
    values = torch.randn(5, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)

    def body(rank: int, world_size: int) -> Tensor:
        return sync_states({"x": values[rank]}, {"x": "sum"})["x"]  # type: ignore[return-value]

    results = run_threads(body, 5)
    assert len({bits(result) for result in results}) == 1
    assert results[0].dtype is dtype
    torch.testing.assert_close(results[0], values.double().sum(0).to(dtype))


def test_welford() -> None:
    data = torch.randn(60, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 1000

    def body(rank: int, world_size: int) -> Tensor:
        metric = Welford()
        for batch in {0: [data[:7]], 1: [], 2: [data[7:20], data[20:50]], 3: [data[50:]]}[rank]:
            metric.update(batch)
        return metric.compute()

    results = run_threads(body, 4)
    assert len({bits(result) for result in results}) == 1
    torch.testing.assert_close(results[0], data.var(correction=0))


# ---- beyond a packet, beyond 256 KiB, and mixes of all --------------------------------------------------------------

# Bytes of one state: they ride in the packet, share a buffer, or have a transfer of their own.
LENGTHS = st.sampled_from([0, 1, 100, 5_000, 40_000, 262_144 // 8, 300_000 // 8 + 3])
BIG = {"sum": torch.int64, "offset": torch.int64, "floats": torch.float32, "int32": torch.int32}


@st.composite
def large_cases(draw: Any) -> tuple[int, list[str], list[dict[str, int]]]:
    world_size = draw(st.integers(2, 4))
    kinds = draw(st.lists(st.sampled_from(["cat", "keep", "names", "stack", *BIG, "own"]), min_size=1, max_size=4))
    fixed = {f"{kind}{i}": draw(LENGTHS) for i, kind in enumerate(kinds)}
    ragged = ("cat", "keep", "names", "own")
    lengths = [
        {name: draw(LENGTHS) if name.startswith(ragged) else length for name, length in fixed.items()}
        for _ in range(world_size)
    ]
    return world_size, kinds, lengths


class Own(Metric):
    """Merges its states itself; one of them is a list of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", [], "cat")
        self.add_state("last", torch.zeros(0, dtype=torch.int64), None)

    def update(self, x: Tensor) -> None:
        self.rows.append(x)
        self.last = x

    def merge_states(self, a: Any, b: Any) -> Any:
        return {"rows": a["rows"] + b["rows"], "last": b["last"]}

    def compute(self) -> Any: ...


class Big(Metric):
    def __init__(self, kinds: list[str], lengths: dict[str, int]) -> None:
        super().__init__()
        for name, length in lengths.items():
            kind = next(k for k in ("cat", "keep", "names", "stack", "own", *BIG) if name.startswith(k))
            if kind == "own":
                self.add_module(name, Own())
            elif kind in ("cat", "keep", "names"):
                self.add_state(name, [], "cat" if kind == "cat" else None)
            elif kind == "stack":
                self.add_state(name, torch.zeros(length, dtype=torch.float16), None)
            else:
                self.add_state(name, torch.full((length,), 5 if kind == "offset" else 0).to(BIG[kind]), "sum")

    def update(self, rank: int, lengths: dict[str, int]) -> None:
        for name, length in lengths.items():
            values = torch.arange(length) % 100 + rank
            if name.startswith("own"):
                getattr(self, name).update(values)
            elif name.startswith("names"):
                getattr(self, name).extend(values[: length // 8].tolist())
            elif name.startswith("cat"):
                getattr(self, name).extend(values.to(torch.int32).split(max(1, length // 2)))
            elif name.startswith("keep"):
                getattr(self, name).append(values.to(torch.int16).view(-1, 1))
            else:
                setattr(self, name, getattr(self, name) + values.to(getattr(self, name).dtype))

    def compute(self) -> Any: ...


def expected(lengths: list[dict[str, int]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in lengths[0]:
        values = [torch.arange(each[name]) % 100 + rank for rank, each in enumerate(lengths)]
        if name.startswith("own"):
            result[name] = {"rows": torch.cat(values), "last": values[-1]}
        elif name.startswith("names"):
            result[name] = [x for v in values for x in v[: len(v) // 8].tolist()]
        elif name.startswith("cat"):
            result[name] = torch.cat(values).to(torch.int32)
        elif name.startswith("keep"):
            result[name] = [v.to(torch.int16).view(-1, 1) for v in values]
        elif name.startswith("stack"):
            result[name] = torch.stack(values).to(torch.float16)
        else:
            dtype = next(d for kind, d in BIG.items() if name.startswith(kind))
            result[name] = (sum(values) + (5 if name.startswith("offset") else 0)).to(dtype)  # type: ignore[union-attr]
    return result


def joined(metric: Big) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in metric.metric_state.items():
        result[name] = torch.cat(value) if name.startswith("cat") and value else value
        if name.startswith("cat") and not value:
            result[name] = torch.zeros(0, dtype=torch.int32)
    for name, module in metric.named_children():
        result[name] = {"rows": torch.cat(module.rows), "last": module.last}  # type: ignore[arg-type]
    return result


def check_large(world_size: int, kinds: list[str], lengths: list[dict[str, int]]) -> None:
    wanted = expected(lengths)

    def body(rank: int, _: int) -> Any:
        metric = Big(kinds, lengths[rank])
        metric.update(rank, lengths[rank])
        before = local_bits(metric)
        with metric.sync_context():
            got = joined(metric)
        assert local_bits(metric) == before
        return got

    for got in run_threads(body, world_size):
        assert bits({name: got[name] for name in wanted}) == bits(wanted)


@given(large_cases())
@settings(max_examples=60)
def test_large_states(case: Any) -> None:
    check_large(*case)


LARGE = 300_000 // 8 + 3


@pytest.mark.parametrize("kind", ["cat", "keep", "names", "stack", "own", *BIG])
@pytest.mark.parametrize("lengths", [(LARGE, LARGE), (LARGE, 1, 0), (1, LARGE, 5_000), (5_000, 5_001)], ids=str)
def test_one_large_state(kind: str, lengths: tuple[int, ...]) -> None:
    fixed = kind in ("stack", *BIG)
    check_large(len(lengths), [kind], [{f"{kind}0": lengths[0] if fixed else n} for n in lengths])


@pytest.mark.parametrize("size", [1, 80_000], ids=["small", "large"])
def test_a_sum_that_its_dtype_cannot_hold_is_told_whatever_the_size(size: int) -> None:
    top = torch.full((size,), torch.iinfo(torch.int32).max, dtype=torch.int32)

    def body(rank: int, world_size: int) -> str:
        with pytest.raises(StateError) as caught:
            sync_states({"x": top}, {"x": "sum"})
        return str(caught.value)

    texts = run_threads(body, 2)
    assert texts[0] == texts[1]
    assert "which torch.int32 cannot hold" in texts[0]


# ---- to one rank ----------------------------------------------------------------------------------------------------


@given(st.integers(2, 4), st.data())
@settings(max_examples=40)
def test_dst(world_size: int, data: st.DataObject) -> None:
    dst = data.draw(st.integers(0, world_size - 1))
    lengths = [data.draw(LENGTHS) for _ in range(world_size)]
    total = data.draw(LENGTHS)
    reductions = {"rows": "cat", "total": "sum", "names": None, "each": None}

    def states(rank: int) -> dict[str, Any]:
        values = torch.arange(lengths[rank]) + rank
        return {
            "rows": [values],
            "total": torch.arange(total) + rank,
            "names": values[:50].tolist(),
            "each": [values.double(), torch.tensor(rank)],
        }

    def body(rank: int, _: int) -> Any:
        local = states(rank)
        before = bits(local)
        to_one, to_all = (sync_states(local, reductions, dst=d) for d in (dst, None))  # type: ignore[arg-type]
        assert bits(local) == before
        return to_one, to_all

    results = run_threads(body, world_size)
    assert [bool(to_one) for to_one, _ in results] == [rank == dst for rank in range(world_size)]
    assert {bits(to_all) for _, to_all in results} == {bits(results[dst][0])}


@given(st.lists(tensors() | st.builds(lambda n: torch.arange(n), LENGTHS), min_size=1, max_size=5), st.data())
@settings(max_examples=60)
def test_gather_ragged(values: list[Tensor], data: st.DataObject) -> None:
    dst = data.draw(st.none() | st.integers(0, len(values) - 1))

    def body(rank: int, world_size: int) -> list[Tensor]:
        return gather_ragged(values[rank], dst=dst)

    for rank, got in enumerate(run_threads(body, len(values))):
        assert bits(got) == bits(values if dst in (None, rank) else [])


def test_chunks_smaller_than_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Staging memory is bounded, and the result does not depend on the bound."""
    from syncmetrics.states.spec import declare_state
    from syncmetrics.sync import Route, engine
    from syncmetrics.sync.manifest import Part
    from syncmetrics.transport import resolve_transport

    def body(rank: int, world_size: int, bound: int) -> Any:
        value = torch.arange(50_000 + rank)
        part = Part("", {"x": declare_state("x", [], "cat")}, {"x": [value]}, 1, torch.device("cpu"))
        merged = engine.sync_parts([part], Route(resolve_transport(), max_chunk_bytes=bound), label="x")
        assert merged is not None
        return bits(merged[0].states)

    whole = {result for bound in (1 << 30, 100_000, 4099) for result in run_threads(body, 3, bound)}
    assert len(whole) == 1


# ---- the same over real processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_processes(world_size: int) -> None:
    by_threads = run_threads(parity_bodies.table, world_size)
    for rank, found in enumerate(run_ranks(parity_bodies.everything, world_size, timeout=60)):
        wrong = {name: text for name, text in found["checks"].items() if text != "right"}
        assert not wrong, f"rank {rank}:\n" + "\n".join(f"{name}: {text}" for name, text in wrong.items())
        assert found["table"] == by_threads[0], f"rank {rank}"


def test_cpu_states_in_a_group_for_another_device() -> None:
    for found in run_ranks(parity_bodies.table_and_total, 2, backend="cuda:gloo", timeout=30):
        assert found == (run_threads(parity_bodies.table, 2)[0], 3.0)


def test_a_total_is_a_total() -> None:
    assert run_threads(lambda rank, _: Total()(torch.tensor([float(rank)])).item(), 3) == [0.0, 1.0, 2.0]
