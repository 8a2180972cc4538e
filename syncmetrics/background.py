"""Syncs in the background: one thread a group, over a lane of its own, in the order in which they were asked for.

A thread lives as long as there is something to sync, and is no daemon: a process that ends first does its part of the
syncs that the others are waiting in.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import SyncError
from syncmetrics.states import States, own_copy
from syncmetrics.sync import Merged, Part, Route, report_failure, sync_parts
from syncmetrics.transport import Transport

__all__ = ["Job", "start_sync"]


class Job:
    """One sync of states that nobody edits any more.

    Args:
        parts: What this rank brings.
        route: Over whom.
        label: What to call the sync in an error.
        failure: Why this rank has nothing to bring, if so: the others hear of it.
    """

    def __init__(self, parts: Sequence[Part], route: Route, label: str, failure: Exception | None = None) -> None:
        self._parts = list(parts)
        self._route: Route | None = route
        self._label = label
        self._failure = failure
        self._streams = _Streams(parts)
        self._finished = threading.Event()
        self._merged: list[Merged] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Sync. Collective: every rank of the group must call this. What it raises is raised by `result`."""
        assert self._route is not None, "a job is run once"
        try:
            with self._streams.side():
                self._merged = self._sync(self._route)
        except BaseException as error:  # raised where somebody waits for it
            self._error = error
        finally:
            self._parts, self._route = [], None  # the snapshot is of no use any more, and the lane is not ours to keep
            self._finished.set()

    def _sync(self, route: Route) -> list[Merged]:
        if self._failure is not None:
            with suppress(SyncError):  # nobody came to hear it; the failure itself is what matters
                report_failure(self._failure, route, label=self._label)
            raise self._failure
        if route.transport.world_size == 1:
            return [Merged(part.states, part.update_count) for part in self._parts]
        merged = sync_parts(self._parts, route, label=self._label)
        assert merged is not None, "it goes to every rank"
        return merged

    def done(self) -> bool:
        """Say whether it has come to its end, well or badly. It does not communicate."""
        return self._finished.is_set()

    def finished_within(self, seconds: float | None) -> bool:
        """Wait for the end for at most so long, and say whether it has come."""
        return self._finished.wait(seconds)

    def result(self) -> list[Merged]:
        """Give the states of all ranks, one result for each part, of a job that is done.

        Raises:
            SyncError: The sync did not come to its end.
        """
        assert self.done()
        if self._error is not None:
            raise self._error
        self._streams.hand_over(self._merged)
        return self._merged


def start_sync(job_parts: Sequence[Part], route: Route, label: str, failure: Exception | None = None) -> Job:
    """Copy states and sync the copies in the background.

    The first time it opens the lane, in the thread of the caller: it is collective then, and waits for the other ranks.
    From then on it only copies. All ranks must start the same syncs in the same order.

    Args:
        job_parts: What this rank brings.
        route: Over whom: the transport of the metric itself.
        label: What to call the sync in an error.
        failure: Why this rank has nothing to bring, if so.
    """
    transport = route.transport
    alone = transport.world_size == 1
    copies = [replace(part, states=own_copy(dict(part.states))) for part in job_parts]
    worker = None if alone else _worker_of(transport)
    job = Job(copies, route if worker is None else replace(route, transport=worker.lane), label, failure)
    if worker is None or worker.is_new:
        job.run()
    else:
        worker.submit(job)
    if worker is not None:
        worker.is_new = False
    return job


class _Worker:
    """Runs the jobs of one lane, one after the other."""

    def __init__(self, lane: Transport) -> None:
        self.lane = lane
        self.is_new = True
        self._jobs: deque[Job] = deque()
        self._lock = threading.Lock()
        self._running = False

    def submit(self, job: Job) -> None:
        """Run a job when those before it are done."""
        with self._lock:
            self._jobs.append(job)
            if self._running:
                return
            self._running = True
        # No daemon: a process that ends must not leave the others in the middle of a sync.
        threading.Thread(target=self._run, name="syncmetrics background").start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running = False
                    return
                job = self._jobs.popleft()
            job.run()
            del job  # or its result would live until the next one


_workers: weakref.WeakKeyDictionary[Transport, _Worker] = weakref.WeakKeyDictionary()
_workers_lock = threading.Lock()


def _worker_of(transport: Transport) -> _Worker:
    with _workers_lock:
        worker = _workers.get(transport)
        if worker is None:
            # The twin is the lane of `join`; the twin of the twin is nobody else's.
            worker = _workers[transport] = _Worker(transport.twin().twin())
        return worker


class _Streams:
    """Order between the caller's accelerator stream and that of the thread. On the CPU there is nothing to order."""

    def __init__(self, parts: Sequence[Part]) -> None:
        devices = {tensor.device for part in parts for tensor in _tensors(part.states)}
        self._copied: list[tuple[torch.device, Any]] = []
        for device in devices:
            if device.type == "cuda":
                self._copied.append((device, torch.cuda.current_stream(device).record_event()))
            elif device.type not in ("cpu", "meta"):
                getattr(torch, device.type).synchronize()

    @contextmanager
    def side(self) -> Iterator[None]:
        """Work on streams of their own once the copies are complete, and be done with them at the end.

        On the default stream every read would wait for whatever the training has queued by then.
        """
        sides = [torch.cuda.Stream(device) for device, _ in self._copied]
        with torch.no_grad():
            for side, (_, copied) in zip(sides, self._copied, strict=True):
                side.wait_event(copied)
            if not sides:
                yield
                return
            with _all_current(sides):
                yield
            for side in sides:
                side.synchronize()

    def hand_over(self, merged: Sequence[Merged]) -> None:
        """Keep the memory of the results from the thread's streams while the caller's stream reads them."""
        for result in merged if self._copied else ():
            for tensor in _tensors(result.states):
                if tensor.is_cuda:
                    tensor.record_stream(torch.cuda.current_stream(tensor.device))


@contextmanager
def _all_current(sides: Sequence[Any]) -> Iterator[None]:
    """Make one stream of each device the current one of this thread."""
    before = [torch.cuda.current_stream(side.device) for side in sides]
    device = torch.cuda.current_device()
    try:
        for side in sides:
            torch.cuda.set_stream(side)
        torch.cuda.set_device(device)
        yield
    finally:
        for stream in before:
            torch.cuda.set_stream(stream)
        torch.cuda.set_device(device)


def _tensors(states: States) -> Iterator[Tensor]:
    for value in states.values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Tensor):
                yield item
