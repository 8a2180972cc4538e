"""What the ranks of test_collectives.py do: count every operation that a process group is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from syncmetrics import ClasswiseWrapper, Metric, MetricCollection, gather_ragged, sync_and_compute, sync_states, synced
from syncmetrics.transport.process_group.shared_memory import SharedMemory
from tests.samples import Accuracy, Counts, Most, Names, Outer, PerClass, Rows, Total, Welford

# The functions of the module end in these methods, and so does whoever goes around the module.
METHODS = """
_allgather_base _reduce_scatter_base all_gather_single all_gather_single_coalesced all_to_all_single allgather
allgather_coalesced allgather_into_tensor_coalesced allreduce allreduce_coalesced alltoall alltoall_base barrier
broadcast gather monitored_barrier recv recv_anysource reduce reduce_scatter reduce_scatter_single
reduce_scatter_single_coalesced reduce_scatter_tensor_coalesced scatter send
"""
FUNCTIONS = ("new_group", "_new_group_with_tag", "new_subgroups")


class Calls:
    """Counts calls while it is switched on."""

    def __init__(self) -> None:
        self.counter: Counter[str] | None = None
        # What the ranks of one host exchange through the memory that they share takes the place of a gather. Whether
        # they share any is found out with the first sync of a group, by three gathers.
        SharedMemory.all_gather = self._counting("_allgather_base", SharedMemory.all_gather)  # type: ignore[method-assign]
        if dist.is_initialized() and dist.get_world_size() > 1:
            fed(Total()).compute()
        for owner, names in (
            (dist.ProcessGroup, METHODS.split()),
            (dist, FUNCTIONS),
            (dist.distributed_c10d, FUNCTIONS),
        ):
            for name in names:
                if hasattr(owner, name):
                    setattr(owner, name, self._counting(name, getattr(owner, name)))

    def _counting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.counter is not None:
                self.counter[name] += 1
            return function(*args, **kwargs)

        return call

    @contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        self.counter = Counter()
        try:
            yield self.counter
        finally:
            self.counter = None


X, LABELS = torch.tensor([1.0, 2.0]), torch.tensor([0, 1, 1])


def fed(metric: Metric, times: int = 1) -> Metric:
    for _ in range(times):
        if isinstance(metric, (PerClass, ClasswiseWrapper)):
            metric.update(LABELS)
        elif isinstance(metric, Accuracy):
            metric.update(LABELS, LABELS)
        elif isinstance(metric, Names):
            metric.update("a", 1)
        else:
            metric.update(X)
    return metric


def mix() -> dict[str, Any]:
    return {
        "sum": fed(Total()),
        "accuracy": fed(Accuracy()),
        "list": fed(Rows()),
        "names": fed(Names()),
        "outer": fed(Outer()),
        "welford": fed(Welford()),
        "group": MetricCollection({"share": fed(Counts(2)), "most": fed(Most(2))}, prefix="g/"),
        "classes": fed(ClasswiseWrapper(PerClass(2))),
    }


class Scalars(Rows):
    def update(self, x: Any) -> None:
        for value in x:
            self.rows.append(value)


def collective_counts(rank: int, world_size: int) -> dict[str, Any]:
    calls = Calls()
    found: dict[str, Any] = {}

    def count(name: str, act: Callable[[], Any]) -> None:
        with calls.counted() as counter:
            act()
        found[name] = dict(counter)

    collection = MetricCollection(mix())
    count("a collection", collection.compute)
    count("a cached collection", collection.compute)
    collection["sum"].update(X)
    count("a collection of which one was updated", collection.compute)
    count("a metric that is cached", collection["sum"].compute)
    count("update", lambda: collection["sum"].update(X))
    count("forward", lambda: collection["sum"](X))
    count("reset", collection.reset)
    for number in (1, 5, 50):
        many = MetricCollection({f"m{i}": fed(Total()) for i in range(number)})
        count(f"{number} metrics", many.compute)
    for updates in (1, 1000):
        count(f"{updates} updates", fed(Total(), updates).compute)
        scalars = Scalars()
        for i in range(updates):
            scalars.update(torch.tensor([float(i)]))
        count(f"{updates} scalars", scalars.compute)
    count("sync_and_compute of a mix", lambda: sync_and_compute(list(mix().values())))
    some = mix()
    with calls.counted() as counter, synced(*some.values()):
        for metric in some.values():
            metric.compute()
    found["synced"] = dict(counter)
    count("sync_states", lambda: sync_states({"x": X, "y": [X]}, {"x": "sum", "y": "cat"}))
    count("gather_ragged", lambda: gather_ragged(torch.ones(rank + 1)))

    def stepping(metric: Any, *args: Any) -> None:
        for _ in range(4):
            metric(*args)

    on_step = MetricCollection({"a": Total(dist_sync_on_step=True), "b": Rows(dist_sync_on_step=True)})
    count("four steps of a collection", lambda: stepping(on_step, X))
    count("four steps of a metric", lambda: stepping(Total(dist_sync_on_step=True), X))
    count("four steps without", lambda: stepping(Total(), X))

    class Context(Total):
        def compute(self) -> Any:
            return super().compute(), self.update_count

    metric = fed(Context())
    with calls.counted() as counter, metric.sync_context():
        metric.compute()
    found["sync_context"] = dict(counter)
    metric.sync()
    count("unsync", metric.unsync)
    large = torch.ones(100_000)
    count("a large list", lambda: sync_states({"x": [large]}, {"x": "cat"}))
    count("three large lists", lambda: sync_states({n: [large] for n in "abc"}, dict.fromkeys("abc", "cat")))
    count("large integer sums", lambda: sync_states({n: large.long() for n in "abc"}, dict.fromkeys("abc", "sum")))
    count("a large sum of floats", lambda: sync_states({"x": large}, {"x": "sum"}))
    count(
        "many medium lists",
        lambda: sync_states({f"x{i}": [large[:9_000]] for i in range(6)}, {f"x{i}": "cat" for i in range(6)}),
    )
    count("a large list on one rank", lambda: sync_states({"x": [large] if rank == 0 else []}, {"x": "cat"}))
    count("a large list to one rank", lambda: sync_states({"x": [large]}, {"x": "cat"}, dst=0))
    return found
