"""Shuffled, gathered and of one process: the value is the same to the bit, and a fault is the same on every rank."""

from __future__ import annotations

import importlib
import struct
import threading
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from syncmetrics import (
    BinaryAUROC,
    BinaryAveragePrecision,
    MetricCollection,
    PeerError,
    PeerLostError,
    Quantile,
    SchemaMismatchError,
    StateError,
    SumMetric,
    SyncTimeoutError,
    sync_and_compute,
    synced,
)
from syncmetrics.shuffle import distinct_mask
from syncmetrics.sync import Route
from syncmetrics.testing import run_ranks, run_ranks_outcomes
from syncmetrics.transport import LocalTransport, resolve_transport
from syncmetrics.transport.threads import ThreadsTransport, ThreadsWorld, run_threads
from tests.ranks import shuffle_bodies as bodies

pytestmark = pytest.mark.one_core

KINDS = (
    "normal",
    "double",
    "half",
    "bfloat16",
    "sorted",
    "falling",
    "constant",
    "skewed",
    "heavy",
    "ties",
    "signs",
)


def bits(numbers: list[float]) -> bytes:
    return struct.pack(f"{len(numbers)}d", *numbers)


def alone(name: str, kind: str, count: int) -> bytes:
    metric = bodies.METRICS[name]()
    metric.update(*bodies.samples(name, kind, count))
    return bits(metric.compute().double().reshape(-1).tolist())


def check(results: list[list[list[list[float]]]], cases: list[tuple[str, str, str, int]]) -> None:
    for index, case in enumerate(cases):
        wanted = alone(case[0], case[1], case[3])
        for rank in results:
            assert [bits(value) for value in rank[index]] == [wanted] * len(rank[index]), case


@pytest.mark.filterwarnings("ignore::UserWarning")  # few rows, or constant ones
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("name", list(bodies.METRICS))
def test_any_way_gives_the_bits_of_one_process(name: str, world_size: int) -> None:
    cases = [(name, kind, "uneven", 300) for kind in KINDS]
    cases += [(name, "normal", spread, count) for spread in bodies.SPREADS for count in (1, 3, 40)]
    check(run_threads(bodies.many, world_size, cases), cases)


@pytest.mark.parametrize("world_size", [2, 3])
def test_as_processes(world_size: int) -> None:
    cases = [(name, kind, spread, 300) for name in bodies.METRICS for kind, spread in PAIRS]
    check(run_ranks(bodies.many, world_size, cases, timeout=120), cases)


PAIRS = (("normal", "even"), ("ties", "uneven"), ("double", "empty"))


def test_many_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncmetrics.sync.transfer.Route.__init__.__defaults__", (None, None, "a sync", 64 * 3 * 50))
    assert Route(LocalTransport()).max_chunk_bytes == 64 * 3 * 50
    cases = [(name, "ties", "uneven", 1000) for name in bodies.METRICS]
    check(run_threads(bodies.many, 3, cases), cases)


def test_dtypes_promote_as_in_a_gather() -> None:
    def body(rank: int, world_size: int, above: int | None) -> float:
        metric = BinaryAUROC(shuffle_above=above)
        scores = torch.linspace(0, 1, 50).to((torch.float64, torch.float16, torch.bfloat16)[rank])
        metric.update(scores + rank / 7, torch.arange(50) % 3 > 0)
        metric.update(scores.float() - 0.1, torch.arange(50) % 2)
        return metric.compute().item()

    assert len({value for above in (None, 0) for value in run_threads(body, 3, above)}) == 1


def test_a_collection_is_one_exchange_and_one_shuffle() -> None:
    wanted = run_threads(bodies.collected, 3, None)
    for above in (0, 3000, 2999, 10**6):
        assert run_threads(bodies.collected, 3, above) == wanted
    assert run_ranks(bodies.collected, 2, 0)[0] == wanted[0]


class Counted(ThreadsTransport):
    """Counts what it sends."""

    def __init__(self, world: ThreadsWorld, rank: int) -> None:
        super().__init__(world, rank)
        self.gathered: list[int] = []
        self.others = 0

    def all_gather(self, out: Tensor, local: Tensor, **kwargs: Any) -> None:
        self.gathered.append(out.numel())
        super().all_gather(out, local, **kwargs)

    def broadcast(self, buffer: Tensor, src: int, **kwargs: Any) -> None:
        self.others += buffer.numel()
        super().broadcast(buffer, src, **kwargs)


def mixed(group: Any, above: int | None, rows: int) -> tuple[float, float]:
    metrics = MetricCollection(
        {"auroc": BinaryAUROC(shuffle_above=above, process_group=group), "sum": SumMetric(process_group=group)}
    )
    generator = torch.Generator().manual_seed(group.rank)
    metrics["auroc"].update(torch.rand(rows, generator=generator), (torch.arange(rows) % 2))
    metrics["sum"].update(torch.tensor(float(group.rank)))
    values = metrics.compute()
    return values["auroc"].item(), values["sum"].item()


def in_world(body: Any, world_size: int, *args: Any) -> tuple[list[Any], list[Counted]]:
    world = ThreadsWorld(world_size)
    transports = [Counted(world, rank) for rank in range(world_size)]
    results: list[Any] = [None] * world_size

    def run(rank: int) -> None:
        results[rank] = body(transports[rank], *args)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results, transports


def test_few_rows_ride_in_the_one_exchange() -> None:
    results, transports = in_world(mixed, 2, 1000, 100)
    assert results[0] == results[1]
    assert [len(t.gathered) for t in transports] == [1, 1]


def test_many_rows_are_not_gathered() -> None:
    results, transports = in_world(mixed, 2, 1000, 100_000)
    gathered, _ = in_world(mixed, 2, None, 100_000)
    assert results == gathered
    for transport in transports:
        assert sum(transport.gathered) + transport.others < 500_000 < 2 * 100_000 * 5  # packets and samples


def test_shown_by_any_context() -> None:
    def body(rank: int, world_size: int) -> list[float]:
        metric, other = BinaryAUROC(shuffle_above=0), Quantile(shuffle_above=0)
        for batch in bodies.shard(bodies.samples("auroc", "ties", 500), "uneven", rank, world_size):
            metric.update(*batch)
            other.update(batch[0])
        found = [sync_and_compute([metric, other])]
        with synced({"b": other, "a": metric}):
            found.append([metric.compute(), other.compute()])
        with metric.sync_context(), other.sync_context():
            found.append([metric.compute(), other.compute()])
            with pytest.raises(StateError, match="is synced"):
                metric.update(torch.zeros(1), torch.zeros(1, dtype=torch.long))
        metric.sync()
        found.append([metric.compute(), other.compute()])
        metric.unsync()
        with torch.inference_mode():
            found.append([metric.clone().compute(), other.clone().compute()])
        found.append([metric.clone().compute(), other.compute()])
        return [value.item() for pair in found for value in pair]

    for result in run_threads(body, 3):
        assert result == result[:2] * 6


def test_a_step_gathers_its_batch_and_local_values_stay_local() -> None:
    def body(rank: int, world_size: int) -> list[float]:
        x, y = bodies.samples("auroc", "ties", 60)
        mine = slice(20 * rank, 20 * rank + 20)
        step = BinaryAUROC(shuffle_above=0, dist_sync_on_step=True)
        local = BinaryAUROC(shuffle_above=0, sync_on_compute=False)
        local.update(x[mine], y[mine])
        whole, part = BinaryAUROC(), BinaryAUROC()
        whole.update(x, y)
        part.update(x[mine], y[mine])
        with synced_alone(whole, part):
            wanted = [whole.compute().item(), whole.compute().item(), part.compute().item()]
        return [
            step(x[mine], y[mine]).item() - wanted[0],
            step.compute().item() - wanted[1],
            local.compute() - wanted[2],
        ]

    assert run_threads(body, 3) == [[0, 0, 0]] * 3


def synced_alone(*metrics: Any) -> Any:
    return synced(*metrics, process_group=LocalTransport())


def test_another_group_than_the_metrics_own() -> None:
    def body(rank: int, world_size: int) -> list[float]:
        x, y = bodies.samples("auroc", "normal", 80)
        metric = BinaryAUROC(shuffle_above=0)
        metric.update(x[20 * rank : 20 * rank + 20], y[20 * rank : 20 * rank + 20])
        pair = ThreadsTransport(worlds[rank // 2], rank % 2)
        with synced(metric, process_group=pair):
            two = metric.compute().item()
        metric.reset()
        metric.update(x, y)
        with synced_alone(metric):
            return [two, metric.compute().item()]

    worlds = [ThreadsWorld(2), ThreadsWorld(2)]
    results = run_threads(body, 4)
    x, y = bodies.samples("auroc", "normal", 80)
    for rank, (two, whole) in enumerate(results):
        half = slice(40 * (rank // 2), 40 * (rank // 2) + 40)
        for found, rows in ((two, half), (whole, slice(None))):
            metric = BinaryAUROC()
            metric.update(x[rows], y[rows])
            assert metric.compute().item() == found


# ---- faults


def test_thresholds_that_differ() -> None:
    def body(rank: int, world_size: int) -> tuple[str, float]:
        metric = BinaryAUROC(shuffle_above=rank)
        metric.update(*bodies.samples("auroc", "ties", 60))
        with pytest.raises(SchemaMismatchError, match=r"`shuffle_above`.* 0 on rank 0, 1 on rank 1") as caught:
            metric.compute()
        return str(caught.value), usable(metric)

    results = run_threads(body, 2)
    assert results[0] == results[1]


def usable(metric: Any) -> float:
    """See that the group and the states are in order, once all agree."""
    metric.shuffle_above = 0
    metric._books.forget()
    return float(metric.compute())


def test_only_one_rank_shuffles() -> None:
    def body(rank: int, world_size: int) -> tuple[str, float]:
        metric = BinaryAUROC(shuffle_above=0 if rank else None)
        metric.update(*bodies.samples("auroc", "ties", 60))
        with pytest.raises(SchemaMismatchError, match="rows told") as caught:
            metric.compute()
        return str(caught.value), usable(metric)

    results = run_threads(body, 2)
    assert results[0] == results[1]


#: Where a rank may fail: before it has sent anything, in its buffers, in the middle of the rounds, and afterwards.
PLACES = (
    "syncmetrics.shuffle.exchange.sample_places",
    "syncmetrics.shuffle.exchange._targets",
    "syncmetrics.shuffle.exchange._RoundPlan.__init__",
    "syncmetrics.regression.spearman.twice_ranks",
    "syncmetrics.regression.spearman.inner_product",
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("call", [1, 2, 3, 4, 5, 6])
def test_a_rank_that_fails_anywhere_is_named_to_all(place: str, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, _, name = place.rpartition(".")
    target: Any = importlib.import_module(owner.removesuffix("._RoundPlan"))
    target = target._RoundPlan if owner.endswith("._RoundPlan") else target
    original, calls = getattr(target, name), [0]

    def failing(*args: Any, **kwargs: Any) -> Any:
        if resolve_transport().rank == 1:
            calls[0] += 1
            if calls[0] == call:
                raise MemoryError("no room")
        return original(*args, **kwargs)

    def body(rank: int, world_size: int) -> Any:
        metric = bodies.METRICS["spearman"](shuffle_above=0)
        bodies.filled(metric, bodies.shard(bodies.samples("spearman", "ties", 300), "even", rank, world_size))
        before = [t.clone() for t in metric.preds]
        try:
            seen = bits([metric.compute().item()]).hex()
        except (PeerError, MemoryError) as error:
            named = rank == 1 or "rank 1: MemoryError: no room" in str(error)
            seen = type(error).__name__ if named else str(error)
        assert all(torch.equal(a, b) for a, b in zip(before, metric.preds, strict=True))
        calls[0] = 99
        return seen, metric.compute().item()

    monkeypatch.setattr(target, name, failing)
    results = run_threads(body, 3, timeout=20)
    assert len({value for _, value in results}) == 1
    seen = [name for name, _ in results]
    assert seen in (["PeerError", "MemoryError", "PeerError"], [seen[0]] * 3), seen


def test_a_rank_that_raises_in_update_is_told_of_labels_by_all() -> None:
    def body(rank: int, world_size: int) -> str:
        metric = BinaryAveragePrecision(validate_args=False, shuffle_above=0)
        metric.update(torch.rand(9), torch.full((9,), 2 if rank == 1 else 1))
        with pytest.raises(ValueError, match="labels in `target` must be 0 or 1") as caught:
            metric.compute()
        return str(caught.value)

    assert len(set(run_threads(body, 3))) == 1


def test_a_rank_that_does_not_come() -> None:
    done = threading.Event()

    def body(rank: int, world_size: int) -> Any:
        if rank == 1:
            done.wait(30)
            return None
        one, none = torch.zeros(1, dtype=torch.uint8), torch.zeros(0, dtype=torch.uint8)
        try:
            with pytest.raises((SyncTimeoutError, PeerLostError)) as caught:
                resolve_transport().all_to_all(none, one, [0, 0], [0, 1], timeout=0.05)
        finally:
            done.set()
        return caught.value.missing

    assert run_threads(body, 2) == [(1,), None]


def test_a_process_that_does_not_come_to_a_transfer_or_is_gone() -> None:
    late = run_ranks_outcomes(bodies.late, 3, timeout=60)
    assert [outcome.value for outcome in late] == [("SyncTimeoutError", (1,)), None, ("SyncTimeoutError", (1,))]
    gone = run_ranks_outcomes(bodies.gone, 3, timeout=60)
    assert [gone[0].value, gone[2].value] == [("PeerLostError", (1,))] * 2


# ---- by identifier


def test_each_identifier_counts_once() -> None:
    def body(rank: int, world_size: int) -> tuple[list[bool], float]:
        ids = torch.arange(rank, 11 + (3 - 11 % world_size) % world_size, world_size) % 11  # as a padding sampler has
        mask = distinct_mask(ids)
        metric = SumMetric()
        metric.update(ids[mask])
        return mask.tolist(), metric.compute().item()

    for world_size in (1, 2, 3, 4):
        results = run_threads(body, world_size)
        assert {total for _, total in results} == {55.0}
    masks = run_threads(
        lambda rank, _: distinct_mask(torch.tensor([[5, 5, 1], [], [1, 7, 5]][rank]).long()).tolist(), 3
    )
    assert masks == [[True, False, True], [], [False, True, False]]
    assert run_threads(lambda rank, _: distinct_mask(torch.zeros(0, dtype=torch.long)).tolist(), 2) == [[], []]


def test_identifiers_must_be_integers_on_all_ranks() -> None:
    def body(rank: int, world_size: int) -> str:
        with pytest.raises((PeerError, TypeError)) as caught:
            distinct_mask(torch.zeros(3, dtype=torch.float32 if rank else torch.int64))
        return type(caught.value).__name__

    assert run_threads(body, 2) == ["PeerError", "TypeError"]


def test_warnings_are_as_for_one_process() -> None:
    def body(rank: int, world_size: int) -> Tensor:
        metric = BinaryAUROC(shuffle_above=0)
        metric.update(torch.rand(5), torch.ones(5, dtype=torch.long))
        return metric.compute()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert run_threads(body, 2) == [0, 0]
    assert "no negative sample" in str(caught[0].message)
