"""Look at this machine, or at the whole job that this process is a rank of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from syncmetrics.diagnose.diagnosis import Diagnosis, RankReport
from syncmetrics.diagnose.exchange import Exchange, timed_on_rank
from syncmetrics.diagnose.findings import Finding, note, problem
from syncmetrics.diagnose.job import examine_job, is_in_job, said_in_short
from syncmetrics.diagnose.judge import judge_exchange, judge_process
from syncmetrics.diagnose.process import Process, facts_of, process_here
from syncmetrics.testing import run_ranks_outcomes

__all__ = ["examine", "examine_machine"]


def examine(*, world_size: int = 2, backend: str | None = None, timeout: float = 60.0, rounds: int = 50) -> Diagnosis:
    """Look at the job that this process is a rank of, or at this machine if there is none.

    Collective in a job, which is one where the process group is up or a launcher has set `RANK` and `WORLD_SIZE`: every
    rank of the job must call this.

    Args:
        world_size: How many ranks to start for the exchange, without a job.
        backend: As for `init_process_group`, where it is not up; None for what it takes by itself.
        timeout: Seconds to wait for other ranks.
        rounds: How often each exchange is timed.

    Example:
        ::

            diagnosis = syncmetrics.diagnose.examine()
            assert diagnosis.level != "problem", diagnosis.to_json()
    """
    if is_in_job():
        return examine_job(backend=backend, timeout=timeout, rounds=rounds)
    return examine_machine(world_size=world_size, backend=backend, timeout=timeout, rounds=rounds)


def examine_machine(
    *, world_size: int = 2, backend: str | None = None, timeout: float = 60.0, rounds: int = 50
) -> Diagnosis:
    """Look at this machine, and time an exchange between ranks that are started for it.

    Args:
        world_size: How many ranks to start.
        backend: As for `init_process_group`; None for gloo.
        timeout: Seconds that all of it may take.
        rounds: How often each exchange is timed.
    """
    process = process_here()
    exchange, found = _exchange(process, world_size, backend or "gloo", timeout, rounds)
    findings = (*judge_process(process), *found)
    return Diagnosis(findings, 1, (RankReport(0, facts_of(process), findings),), exchange)


def _exchange(
    process: Process, world_size: int, backend: str, timeout: float, rounds: int
) -> tuple[Exchange | None, list[Finding]]:
    if process.network.gloo is not None and not process.network.gloo.names:
        text = "No ranks were started: gloo cannot start, as said above."
        return None, [note("exchange", "group", text, "Solve that problem first, and look again.")]
    with _gloo_as_in_a_job(process):
        outcomes = run_ranks_outcomes(timed_on_rank, world_size, rounds, timeout=timeout, backend=backend)
    failed = [outcome for outcome in outcomes if outcome.status != "returned"]
    if not failed:
        exchange: Exchange = outcomes[0].value
        return exchange, judge_exchange(exchange, process)
    first = min(failed, key=lambda outcome: outcome.when)
    lines = [line for line in first.error.splitlines() if line.strip() and not line.startswith(" ")]
    text = f"{world_size} ranks were started here, and rank {first.rank} failed: {said_in_short(lines[-1])}."
    advice = "Solve the problems above first. If there is none, the text of the error says what torch could not do."
    return None, [problem("exchange", "group", text, advice)]


@contextmanager
def _gloo_as_in_a_job(process: Process) -> Iterator[None]:
    """Have ranks take the interface that gloo takes in a job: those of `run_ranks` take the loopback by themselves."""
    name, chosen = "GLOO_SOCKET_IFNAME", process.network.gloo
    if name in os.environ or chosen is None or not chosen.names:
        yield
        return
    os.environ[name] = chosen.names[0]
    try:
        yield
    finally:
        del os.environ[name]
