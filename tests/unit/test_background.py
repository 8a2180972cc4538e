"""The thread that runs the syncs of `compute_async`: begun when there is something to do, also after an interrupt."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from syncmetrics.schedule import background


class Noted:
    """A job that says that it ran."""

    def __init__(self) -> None:
        self.ran = threading.Event()

    def run(self) -> None:
        self.ran.set()


@pytest.mark.parametrize("begins", [False, True], ids=["before it begins", "after it began"])
def test_what_is_submitted_runs_although_the_start_of_the_thread_is_interrupted(
    begins: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, interrupts = threading.Thread.start, iter([True])

    def interrupted(thread: threading.Thread) -> None:
        is_first = next(interrupts, False)
        if begins or not is_first:
            start(thread)
        if is_first:
            raise KeyboardInterrupt

    monkeypatch.setattr(background, "_LINGER_SECONDS", 0.0)
    worker: Any = background._Worker(None)  # type: ignore[arg-type]
    first, second = Noted(), Noted()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            worker.submit(first)
    worker.submit(second)
    assert first.ran.wait(10.0)
    assert second.ran.wait(10.0)
