"""What a rank does in the tests of `compute_async` and `sync_async`. It imports no pytest, so that ranks start soon."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from syncmetrics import (
    ClasswiseWrapper,
    MetricCollection,
    PeerError,
    PeerLostError,
    SchemaMismatchError,
    SyncTimeoutError,
    join,
    register_adapter,
)
from syncmetrics.foreign.adapter import Adapter
from syncmetrics.schedule import background
from syncmetrics.sync.memory import memory_of
from syncmetrics.transport import resolve_transport
from tests.samples import Accuracy, Counts, Most, Names, Outer, PerClass, Rows, Total, Welford, bits, local_bits


class Foreign:
    """A metric written by hand, that edits in place."""

    def __init__(self) -> None:
        self.total, self.rows = torch.zeros((), dtype=torch.float64), []

    def update(self, x: torch.Tensor) -> None:
        self.total += x.double().sum()
        self.rows.append(x.numel())

    def compute(self) -> Any:
        return self.total.clone(), list(self.rows)

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]


class ForeignAdapter(Adapter):
    def reductions(self, metric: Any) -> Any:
        return {"total": "sum", "rows": None}


register_adapter(Foreign, ForeignAdapter())


def everything(**kwargs: Any) -> MetricCollection:
    return MetricCollection(
        {
            "sum": Total(),
            "list": Rows(),
            "welford": Welford(),
            "outer": Outer(),
            "share": Counts(3),
            "most": Most(3),
            "classes": ClasswiseWrapper(PerClass(3)),
            "accuracy": Accuracy(),
            "foreign": Foreign(),
        },
        prefix="v/",
        **kwargs,
    )


def feed(collection: MetricCollection, rank: int, step: int) -> None:
    """Update, with other numbers of rows on every rank, and some updates left out."""
    x = torch.arange(rank + step + 1.0) + 10 * rank
    labels = (x.long() + step) % 3
    for name, metric in collection.items(keep_base=True):
        if name == "accuracy":
            metric.update(labels, labels.flip(0))
        elif name in ("share", "most", "classes"):
            metric.update(labels)
        elif name != "sum" or step == 0 or (rank + step) % 2:
            metric.update(x)


def values_of_the_moment(rank: int, world_size: int, steps: int = 4) -> list[str]:
    """Ask in every step, go on, and wait at the end, in another order."""
    collection = everything()
    single = Rows()
    pending, wanted, states = [], [], []
    with torch.inference_mode(rank % 2 == 0):
        for step in range(steps):
            feed(collection, rank, step)
            single.update(torch.full((rank + step,), float(step)))
            pending.append((collection.compute_async(), single.compute_async(), collection.sync_async()))
            with collection.sync_context(), single.sync_context():
                wanted.append(bits((collection.compute(), single.compute())))
                states.append(bits(collection["share"].metric_state["counts"]))
    before, found = (local_bits(collection), local_bits(single)), []
    for number in reversed(range(steps)):
        values, rows, shown = pending[number]
        assert bits((values.wait(), rows.wait())) == wanted[number], (number, values.wait(), rows.wait())
        assert values.done()
        assert rows.done()
        assert bits(shown.wait()["share.counts"]) == states[number]
        for _ in range(2):
            with shown.shown():
                assert bits((collection.compute(), rows.wait())) == wanted[number]
        found.append(str(wanted[number]))
    assert (local_bits(collection), local_bits(single)) == before
    with collection.sync_context():
        assert bits(collection.compute()) == wanted[-1][1][0]
    assert bits(collection.compute()) == wanted[-1][1][0]
    return found


def goes_on(rank: int, world_size: int, come: threading.Event) -> None:
    """Rank 0 goes on while the last rank has not come; what it asked for arrives in the order of the calls."""
    total = Total()
    total.update(torch.ones(1))
    assert total.compute_async().wait() == world_size  # opens the lane
    if rank == world_size - 1:
        assert come.wait(60)
    total.update(torch.ones(1))
    first = total.compute_async()
    total.update(torch.ones(2))
    second = total.compute_async()
    total.update(torch.ones(3))
    if rank == 0:
        assert not first.done()
        assert not second.done()
        error = raised(lambda: second.wait(timeout=0.01))
        assert type(error) is TimeoutError
        assert "wait again" in str(error)
        come.set()
    assert second.wait() == 4 * world_size
    assert first.done()
    assert first.wait() == 2 * world_size
    assert total.compute() == 7 * world_size


class Broken(Total):
    """Its `compute` fails on one rank."""

    def __init__(self, fails: bool) -> None:
        super().__init__()
        self._fails = fails

    def compute(self) -> torch.Tensor:
        if self._fails:
            raise ZeroDivisionError("in compute")
        return super().compute()


def raised(act: Any) -> Exception | None:
    try:
        act()
    except Exception as error:
        return error
    return None


def errors_at_wait(rank: int, world_size: int) -> list[str]:
    """Give the texts of the errors, which are the same on every rank."""
    right, texts = Total(), []
    right.update(torch.ones(1))
    other = Rows() if rank == 1 else Total()
    other.update(torch.ones(2))
    unfit = Rows()
    unfit.update(torch.ones(2, 3))
    unfit.rows.append(torch.ones(2, 3, 4) if rank == 1 else torch.ones(1, 3))
    for metric, kind in ((other, SchemaMismatchError), (unfit, PeerError)):
        kept = local_bits(metric)
        handle, after = metric.compute_async(), right.compute_async()
        for _ in range(2):
            error = raised(handle.wait)
            assert type(error) is kind, error
        assert handle.done()
        assert after.wait() == world_size
        assert local_bits(metric) == kept
        texts.append(str(error))
    broken = Broken(rank == 1)
    broken.update(torch.ones(1))
    handle = broken.compute_async()
    for _ in range(2):
        error = raised(handle.wait)
        assert (type(error) is ZeroDivisionError) == (rank == 1)
    assert bits(broken.metric_state["total"]) == bits(torch.ones((), dtype=torch.float64))
    assert right.compute_async().wait() == world_size
    return texts


class Unreadable(ForeignAdapter):
    def states(self, metric: Any) -> Any:
        if metric.unreadable:
            raise LookupError("not to be read")
        return super().states(metric)


class Hidden(Foreign):
    unreadable = False


register_adapter(Hidden, Unreadable())


def unreadable_on_one(rank: int, world_size: int) -> None:
    metric = Hidden()
    metric.unreadable = rank == 1
    collection = MetricCollection({"hidden": metric, "total": Total()})
    error = raised(collection.compute_async().wait)
    assert type(error) is (LookupError if rank == 1 else PeerError), error
    metric.unreadable = False
    collection.update(torch.ones(1))
    assert collection.compute_async().wait()["total"] == world_size


def timeout_at_wait(rank: int, world_size: int) -> None:
    """The last rank does not come to the second sync."""
    total = Total(sync_timeout=1.0)
    total.update(torch.ones(1))
    total.compute_async().wait()
    dist.barrier()
    if rank < world_size - 1:
        error = raised(total.compute_async().wait)
        assert type(error) is SyncTimeoutError, error
        assert error.missing == (world_size - 1,)
    dist.barrier()
    assert total.compute() == world_size  # the main lane is as it was


def peer_lost(rank: int, world_size: int) -> tuple[int, ...]:
    total = Total()
    total.update(torch.ones(1))
    total.compute_async().wait()
    dist.barrier()
    if rank == world_size - 1:
        os._exit(7)
    error = raised(total.compute_async().wait)
    assert type(error) is PeerLostError, error
    return error.missing


def beside_ddp(rank: int, world_size: int, steps: int = 12) -> None:
    """A training loop whose backward passes sync gradients while the metrics are on their way."""
    torch.manual_seed(0)
    model = DistributedDataParallel(
        torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    metrics = MetricCollection({"total": Total(), "rows": Rows(), "names": Names()})
    pending = []
    for step in range(steps):
        x = torch.randn(4 + rank, 8)
        loss = torch.nn.functional.cross_entropy(model(x), torch.zeros(4 + rank, dtype=torch.long))
        metrics["total"].update(torch.ones(rank + 1))
        metrics["rows"].update(torch.full((rank + step,), float(step)))
        metrics["names"].update(f"{rank}/{step}")
        pending.append(metrics.compute_async())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == steps // 2:  # a blocking sync in between
            assert metrics["total"].compute() == (step + 1) * sum(range(1, world_size + 1))
    for step, handle in enumerate(pending):
        values = handle.wait()
        assert values["total"] == (step + 1) * sum(range(1, world_size + 1))
        assert values["rows"].numel() == sum(r + s for r in range(world_size) for s in range(step + 1))
        assert values["names"] == [f"{r}/{s}" for r in range(world_size) for s in range(step + 1)]
    weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    all_weights = [torch.empty_like(weights) for _ in range(world_size)]
    dist.all_gather(all_weights, weights)
    assert all(torch.equal(weights, other) for other in all_weights)


def many(rank: int, world_size: int) -> None:
    """Large and small states, from several metrics, over one lane."""
    large, small = Rows(), Total()
    handles = []
    for step in range(5):
        large.update(torch.full((30_000 * (rank + 1),), float(step)))
        small.update(torch.ones(1))
        handles += [large.compute_async(), small.compute_async()]
    for step in range(5):
        assert handles[2 * step].wait().numel() == 30_000 * sum(range(1, world_size + 1)) * (step + 1)
        assert handles[2 * step + 1].wait() == world_size * (step + 1)
    assert sum(thread.name.startswith("syncmetrics") for thread in threading.enumerate()) <= world_size


def leave_unwaited(rank: int, world_size: int) -> None:
    """The group is destroyed while syncs are on their way."""
    total = Rows()
    for _ in range(5):
        total.update(torch.ones(1000))
        total.compute_async()


def own_group(rank: int, world_size: int) -> None:
    """A group of some ranks has a lane of its own."""
    group = dist.new_group([0, 1])
    inside, whole = None, Total()
    if rank < 2:
        inside = Total(process_group=group)
        inside.update(torch.ones(1))
        assert inside.compute_async().wait() == 2
        handle = inside.compute_async()
    whole.update(torch.ones(1))
    assert whole.compute_async().wait() == world_size
    if inside is not None:
        assert handle.wait() == 2


def collections_of_other_groups(rank: int, world_size: int) -> None:
    both = MetricCollection({"local": Total(sync_on_compute=False), "all": Total()})
    both.update(torch.ones(rank + 1))
    handle = both.compute_async()
    both.update(torch.ones(5))
    assert handle.wait() == {"local": rank + 1, "all": sum(range(1, world_size + 1))}
    metric = both["local"]
    assert metric.compute() == rank + 6


def beside_join(rank: int, world_size: int) -> None:
    """Large states are on their way while ranks with fewer steps take part in those of the others."""
    large, small = Rows(), Total(dist_sync_on_step=True)
    steps = [5, 2, 0][rank]
    large.update(torch.ones(1))
    large.compute_async().wait()
    for _ in range(3):
        large.update(torch.ones(200_000))
        handle = large.compute_async()
        with join(small):
            for step in range(steps):
                here = sum(step < number for number in [5, 2, 0][:world_size])
                assert small(torch.ones(1)) == here
        again = large.compute_async()
        assert handle.wait().numel() == again.wait().numel() == large.compute().numel()
    assert small.compute() == 3 * 7


def lanes(rank: int, world_size: int) -> None:
    """The group of the background is nobody else's, and made once."""
    total = Total()
    total.update(torch.ones(1))
    total.compute_async().wait()
    transport = resolve_transport()
    lane = background._worker_of(transport).lane
    assert lane is not transport
    assert lane is not transport.twin()
    synced = memory_of(transport).synced
    total.compute_async().wait()
    assert background._worker_of(transport).lane is lane
    assert memory_of(transport).synced == synced


def edited_afterwards(rank: int, world_size: int) -> list[Any]:
    """Edit rows, tensors and plain data in place between the call and the end of the sync; give the values."""
    found = []
    for size in (2, 20_000, 100_000):
        metric, total, names = Rows(), Total(), Names()
        rows = torch.full((size,), float(rank))
        for one in (metric, total):
            one.update(rows)
        names.update({"rank": [rank]})
        first = MetricCollection({"r": metric, "t": total, "n": names}).compute_async()
        first.wait()  # the first call waits for the others; from now on the sync runs beside
        handle = MetricCollection({"r": metric, "t": total, "n": names}).compute_async()
        metric.rows[0].fill_(-1.0)
        total.total.fill_(-1.0)
        names.names[0]["rank"].append(-1)
        value = handle.wait()
        found.append((value["r"].sum().item() / size, value["t"].item() / size, value["n"]))
    return found


def lane_of_a_hasty_metric(rank: int, world_size: int) -> float:
    """Open the lane of the background with a short timeout; then another metric, which has time, is late on a rank."""
    hasty, patient = Total(sync_timeout=0.5), Total()
    hasty.update(torch.ones(1))
    patient.update(torch.ones(1))
    hasty.compute_async().wait()
    if rank == 1:
        time.sleep(4.0)  # longer than the short timeout and what gloo gets beyond it
    return float(patient.compute_async().wait())
