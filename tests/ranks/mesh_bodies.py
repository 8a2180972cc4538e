"""What the ranks of a mesh do: syncs over some of its dimensions, and metrics given what is spread over the others."""

from __future__ import annotations

import copy
import itertools
import pickle
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch._dynamo  # which a DTensor imports in every rank
import torch.distributed as dist
from torch import Tensor
from torch.distributed._functional_collectives import all_reduce
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard

from syncmetrics import (
    CatMetric,
    ClasswiseWrapper,
    MetricCollection,
    MetricLogger,
    MulticlassAccuracy,
    ReplicaMismatchError,
    SumMetric,
    gather_ragged,
    join,
    load_state,
    over,
    save_state,
    share_errors,
    sync_and_compute,
    sync_states,
    synced,
)

NAMES = ("dp", "tp", "pp")


def cube() -> tuple[DeviceMesh, int, int, int]:
    """Give a mesh of 8 ranks, and where this one is."""
    mesh = init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=NAMES)
    dp, tp, pp = mesh.get_coordinate() or ()
    return mesh, dp, tp, pp


def refusal(call: Callable[[], Any]) -> str:
    """Give the text of the error that a call must raise."""
    try:
        found = call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError(f"nothing was raised, but {found!r} given")


def small(group: Any, **options: Any) -> MetricCollection:
    classes = ClasswiseWrapper(MulticlassAccuracy(2, average=None), ["no", "yes"])
    return MetricCollection(
        {"cat": CatMetric(), "sum": SumMetric(), "classes": classes}, process_group=group, **options
    )


def plain(values: Any) -> Any:
    return {name: None if value is None else value.tolist() for name, value in values.items()}


def feed(metrics: MetricCollection, number: float) -> None:
    for name in ("cat", "sum"):
        metrics[name].update(torch.tensor([number]))
    metrics["classes"].update(torch.tensor([1]), torch.tensor([int(number) % 2]))


NOTHING = {"cat": None, "sum": None, "multiclassaccuracy_no": None, "multiclassaccuracy_yes": None}


def values_of(numbers: Sequence[float]) -> dict[str, Any]:
    yes = [number for number in numbers if int(number) % 2]
    return {
        "cat": list(numbers) if len(numbers) > 1 else numbers[0],
        "sum": sum(numbers),
        "multiclassaccuracy_no": 0.0,
        "multiclassaccuracy_yes": float(bool(yes)),
    }


# -- who gets what


def dimensions(rank: int, world_size: int) -> None:
    """Whatever the dimensions, each value counts once, in the order of the mesh."""
    mesh, *place = cube()
    for count in range(4):
        for dims in itertools.combinations(NAMES, count):
            axes = [NAMES.index(dim) for dim in dims]
            others = itertools.product(*([0, 1] if axis in axes else [None] for axis in range(3)))
            wanted = [sum(10.0**axis * other[axis] for axis in axes) for other in others]  # type: ignore[operator]
            given: Any = dims[::-1] if count != 1 else dims[0]
            metrics = small((mesh, given) if count == 1 else over(mesh, given))
            feed(metrics, sum(10.0**axis * place[axis] for axis in axes))
            assert plain(metrics.compute()) == values_of(wanted), (dims, rank)


def outside_none(rank: int, world_size: int) -> None:
    """Ranks without data have None, send nothing, and wait for nobody."""
    mesh, dp, _, pp = cube()
    group = over(mesh, "dp", only={"pp": -1})
    assert group == over(mesh, ["dp"], only={2: 1}) or pp == 1  # a group is not equal to another reference to it
    mixed = MetricCollection({"all": SumMetric(), "last": SumMetric(process_group=group)})
    mixed["all"].update(1.0)
    if pp == 1:
        mixed["last"].update(float(dp))
    for values in (mixed.compute_async().wait(), mixed.compute()):
        assert values == {"all": 8.0, "last": 1.0 if pp == 1 else None}
    metrics = small(group)
    if pp == 1:
        feed(metrics, float(dp))
        feed(metrics, 5.0)
        dist.barrier()
        assert plain(metrics.compute()) == values_of([0.0, 5.0, 1.0, 5.0])
        return
    for _ in range(2):  # the others are not here yet
        assert metrics.compute() == NOTHING
        assert metrics["sum"].compute() is None
        assert sync_and_compute([metrics, SumMetric()], process_group=group) == [NOTHING, None]
        assert metrics.compute_async().wait() == NOTHING
        assert small(group, compute_on=0).compute() == NOTHING
        with metrics.sync_context():
            assert metrics.compute() == NOTHING
        with synced(metrics), share_errors(process_group=group):
            assert metrics.compute() == NOTHING
        assert sync_states({"x": torch.ones(2)}, {"x": "sum"}, process_group=group) == {}
        assert gather_ragged(torch.ones(2), process_group=group) == []
        logger = MetricLogger(process_group=group)
        logger.track(metrics)
        logger.log("loss", 3.0)
        assert logger.end_epoch() == {**NOTHING, "loss": None}
        assert not logger.history
        assert "takes no part" in refusal(lambda: save_state(metrics))
        assert "global rank" in refusal(lambda: metrics["sum"].update(1.0))
        assert "over(mesh, 'dp', only={'pp': 1})" in refusal(lambda: metrics["sum"](1.0))
        assert "has no data" in refusal(lambda: feed(metrics, 1.0))
    dist.barrier()


def outside_broadcast(rank: int, world_size: int) -> None:
    """Ranks without data have the value, whatever the verb is."""
    mesh, dp, tp, pp = cube()
    group = over(mesh, "dp", only={"pp": 1}, outside="broadcast")
    wanted, inside = values_of([0.0, 1.0]), pp == 1
    metrics = small(group)
    if inside:
        feed(metrics, float(dp))
    else:
        assert "has no data" in refusal(lambda: feed(metrics, 1.0))
    for _ in range(2):
        assert plain(metrics.compute()) == wanted
    assert plain(metrics.compute_async().wait()) == wanted
    with metrics.sync_context():
        assert plain(metrics.compute()) == wanted
    with synced(metrics):
        assert plain(metrics.compute()) == wanted
    for one in (0, 3):  # inside, and outside
        on_one = small(group, compute_on=one)
        if inside:
            feed(on_one, float(dp))
        assert plain(on_one.compute()) == wanted
    saved = save_state(metrics)
    fresh = small(group)
    load_state(fresh, saved)
    assert plain(fresh.compute()) == wanted
    logger = MetricLogger(process_group=group)
    logger.track(fresh)
    if inside:
        logger.log("loss", float(dp))
    values = logger.end_epoch()
    assert plain(values) == wanted | {"loss": 0.5}
    assert len(logger.history) == int((dp, tp, pp) == (0, 0, 1))  # it is written once, where data are
    stepped = SumMetric(process_group=over(mesh, "dp"), dist_sync_on_step=True)
    assert stepped(float(dp + 10 * pp)) == 20.0 * pp + 1.0
    again = pickle.loads(pickle.dumps(metrics))
    assert plain(again.compute()) == plain(copy.deepcopy(metrics).compute()) == wanted


def ranks_beside_the_mesh(rank: int, world_size: int) -> None:
    """Ranks that no mesh knows get the value too, or None."""
    mesh = DeviceMesh("cpu", torch.tensor([[6, 1], [3, 0]]), mesh_dim_names=("dp", "tp"))
    here = mesh.get_coordinate()
    metrics = small(over(mesh, "dp", outside="broadcast"))
    if here is not None:
        feed(metrics, float(here[0]))
    assert plain(metrics.compute()) == values_of([0.0, 1.0])
    quiet = small(over(mesh, "dp"))
    if here is not None:
        feed(quiet, float(here[0]))
    assert plain(quiet.compute()) == (NOTHING if here is None else values_of([0.0, 1.0]))
    if here is None:
        assert "this rank is outside" in refusal(lambda: small((mesh, "dp")))
    part = cube()[0]["dp", "tp"]  # the ranks beside it have such a slice themselves
    metrics = small(over(part, "dp", outside="broadcast"))
    feed(metrics, float(part.get_local_rank("dp")))
    assert plain(metrics.compute()) == values_of([0.0, 1.0])


def replicas(rank: int, world_size: int) -> None:
    """Replicas that differ are named by the same error on all ranks, and nothing is lost."""
    mesh, dp, tp, pp = cube()
    group = over(mesh, "dp", only={"pp": -1}, outside="broadcast", check_replicas=True)
    metrics = small(group)
    if pp == 1:
        feed(metrics, float(dp))
    assert plain(metrics.compute()) == values_of([0.0, 1.0])
    assert plain(metrics.compute_async().wait()) == values_of([0.0, 1.0])
    if (dp, tp, pp) == (1, 1, 1):
        feed(metrics, 7.0)
    elif pp == 1:
        feed(metrics, 1.0)
    texts: list[str | None] = [None] * world_size
    dist.all_gather_object(texts, refusal(metrics.compute))
    assert len(set(texts)) == 1
    assert "global rank 5 (dp=1, tp=0, pp=1) and global rank 7 (dp=1, tp=1, pp=1)" in str(texts[0])
    assert all(name in str(texts[0]) for name in (ReplicaMismatchError.__name__, "`cat.value`", "`sum.sum_value`"))
    assert metrics["sum"].update_count == 2 * pp  # nothing is lost, and the group is in order
    metrics.reset()
    if pp == 1:
        feed(metrics, float(dp))
    assert plain(metrics.compute()) == values_of([0.0, 1.0])
    assert "check_replicas" in refusal(lambda: join(metrics).__enter__())


def wrong(rank: int, world_size: int) -> dict[str, str]:
    mesh = cube()[0]
    calls: dict[str, Callable[[], Any]] = {
        "no mesh": lambda: over("dp", "dp"),
        "no dimension": lambda: over(mesh, ("dp", "cp")),
        "no number": lambda: over(mesh, 3),
        "twice": lambda: over(mesh, ("dp", "pp"), only={"pp": 0}),
        "no index": lambda: over(mesh, "dp", only={"pp": 2}),
        "outside": lambda: over(mesh, "dp", outside="all"),  # type: ignore[arg-type]
        "two dimensions": lambda: SumMetric(process_group=mesh),
        "elsewhere": lambda: _elsewhere(SumMetric(process_group=over(mesh, ("dp", "tp")))).compute(),
    }
    return {what: refusal(call) for what, call in calls.items()}


def _elsewhere(metric: SumMetric) -> SumMetric:
    """Give a metric as one that was pickled by another rank."""
    there = copy.copy(metric._books.group)
    object.__setattr__(there, "rank", (dist.get_rank() + 1) % dist.get_world_size())
    metric.process_group = there
    return metric


# -- what is spread over ranks


def spread_inputs(rank: int, world_size: int, seed: int, meshes: int, each: int) -> int:
    """Give a metric DTensors of random placements: its value is that of one process, or it refuses them by name."""
    chosen, counted = random.Random(seed), 0
    for _ in range(meshes):
        shape = chosen.choice([(8,), (2, 4), (4, 2), (2, 2, 2), (1, 8), (2, 1, 4)])
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=("a", "b", "c")[: len(shape)])
        for _ in range(each):
            kinds = [Shard(0), Shard(0), Replicate(), Replicate(), Shard(1), Partial()]
            placements = [chosen.choice(kinds) for _ in shape]
            if chosen.random() < 0.5:  # mostly what fits
                placements = [chosen.choice(kinds[:4]) for _ in shape]
            dims = tuple(axis for axis in range(len(shape)) if chosen.random() < 0.5)
            if chosen.random() < 0.6:
                dims = tuple(axis for axis, placement in enumerate(placements) if placement == Shard(0))
            counted += _one_batch(mesh, placements, dims, chosen.randrange(1000))
    return counted


def _one_batch(mesh: DeviceMesh, placements: list[Placement], dims: tuple[int, ...], seed: int) -> int:
    generator = torch.Generator().manual_seed(seed)
    scores, target = torch.randn(8, 8, generator=generator), torch.randint(8, (8,), generator=generator)
    labels = [Replicate() if placement == Shard(1) else placement for placement in placements]
    group = over(mesh, dims)
    metrics = MetricCollection(
        {"accuracy": MulticlassAccuracy(8, average="micro"), "mean": MulticlassAccuracy(8)}, process_group=group
    )
    given = _part(scores, mesh, placements), _part(target, mesh, labels)
    large = [axis for axis in range(mesh.ndim) if mesh.size(axis) > 1]
    fits = all(placements[axis] == (Shard(0) if axis in dims else Replicate()) for axis in large)
    if not fits:
        text = refusal(lambda: metrics.update(*given))
        assert "MulticlassAccuracy: `preds` is a DTensor that is" in text, text
        assert all(metric.update_count == 0 for metric in metrics.values())
        return 0
    metrics.update(*given)
    alone = metrics.clone()
    for metric in alone.values():
        metric.sync_on_compute = False
    alone.reset()
    alone.update(scores, target)
    assert plain(metrics.compute()) == plain(alone.compute())
    return 1


def _part(whole: Tensor, mesh: DeviceMesh, placements: Sequence[Placement]) -> DTensor:
    """Make a DTensor of what every rank has, without a word to the others."""
    local, place = whole, mesh.get_coordinate()
    assert place is not None
    for axis, placement in enumerate(placements):
        if isinstance(placement, Shard):
            local = local.chunk(mesh.size(axis), placement.dim)[place[axis]]
    return DTensor.from_local(local.contiguous(), mesh, placements, run_check=False)


def all_ways_in(rank: int, world_size: int) -> None:
    """DTensors are taken by every verb, by name and inside of lists and dicts; and so are tensors on their way."""
    mesh, dp, *_ = cube()
    numbers = torch.arange(2.0)[dp : dp + 1]
    spread = DTensor.from_local(numbers, mesh, [Shard(0), Replicate(), Replicate()], run_check=False)
    group = over(mesh, "dp")
    metric = SumMetric(process_group=group)
    metric.update(spread)
    metric.update(value=spread)
    assert float(metric(spread)) == dp
    assert metric.compute() == 3.0
    cat = CatMetric(process_group=group)
    cat.update(spread)
    assert type(cat.value[0]) is Tensor
    assert cat.compute().tolist() == [0.0, 1.0]
    nested = Nested(process_group=group)
    nested.update([{"x": spread}, {"x": numbers}], {"y": (spread,)})
    assert nested.compute() == 3.0
    own = SumMetric(sync_on_compute=False)  # synced with nobody: nothing is counted twice
    own.update(DTensor.from_local(torch.ones(2), mesh, [Replicate()] * 3, run_check=False))
    assert own.compute() == 2.0
    logger = MetricLogger(process_group=group)
    logger.log("loss", DTensor.from_local(torch.tensor(2.0 + dp), mesh, [Replicate()] * 3, run_check=False))
    assert logger.end_epoch()["loss"] == 2.5
    partial = DTensor.from_local(torch.tensor(2.0), mesh, [Partial(), Replicate(), Replicate()], run_check=False)
    assert "`loss` is a DTensor that is Partial() over 'dp'" in refusal(lambda: logger.log("loss", partial))
    mixed = MetricCollection({"a": SumMetric(process_group=group), "b": SumMetric()})
    assert "SumMetric: `value` is a DTensor that is Replicate() over 'tp'" in refusal(lambda: mixed.update(spread))
    flat = mesh.get_group("tp")
    on_its_way = all_reduce(torch.ones(1), "sum", flat)
    cat.update(on_its_way)
    assert type(cat.value[-1]) is Tensor
    assert cat.compute().tolist() == [0.0, 2.0, 1.0, 2.0]


class Nested(SumMetric):
    """Takes tensors inside of lists, tuples and dicts."""

    def update(self, preds: Any, target: Any) -> None:  # type: ignore[override]
        for value in (*(one["x"] for one in preds), *target["y"]):
            assert type(value) is Tensor
            super().update(value)
