"""Ranks whose data differ: no rows, other lengths, shapes, dtypes, metrics, states, reductions."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import torch
from torch import Tensor

from syncmetrics import Metric, MetricCollection, MulticlassF1Score, Quantile, dim_zero_cat, sync_states
from tests.ranks.faults_watch import Watch
from tests.samples import Accuracy, Names, PerClass, Rows, Total

CAT_DTYPES = (
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
)
SUM_DTYPES = tuple(dtype for dtype in CAT_DTYPES if dtype is not torch.bool)
UNPROMOTABLE = (
    (torch.uint16, torch.int64),
    (torch.uint32, torch.int8),
    (torch.float8_e4m3fn, torch.float32),
    (torch.float8_e4m3fn, torch.float8_e5m2),
)


class Everything(Metric):
    """One state of each kind."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(3, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("average", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="mean")
        self.add_state("low", torch.tensor(100.0), dist_reduce_fx="min")
        self.add_state("grown", torch.zeros(0, 2, dtype=torch.int64), dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("flags", [], dist_reduce_fx="cat")
        self.add_state("boxes", [])
        self.add_state("names", [])

    def update(self, seed: int) -> None:
        self.total += seed
        self.counts[seed % 3] += 1
        self.average = (self.average * (self.update_count - 1) + seed) / self.update_count
        self.low = torch.minimum(self.low, torch.tensor(float(seed)))
        self.grown = torch.cat([self.grown, torch.full((1, 2), seed)])
        self.labels.append(torch.arange(seed))
        self.scores.append(torch.full((2, 3), seed / 7))
        self.flags.append(torch.tensor([seed % 2 == 0, True]))
        self.boxes.append(torch.full((seed % 3, 4), seed, dtype=torch.int16))
        self.names.append(("image", seed, {"id": str(seed)}))

    def compute(self) -> dict[str, Any]:
        joined = {name: dim_zero_cat(getattr(self, name)) for name in ("labels", "scores", "flags", "grown")}
        dense = {name: getattr(self, name).clone() for name in ("total", "counts", "low")}
        average = round(self.average.item(), 9)  # the order in which a mean is taken is not what is looked at here
        return {**joined, **dense, "average": average, "boxes": list(self.boxes), "names": list(self.names)}


class Kind(Metric):
    """Whatever state a rank is made to have."""

    def __init__(self, default: Any, dist_reduce_fx: Any, more: bool = False) -> None:
        super().__init__()
        self.add_state("state", default, dist_reduce_fx=dist_reduce_fx)
        if more:
            self.add_state("another", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, x: Any) -> None:
        if isinstance(self.state, list):
            self.state.append(x)
        else:
            self.state = self.state + x

    def compute(self) -> Any:
        return self.state


def of_one_process(metric: Metric, batches: list[Any]) -> Any:
    """Give the value of one process that has all the batches."""
    metric.sync_on_compute = False
    for batch in batches:
        metric.update(batch)
    return metric.compute()


def no_data(watch: Watch, rank: int, world_size: int) -> None:
    for count in range(1, world_size):
        for empty in itertools.combinations(range(world_size), count):
            metric = Everything()
            if rank not in empty:
                metric.update(rank + 1)
            right = of_one_process(Everything(), [r + 1 for r in range(world_size) if r not in empty])
            watch.right(f"ranks {empty} have nothing", metric.compute, right, metric)


def uneven_updates(watch: Watch, rank: int, world_size: int) -> None:
    metric = Everything()
    for step in range(rank):
        metric.update(10 * rank + step)
    right = of_one_process(Everything(), [10 * r + step for r in range(world_size) for step in range(r)])
    watch.right("updates", metric.compute, right, metric)


def uneven_rows(watch: Watch, rank: int, world_size: int) -> None:
    sizes = (0, 1, 5, 1000)
    for shift in range(4):
        batches = [
            torch.full((sizes[(r + shift) % 4], 2), float(r + 1), dtype=torch.float64) for r in range(world_size)
        ]
        metric = Rows()
        metric.update(batches[rank])
        watch.right(f"shift {shift}", metric.compute, torch.cat(batches), metric)


def ragged_rows(watch: Watch, rank: int, world_size: int) -> None:
    metric = Rows()
    metric.update(torch.ones(2, 4 if rank == 0 else 3))
    watch.fault("sync", metric.compute, metric)


def ragged_list(watch: Watch, rank: int, world_size: int) -> None:
    batches = [torch.full((r, 3 - r % 3), float(r)) for r in range(world_size)]
    metric = Kind([], None)
    metric.update(batches[rank])
    watch.right("sync", metric.compute, batches, metric)


def dtypes_cat(watch: Watch, rank: int, world_size: int) -> None:
    for a, b in itertools.combinations(CAT_DTYPES, 2):
        batches = [(torch.arange(3) + r).to(b if r % 2 else a) for r in range(world_size)]
        metric = Rows()
        metric.update(batches[rank])
        wide = torch.promote_types(a, b)
        watch.right(f"{a} and {b}", metric.compute, torch.cat([batch.to(wide) for batch in batches]), metric)


def dtypes_sum(watch: Watch, rank: int, world_size: int) -> None:
    for a, b in itertools.combinations(SUM_DTYPES, 2):
        metric = Kind(torch.zeros((), dtype=b if rank % 2 else a), "sum")
        metric.update(torch.tensor(rank + 1).to(b if rank % 2 else a))
        kept = (torch.float32 if dtype.itemsize == 2 and dtype.is_floating_point else dtype for dtype in (a, b))
        right = torch.tensor(sum(range(world_size + 1)), dtype=torch.promote_types(*kept))
        watch.right(f"{a} and {b}", metric.compute, right, metric)


def dtypes_without_a_common_one(watch: Watch, rank: int, world_size: int) -> None:
    for a, b in UNPROMOTABLE:
        metric = Rows()
        metric.update(torch.ones(3).to(b if rank % 2 else a))
        watch.fault(f"{a} and {b}", metric.compute, metric)


def other_shape(watch: Watch, rank: int, world_size: int) -> None:
    for fx in ("sum", "min", "max", "mean", None):
        metric = Kind(torch.zeros(2 if rank == 0 else 3), fx)
        metric.update(1.0)
        watch.fault(f"{fx}", metric.compute, metric)


def other_class_count(watch: Watch, rank: int, world_size: int) -> None:
    metric = PerClass(10 if rank == world_size - 1 else 11)
    metric.update(torch.tensor([rank, 3]))
    watch.fault("sync", metric.compute, metric)


def extra_metric(watch: Watch, rank: int, world_size: int) -> None:
    metrics: dict[str, Metric] = {"total": Total()}
    if rank == 0:
        metrics["extra"] = Rows()
    collection = MetricCollection(metrics)
    collection.update(torch.ones(2))
    watch.fault("sync", collection.compute, collection)


def extra_state(watch: Watch, rank: int, world_size: int) -> None:
    metric = Kind(torch.tensor(0.0), "sum", more=rank == 0)
    metric.update(1.0)
    watch.fault("sync", metric.compute, metric)


def other_reduction(watch: Watch, rank: int, world_size: int) -> None:
    for a, b in itertools.permutations(("sum", "max", "cat", None), 2):
        metric = Kind(torch.zeros(2), b if rank == 0 else a)
        watch.fault(f"{a} and {b}", metric.sync, metric)


def other_kind(watch: Watch, rank: int, world_size: int) -> None:
    metric = Kind([], "cat") if rank == 0 else Kind(torch.zeros(2), "cat")
    metric.update(torch.ones(2))
    watch.fault("a tensor and a list", metric.compute, metric)
    names = Names()
    names.update("a" if rank == 0 else torch.ones(1))
    watch.fault("tensors and plain data", names.compute, names)


def shuffled_collection(watch: Watch, rank: int, world_size: int) -> None:
    made: dict[str, Metric] = {"total": Total(), "rows": Rows(), "listed": Rows(dist_reduce_fx=None), "z": Total(5.0)}
    names = list(made)
    names = names[rank % 4 :] + names[: rank % 4]
    if rank % 2:
        names.reverse()
    collection = MetricCollection({name: made[name] for name in names})
    collection.update(torch.tensor([float(rank), 1.0]))
    rows = torch.tensor([x for r in range(world_size) for x in (float(r), 1.0)])
    total = rows.sum().double()
    right = {"total": total, "rows": rows, "listed": rows, "z": total + 5}
    watch.right("sync", collection.compute, right, collection)


def crossed_metrics(watch: Watch, rank: int, world_size: int) -> None:
    total, accuracy, common = Total(), Accuracy(), Rows()
    total.update(torch.tensor(1.0))
    accuracy.update(torch.tensor([1, 2]), torch.tensor([1, rank]))
    common.update(torch.tensor([rank]))
    for number, metric in enumerate([total, accuracy] if rank == 0 else [accuracy, total]):
        watch.fault(f"sync {number}", metric.compute, total, accuracy)
    watch.right("common", common.compute, torch.arange(world_size), common)


SIZES = (1, 20_000, 100_000)  # inside a packet, beyond it, and reduced in slices or by the backend


def other_default(watch: Watch, rank: int, world_size: int) -> None:
    first = float(rank == 0)
    for size in SIZES:
        for fx in ("sum", "min", "mean"):
            metric = Kind(torch.full((size,), first), fx)
            metric.update(1.0)
            watch.fault(f"{fx} of {size}", metric.compute, metric)
    metric = Kind(torch.arange(3.0) + (rank == 0) * torch.tensor([0.0, 1.0, 0.0]), "sum")
    metric.update(1.0)
    watch.fault("one of several", metric.compute, metric)


class Told(Metric):
    """Reads settings in `update`, in `compute`, and in what these call."""

    def __init__(self, size: int = 1, **settings: Any) -> None:
        super().__init__()
        self.scale, self.bounds, self.mode, self._name = 1, (0.0, 1.0), "macro", "may differ"
        self.count = 0
        for name, value in settings.items():
            setattr(self, name, value)
        self.add_state("total", torch.zeros(size), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.count += 1  # no setting: it is set here
        self.total = self.total + x * self.scale

    def low(self) -> float:
        return self.bounds[0]

    def compute(self) -> Any:
        return self.total.mean() * (2 if self.mode == "macro" else 1) + self.low() + len(self._name) * 0


def other_setting(watch: Watch, rank: int, world_size: int) -> None:
    for size in SIZES:
        for name, value in {"scale": 2, "bounds": (0.5, 1.0), "mode": "micro"}.items():
            metric = Told(size, **({name: value} if rank == 0 else {}))
            metric.update(torch.ones(size))
            watch.fault(f"{name}, {size}", metric.compute, metric)
    quantile = Quantile(0.1 if rank == 0 else 0.9)
    quantile.update(torch.arange(5.0))
    watch.fault("quantile", quantile.compute, quantile)
    metrics = MetricCollection({"a": MulticlassF1Score(3, average="micro" if rank == 0 else "macro"), "t": Total()})
    metrics["a"].update(torch.tensor([0, 1]), torch.tensor([0, 2]))
    metrics["t"].update(torch.ones(1))
    watch.fault("average", metrics.compute, metrics)
    changed = Quantile(0.5)
    changed.update(torch.arange(5.0))
    changed.compute()
    changed.update(torch.arange(2.0))
    if rank == 0:
        changed.q = 0.25
    watch.fault("changed later", changed.compute, changed)


def settings_that_may_differ(watch: Watch, rank: int, world_size: int) -> None:
    metric = Told(_name=f"rank {rank}", unread=rank, place=torch.device("cpu") if rank else None)
    for _ in range(rank):
        metric.update(torch.ones(1))
    watch.right("counted, private, not read", metric.compute, torch.tensor(float(sum(range(world_size)) * 2)), metric)


def _powers(stacked: Any, power: int) -> Any:
    return (stacked**power).sum(0)


def other_argument(watch: Watch, rank: int, world_size: int) -> None:
    metric = Kind(torch.zeros(2), functools.partial(_powers, power=2 if rank == 0 else 3))
    watch.fault("partial", metric.sync, metric)


def other_receiver(watch: Watch, rank: int, world_size: int) -> None:
    for size in SIZES:
        states, reductions = {"x": torch.ones(size), "rows": [torch.ones(size)]}, {"x": "sum", "rows": "cat"}
        dst = 0 if rank == 0 else None
        watch.fault(f"dst, {size}", lambda s=states, r=reductions, d=dst: sync_states(s, r, dst=d))
        metric = Rows(compute_on=0 if rank == 0 else None)
        metric.update(torch.ones(size))
        watch.fault(f"compute_on, {size}", metric.compute, metric)


def other_steps(watch: Watch, rank: int, world_size: int) -> None:
    for size in SIZES:
        metric = Told(size)
        metric.dist_sync_on_step = True
        for _ in range(2):
            metric(torch.ones(size))
        if rank == 0:
            metric.reset()
        watch.fault(f"reset on one rank, {size}", lambda m=metric, n=size: m(torch.ones(n)), metric)
    metric = Total(sync_every=2 if rank == 0 else 3)
    for _ in range(1 if rank == 0 else 2):
        metric(torch.ones(1))
    watch.fault("sync_every", lambda: metric(torch.ones(1)), metric)
