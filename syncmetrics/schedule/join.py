"""Uneven numbers of steps: a rank without more batches takes part in the syncs of the others, bringing nothing."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any

from syncmetrics.errors import SyncError, SyncRefusedError
from syncmetrics.schedule.lanes import close_lane, open_lane
from syncmetrics.sync import (
    Host,
    Node,
    Part,
    Route,
    Schema,
    hosts_in,
    leave_pending,
    refuse_shown,
    release,
    report_failure,
    reserve,
    schema_of,
    settle,
    shadow_sync,
)
from syncmetrics.transport import Transport
from syncmetrics.transport.base import role_of

__all__ = ["join"]


class join:  # noqa: N801 - used as a function, and named like torch.distributed.algorithms.Join
    """Let ranks with fewer batches leave the loop early while others still sync per step.

    ::

        with join(metrics):
            for batch, target in loader:            # of different lengths on the ranks
                step = metrics(model(batch), target)  # dist_sync_on_step=True
        epoch = metrics.compute()

    Inside the block the per-step syncs of the group of these metrics go over a CPU group of their own, made once. A
    rank that leaves the block goes on to take part in them in the background, without data, until all ranks have left
    it; its next sync waits for that. So the value of a step is that of the ranks which had a batch, and the block can
    stand inside torch's own `Join` around a DistributedDataParallel model. `compute` belongs behind the block: it needs
    no join, whatever the ranks hold.

    Collective: every rank of the group must enter and leave the block, also one without any batch.

    Args:
        *metrics: The metrics and collections that are synced per step inside the block, also in lists, dicts,
            ModuleLists and ModuleDicts. They must have one process group.
        timeout: Seconds to wait for the steps of the other ranks; left out, that of the metrics.

    Raises:
        ValueError: There is no metric, or they have several process groups.
        SyncRefusedError: There is a `join` around this one over the same group; or, inside of the block, something
            other than a step of these metrics is synced over it.
        TypeError: Something is no metric.
        SyncError: Raised by the next sync of a rank that had left the block, if a step of the others failed.
    """

    def __init__(self, *metrics: Any, timeout: float | None = None) -> None:
        self._hosts = [host for _, host in hosts_in(list(metrics))]
        if not any(host._hosted("") for host in self._hosts):
            raise ValueError("`join` needs the metrics that are synced per step inside of it, but was given none.")
        self._timeout = timeout
        self._twin: Transport | None = None

    def __enter__(self) -> None:
        nodes = [pair for host in self._hosts for pair in host._hosted("")]
        refuse_shown("", nodes)
        routes = [route for _, route in nodes]
        transports = {id(route.transport) for route in routes}
        if len(transports) != 1:
            raise ValueError(
                f"`join` needs metrics of one process group, but these have {len(transports)}; join them one by one."
            )
        route = routes[0]
        if role_of(route.transport).whole is not None:
            raise ValueError(
                "`join` needs metrics whose replicas are not compared: ranks that have left the loop hold other states"
                " for a while; leave out `check_replicas` of `over`."
            )
        why = (
            "inside of a `join` only the steps of its metrics are synced over their group: give all metrics to one"
            " join(...), and compute behind the block."
        )
        settle(route.transport)
        self._transport, self._twin = route.transport, route.transport.twin()
        if self._twin.world_size > 1:
            reserve(self._transport, why)
        self._timeout = route.timeout if self._timeout is None else self._timeout
        open_lane(self._transport, self._twin)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        release(self._transport)
        close_lane(self._transport)
        for host in self._hosts:
            host._begin_steps()  # the ranks have taken other numbers of them
            for node, _ in host._hosted(""):
                if isinstance(node, Node):
                    for _, holder in node.holders:
                        # Others may have updated: no rank may take its old value for the present one.
                        holder.store.version += 1
        assert self._twin is not None
        route = Route(self._twin, timeout=self._timeout)
        if self._twin.world_size == 1 or (isinstance(error, SyncError) and not isinstance(error, SyncRefusedError)):
            return
        if error is None:
            leave_pending(self._transport, _Shadow(route, _steps(self._hosts)).wait)
        elif isinstance(error, Exception):
            report_failure(error, route, label="join")


class _Shadow:
    """A thread that takes part in the syncs of the other ranks until none has any more."""

    def __init__(self, route: Route, steps: Mapping[int, tuple[Schema, Sequence[Part]]]) -> None:
        self._route = route
        self._steps = steps
        self._error: Exception | None = None
        # No daemon: a process that ends must not leave the others in the middle of a step.
        self._thread = threading.Thread(target=self._run, name="syncmetrics join")
        self._thread.start()

    def wait(self) -> None:
        """Wait until all ranks have left the block, and raise what went wrong in a step of theirs."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while shadow_sync(self._route, self._steps):
                pass
        except Exception as error:  # it is raised by `wait`
            self._error = error


def _steps(hosts: Sequence[Host]) -> dict[int, tuple[Schema, Sequence[Part]]]:
    """Give what the others may sync per step, by fingerprint. Of the parts only what is declared is kept."""
    found: dict[int, tuple[Schema, Sequence[Part]]] = {}
    for nodes in (nodes for host in hosts for nodes in host._hosted_steps()):
        parts = [_declared(node.local_part()) for node in nodes]
        parts.sort(key=lambda part: part.path)
        schema = schema_of(parts)
        found[schema.fingerprint] = schema, parts
    return found


def _declared(part: Part) -> Part:
    """Give a part without states, whose metrics can be taken apart: they declare the same."""
    part = replace(part, states={}, each=None, blocks=())
    return replace(part, each=partial(list, [part] * len(part.names)))
