"""What `trace` says of syncs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import syncmetrics
from syncmetrics import CatMetric, SumMetric, sync_states, trace
from syncmetrics.testing import run_ranks, run_threads


def test_the_slowest_rank_is_the_one_that_entered_last() -> None:
    record = syncmetrics.SyncRecord("x", "a group")
    entered = [5_000_000_000, 7_500_000_000, 6_000_000_000]
    record.arrived(entered, 0)
    assert (record.slowest, record.waited) == (1, 2.5)
    record.arrived(entered, 1)
    assert (record.slowest, record.waited) == (1, 0.0)


def test_a_line_for_each_label() -> None:
    record = syncmetrics.SyncRecord("val", "a group", 1, 2, 1_000, 2_000, 0.25, 0.125, 3)
    head, line = str(syncmetrics.Trace([record, record])).splitlines()
    assert head.split("  ")[0] == "sync"
    assert line.split() == ["val", "2", "4", "2,000", "500.00", "250.00", "3"]


def _recorded(rank: int, world_size: int) -> list[tuple[Any, ...]]:
    total, rows = SumMetric(), CatMetric()
    total.update(rank)
    rows.update(torch.zeros(100_000 * rank))
    with syncmetrics.trace() as trace:
        total.compute()
        rows.compute()
        rows.compute()
        broken = SumMetric() if rank else CatMetric()
        broken.update(torch.ones(1))
        with pytest.raises(syncmetrics.SchemaMismatchError):
            broken.compute()
    total.update(1)
    total.compute()
    assert len(trace.syncs) == 3, "what comes after the block is not recorded"
    return [
        (r.label, r.sequence, r.collectives, r.bytes_sent, r.bytes_received, r.slowest, r.error is None)
        for r in trace.syncs
    ]


def test_operations_and_bytes() -> None:
    found = run_ranks(_recorded, 2)
    packet = 32 << 10
    for rank, (small, large, broken) in enumerate(found):
        assert small[:5] == ("SumMetric", 1, 1, packet, 2 * packet)
        assert large[0] == "CatMetric"
        assert large[2] > 1
        assert large[3] >= packet + 400_000 * rank
        assert large[4] >= 2 * packet + 400_000
        assert broken[0] == ("SumMetric" if rank else "CatMetric")
        assert not broken[6]
    assert [record[5] for record in found[0]] == [record[5] for record in found[1]], "all name the same slowest rank"


@pytest.mark.filterwarnings("ignore:.*Profiler clears events")  # some torch tell it of every profile
def test_the_profiler_has_a_range_for_every_sync() -> None:
    def body(rank: int, world_size: int) -> list[str]:
        total = SumMetric()
        total.update(rank)
        if rank:
            total.compute()
            return []
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            total.compute()
        return [event.name for event in profile.events()]

    assert "syncmetrics: SumMetric" in run_threads(body, 2)[0]


class MuteError(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_error_without_words_is_recorded_by_its_type() -> None:
    def body(rank: int, world_size: int) -> str:
        def fail(stacked: torch.Tensor) -> torch.Tensor:
            raise MuteError

        with trace() as recording, pytest.raises(MuteError):
            sync_states({"x": torch.ones(1)}, {"x": fail})
        return recording.syncs[0].error

    assert all(text.startswith("MuteError: its text cannot be given") for text in run_threads(body, 2))
