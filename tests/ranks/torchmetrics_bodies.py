"""What the ranks of test_torchmetrics.py do: the table, what plain torchmetrics does, `install` and `fuse`."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torchmetrics as tm
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from syncmetrics import MetricCollection, MinMaxMetric, SumMetric, over, sync_and_compute
from syncmetrics.foreign import torchmetrics as room
from syncmetrics.foreign.torchmetrics import routing
from syncmetrics.foreign.torchmetrics.together import fused as fused_now
from syncmetrics.testing import run_ranks
from tests.ranks.exchanges import counted_in_memory, meet
from tests.ranks.torchmetrics_rows import ROWS

#: Batch sizes of each of up to three ranks. A rank with nothing is never updated.
SHARDS = {
    "even": [[4, 4], [4, 4], [4, 4]],
    "uneven": [[6], [2, 7, 5], [7, 2]],
    "empty": [[5, 3], [], [4, 6]],
}
WORLDS = (2, 3)

#: Lists that torchmetrics joins element by element: the same rows as in one process, in another order.
OTHER_ORDER = {"StructuralSimilarityIndexMeasure, reduction=none"}

#: What torchmetrics cannot compute from right states, whoever brings them: world sizes, shards, and the reason.
NOT_COMPUTED = {
    "CHRFScore with sentences": (WORLDS, tuple(SHARDS), "its `compute` cannot read synced rows"),
    "NormalizedRootMeanSquaredError": ((3,), tuple(SHARDS), "its `compute` is for at most two ranks"),
    "NormalizedRootMeanSquaredError, num_outputs=2": ((3,), tuple(SHARDS), "its `compute` is for at most two ranks"),
    "RootMeanSquaredErrorUsingSlidingWindow": (WORLDS, ("empty",), "its `compute` needs an update on every rank"),
}


def is_computed(name: str, world_size: int, shard: str) -> bool:
    worlds, shards, _ = NOT_COMPUTED.get(name, ((), (), ""))
    return not (world_size in worlds and shard in shards)


_COLLECTIVES = (
    *("allgather", "_allgather_base", "all_gather_single", "allgather_coalesced", "allgather_into_tensor_coalesced"),
    *("broadcast", "allreduce", "allreduce_coalesced", "barrier", "gather", "scatter", "reduce", "send", "recv"),
    *("alltoall", "alltoall_base", "reduce_scatter", "_reduce_scatter_base"),
)


@contextlib.contextmanager
def counted() -> Iterator[list[str]]:
    """Count the operations of torch's process groups, whoever starts them."""
    meet()
    calls: list[str] = []
    originals = {name: getattr(dist.ProcessGroup, name) for name in _COLLECTIVES if hasattr(dist.ProcessGroup, name)}
    for name, original in originals.items():

        def wrapper(*args: Any, _original: Any = original, _name: str = name, **kwargs: Any) -> Any:
            calls.append(_name)
            return _original(*args, **kwargs)

        setattr(dist.ProcessGroup, name, wrapper)
    try:
        with counted_in_memory(lambda: calls.append("_allgather_base")):
            yield calls
    finally:
        for name, original in originals.items():
            setattr(dist.ProcessGroup, name, original)


def updated(name: str, shard: list[list[int]], ranks: list[int]) -> Any:
    """Give a metric that saw the batches of these ranks."""
    row = ROWS[name]
    metric = row.make()
    for rank in ranks:
        g = torch.Generator().manual_seed(100 + rank)
        for n in shard[rank]:
            row.feed(metric, n, g)
    return metric


def alone(metric: Any) -> Any:
    """Give the value of what this process has."""
    for module in metric.modules():
        if isinstance(module, tm.Metric):
            module.distributed_available_fn = lambda: False
    return metric.compute()


def close(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        same = a.shape == b.shape and a.dtype == b.dtype
        return same and torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-5, equal_nan=True)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(close(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    return type(a) is type(b) and (a == b or repr(a) == repr(b))


def same_value(name: str, a: Any, b: Any) -> bool:
    if name in OTHER_ORDER and isinstance(a, Tensor):
        return close(a.sort().values, b.sort().values)
    return close(a, b)


def outcome(compute: Callable[[], Any]) -> Any:
    """Give a value, or the error of a metric that cannot compute it."""
    try:
        return compute()
    except Exception as error:
        return repr(error)


def local_form(metric: Any) -> Any:
    """Give what must be the same before and after a sync."""
    return [
        (name, inner._update_count, inner._is_synced, inner._to_sync, copy.deepcopy(inner.metric_state))
        for name, inner in metric.named_modules()
        if isinstance(inner, tm.Metric)
    ]


def table(rank: int, world_size: int) -> tuple[dict[str, list[str]], dict[str, int], list[int]]:
    """Give what is wrong, the most collectives that one `compute` took, and what all metrics in one call took."""
    wrong: dict[str, list[str]] = {}
    most: dict[str, int] = {}
    together = []
    for shard_name, shard in SHARDS.items():
        computed = [name for name in ROWS if is_computed(name, world_size, shard_name)]
        single = {name: alone(updated(name, shard, list(range(world_size)))) for name in computed}
        metrics = {name: updated(name, shard, [rank]) for name in computed}
        before = {name: local_form(metric) for name, metric in metrics.items()}
        with counted() as calls:
            found = sync_and_compute({name: metrics[name] for name in computed})
        together.append(len(calls))
        installed = copy.deepcopy(metrics)
        for name in computed:
            if not same_value(name, found[name], single[name]):
                wrong.setdefault(name, []).append(f"{shard_name}: {single[name]} but synced gives {found[name]}")
            if not close(before[name], local_form(metrics[name])):
                wrong.setdefault(name, []).append(f"{shard_name}: synced leaves other local states")
        room.install()
        for name, metric in installed.items():
            for inner in metric.modules():
                if isinstance(inner, tm.Metric):
                    inner._computed = None
            with counted() as calls:
                value = outcome(metric.compute)
            most[name] = max(most.get(name, 0), len(calls))
            if not same_value(name, value, single[name]):
                wrong.setdefault(name, []).append(f"{shard_name}: {single[name]} but install gives {value}")
            if name != "MetricCollection" and not close(before[name], local_form(metric)):
                wrong.setdefault(name, []).append(f"{shard_name}: install leaves other local states")
        room.uninstall()
    return wrong, most, together


def together(rank: int, world_size: int) -> int:
    """Give the collectives of one sync of as many metrics as fit into a packet: those with small states."""
    names = [name for name in ROWS if name.startswith(("Binary", "Word", "Max", "Retrieval"))]
    metrics = {name: updated(name, SHARDS["even"], [rank]) for name in names}
    with counted() as calls:
        sync_and_compute(metrics)
    return len(calls)


def plain(rank: int, world_size: int) -> dict[str, int]:
    """Give the collectives of plain torchmetrics on even ranks, where it can do them."""
    counts = {}
    for name in ROWS:
        metric = updated(name, SHARDS["even"], [rank])
        with counted() as calls:
            outcome(metric.compute)
        counts[name] = len(calls)
    return counts


def mean_state() -> Any:
    class Loss(tm.Metric):
        def __init__(self) -> None:
            super().__init__()
            self.add_state("loss", torch.tensor(0.0), dist_reduce_fx="mean")

        def update(self, value: float) -> None:
            self.loss += (value - self.loss) / self._update_count

        def compute(self) -> Tensor:
            return self.loss

    return Loss()


class Rows(tm.Metric):
    """A list of tensors, or of rows; its `compute` fails if it is told to."""

    def __init__(self, dist_reduce_fx: str | None, fails: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.add_state("rows", [], dist_reduce_fx=dist_reduce_fx)
        self.fails = fails

    def update(self, value: Tensor) -> None:
        self.rows.append(value)

    def compute(self) -> Any:
        if self.fails:
            raise ValueError("no value")
        return self.rows


def failing(case: str, rank: int) -> Any:
    """Give a metric that plain torchmetrics gets wrong on two ranks."""
    if case in ("empty, int64", "empty, two dimensions"):
        name = "BinaryAUROC" if case == "empty, int64" else "MulticlassAUROC"
        return updated(name, [[4, 4], []], [rank])
    if case == "mean":
        metric = mean_state()
        for value in [1.0, 2.0, 3.0] if rank == 0 else [10.0]:
            metric.update(value)
        return metric
    metric = Rows("cat" if case in ("dtypes", "raises") else None, fails=case == "raises")
    dtype = torch.float16 if rank and case == "dtypes" else torch.float32
    for index in range(1 + rank if case == "lengths" else 1):
        metric.update(torch.tensor([rank * 10.0 + index], dtype=dtype))
    return metric


def updated_while_synced(metric: Any) -> Tensor:
    """Give what all ranks have after one more update, which comes while the metric is synced, and once more if refused.

    Plain torchmetrics takes it, and loses it.
    """
    more = torch.tensor([5.0])
    with metric.sync_context():
        try:
            metric.update(more)
            missing = False
        except TorchMetricsUserError:
            missing = True
    if missing:
        metric.update(more)
    value: Tensor = torch.cat([row.reshape(-1) for row in metric.compute()])
    return value


def run_failing(rank: int, world_size: int, case: str, installed: bool) -> Any:
    """Give the value, and whether the metric is synced afterwards."""
    if installed:
        room.install()
    metric = failing(case, rank)
    value = outcome(lambda: updated_while_synced(metric)) if case == "updated while synced" else outcome(metric.compute)
    room.uninstall()
    return value, metric._is_synced, metric._update_count


def same_at_first(rank: int) -> list[tuple[Tensor, Tensor]]:
    """Give two batches. In the first one of rank 0 alone there is no class 2."""
    first = torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1] if rank == 0 else [0, 1, 2])
    return [first, (torch.tensor([2, 1, 0]), torch.tensor([2, 2, 0]))]


def with_and_without_a_class() -> dict[str, Any]:
    make = tm.classification.MulticlassAccuracy
    return {"all": make(3, average="micro"), "without 2": make(3, average="micro", ignore_index=2)}


def groups_by_value(rank: int, world_size: int, ours: bool) -> tuple[list[float], int]:
    """Give the values of two metrics whose first states are equal on rank 0 alone, and how many groups were formed."""
    metrics: Any = (MetricCollection if ours else tm.MetricCollection)(with_and_without_a_class())
    for batch in same_at_first(rank):
        metrics.update(*batch)
    return [float(value) for value in metrics.compute().values()], len(metrics.compute_groups)


def _metrics() -> list[Any]:
    return [
        tm.MetricCollection([ROWS["MulticlassPrecision"].make(), ROWS["MulticlassRecall"].make()]),
        tm.wrappers.MinMaxMetric(ROWS["MulticlassAccuracy"].make()),
        ROWS["MulticlassAUROC"].make(),
        tm.SumMetric() + tm.MeanMetric(),
    ]


def _feed(metrics: list[Any], rank: int, step: int = 0) -> None:
    for n in [[5, 3], [4], [2, 2]][rank]:
        for metric in metrics[:3]:
            ROWS["MulticlassAUROC"].feed(metric, n, torch.Generator().manual_seed(rank + 10 * step))
        metrics[3].update(torch.tensor(float(n)))


def fused(rank: int, world_size: int) -> dict[str, Any]:
    """Give what `fuse` gives over two epochs, and the collectives of each."""
    found: dict[str, Any] = {}
    metrics = room.fuse(_metrics())
    reference = _metrics()
    for step in range(2):
        _feed(metrics, rank, step)
        for other in range(world_size):
            _feed(reference, other, step)
        with counted() as calls:
            values = [metric.compute() for metric in metrics]
        single = [alone(metric) for metric in reference]
        found[f"calls {step}"] = len(calls)
        found[f"right {step}"] = close(values, single)
    with counted() as calls:
        [metric.compute() for metric in metrics]  # nothing was updated
    found["calls again"] = len(calls)
    for metric in [*metrics, *reference]:
        metric.reset()
    _feed(metrics, rank, 3)
    with counted() as calls:
        first = metrics[2].compute()
        metrics[3].update(torch.tensor(1.0))  # what is ready is good no more
        second = metrics[0].compute()
    found["calls with an update between"] = len(calls)
    for other in range(world_size):
        _feed(reference, other, 3)
    found["right with an update between"] = close([first, second], [alone(reference[2]), alone(reference[0])])
    found["modules"] = _fused_module(rank, world_size)
    room.uninstall()
    found["left"] = (
        [name for m in metrics for name in vars(m) if "fuse" in name],
        dict(fused_now),
        list(routing._wrapped),
    )
    return found


def _fused_module(rank: int, world_size: int) -> tuple[float, float, int]:
    model = torch.nn.Module()
    model.a, model.b = tm.SumMetric(), tm.MeanMetric()
    room.fuse(model)
    model.a.update(rank + 1.0)
    if rank:
        model.b.update(float(rank))
    with counted() as calls:
        return model.b.compute().item(), model.a.compute().item(), len(calls)


def disagreeing(rank: int, world_size: int) -> list[str]:
    """Give the errors of ranks that compute other metrics, or have others, and the value after that."""
    a, b = room.fuse([tm.SumMetric(), tm.SumMetric()])
    found = []
    a.update(rank + 1.0)
    b.update(rank + 1.0)
    a.compute()
    if rank == 1:
        b.compute()  # rank 0 does not ask for it
    for metric in (a, b):
        metric.update(1.0)
    found.append(outcome(a.compute))
    found.append(outcome(a.compute))
    others = room.fuse([tm.SumMetric(), tm.SumMetric() if rank else tm.MeanMetric()])
    for metric in others:
        metric.update(1.0)
    found.append(outcome(others[0].compute))
    found.append((others[0]._is_synced, others[0]._cache, outcome(a.compute)))
    room.uninstall()
    return [str(value) for value in found]


def own_gather(rank: int, world_size: int) -> tuple[list[float], int, Any]:
    """Give the value by a gather function of the user, how often it was called, and no states: no collectives."""
    seen = []

    def gather(value: Tensor, group: Any = None) -> list[Tensor]:
        seen.append(value)
        return [value, value * 2]

    class Nothing(tm.Metric):
        def update(self) -> None: ...

        def compute(self) -> int:
            return 3

    room.install()
    room.install()
    metric = tm.SumMetric(dist_sync_fn=gather)
    metric.update(2.0)
    with counted() as calls:
        value = metric.compute().item(), Nothing().compute()
    room.uninstall()
    return [*value, len(seen)], len(calls), metric._is_synced


def running_and_orders(rank: int, world_size: int) -> Any:
    """Give a window's sum, lists of equal lengths, rows of nobody, and what `forward` gives when it syncs."""
    room.install()
    window = tm.wrappers.Running(tm.SumMetric(), window=2)
    for value in (1.0, 2.0, 3.0):
        window.update(value + rank)
    lists, nobody = Rows(None), Rows("cat")
    for index in range(2):
        lists.update(torch.tensor([rank * 10 + index]))
    step = tm.SumMetric(dist_sync_on_step=True)
    steps = [step(rank + 1.0).item(), step(rank + 2.0).item(), step.compute().item()]
    none = nobody.compute()
    found = window.compute().item(), [x.item() for x in lists.compute()], (none.shape, none.dtype), steps
    room.uninstall()
    return found


PAGE = Path(__file__).parents[2] / "docs" / "torchmetrics-tried.md"


def rows_of_page() -> list[str]:
    """Run the table, and give it as it stands in the page."""
    tables = {world_size: run_ranks(table, world_size, timeout=110) for world_size in WORLDS}
    before = run_ranks(plain, 2, timeout=110)[0]
    lines = ["| metric | one process = engine | collectives before | after |", "|---|---|---|---|"]
    for name in ROWS:
        wrong = [text for found in tables.values() for rank in found for text in rank[0].get(name, [])]
        after = max(rank[1].get(name, 0) for found in tables.values() for rank in found)
        said = "NO: " + wrong[0] if wrong else "yes"
        if name in NOT_COMPUTED:
            worlds, shards, reason = NOT_COMPUTED[name]
            where = f"{' and '.join(map(str, worlds))} ranks" + (", one of them empty" if shards == ("empty",) else "")
            said = f"{'no' if (worlds, shards) == (WORLDS, tuple(SHARDS)) else 'yes'}; not on {where}: {reason}"
        elif name in OTHER_ORDER:
            said = "yes, rows in another order"
        lines.append(f"| {name} | {said} | {before[name]} | {after or '-'} |")
    return lines


def write_page() -> None:
    """Bring the table of the page up to date."""
    head = PAGE.read_text().split("| metric |")[0]
    PAGE.write_text(head + "\n".join(rows_of_page()) + "\n")


def over_a_mesh(rank: int, world_size: int) -> dict[str, list[float]]:
    """Sync metrics of theirs over one dimension of a mesh, whose other ranks hold replicas."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    group, number = over(mesh, "dp"), torch.tensor([10.0 + mesh.get_local_rank("dp")])
    spread = DTensor.from_local(number, mesh, [Shard(0), Replicate()], run_check=False)
    given = MetricCollection(
        {"theirs": tm.SumMetric(), "ours": SumMetric(), "around": MinMaxMetric(SumMetric())}, process_group=group
    )
    given.update(number)
    given.update(spread)
    bare, own = tm.SumMetric(), tm.SumMetric(process_group=group)
    for metric in (bare, own):
        metric.update(number)
    alone = sync_and_compute([bare], process_group=group) + sync_and_compute([own])
    return {"in a collection": list(map(float, given.compute().values())), "alone": list(map(float, alone))}
