"""Cost against the number of ranks: counted on threads, up to 256 of them, and the page that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.scaling import exchange_table, hosts_table
from syncmetrics.states.spec import spec_of_value
from syncmetrics.sync import Part, Route, sync_parts
from syncmetrics.sync.packet import packet_size
from syncmetrics.sync.trace import CountingTransport, SyncRecord
from syncmetrics.testing import run_threads
from syncmetrics.transport import resolve_transport

pytestmark = pytest.mark.one_core

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()


def _counted(rank: int, world_size: int, kind: str) -> SyncRecord:
    """Sync states of one kind, and give what it took."""
    values: dict[str, tuple[Any, str]] = {
        "small": (torch.ones(4, 4, dtype=torch.int64), "sum"),
        "rows": (torch.ones(40_000 + 10 * rank), "cat"),
        "integers": (torch.ones(200_000, dtype=torch.int64), "sum"),
        "floats": (torch.ones(200_000, dtype=torch.float64), "sum"),
    }
    value, reduction = values[kind]
    record = SyncRecord(kind, "threads")
    route = Route(CountingTransport(resolve_transport(), record))  # type: ignore[arg-type]
    many = range(max(5, 50 // world_size) if kind == "small" else 1)  # all ranks check what all of them say
    parts = [
        Part(f"m{i}", {"x": spec_of_value("x", value, reduction)}, {"x": value}, 1, value.device)  # type: ignore[arg-type]
        for i in many
    ]
    sync_parts(parts, route, label=kind)
    return record


@pytest.mark.parametrize("world_size", [2, 3, 8, 64, 256])
def test_small_states_cost_one_exchange_at_any_size(world_size: int) -> None:
    packet = packet_size(world_size)
    for record in run_threads(_counted, world_size, "small"):
        assert (record.collectives, record.bytes_sent, record.bytes_received) == (1, packet, world_size * packet)


@pytest.mark.parametrize("kind", ["rows", "integers"])
def test_large_states_cost_as_many_operations_at_any_size(kind: str) -> None:
    counts = {w: {record.collectives for record in run_threads(_counted, w, kind)} for w in (2, 4, 16)}
    assert all(len(of_ranks) == 1 for of_ranks in counts.values())
    assert len({min(of_ranks) for of_ranks in counts.values()}) == 1, counts


def test_large_float_sums_cost_one_more_and_a_broadcast_of_each_rank() -> None:
    for world_size in (2, 4, 16):
        for record in run_threads(_counted, world_size, "floats"):
            assert record.collectives == 4 + world_size  # the exchange, two votes, the slices, and what became of them
            assert record.bytes_received < 1_600_000 * 2.5 + 3 * world_size * packet_size(world_size)


def test_the_page_shows_the_model() -> None:
    assert exchange_table() in PAGE
    assert hosts_table() in PAGE
