"""The ranks of a job, looked at together: under torchrun, or from within a job whose process group is up.

1. Each rank looks at its own process.
2. They meet at the store of the job, by MASTER_ADDR and MASTER_PORT, and write down what they found.
3. Rank 0 reads it, and says whether a group can be formed. If so, all join one and time exchanges; if not, nobody waits
   for a group that cannot come about.
4. Rank 0 reads how that went, comes to one diagnosis, and writes it down for all.

The store answers where gloo does not, so that what is wrong on a rank is known even if no group can be formed.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import timedelta

import torch
import torch._C._distributed_c10d as _c10d
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from syncmetrics.diagnose.backends import groups_of_process
from syncmetrics.diagnose.diagnosis import (
    Diagnosis,
    RankReport,
    compare_ranks,
    judge_clocks,
    machines_of,
    merge_findings,
    ranks_named,
    read_findings,
    report_of_text,
)
from syncmetrics.diagnose.exchange import Exchange, time_exchange
from syncmetrics.diagnose.findings import Finding, note, ok, problem
from syncmetrics.diagnose.judge import judge_exchange, judge_process
from syncmetrics.diagnose.process import Place, Process, facts_of, place_of_process, process_here

__all__ = ["examine_job", "is_in_job", "said_in_short"]

_calls = itertools.count()  # every rank counts alike: a second diagnosis does not read what the first has written
#: What rank 0 gives the others to read the verdict before it goes, and the store perhaps with it.
_LEAVE_SECONDS = 10.0


def is_in_job() -> bool:
    """Whether this process is a rank of a job: its process group is up, or a launcher has told it which rank it is."""
    return dist.is_available() and (dist.is_initialized() or place_of_process().is_launched)


def examine_job(*, backend: str | None = None, timeout: float = 60.0, rounds: int = 50) -> Diagnosis:
    """Look at all ranks of the job. Collective: every rank of the job must call this.

    Args:
        backend: For `init_process_group`, if the group is not up; None for what it takes by itself.
        timeout: Seconds to wait for the other ranks, at each step.
        rounds: How often each exchange is timed.

    Returns:
        The findings, the same on every rank; rank 0 has what was found on the others beside them. A rank that cannot
        reach the store has its own findings alone.
    """
    process = process_here()
    if dist.is_initialized():
        here = Place(dist.get_rank(), dist.get_world_size(), process.place.local_rank, process.place.local_world_size)
        process = replace(process, place=here)
    place = process.place
    mine = RankReport(place.rank, facts_of(process), (*judge_process(process), *_groups()))
    try:
        store = _meet(place, timeout)
    except (RuntimeError, ValueError, OSError) as error:
        return Diagnosis((*mine.findings, _unreachable(process, error)), place.world_size, (mine,), is_partial=True)
    return _together(store, process, mine, backend, timeout, rounds)


def _meet(place: Place, timeout: float) -> _c10d.Store:
    if dist.is_initialized():
        store = dist.distributed_c10d._get_default_store()
    else:
        limit = timedelta(seconds=timeout)
        store, _, _ = next(rendezvous("env://", place.rank, place.world_size, timeout=limit))
    return _c10d.PrefixStore(f"syncmetrics/diagnosis/{next(_calls)}", store)


def _unreachable(process: Process, error: Exception) -> Finding:
    address = ":".join(process.environment.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
    text = f"Rank {process.place.rank} cannot reach the store of the job at {address}: {said_in_short(error)}."
    if "clients joined" in str(error):  # the store is this process's own
        text = f"Not all {process.place.world_size} ranks have come to the store at {address}: {said_in_short(error)}."
        advice = "Look at what was printed where the others were started: they have not been, or cannot reach it."
        return problem("meeting", "store", text, advice)
    advice = (
        "Check that MASTER_ADDR is the host of rank 0 as seen from here, that MASTER_PORT is free there and open in"
        " firewalls, and that rank 0 has started."
    )
    return problem("meeting", "store", text, advice)


def _together(
    store: _c10d.Store, process: Process, mine: RankReport, backend: str | None, timeout: float, rounds: int
) -> Diagnosis:
    rank, world = process.place.rank, process.place.world_size
    store.set(f"first/{rank}", json.dumps(asdict(mine)))
    reports, missing, told = [mine], list[int](), list[Finding]()
    if rank == 0:
        reports, missing = _collected(store, world, timeout)
        told = [*merge_findings(reports), *compare_ranks(reports)]
        hindered = not dist.is_initialized() and any(map(_hinders, told))
        store.set("go", "" if missing or hindered else "go")
    said = _answer(store, "go", 2 * timeout)
    exchange, error = _exchanged(store, process, backend, timeout, rounds) if said else (None, "")
    store.set(f"second/{rank}", error)
    if rank == 0:
        if missing:
            told.append(_missing(missing, timeout))
        elif said:
            told += [] if exchange is None else judge_clocks(exchange)
            told += _judged(exchange, process, _errors(store, world, timeout), len(machines_of(reports)) == 1)
        else:
            text = "No group was formed, because a problem above would have ended it."
            told.append(note("exchange", "group", text, "Solve that problem first, and look again."))
        store.set("verdict", json.dumps([asdict(finding) for finding in told]))
        _see_off(store, world - 1 - len(missing))
        return Diagnosis(tuple(told), world, tuple(reports), exchange)
    verdict = _answer(store, "verdict", 4 * timeout)
    if verdict is None:
        text = f"Rank 0 has not come to a verdict within {4 * timeout:g} s."
        lost = problem("meeting", "rank 0", text, "Look at what rank 0 has printed, and whether it is running.")
        return Diagnosis((*mine.findings, lost), world, (mine,), is_partial=True)
    store.add("left", 1)
    return Diagnosis(tuple(read_findings(json.loads(verdict))), world, (mine,))


def _groups() -> list[Finding]:
    """Say which groups this process has: those of a job that is under way."""
    found = []
    for group in groups_of_process():
        limit = "" if group.timeout is None else f" and waits {group.timeout:g} s"
        text = f"Group {group.name} of {group.size} ranks serves {group.backends}{limit}."
        found.append(ok("meeting", f"group {group.name}", text))
    return found


def _hinders(finding: Finding) -> bool:
    return finding.level == "problem" and finding.about in ("gloo", "NCCL", "backends", "device of this rank")


def _collected(store: _c10d.Store, world: int, timeout: float) -> tuple[list[RankReport], list[int]]:
    """Read what ranks have written of themselves, and say which have not by the end of a timeout."""
    deadline = time.monotonic() + timeout
    reports, missing = [], []
    for rank in range(world):
        text = _answer(store, f"first/{rank}", max(deadline - time.monotonic(), 0.05))
        if text is None:
            missing.append(rank)
        else:
            reports.append(report_of_text(text))
    return reports, missing


def _answer(store: _c10d.Store, key: str, seconds: float) -> bytes | None:
    """Read what is written under a key, once it is; None if it is not in time."""
    with suppress(RuntimeError):
        store.wait([key], timedelta(seconds=seconds))
        return bytes(store.get(key))
    return None


def _errors(store: _c10d.Store, world: int, timeout: float) -> dict[int, str]:
    """Read what went wrong on each rank in the exchange."""
    deadline = time.monotonic() + 2 * timeout
    said = {rank: _answer(store, f"second/{rank}", max(deadline - time.monotonic(), 0.05)) for rank in range(world)}
    errors = {rank: "it has not come back" if text is None else text.decode() for rank, text in said.items()}
    return {rank: text for rank, text in errors.items() if text}


def _missing(ranks: Sequence[int], timeout: float) -> Finding:
    text = f"{ranks_named(ranks).capitalize()} {'have' if len(ranks) > 1 else 'has'} not come within {timeout:g} s."
    advice = "Look at what was printed there: the process may not have started, or cannot reach the store of the job."
    return problem("meeting", "ranks", text, advice)


def _judged(exchange: Exchange | None, process: Process, errors: dict[int, str], on_one_host: bool) -> list[Finding]:
    found = judge_exchange(exchange, process, on_one_host=on_one_host) if exchange is not None else []
    by_text: dict[str, list[int]] = {}
    for rank, text in errors.items():
        by_text.setdefault(text, []).append(rank)
    for text, ranks in by_text.items():
        advice = (
            "If the ranks cannot connect to each other, set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the interface"
            " between the hosts, and open ports between them; TORCH_DISTRIBUTED_DEBUG=INFO says more."
        )
        said = f"The group failed on {ranks_named(ranks)}: {text.rstrip('.')}."
        found.append(problem("exchange", "group", said, advice))
    return found


def _exchanged(
    store: _c10d.Store, process: Process, backend: str | None, timeout: float, rounds: int
) -> tuple[Exchange | None, str]:
    """Time exchanges; give what they took, or what went wrong."""
    try:
        with _group(store, process.place, backend, timeout):
            exchange = time_exchange(rounds, timeout=timeout)
            # Who leaves a group closes its connections, and another rank may not be through with the last exchange.
            store.set(f"through/{process.place.rank}", "")
            keys = [f"through/{rank}" for rank in range(process.place.world_size)]
            with suppress(RuntimeError):
                store.wait(keys, timedelta(seconds=timeout))
            return exchange, ""
    except Exception as error:  # whatever it is, it is to be told, and the other ranks are not to wait
        return None, said_in_short(error)


@contextmanager
def _group(store: _c10d.Store, place: Place, backend: str | None, timeout: float) -> Iterator[None]:
    """Have a process group: the one that is up, or one for a while."""
    if dist.is_initialized():
        yield
        return
    if torch.cuda.is_available() and place.local_rank is not None:
        torch.cuda.set_device(place.local_rank)
    limit = timedelta(seconds=timeout)
    inside = _c10d.PrefixStore("group", store)
    dist.init_process_group(backend, store=inside, rank=place.rank, world_size=place.world_size, timeout=limit)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _see_off(store: _c10d.Store, others: int) -> None:
    deadline = time.monotonic() + _LEAVE_SECONDS
    while store.add("left", 0) < others and time.monotonic() < deadline:
        time.sleep(0.01)


def said_in_short(error: BaseException | str) -> str:
    """Give the first line of what an error says, without the place in the source of the library that raised it."""
    text = str(error) if isinstance(error, str) else f"{type(error).__name__}: {error}"
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [text]
    return lines[0].rstrip(".")
