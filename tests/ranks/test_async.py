"""Values that are asked for in one moment and waited for in another."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from syncmetrics import MetricCollection, StateError
from syncmetrics.schedule import background
from syncmetrics.testing import run_ranks
from syncmetrics.testing.ranks import run_ranks_outcomes
from syncmetrics.transport import LocalTransport
from syncmetrics.transport.threads import run_threads
from tests.ranks import async_bodies
from tests.ranks.async_bodies import everything, feed
from tests.samples import Counts, Most, Rows, Total, bits, local_bits

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_the_value_is_that_of_the_moment_of_the_call(world_size: int) -> None:
    found = run_threads(async_bodies.values_of_the_moment, world_size)
    assert all(values == found[0] for values in found)


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_value_is_that_of_the_moment_of_the_call_on_processes(world_size: int) -> None:
    found = run_ranks(async_bodies.values_of_the_moment, world_size)
    assert all(values == found[0] for values in found)


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_caller_goes_on_and_values_arrive_in_order(world_size: int) -> None:
    run_threads(async_bodies.goes_on, world_size, threading.Event())


def test_errors_are_raised_at_wait_on_every_rank() -> None:
    for texts in (run_threads(async_bodies.errors_at_wait, 3), run_ranks(async_bodies.errors_at_wait, 3)):
        assert texts[0] == texts[1] == texts[2]
        assert all("in the background" in text for text in texts[0])


def test_a_rank_that_cannot_read_a_metric_tells_the_others() -> None:
    run_threads(async_bodies.unreadable_on_one, 3)


def test_a_rank_that_does_not_come_is_named_at_wait() -> None:
    run_ranks(async_bodies.timeout_at_wait, 3)


def test_a_rank_that_is_gone_is_named_at_wait() -> None:
    outcomes = run_ranks_outcomes(async_bodies.peer_lost, 3)
    assert [outcome.value for outcome in outcomes[:2]] == [(2,), (2,)], outcomes
    assert outcomes[2].exit_code == 7


@pytest.mark.parametrize("world_size", [2, 3])
def test_beside_distributed_data_parallel(world_size: int) -> None:
    run_ranks(async_bodies.beside_ddp, world_size)


def test_beside_join() -> None:
    run_ranks(async_bodies.beside_join, 3)
    run_threads(async_bodies.beside_join, 3)


def test_the_lane_of_the_background() -> None:
    run_ranks(async_bodies.lanes, 2)
    run_threads(async_bodies.lanes, 2)


def test_large_states_and_many_handles() -> None:
    run_ranks(async_bodies.many, 3)
    run_threads(async_bodies.many, 4)


def test_other_groups() -> None:
    run_ranks(async_bodies.own_group, 3)
    run_threads(async_bodies.collections_of_other_groups, 3)


def test_a_group_can_be_destroyed_before_anybody_waits() -> None:
    run_ranks(async_bodies.leave_unwaited, 3)


SCRIPT = """
import sys, torch, torch.distributed as dist
from tests.samples import Rows
dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=int(sys.argv[2]), world_size=2)
rows = Rows()
for step in range(5):
    rows.update(torch.ones(50_000))
    handle = rows.compute_async()
if sys.argv[3] == "destroy":
    dist.destroy_process_group()
"""


@pytest.mark.parametrize("ending", ["destroy", "fall off the end"])
def test_a_process_can_end_before_anybody_waits(tmp_path: Path, ending: str) -> None:
    command = [sys.executable, "-W", "error::UserWarning:syncmetrics", "-c", SCRIPT, str(tmp_path / "store")]
    ranks = [
        subprocess.Popen([*command, str(rank), ending], cwd=ROOT, stderr=subprocess.PIPE, text=True) for rank in (0, 1)
    ]
    texts = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], texts
    assert not any("Traceback" in text for text in texts), texts


# ---- one process -----------------------------------------------------------------------------------------------------


class Noted:
    """A job that says in which thread it ran."""

    def __init__(self) -> None:
        self.ran = threading.Event()
        self.thread: threading.Thread | None = None

    def run(self) -> None:
        self.thread = threading.current_thread()
        self.ran.set()


def test_a_thread_waits_a_moment_for_the_next_job() -> None:
    worker = background._Worker(LocalTransport())

    def ran() -> threading.Thread:
        job = Noted()
        worker.submit(job)  # type: ignore[arg-type]
        assert job.ran.wait(30)
        assert job.thread is not None
        return job.thread

    worker._linger_seconds = 30.0
    first, second = ran(), ran()
    assert first is second is not threading.current_thread()
    assert first.is_alive()
    worker._linger_seconds = 0.0
    assert ran() is first  # which then finds that it need not wait any more
    first.join(30)
    assert not first.is_alive()
    last = ran()
    assert last is not first
    last.join(30)
    assert not last.is_alive()


class Counting(Total):
    """Counts how often it computes."""

    computed = 0

    def compute(self) -> torch.Tensor:
        self.computed += 1
        return super().compute()


def test_a_cached_value_is_left_alone() -> None:
    total = Counting()
    total.update(torch.ones(1))
    handle = total.compute_async()
    total.update(torch.ones(1))
    assert total.compute() == 2
    assert handle.wait() == 1
    assert total.compute() == 2
    assert total.computed == 2  # once here and once by the handle
    total.update(torch.ones(1))
    handle = total.compute_async()
    total.update(torch.ones(1))
    assert handle.wait() == 3
    assert total.compute() == 4


def test_metrics_that_share_differently_at_wait() -> None:
    collection = MetricCollection({"counts": Counts(2), "most": Most(2)})
    assert len(collection.compute_groups) == 1
    collection.update(torch.tensor([0, 1, 1]))
    shared = collection.compute_async()
    wanted = bits(collection.compute())
    other = Counts(2)
    other.update(torch.tensor([0, 0, 0, 0]))
    collection["counts"].merge_state(other)
    assert len(collection.compute_groups) == 2
    apart, states = collection.compute_async(), collection.sync_async()
    wanted_apart = bits(collection.compute())
    assert wanted_apart != wanted
    assert bits(shared.wait()) == wanted
    collection.reset()
    assert len(collection.compute_groups) == 1
    collection.update(torch.tensor([1]))
    kept = local_bits(collection)
    assert bits(apart.wait()) == wanted_apart
    assert local_bits(collection) == kept
    with pytest.raises(StateError, match="share"), states.shown():
        pass


def test_what_was_taken_is_let_go() -> None:
    rows = Rows()
    rows.update(torch.ones(3))
    handle = rows.compute_async()
    handle.wait()
    assert handle._taken is None


def test_names_are_those_of_the_call() -> None:
    collection = everything()
    feed(collection, 0, 0)
    handle = collection.compute_async()
    names = list(collection.compute())
    collection.add_metrics({"more": Total()})
    collection.prefix = "w/"
    assert list(handle.wait()) == names


def test_it_is_refused_while_synced() -> None:
    total, collection = Total(), MetricCollection([Total()])
    total.update(torch.ones(1))
    handle = total.compute_async()
    total.sync()
    for act in (total.compute_async, total.sync_async, handle.wait):
        with pytest.raises(StateError, match="synced already"):
            act()
    total.unsync()
    assert handle.wait() == 1
    collection.update(torch.ones(1))
    collection.sync()
    for act in (collection.compute_async, collection.sync_async):
        with pytest.raises(StateError, match="synced already"):
            act()


def test_it_is_refused_with_compute_on() -> None:
    for owner in (
        Total(compute_on=0),
        MetricCollection([Total(compute_on=0)]),
        MetricCollection([Total()], compute_on=0),
    ):
        with pytest.raises(StateError, match="compute_on"):
            owner.compute_async()
        owner.update(torch.ones(2))
        assert owner.sync_async().wait()


def test_before_any_update() -> None:
    handle = Total().compute_async()
    with pytest.warns(UserWarning, match="before any update"):
        handle.wait()


def test_what_is_edited_after_the_call_is_not_in_the_value() -> None:
    for found in run_ranks(async_bodies.edited_afterwards, 2, timeout=60):
        assert found == [(1.0, 1.0, [{"rank": [0]}, {"rank": [1]}])] * 3


def test_a_lane_does_not_keep_the_timeout_under_which_it_was_opened() -> None:
    assert run_ranks(async_bodies.lane_of_a_hasty_metric, 2, timeout=60) == [2.0, 2.0]
