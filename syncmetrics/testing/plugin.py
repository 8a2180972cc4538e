"""The plugin of pytest: `ranks` and `assert_matches_single_process` as fixtures.

pytest loads this module in every environment that has the package. It imports nothing but pytest; torch comes with the
first test that uses a fixture.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from syncmetrics.testing.ranks import Outcome
    from syncmetrics.testing.threaded import ThreadOutcome

__all__ = ["Ranks", "assert_matches_single_process", "ranks"]

_SERVERS = "syncmetrics.testing.servers"
_OPTION = "--ranks-as"
#: So much of what is left to a test is not for ranks, and so many seconds at least: they say where they stand first.
_SPARED, _SPARED_SECONDS = 0.1, 3.0
_TIMEOUT = 60.0
_deadlines = pytest.StashKey[float]()

_MARKERS = (
    "rank_processes(timeout=60.0, backend='gloo'): `ranks` runs one process a rank, with a process group between them",
    "ranks_import(*modules): what the functions of ranks import as they run is imported once for all ranks",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    group = parser.getgroup("syncmetrics")
    group.addoption(
        _OPTION,
        choices=("marked", "processes"),
        default="marked",
        help="what the fixture `ranks` runs ranks as: 'marked' has threads, and processes in tests with the marker"
        " `rank_processes`; 'processes' has processes in all tests (default: marked)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_collection_finish() -> None:
    """Have ranks forked from now on, if any module that was collected runs some.

    The process that only hands tests out to workers does not come here.
    """
    if _SERVERS in sys.modules:
        from syncmetrics.testing.servers import import_once

        import_once()  # ranks find imported what the module of their function imports, which takes longer than tests


def pytest_unconfigure() -> None:
    """End the servers of this process: a worker of pytest-xdist has its own."""
    if _SERVERS in sys.modules:
        from syncmetrics.testing.servers import close_servers

        close_servers()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Have the modules of the marker imported for ranks."""
    modules = _imported_for(item)
    if not modules:
        return (yield)
    from syncmetrics.testing.servers import also_imported

    with also_imported(*modules):
        return (yield)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Generator[None, object, object]:
    """Note when pytest-timeout ends a test."""
    item.stash[_deadlines] = time.monotonic() + settings.timeout
    return (yield)


def _imported_for(item: pytest.Item) -> tuple[str, ...]:
    marker = item.get_closest_marker("ranks_import")
    return marker.args if marker else ()


@pytest.fixture
def assert_matches_single_process() -> Callable[..., None]:
    """Give `syncmetrics.testing.assert_matches_single_process`."""
    from syncmetrics.testing.parity import assert_matches_single_process

    return assert_matches_single_process


@pytest.fixture
def ranks(request: pytest.FixtureRequest) -> Ranks:
    """Give what runs a function on several ranks, `ranks(fn, world_size, *args)`, and gives what each returned.

    The ranks are threads of this process; with the marker `rank_processes`, or the option `--ranks-as=processes`, they
    are processes with a gloo group between them, and the function is one at the top level of a module.
    """
    return Ranks(cast(pytest.Function, request.node))


@dataclass(frozen=True, slots=True)
class Ranks:
    """Run a function on several ranks; what the fixture `ranks` gives.

    Attributes:
        item: The test that asks for it.
    """

    item: pytest.Item

    @property
    def as_processes(self) -> bool:
        """Whether ranks are processes; else they are threads."""
        wanted = self.item.config.getoption(_OPTION) == "processes"
        return wanted or self.item.get_closest_marker("rank_processes") is not None

    def __call__(self, fn: Callable[..., Any], world_size: int, *args: Any) -> list[Any]:
        """Run `fn(rank, world_size, *args)` on every rank.

        Args:
            fn: What each rank does. For processes, a function at the top level of a module.
            world_size: How many ranks.
            *args: Further arguments. For processes they are pickled, as are the values.

        Returns:
            What each rank returned, in rank order.

        Raises:
            RanksFailedError: A rank that is a process failed. The text is that of the one that failed first; what it
                wrote is in pytest's report.
            BaseException: What a rank that is a thread raised.
        """
        __tracebackhide__ = True
        given = self._given()
        if self.as_processes:
            return self._processes(fn, world_size, args, given)
        return self._threads(fn, world_size, args, given["timeout"])

    def _given(self) -> dict[str, Any]:
        """Give what the marker says, and how long the ranks may take."""
        marker = self.item.get_closest_marker("rank_processes")
        given: Mapping[str, Any] = marker.kwargs if marker else {}
        if (marker and marker.args) or not given.keys() <= {"timeout", "backend"}:
            raise TypeError("`rank_processes` takes `timeout=` and `backend=` alone, both by name.")
        left = self.item.stash.get(_deadlines, math.inf) - time.monotonic()
        mine = left if left == math.inf else max(1.0, left - max(left * _SPARED, _SPARED_SECONDS))
        return {"backend": "gloo", **given, "timeout": min(given.get("timeout", _TIMEOUT), mine)}

    def _processes(
        self, fn: Callable[..., Any], world_size: int, args: tuple[Any, ...], given: Mapping[str, Any]
    ) -> list[Any]:
        __tracebackhide__ = True
        from syncmetrics.testing.ranks import RanksFailedError, run_ranks_outcomes
        from syncmetrics.testing.servers import also_imported, import_once

        import_once()
        explained = self.item.config.getoption("assertmode") == "rewrite"
        first = ("syncmetrics.testing.rewriting",) if explained else ()
        with also_imported(*first, *_imported_for(self.item)):
            outcomes = run_ranks_outcomes(fn, world_size, *args, keep_output=self._keeps_output, **given)
        failed = sorted((o for o in outcomes if o.status != "returned"), key=lambda o: o.when)
        self._show(failed or outcomes)
        if failed:
            texts = {
                o.rank: _briefly(o) if place and not self._wants_all else o.error.rstrip()
                for place, o in enumerate(failed)
            }
            raise RanksFailedError(texts, [o.rank for o in outcomes if o.status == "returned"]) from None
        return [outcome.value for outcome in outcomes]

    def _threads(self, fn: Callable[..., Any], world_size: int, args: tuple[Any, ...], timeout: float) -> list[Any]:
        __tracebackhide__ = True
        from syncmetrics.testing.threaded import run_threads_outcomes

        outcomes, error = run_threads_outcomes(fn, world_size, *args, timeout=timeout, keep_output=self._keeps_output)
        failed = [o for o in outcomes if error is not None and o.error is error]
        self._show(failed or outcomes)
        if error is not None:
            if failed:
                self.item.add_report_section("call", "ranks", f"Rank {failed[0].rank} of {world_size} failed.\n")
                error = error.with_traceback(failed[0].frames)
            raise error
        return [outcome.value for outcome in outcomes]

    @property
    def _keeps_output(self) -> bool:
        """Whether what ranks write is for the report; without capture (-s) it is shown while it is written."""
        return bool(self.item.config.getoption("capture") != "no")

    @property
    def _wants_all(self) -> bool:
        return self.item.config.get_verbosity() > 1

    def _show(self, outcomes: list[Outcome] | list[ThreadOutcome]) -> None:
        """Put what ranks wrote into the report: of several that failed only the first, which is mostly the cause."""
        shown = outcomes if self._wants_all or all(o.error in ("", None) for o in outcomes) else outcomes[:1]
        for outcome in shown:
            for stream, text in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
                if text:
                    self.item.add_report_section("call", f"{stream} of rank {outcome.rank}", text)


def _briefly(outcome: Outcome) -> str:
    """Give the last line of what is said of a rank that failed after another one."""
    last = outcome.error.strip().splitlines()[-1:]
    first = outcome.error.splitlines()[0].rstrip(":")
    return first if outcome.status != "raised" else f"{first}: {''.join(last)}"
