"""Jobs that stand still, each of their ranks somewhere else; what those say that wait."""

from __future__ import annotations

import os
import runpy
import signal
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset

import syncmetrics
from syncmetrics import MetricCollection, SyncError
from tests.ranks.faults_watch import say, wait_to_hear
from tests.samples import Total


class Slow(Dataset[int]):
    """Data that do not come."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        time.sleep(3600)
        return index


def waiting(metric: Any) -> dict[str, Any]:
    """Wait for ranks that do not come, and give what is said of them."""
    error = None
    start = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            metric.compute()
        except SyncError as raised:
            error = raised
    return {
        "warnings": [str(warning.message) for warning in caught if "has waited" in str(warning.message)],
        "error": error,
        "seconds": time.monotonic() - start,
    }


def _val() -> MetricCollection:
    val = MetricCollection({"val": Total()})
    for _ in range(3):
        val.update(torch.ones(2))
        val.compute()
    val.update(torch.ones(2))
    return val


def three_places(rank: int, world_size: int) -> Any:
    """One rank sleeps in a data loader, one waits in a lock, one is stopped."""
    syncmetrics.set_sync_timeout(2.5, warn_after=1.2)
    store = dist.distributed_c10d._get_default_store()
    val = _val()
    if rank:
        store.set(f"pid/{rank}", str(os.getpid()))
    if rank == 1:
        for _ in DataLoader(Slow(), num_workers=1):
            pass
    if rank == 2:
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    if rank == 3:
        os.kill(os.getpid(), signal.SIGSTOP)
    pids = [int(store.get(f"pid/{other}")) for other in range(1, world_size)]
    try:
        return waiting(val)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def as_on_the_page(rank: int, world_size: int, script: str) -> Any:
    """Run the script of `docs/hangs.md` as `train.py` in its folder; give what rank 0 warned of and raised."""
    store = dist.distributed_c10d._get_default_store()
    store.set(f"pid/{rank}", str(os.getpid()))
    dist.init_process_group = lambda *args, **kwargs: None
    os.chdir(Path(script).parent)
    if rank:
        runpy.run_path(script, run_name="__main__")
    pids = [int(store.get(f"pid/{other}")) for other in range(1, world_size)]
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            runpy.run_path(script, run_name="__main__")
    except SyncError as error:
        return [str(warning.message) for warning in caught if "has waited" in str(warning.message)], error
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


_MULTIPLY = """
def multiply(until):
    big = torch.ones(1500, 1500)
    while not until():
        big @ big
"""


def other_places(rank: int, world_size: int) -> Any:
    """All train in a thread; there one waits, one multiplies in code without a file, one syncs with other ranks."""
    syncmetrics.set_sync_timeout(2.5, warn_after=1.2 if rank == 0 else 40.0)
    found: list[Any] = []
    trainer = threading.Thread(target=lambda: found.append(_train(rank)), name="trainer")
    trainer.start()
    trainer.join()
    return found[0]


def _train(rank: int) -> Any:
    group = dist.new_group([2, 3])
    val = _val()
    if rank == 0:
        found = waiting(val)
        say("over")
        return found
    if rank == 1:
        return wait_to_hear("over")
    train = Total(process_group=group, sync_timeout=60.0)
    train.update(torch.ones(1))
    if rank == 2:
        names: dict[str, Any] = {"torch": torch}
        exec(compile(_MULTIPLY, "<stdin>", "exec"), names)
        store = dist.distributed_c10d._get_default_store()
        names["multiply"](lambda: store.check(["over"]))
    return train.compute()


def quiet(rank: int, world_size: int) -> Any:
    """Sync, and give the threads of ours; then wait for a rank that does not come, with nothing that answers."""
    syncmetrics.set_sync_timeout(1.5, warn_after=1.0)
    val = _val()
    names = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("syncmetrics"))
    if rank == 1:
        wait_to_hear("over")
        return names, None
    found = waiting(val)
    say("over")
    return names, found
