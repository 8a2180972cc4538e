from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.laws import TIMES

# The same examples on every run and machine; few enough that the whole suite takes minutes. `scripts/laws` asks
# for many times as many, and for others each time.
settings.register_profile(
    "syncmetrics",
    derandomize=TIMES == 1,
    deadline=None,
    max_examples=60 * TIMES,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("syncmetrics")


pytest_plugins = ["pytester"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with _on_one_core() if item.get_closest_marker("one_core") else contextlib.nullcontext():
        return (yield)


@contextlib.contextmanager
def _on_one_core() -> Iterator[None]:
    """Keep this process on one core: threads that take turns do so in half the time where none has to be moved."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    from syncmetrics.testing.servers import start_first_server

    start_first_server()  # before, for its processes are not to be kept there
    cores = sorted(os.sched_getaffinity(0))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {cores[worker % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


#: Files that take long, the longest first: workers that begin with these end together.
LONG = (
    "test_state_machine.py",
    "test_launch.py",
    "test_launch_hosts.py",
    "test_lightning.py",
    "test_torchmetrics.py",
    "test_faults.py",
    "test_chaos.py",
    "test_examples.py",
    "test_bench.py",
    "test_diagnose.py",
    "test_shuffle.py",
    "test_scaling.py",
    "test_pages.py",
    "test_digits.py",
    "test_parity.py",
    "test_async.py",
    "test_fuzz.py",
    "test_plugin.py",
    "test_run_ranks.py",
    "test_transport_contract.py",
    "test_mesh.py",
    "test_transformers.py",
    "test_torcheval.py",
    "test_hangs.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what all the imports have made is left out of every garbage collection from here on


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a worker whole files, so that what the ranks of a file import is imported by one worker alone."""
    from xdist.scheduler import LoadFileScheduling

    if config.getvalue("dist") != "load":
        return None  # another way was asked for
    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)
