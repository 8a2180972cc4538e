"""What the ranks of `test_diagnose.py` run."""

from __future__ import annotations

import os
import types
from dataclasses import replace
from typing import Any

import torch._C._distributed_c10d as _c10d
import torch.distributed as dist

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


def launched(rank: int, world_size: int, hosts: int) -> diagnose.Diagnosis:
    """As a launcher starts ranks: there is no group yet. With several hosts, gloo takes the loopback on the last."""
    store: Any = dist.distributed_c10d._get_default_store()
    dist.destroy_process_group()
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), MASTER_ADDR="127.0.0.1", MASTER_PORT="1")
    job._meet = lambda place, timeout: _c10d.PrefixStore("job", store)
    real = job.process_here

    def process_there() -> Any:
        found, host = real(), min(rank, hosts - 1)
        address = "127.0.0.1" if host == hosts - 1 else f"10.0.0.{host}"
        network = replace(found.network, host=f"node{host}", gloo=Choice(("lo",), (address,), "so it is"))
        return replace(found, network=network, machine=f"{host}/one")

    job.process_here = process_there
    found = diagnose.examine(rounds=3, timeout=30)
    assert not dist.is_initialized()
    return found


def one_fails(rank: int, world_size: int) -> diagnose.Diagnosis:
    """Rank 1 raises in the exchange, as others wait for it."""
    if rank == 1:

        def raising(*args: Any, **options: Any) -> Any:
            raise RuntimeError("this rank has no network")

        job.time_exchange = raising
    return diagnose.examine(rounds=3, timeout=2)


def measured(rank: int, world_size: int) -> Measured:
    return measured_on_rank(rank, world_size, 0.1)
