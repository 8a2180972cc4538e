from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from syncmetrics.testing import RanksFailedError, run_ranks, run_ranks_outcomes
from tests.ranks import bodies


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _pids(directory: Path) -> list[int]:
    return [int(path.read_text()) for path in sorted(directory.iterdir())]


def test_values_come_in_rank_order_with_arguments_and_one_thread() -> None:
    assert run_ranks(bodies.whoami, 3, "a", 2) == [(rank, 3, rank, 3, 1, "a", 2) for rank in range(3)]


def test_a_world_of_one_has_a_group_too() -> None:
    assert run_ranks(bodies.reduce_ranks, 1) == [torch.tensor([1.0])]


def test_ranks_talk_to_each_other() -> None:
    assert run_ranks(bodies.reduce_ranks, 4) == [torch.tensor([10.0])] * 4


def test_every_dtype_goes_there_and_comes_back() -> None:
    sent = torch.tensor([1, 2, 3], dtype=torch.uint16)
    assert torch.equal(run_ranks(bodies.whoami, 1, sent)[0][-1], sent)
    for rank, values in enumerate(run_ranks(bodies.tensors, 2)):
        assert [value.dtype for value in values] == list(bodies.DTYPES)
        for value, dtype in zip(values, bodies.DTYPES, strict=True):
            wanted = torch.tensor([0, 1, rank + 1]).to(dtype)
            assert torch.equal(value.view(torch.uint8), wanted.view(torch.uint8))


def test_ranks_see_the_environment_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    run_ranks(bodies.environment, 1, "HOME")  # the server that forks the ranks is up from here on
    monkeypatch.setenv("SYNCMETRICS_TEST_VALUE", "yes")
    assert run_ranks(bodies.environment, 2, "SYNCMETRICS_TEST_VALUE") == ["yes", "yes"]
    monkeypatch.delenv("SYNCMETRICS_TEST_VALUE")
    assert run_ranks(bodies.environment, 2, "SYNCMETRICS_TEST_VALUE") == [None, None]


def test_an_early_finisher_stays_until_all_are_done() -> None:
    assert run_ranks(bodies.one_is_late, 3) == [3.0, 0.0, 0.0]


def test_error_has_the_traceback_and_peers_fail_fast() -> None:
    start = time.monotonic()
    with pytest.raises(RanksFailedError) as caught:
        run_ranks(bodies.fail_on, 3, 1, timeout=60)
    assert time.monotonic() - start < 30, "the peers waited for their timeout"
    failures = caught.value.failures
    assert next(iter(failures)) == 1, "the rank that failed first comes first"
    assert set(failures) == {0, 1, 2}
    assert "KeyError: 'rank 1 has no such key'" in failures[1]
    assert "in fail_on" in failures[1]
    assert "RuntimeError" in failures[0]
    assert str(caught.value).startswith("3 of 3 ranks failed: 1, ")
    assert all(text in str(caught.value) for text in failures.values())


def test_error_survives_pickle() -> None:
    error = RanksFailedError({1: "raised:\nValueError"}, [0])
    again = pickle.loads(pickle.dumps(error))
    assert (again.failures, again.finished, str(again)) == (error.failures, error.finished, str(error))


def test_outcomes_tell_the_ranks_apart() -> None:
    for _ in range(5):  # a rank that dies at once must not break the start of the other
        outcomes = run_ranks_outcomes(bodies.exit_on, 2, 1, "os")
        assert [(o.rank, o.status, o.value, o.exit_code) for o in outcomes] == [
            (0, "returned", 0, None),
            (1, "died", None, 7),
        ]


def test_death_by_signal_is_named() -> None:
    with pytest.raises(RanksFailedError, match=r"Rank 1 died of SIGABRT \(exit code -6\)") as caught:
        run_ranks(bodies.abort_on, 3, 1)
    assert next(iter(caught.value.failures)) == 1


def test_death_by_exit_is_named() -> None:
    with pytest.raises(RanksFailedError, match=r"Rank 0 died with exit code 7") as caught:
        run_ranks(bodies.exit_on, 2, 0, "os")
    assert caught.value.finished == (1,)


def test_sys_exit_is_reported_like_an_exception() -> None:
    with pytest.raises(RanksFailedError, match=r"SystemExit: gone by sys\.exit"):
        run_ranks(bodies.exit_on, 2, 0, "sys")


def test_death_after_returning_is_a_failure() -> None:
    with pytest.raises(RanksFailedError, match=r"Rank 1 returned, but then died with exit code 9") as caught:
        run_ranks(bodies.linger, 2)
    assert caught.value.finished == (0,)


def test_timeout_kills_all_and_names_the_unfinished(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(RanksFailedError) as caught:
        run_ranks(bodies.hang_but, 3, str(tmp_path), 1, timeout=8)
    assert time.monotonic() - start < 20
    text = str(caught.value)
    assert text.startswith("2 of 3 ranks failed: 0, 2 (first failure first); returned: 1.")
    assert "Rank 0 had not finished after 8 s and was killed" in text
    assert "in wait_for_ever" in text, "the stack of the stuck rank is missing"
    assert len(_pids(tmp_path)) == 3
    assert all(_gone(pid) for pid in _pids(tmp_path))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupt_leaves_no_child(tmp_path: Path) -> None:
    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while sum(path.stat().st_size > 0 for path in tmp_path.iterdir()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_ranks(bodies.hang_but, 2, str(tmp_path), timeout=60)
    finally:
        thread.join()
    assert len(_pids(tmp_path)) == 2
    assert all(_gone(pid) for pid in _pids(tmp_path))


def test_a_value_that_cannot_be_pickled_is_reported() -> None:
    with pytest.raises(RanksFailedError, match="unpicklable"):
        run_ranks(bodies.unpicklable, 2)


def test_functions_that_ranks_cannot_find_are_refused() -> None:
    with pytest.raises(TypeError, match="top level of an importable module"):
        run_ranks(lambda rank, world_size: rank, 2)


def test_arguments_that_cannot_travel_are_refused() -> None:
    with pytest.raises(TypeError, match="must be picklable"):
        run_ranks(bodies.whoami, 2, lambda: None)


@pytest.mark.parametrize(("world_size", "timeout"), [(0, 5.0), (2, 0.0), (2, float("nan"))])
def test_senseless_numbers_are_refused(world_size: int, timeout: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        run_ranks(bodies.whoami, world_size, timeout=timeout)
