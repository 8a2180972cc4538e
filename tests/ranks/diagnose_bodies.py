"""What the ranks of `test_diagnose.py` run."""

from __future__ import annotations

import os
import types
from dataclasses import replace
from typing import Any

from syncmetrics import diagnose, set_shared_memory
from syncmetrics.diagnose import exchange, job
from syncmetrics.diagnose.measure import Measured, measured_on_rank
from syncmetrics.diagnose.network import Choice


def examined(rank: int, world_size: int) -> diagnose.Diagnosis:
    return diagnose.examine(rounds=3, timeout=30)


def with_differences(rank: int, world_size: int) -> list[diagnose.Diagnosis]:
    """Rank 1 has another variable, and a clock that is an hour ahead; then nobody wants to share memory."""
    if rank == 1:
        os.environ["NCCL_ALGO"] = "Ring"
        ahead = types.SimpleNamespace(**vars(exchange.time))
        ahead.time_ns = lambda: exchange_time.time_ns() + 3600 * 10**9
        exchange_time, exchange.time = exchange.time, ahead  # type: ignore[assignment]
    first = diagnose.examine(rounds=3, timeout=30)
    set_shared_memory(False)
    return [first, diagnose.examine(rounds=3, timeout=30)]


def on_two_hosts(rank: int, world_size: int) -> diagnose.Diagnosis:
    """The last rank is on another host, where gloo takes the loopback."""
    real = job.process_here

    def process_there() -> Any:
        found = real()
        network = replace(found.network, host="elsewhere", gloo=Choice(("lo",), ("127.0.0.1",), "so it is"))
        return replace(found, network=network, machine="other/one") if rank == world_size - 1 else found

    job.process_here = process_there  # type: ignore[assignment]
    return diagnose.examine(rounds=3, timeout=30)


def one_fails(rank: int, world_size: int) -> diagnose.Diagnosis:
    """Rank 1 raises in the exchange, as others wait for it."""
    if rank == 1:

        def raising(*args: Any, **options: Any) -> Any:
            raise RuntimeError("this rank has no network")

        job.time_exchange = raising  # type: ignore[assignment]
    return diagnose.examine(rounds=3, timeout=2)


def measured(rank: int, world_size: int) -> Measured:
    return measured_on_rank(rank, world_size, 0.1)
