"""`import_once`, which `conftest.py` has called: ranks find their module imported, and are new processes still."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncmetrics.testing import RanksFailedError, run_ranks, run_ranks_outcomes, servers
from syncmetrics.testing.servers import also_imported, close_servers
from tests.ranks import bodies, served_bodies

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="there is no fork here"
)


def test_the_module_is_imported_in_one_process_for_all_calls() -> None:
    calls = [run_ranks(served_bodies.whereabouts, 2) for _ in range(2)]
    found = [rank for call in calls for rank in call]
    assert len({rank["imported in"] for rank in found}) == 1
    assert all(rank["imported in"] == rank["parent"] for rank in found)
    assert len({rank["pid"] for rank in found}) == 4, "each call has processes of its own"
    assert [rank["seen"] for rank in found] == [[0], [1]] * 2, "and finds nothing of the one before"


@pytest.mark.ranks_import("colorsys")
def test_more_modules_can_be_named() -> None:
    assert run_ranks(served_bodies.has, 2, "colorsys") == [True, True]
    with also_imported():
        assert run_ranks(served_bodies.has, 2, "colorsys") == [False, False]


def test_few_servers_stay() -> None:
    for name in ("cmd", "code", "colorsys", "dbm", "mailbox", "wave"):
        with also_imported("bisect", name):
            assert run_ranks(served_bodies.has, 1, name) == [True]
    running = [modules for modules, server in servers._servers.items() if server is not None]
    assert len(running) <= servers._KEPT
    assert {("bisect",), ("bisect", name), ("bisect", name, served_bodies.__name__)} <= set(running)
    with also_imported(*["bisect"] * 10):
        assert run_ranks(served_bodies.has, 1, "bisect") == [True]


def test_ranks_are_where_the_caller_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_ranks(served_bodies.whereabouts, 1)  # the server is up from here on
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNCMETRICS_TEST_VALUE", "yes")
    (found,) = run_ranks(served_bodies.whereabouts, 1)
    assert (Path(found["directory"]).resolve(), found["value"]) == (tmp_path.resolve(), "yes")


@pytest.fixture
def anew() -> Iterator[None]:
    """Have the module imported by new servers, before and after."""
    close_servers()
    yield
    close_servers()


@pytest.mark.usefixtures("anew")
def test_a_module_that_starts_a_thread_is_imported_by_each_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    (served,) = run_ranks(served_bodies.whereabouts, 1)
    close_servers()
    monkeypatch.setenv("SYNCMETRICS_TEST_IMPORT", "start a thread")
    for found in run_ranks(served_bodies.whereabouts, 2):
        assert found["imported in"] == found["pid"]
        assert found["interrupt"] == served["interrupt"]


@pytest.mark.usefixtures("anew")
def test_a_module_that_cannot_be_imported_is_reported_by_each_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNCMETRICS_TEST_IMPORT", "raise")
    with pytest.raises(RanksFailedError, match="not to be imported in here") as caught:
        run_ranks(served_bodies.whereabouts, 2)
    assert set(caught.value.failures) == {0, 1}


def test_a_server_that_is_gone_is_replaced() -> None:
    (outcome,) = run_ranks_outcomes(served_bodies.lose_the_server, 1, timeout=30)
    assert outcome.status in ("returned", "died")
    (found,) = run_ranks(served_bodies.whereabouts, 1)
    assert found["imported in"] == found["parent"]


def test_closed_servers_are_gone() -> None:
    (found,) = run_ranks(served_bodies.whereabouts, 1)
    close_servers()
    with pytest.raises(ProcessLookupError):
        os.kill(found["parent"], 0)


def test_calls_of_several_threads() -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(run_ranks(bodies.reduce_ranks, 2))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[value.item() for value in values] for values in found] == [[3.0, 3.0]] * 4  # type: ignore[attr-defined]
