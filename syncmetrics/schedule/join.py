"""Uneven numbers of steps: a rank without more batches takes part in the syncs of the others, bringing nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType

from syncmetrics.metric.collection import MetricCollection
from syncmetrics.errors import SyncError
from syncmetrics.metric.metric import Metric
from syncmetrics.sync import Route, Schema, leave_pending, report_failure, schema_of, settle, shadow_sync
from syncmetrics.transport import Transport

__all__ = ["join"]


class join:  # noqa: N801 - used as a function, and named like torch.distributed.algorithms.Join
    """Let ranks with fewer batches leave the loop early while others still sync per step.

    ::

        with join(metrics):
            for batch, target in loader:            # of different lengths on the ranks
                step = metrics(model(batch), target)  # dist_sync_on_step=True
        epoch = metrics.compute()

    Inside the block the per-step syncs of these metrics go over a CPU group of their own, made once. A rank that
    leaves the block goes on to take part in them in the background, without data, until all ranks have left it; its
    next sync waits for that. So the value of a step is that of the ranks which had a batch, and the block can stand
    inside torch's own `Join` around a DistributedDataParallel model. `compute` belongs behind the block: it needs no
    join, whatever the ranks hold.

    Collective: every rank of the group must enter and leave the block, also one without any batch.

    Args:
        *metrics: The metrics and collections that are synced per step inside the block. They must have one process
            group.
        timeout: Seconds to wait for the steps of the other ranks; left out, that of the metrics.

    Raises:
        ValueError: There is no metric, or they have several process groups.
        TypeError: Something is no metric.
        SyncError: Raised by the next sync of a rank that had left the block, if a step of the others failed.
    """

    def __init__(self, *metrics: Metric | MetricCollection, timeout: float | None = None) -> None:
        self._given = metrics
        self._metrics = list(_walk(metrics))
        if not self._metrics:
            raise ValueError("`join` needs the metrics that are synced per step inside of it, but was given none.")
        self._timeout = timeout
        self._twin: Transport | None = None

    def __enter__(self) -> None:
        transports = {id(metric._route().transport): metric._route() for metric in self._metrics}
        if len(transports) != 1:
            raise ValueError(
                f"`join` needs metrics of one process group, but these have {len(transports)}; join them one by one."
            )
        (route,) = transports.values()
        settle(route.transport)
        self._transport, self._twin = route.transport, route.transport.twin()
        self._timeout = route.timeout if self._timeout is None else self._timeout
        for metric in self._metrics:
            metric._step_transport = self._twin

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for metric in self._metrics:
            metric._step_transport = None
            metric._store.version += 1  # others may have updated: no rank may take its old value for the present one
        assert self._twin is not None
        route = Route(self._twin, timeout=self._timeout)
        if self._twin.world_size == 1 or isinstance(error, SyncError):
            return
        if error is None:
            leave_pending(self._transport, _Shadow(route, _step_schemas(self._given)).wait)
        elif isinstance(error, Exception):
            report_failure(error, route, label="join")


class _Shadow:
    """A thread that takes part in the syncs of the other ranks until none has any more."""

    def __init__(self, route: Route, schemas: Mapping[int, Schema]) -> None:
        self._route = route
        self._schemas = schemas
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
            while shadow_sync(self._route, self._schemas):
                pass
        except Exception as error:  # it is raised by `wait`
            self._error = error


def _step_schemas(metrics: Iterable[Metric | MetricCollection]) -> dict[int, Schema]:
    """Give what the others may sync per step: each metric by itself, and each collection."""
    steps = [module._nodes() for module in _walk(metrics)]
    for metric in metrics:
        if isinstance(metric, MetricCollection):
            steps.extend(metric._step_nodes())
    schemas = [schema_of(sorted((n.local_part() for n in nodes), key=lambda part: part.path)) for nodes in steps]
    return {schema.fingerprint: schema for schema in schemas}


def _walk(metrics: Iterable[Metric | MetricCollection]) -> Iterator[Metric]:
    for metric in metrics:
        if not isinstance(metric, (Metric, MetricCollection)):
            raise TypeError(f"`join` takes metrics and collections, but was given a {type(metric).__name__}.")
        for module in metric.modules():
            if isinstance(module, Metric):
                yield module
