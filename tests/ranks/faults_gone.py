"""Ranks that come late, do not come, or are gone."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import syncmetrics
from syncmetrics import SyncError
from syncmetrics.transport import resolve_transport
from tests.ranks.faults_watch import Watch, gave_up, probe, say, wait_to_hear
from tests.samples import Rows, Total

LARGE = 1_000_000  # float32 values of one rank: they travel after the exchange
HUGE = 25_000_000  # 100 MB, in many chunks


def filled(rows: int, rank: int, **kwargs: Any) -> Rows:
    metric = Rows(**kwargs)
    metric.update(torch.full((rows,), float(rank)))
    return metric


def _come_late(watch: Watch, rank: int, world_size: int, rows: int, name: str) -> None:
    """The last rank comes once all others have given up, and before the backend does."""
    metric, late = filled(rows, rank, sync_timeout=1.0), world_size - 1
    words = gave_up(name, list(range(late)))
    if rank == late:
        wait_to_hear(*words)
        watch.either("late", metric.compute, torch.arange(world_size).repeat_interleave(rows).float(), metric)
    else:
        watch.fault("sync", metric.compute, metric)
        say(words[rank])


def late(watch: Watch, rank: int, world_size: int) -> None:
    _come_late(watch, rank, world_size, 10, "late")


def late_with_much(watch: Watch, rank: int, world_size: int) -> None:
    _come_late(watch, rank, world_size, LARGE, "late with much")


def later_than_the_grace(watch: Watch, rank: int, world_size: int) -> None:
    metric, absent = filled(10, rank, sync_timeout=0.5), world_size - 1
    words = gave_up("later", list(range(absent)))
    if rank == absent:
        wait_to_hear(*words)
        time.sleep(4.0)  # the backend gives up 2 s after the timeout
    watch.fault("late" if rank == absent else "sync", metric.compute, metric)
    if rank != absent:
        say(words[rank])
        wait_to_hear("later: over")
    else:
        say("later: over")
    metric.sync_timeout = 30.0
    watch.right("after", metric.compute, torch.arange(world_size).repeat_interleave(10).float(), metric)


def stopped(watch: Watch, rank: int, world_size: int) -> None:
    """A process that does not run any more, and is not gone: a debugger, a node that swaps."""
    metric, victim = filled(10, rank, sync_timeout=1.0), world_size - 1
    if rank == victim:
        say(f"pid {os.getpid()}")
        dist.distributed_c10d._get_default_store().set("victim", str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
    pid = int(dist.distributed_c10d._get_default_store().get("victim"))
    try:
        watch.fault("sync", metric.compute, metric)
        words = gave_up("stopped", list(range(victim)))
        say(words[rank])
        wait_to_hear(*words)
    finally:
        if rank == 0:
            os.kill(pid, signal.SIGKILL)


def gone(watch: Watch, rank: int, world_size: int) -> None:
    metric = filled(10, rank)
    watch.right("before", metric.compute, torch.arange(world_size).repeat_interleave(10).float(), metric)
    metric.update(torch.ones(1))
    if rank == world_size - 1:
        os._exit(7)
    watch.fault("sync", metric.compute, metric)


def two_gone(watch: Watch, rank: int, world_size: int) -> None:
    metric = filled(10, rank)
    dist.barrier()
    if rank in (1, 2):
        os._exit(7)
    watch.fault("sync", metric.compute, metric)


def killed_in_transfer(watch: Watch, rank: int, world_size: int) -> None:
    metric = filled(HUGE, rank)
    if rank == world_size - 1:
        transport = resolve_transport()
        broadcasts = transport.broadcasts

        def and_die(*args: Any, **kwargs: Any) -> None:
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGKILL)).start()
            broadcasts(*args, **kwargs)

        transport.broadcasts = and_die  # type: ignore[method-assign]
    watch.fault("sync", metric.compute, metric)


def keeper_gone(watch: Watch, rank: int, world_size: int, directory: str) -> None:
    """Rank 0 keeps the store of the job, as with torchrun without an agent of its own: the roll goes with it."""
    dist.destroy_process_group()
    port = Path(directory, "port")
    if rank == 0:
        store = dist.TCPStore("127.0.0.1", 0, world_size, True, timeout=timedelta(seconds=60), wait_for_workers=False)
        Path(directory, "writing").write_text(str(store.port))
        Path(directory, "writing").rename(port)
    else:
        while not port.exists():
            time.sleep(0.01)
        store = dist.TCPStore("127.0.0.1", int(port.read_text()), world_size, False, timeout=timedelta(seconds=60))
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size, timeout=timedelta(seconds=60))
    metric = filled(10, rank)
    watch.right("before", metric.compute, torch.arange(world_size).repeat_interleave(10).float(), metric)
    metric.update(torch.ones(1))
    if rank == 0:
        os._exit(7)
    watch.fault("sync", metric.compute, metric)


def recovery(watch: Watch, rank: int, world_size: int) -> None:
    """The survivors go on among themselves, with what they have."""
    metric, lost = Rows(), world_size - 1
    metric.persistent(True)
    metric.update(torch.tensor([rank, rank]))
    watch.right("before", metric.compute, torch.arange(world_size).repeat_interleave(2), metric)
    metric.update(torch.tensor([10 + rank]))
    if rank == lost:
        os._exit(7)
    watch.fault("sync", metric.compute, metric)
    saved = metric.state_dict()
    metric.update(torch.tensor([20 + rank]))

    survivors = [r for r in range(world_size) if r != lost]
    group = dist.new_group(survivors, use_local_synchronization=True, timeout=timedelta(seconds=60))
    metric.process_group = group
    right = torch.tensor([x for r in survivors for x in (r, r, 10 + r, 20 + r)])
    watch.right("among survivors", metric.compute, right, metric)

    again = Rows(process_group=group)
    again.persistent(True)
    again.load_state_dict(saved)
    watch.right("from the checkpoint", again.compute, torch.tensor([x for r in survivors for x in (r, r, 10 + r)]))


def recovery_as_written(rank: int, world_size: int, code: str) -> list[int]:
    """Recover with the function that the documentation gives; rank 2 is lost."""
    names: dict[str, Any] = {}
    exec(code, names)
    metric = Rows()
    metric.update(torch.tensor([rank]))
    dist.barrier()
    if rank == 2:
        os._exit(7)
    rows: list[int] = names["compute_or_recover"](metric).tolist()
    return rows


def slow(rank: int, world_size: int) -> list[str]:
    """One rank comes so late that the others say so, but in time."""
    syncmetrics.set_sync_timeout(40.0, warn_after=2.5)
    metric = filled(10, rank)
    dist.barrier()
    if rank == 0:
        time.sleep(6.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = metric.compute().numel()
    assert rows == 10 * world_size
    assert probe(rank, world_size).error == ""
    return [str(warning.message) for warning in caught]


def patience_of_the_environment(rank: int, world_size: int) -> tuple[Any, str, Any]:
    """The others come only when rank 0 has given up."""
    from syncmetrics.transport.patience import current_patience

    patience, error = current_patience(), ""
    if rank == 0:
        try:
            filled(1, rank).compute()
        except SyncError as raised:
            error = type(raised).__name__
        say("rank 0 gave up")
    wait_to_hear("rank 0 gave up")
    return patience.timeout, error, patience.warn_after


def counted(rank: int, world_size: int) -> dict[str, tuple[int, int]]:
    """Count the collectives, and the questions to the store, of syncs to which all ranks come."""
    from syncmetrics.transport.board import Board
    from syncmetrics.transport.process_group.transport import ProcessGroupTransport
    from tests.ranks.faults_data import Everything

    counts = {"collectives": 0, "questions": 0}
    operate, ask = ProcessGroupTransport._operate, Board._ask

    def counting_operate(self: Any, first: Any, post: Any, *args: Any) -> None:
        def counting_post(*given: Any) -> Any:
            works = post(*given)
            counts["collectives"] += len(works)
            return works

        operate(self, first, counting_post, *args)

    def counting_ask(self: Any, *args: Any) -> Any:
        counts["questions"] += 1
        return ask(self, *args)

    ProcessGroupTransport._operate, Board._ask = counting_operate, counting_ask  # type: ignore[assignment]
    probe(rank, world_size)  # once in the life of a group each rank writes down where it is
    few = Everything()
    few.update(rank)
    many = syncmetrics.MetricCollection({f"m{i}": Total() for i in range(30)})
    many.update(torch.ones(2))
    found = {}
    for name, call in (("one metric", few.compute), ("thirty metrics", many.compute), ("cached", many.compute)):
        before = dict(counts)
        call()
        found[name] = counts["collectives"] - before["collectives"], counts["questions"] - before["questions"]
    return found


def unanswered(rank: int, world_size: int) -> tuple[list[float], tuple[int, ...]]:
    """The store does not answer rank 0 at first; later a rank comes late, and the ranks meet again."""
    from syncmetrics.transport.board import Board, NoAnswerError

    claim, left = Board.claim, [2 if rank == 0 else 0]

    def not_yet(self: Any, key: str, value: str, seconds: float) -> str:
        if key.startswith("lives/") and left[0]:
            left[0] -= 1
            if left[0]:
                claim(self, key, value, seconds)  # it was asked, and the answer was lost
            raise NoAnswerError(is_gone=False)
        return claim(self, key, value, seconds)

    Board.claim = not_yet  # type: ignore[method-assign]
    metric, found = Total(sync_timeout=1.0), []
    missing: tuple[int, ...] = ()
    for number in range(4):
        metric.update(torch.ones(1))
        if number == 2:
            dist.barrier()
            if rank == 1:
                wait_to_hear("gave up")
            try:
                metric.compute()
            except syncmetrics.SyncTimeoutError as error:
                missing = error.missing
            if rank == 0:
                say("gave up")
            metric.sync_timeout = 20.0
        else:
            found.append(float(metric.compute()))
    return found, missing
