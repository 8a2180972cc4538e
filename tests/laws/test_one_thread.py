"""Law 9: one thread at a time syncs over a group. A second one is refused by name; no value is ever a crossed one."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from syncmetrics import MetricCollection, SumMetric, SyncError
from syncmetrics.testing import run_ranks
from syncmetrics.testing.ranks import run_ranks_outcomes
from syncmetrics.transport.threads import ThreadsTransport, ThreadsWorld
from tests.laws import TIMES, one_thread


def test_a_second_thread_is_refused_by_name() -> None:
    world = ThreadsWorld(2, timeout=60.0)
    first, second = ThreadsTransport(world, 0), ThreadsTransport(world, 1)
    metrics = [SumMetric(process_group=transport) for transport in (first, first, second)]
    for number, metric in enumerate(metrics):
        metric.update(10.0**number)
    found: dict[str, object] = {}

    def compute(name: str, metric: SumMetric) -> None:
        try:
            found[name] = metric.compute().item()
        except SyncError as error:
            found[name] = str(error)

    waiting = threading.Thread(target=compute, args=("waiting", metrics[0]), name="validation")
    waiting.start()
    with world._condition:
        while not world._condition.wait_for(lambda: 0 in world.lane(0).here, timeout=0.01):  # nobody tells of the first
            pass
    refused = threading.Thread(target=compute, args=("refused", metrics[1]), name="export")
    refused.start()
    refused.join(30.0)
    assert "by thread 'export'" in str(found["refused"])
    assert "'validation' is in the sync of `SumMetric`" in str(found["refused"])
    compute("other rank", metrics[2])
    waiting.join(30.0)
    assert found["waiting"] == found["other rank"] == 101.0


@pytest.mark.parametrize("attempt", range(3))
def test_threads_of_two_processes_never_cross(attempt: int) -> None:
    outcomes = run_ranks_outcomes(one_thread.two_threads, 2, attempt, timeout=60.0)
    assert [o.status for o in outcomes] == ["returned"] * 2, [o.error for o in outcomes]
    for outcome in outcomes:
        for thread, (values, error) in enumerate(outcome.value):
            assert values == [one_thread.value_of(thread, step) for step in range(len(values))]
            assert error is None or "thread" in error or "rank" in error


def test_threads_that_come_first_find_one_transport() -> None:
    """Two of them would begin twice on one group, and what one sends would be taken for what the other expects."""
    assert run_ranks(one_thread.one_transport, 1, timeout=60.0) == [1]


def test_threads_with_groups_of_their_own_have_their_values() -> None:
    outcomes = run_ranks_outcomes(one_thread.own_groups, 2, timeout=60.0)
    assert [o.status for o in outcomes] == ["returned"] * 2, [o.error for o in outcomes]


@settings(max_examples=30 * TIMES)
@given(st.lists(st.tuples(st.integers(0, 1), st.booleans()), min_size=1, max_size=6))
def test_threads_that_take_turns_have_their_values(turns: list[tuple[int, bool]]) -> None:
    """Two threads of each rank, one after the other: what one thread does is no secret to the next."""
    world = ThreadsWorld(2, timeout=60.0)
    transports = [ThreadsTransport(world, rank) for rank in range(2)]
    metrics = [[MetricCollection([SumMetric(process_group=transport)]) for _ in range(2)] for transport in transports]
    totals = [0.0, 0.0]
    for thread, grows in turns:
        found: list[float] = []

        def body(rank: int, thread: int = thread, grows: bool = grows, found: list[float] = found) -> None:
            metric = metrics[rank][thread]
            metric.update(torch.tensor(1.0 + rank if grows else 0.0))
            found.append(metric.compute()["SumMetric"].item())

        totals[thread] += 3.0 if grows else 0.0
        ranks = [threading.Thread(target=body, args=(rank,), name=f"thread {thread}") for rank in range(2)]
        for one in ranks:
            one.start()
        for one in ranks:
            one.join(30.0)
        assert found == [totals[thread]] * 2


def test_steps_of_several_threads_do_not_wait_for_each_other_for_ever() -> None:
    assert run_ranks(one_thread.steps_of_threads, 1, 200, timeout=60) == [[3.0] * 3]
