"""What the ranks of test_parity.py do, as processes or as threads."""

from __future__ import annotations

import copy
import math
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh

from syncmetrics import (
    ClasswiseWrapper,
    MetricCollection,
    StateError,
    gather_ragged,
    sync_and_compute,
    sync_states,
    synced,
)
from syncmetrics.states.reductions import check_arithmetic
from tests.samples import DTYPES, Counts, Most, Names, Outer, PerClass, Rows, Total, Welford, bits, local_bits


def product(stack: Tensor) -> Tensor:
    return stack.prod(0)


def numbers(rank: int, dtype: torch.dtype, *shape: int) -> Tensor:
    drawn = (torch.arange(math.prod(shape), device="cpu") + rank) % 2
    return drawn.to(torch.float32).to(dtype).view(shape).to(torch.get_default_device())


def table(rank: int, world_size: int) -> Any:
    """Sync every dtype with every reduction, small and large, in one call; give all bytes."""
    states: dict[str, Any] = {}
    reductions: dict[str, Any] = {}
    for index, dtype in enumerate(DTYPES):
        for name in ("sum", "mean", "min", "max"):
            try:
                check_arithmetic(name, torch.zeros(1, dtype=dtype))  # type: ignore[arg-type]
            except StateError:
                continue
            states[f"{name}_{index}"], reductions[f"{name}_{index}"] = numbers(rank, dtype, 3), name
        big = 70_000 if dtype in (torch.int64, torch.float64, torch.uint16) else 3
        states[f"cat_{index}"], reductions[f"cat_{index}"] = [numbers(rank, dtype, rank * big, 2)], "cat"
        states[f"none_{index}"], reductions[f"none_{index}"] = numbers(rank, dtype, big), None
        states[f"list_{index}"], reductions[f"list_{index}"] = [numbers(rank, dtype, 2, rank)] * rank, None
    states["fx"], reductions["fx"] = torch.tensor([2.0, rank]), product
    states["large_sum"], reductions["large_sum"] = torch.arange(70_000) * (rank + 1), "sum"
    states["names"], reductions["names"] = [("rank", rank), {"k": [None, 1.5]}] * rank, None
    return bits(sync_states(states, reductions, update_count=rank))


def table_and_total(rank: int, world_size: int) -> tuple[Any, float]:
    metric = Total()
    metric.update(torch.tensor([rank + 1.0]))
    return table(rank, world_size), metric.compute().item()


def _metrics() -> dict[str, Any]:
    return {
        "total": Total(4),
        "rows": Rows(),
        "flat": Rows(None),
        "names": Names(),
        "welford": Welford(),
        "outer": Outer(),
        "wrapped": ClasswiseWrapper(PerClass(3), labels=["x", "y", "z"]),
        "group": MetricCollection({"share": Counts(3), "most": Most(3)}, prefix="g/"),
    }


def _feed(metrics: dict[str, Any], batches: range) -> dict[str, Any]:
    for batch in batches:
        x = torch.arange(batch + 1) * 0.5
        for name in ("total", "rows", "flat", "welford", "outer"):
            metrics[name].update(x)
        metrics["names"].update(f"batch {batch}", {"n": (batch, None)})
        for name in ("wrapped", "group"):
            metrics[name].update(torch.arange(batch + 2) % 3)
    return metrics


def _alone() -> dict[str, Any]:
    metrics = _feed(_metrics(), range(7))
    for inner in metrics.values():
        for module in inner.modules():
            if hasattr(module, "sync_on_compute"):
                module.sync_on_compute = False
    return {name: metric.compute() for name, metric in metrics.items()}


def _shard(rank: int, world_size: int) -> range:
    """Give each rank its batches in order; the second of three or more has none."""
    cuts = {2: [0, 3, 7], 3: [0, 4, 4, 7], 4: [0, 1, 1, 5, 7]}[world_size]
    return range(cuts[rank], cuts[rank + 1])


def _close(got: Any, want: Any) -> None:
    torch.testing.assert_close(got["welford"], want["welford"])
    assert bits({**got, "welford": 0}) == bits({**want, "welford": 0})


def metrics_by_themselves(rank: int, world_size: int) -> None:
    metrics = _feed(_metrics(), _shard(rank, world_size))
    before = [local_bits(torch.nn.ModuleList([m])) for m in metrics.values()]
    _close({name: metric.compute() for name, metric in metrics.items()}, _alone())
    assert [local_bits(torch.nn.ModuleList([m])) for m in metrics.values()] == before


def metrics_at_once(rank: int, world_size: int) -> None:
    metrics = _feed(_metrics(), _shard(rank, world_size))
    _close(sync_and_compute(metrics), _alone())
    with synced(*metrics.values()):
        assert metrics["total"].update_count == 7
    assert metrics["total"].update_count == len(_shard(rank, world_size))


def a_collection_of_all(rank: int, world_size: int) -> None:
    want = _alone()
    metrics = _feed(_metrics(), _shard(rank, world_size))
    got = MetricCollection({f"the_{name}": metric for name, metric in metrics.items()}).compute()
    torch.testing.assert_close(got.pop("the_welford"), want.pop("welford"))
    flat = [v for value in want.values() for v in (value.values() if isinstance(value, dict) else [value])]
    assert [bits(value) for value in got.values()] == [bits(value) for value in flat]


def ragged_gathers(rank: int, world_size: int) -> None:
    for size in (3, 50_000):
        mine = torch.arange(rank * size).view(rank, size).to((torch.float32, torch.int16)[rank % 2])
        want = [torch.arange(r * size).view(r, size).to((torch.float32, torch.int16)[r % 2]) for r in range(world_size)]
        assert bits(gather_ragged(mine)) == bits(want)
        for dst in range(world_size):
            assert bits(gather_ragged(mine, dst=dst)) == bits(want if rank == dst else [])


def _sum_over(process_group: Any, rank: int, ranks: list[int]) -> None:
    metric = Total(process_group=process_group)
    metric.update(torch.tensor([10.0**rank]))
    want = sum(10.0**r for r in ranks)
    assert metric.compute() == want
    for twin in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric)), metric.clone()):
        twin.update(torch.tensor([10.0**rank]))
        assert twin.compute() == 2 * want
        both = MetricCollection({"a": metric, "b": twin})
        assert bits(both.compute()) == bits({"a": torch.tensor(want).double(), "b": torch.tensor(2 * want).double()})
    got = sync_states({"x": torch.tensor(rank)}, {"x": None}, process_group=process_group)["x"]
    assert got.tolist() == ranks  # type: ignore[union-attr]
    assert [t.item() for t in gather_ragged(torch.tensor(rank), process_group=process_group)] == ranks


def _refusal(process_group: Any) -> str:
    try:
        Total(process_group=process_group)
    except ValueError as error:
        return str(error)
    return "not refused"


def process_groups(rank: int, world_size: int) -> None:
    ranks = [0, world_size - 1]
    group = dist.new_group(ranks)
    if rank in ranks:
        _sum_over(group, rank, ranks)
    else:
        assert "this rank is part of" in _refusal(group)
    _sum_over(dist.group.WORLD, rank, list(range(world_size)))


def meshes(rank: int, world_size: int) -> None:
    line = init_device_mesh("cpu", (world_size,), mesh_dim_names=("dp",))
    _sum_over(line, rank, list(range(world_size)))
    _sum_over((line, "dp"), rank, list(range(world_size)))
    if world_size == 4:
        square = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
        _sum_over((square, "dp"), rank, [rank % 2, rank % 2 + 2])
        _sum_over((square, "tp"), rank, [rank // 2 * 2, rank // 2 * 2 + 1])
        _sum_over(square["tp"], rank, [rank // 2 * 2, rank // 2 * 2 + 1])
        assert "(mesh, 'dp')" in _refusal(square)


def forward_on_step(rank: int, world_size: int) -> None:
    metric = Total(dist_sync_on_step=True)
    for step in range(3):
        assert metric(torch.tensor([10.0 * step + rank])) == sum(10.0 * step + r for r in range(world_size))
        assert metric.total == sum(10.0 * s + rank for s in range(step + 1))
    assert metric.compute() == sum(10.0 * s + r for s in range(3) for r in range(world_size))


CHECKS: dict[str, Callable[[int, int], None]] = {
    check.__name__: check
    for check in (
        metrics_by_themselves,
        metrics_at_once,
        a_collection_of_all,
        ragged_gathers,
        process_groups,
        meshes,
        forward_on_step,
    )
}


def everything(rank: int, world_size: int) -> dict[str, Any]:
    """Do all of it, and say of each check whether it was right, or what went wrong.

    A check that fails on one rank alone leaves the others behind, so the first failure ends the run.
    """
    found = {"table": table(rank, world_size), "checks": dict.fromkeys(CHECKS, "not reached")}
    for name, check in CHECKS.items():
        try:
            check(rank, world_size)
        except Exception:
            found["checks"][name] = traceback.format_exc()
            break
        found["checks"][name] = "right"
    return found
