"""Syncs in the background: one thread a group, over a lane of its own, in the order in which they were asked for.

A thread lives as long as there is something to sync, and a moment longer. It is no daemon: a process that ends first
does its part of the syncs that the others are waiting in.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from syncmetrics.errors import SyncError
from syncmetrics.states.merge import own_copy
from syncmetrics.states.spec import States
from syncmetrics.sync import Merged, Part, Route, report_failure, sync_parts
from syncmetrics.transport import Transport

__all__ = ["Job", "start_sync"]

#: So many seconds a thread waits for another job before it ends. To start one in every step would cost more than what
#: it does there; and a process that ends waits no longer than this for a thread that has nothing to do.
_LINGER_SECONDS = 0.25


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


def start_sync(take: Callable[[], Sequence[Part]], route: Route, label: str) -> Job:
    """Copy states and sync the copies in the background.

    The first time it opens the lane, in the thread of the caller: it is collective then, and waits for the other ranks.
    From then on it only copies. All ranks must start the same syncs in the same order.

    Args:
        take: Gives what this rank brings. What it raises is raised by the job, and the others hear of it.
        route: Over whom: the transport of the metric itself.
        label: What to call the sync in an error.
    """
    transport = route.transport
    alone = transport.world_size == 1
    copies: list[Part] = []
    failure = None
    try:
        copies = _copied(take())
    except Exception as error:  # an adapter could not read a metric, or there is no memory for the copies
        failure = error
    worker = None if alone else _worker_of(transport)
    job = Job(copies, route if worker is None else replace(route, transport=worker.lane), label, failure)
    if worker is None or worker.is_new:
        job.run()
    else:
        worker.submit(job)
    if worker is not None:
        worker.is_new = False
    return job


def _copied(parts: Sequence[Part]) -> list[Part]:
    """Copy the states of all parts, each once, also of metrics that may share theirs and do not."""
    copies: dict[int, tuple[States, States]] = {}  # the originals too: as long as they live nothing else has their id

    def copy_of(part: Part) -> Part:
        if id(part.states) not in copies:
            copies[id(part.states)] = part.states, own_copy(part.states, elements=True)
        return replace(part, states=copies[id(part.states)][1])

    found = []
    for part in parts:
        each = None if part.each is None else [copy_of(one) for one in part.each()]
        found.append(replace(copy_of(part), each=None if each is None else partial(list, each)))
    return found


class _Worker:
    """Runs the jobs of one lane, one after the other."""

    def __init__(self, lane: Transport) -> None:
        self.lane = lane
        self.is_new = True
        self._jobs: deque[Job] = deque()
        self._news = threading.Condition()
        self._running = False
        self._turn = threading.Lock()  # held by the thread that runs the jobs: there are two after an interrupt
        self._linger_seconds = _LINGER_SECONDS

    def submit(self, job: Job) -> None:
        """Run a job when those before it are done."""
        try:
            with self._news:
                self._jobs.append(job)
                if self._running:
                    self._news.notify()
                    return
                self._running = True
            self._begin()
        except BaseException:  # an interrupt: the thread may have begun, or has died as it did, or was never made
            if self._running:
                self._begin()
            raise

    def _begin(self) -> None:
        # No daemon: a process that ends must not leave the others in the middle of a sync.
        thread = threading.Thread(target=self._run, name="syncmetrics background")
        try:
            thread.start()
        except RuntimeError:  # a process that is ending can start none any more
            self._linger_seconds = 0.0
            self._run()

    def _run(self) -> None:
        while True:
            with self._turn:
                with self._news:
                    self._news.wait_for(lambda: self._jobs, self._linger_seconds)
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
        devices |= {part.device for part in parts}
        self._copied: dict[int, Any] = {}  # what says that the copies on a device are complete
        self._current = 0
        for device in devices:
            if device.type == "cuda":
                self._current = torch.cuda.current_device()
                given: int | None = device.index  # torch says it is always a number
                index = self._current if given is None else given
                self._copied[index] = torch.cuda.current_stream(index).record_event()
            elif device.type not in ("cpu", "meta"):
                getattr(torch, device.type).synchronize()

    @contextmanager
    def side(self) -> Iterator[None]:
        """Work on streams of their own once the copies are complete, and be done with them at the end.

        On the default stream every read would wait for whatever the training has queued by then.
        """
        if not self._copied:
            yield
            return
        before = [torch.cuda.current_stream(index) for index in self._copied]
        device = torch.cuda.current_device()
        try:
            sides = []
            for index, copied in self._copied.items():
                sides.append(torch.cuda.Stream(index))  # type: ignore[no-untyped-call]  # torch has no types for it
                sides[-1].wait_event(copied)
                torch.cuda.set_stream(sides[-1])
            torch.cuda.set_device(self._current)
            try:
                yield
            finally:
                for side in sides:
                    side.synchronize()  # the copies are read, and the results complete
        finally:
            for stream in before:
                torch.cuda.set_stream(stream)
            torch.cuda.set_device(device)

    def hand_over(self, merged: Sequence[Merged]) -> None:
        """Keep the memory of the results from the thread's streams while the caller's stream reads them."""
        for result in merged if self._copied else ():
            for tensor in _tensors(result.states):
                if tensor.is_cuda:
                    tensor.record_stream(torch.cuda.current_stream(tensor.device))


def _tensors(states: States) -> Iterator[Tensor]:
    for value in states.values():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Tensor):
                yield item
