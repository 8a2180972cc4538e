"""What a rank does in the test of law 1: the same to the members of a collection, and to the same metrics alone."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from syncmetrics import (
    Metric,
    MetricCollection,
    MulticlassAccuracy,
    MulticlassF1Score,
    RowBuffer,
    SchemaMismatchError,
    dim_zero_cat,
    join,
    trace,
)
from tests.laws.drawn import Drawn, Lengths, batch
from tests.samples import bits

Op = tuple[Any, ...]


@dataclass(frozen=True)
class Plan:
    """What is done.

    Attributes:
        world: Number of ranks.
        members: Of each member the kinds of its states, and whether it is a `Lengths`.
        rounds: What each rank does before all of them compute, and so on.
    """

    world: int
    members: tuple[tuple[tuple[str, ...], bool], ...]
    rounds: tuple[tuple[tuple[Op, ...], ...], ...]


def metrics_of(plan: Plan) -> dict[str, Metric]:
    return {
        f"m{index}": (Lengths if other else Drawn)(kinds, compute_with_cache=False)
        for index, (kinds, other) in enumerate(plan.members)
    }


def compare(rank: int, world_size: int, plan: Plan) -> None:
    collection, alone = MetricCollection(metrics_of(plan)), metrics_of(plan)
    names = list(alone)
    for ranks in plan.rounds:
        for op in ranks[rank]:
            _act(collection, alone, names, op)
            kept = {name: _local(metric) for name, metric in alone.items()}
            assert {name: _local(metric) for name, metric in collection.items()} == kept, op
        wanted = {name: outcome(metric) for name, metric in alone.items()}
        found = outcome(collection)
        if "error" in wanted.values():  # one sync for all of them
            assert found == "error", ranks
        else:
            assert found == bits({name: metric.compute() for name, metric in alone.items()}), ranks
        for name in names:  # and each by itself
            assert outcome(collection[name]) == wanted[name], (name, ranks)


def _local(metric: Metric) -> Any:
    """Give the local states bit by bit. Of a buffer only the rows are promised, and not how they are cut."""
    states = metric.metric_state
    joined = {
        n: dim_zero_cat(s) for n, s in states.items() if isinstance(metric._holder.specs[n].default, RowBuffer) and s
    }
    return metric.update_count, bits(states | joined)


def outcome(metric: Any) -> Any:
    """Give the value bit by bit; "error" where one rank has begun anew and another has not."""
    try:
        return bits(metric.compute())
    except SchemaMismatchError as error:
        if "different epochs" not in str(error):
            raise
        return "error"


def compare_some(rank: int, world_size: int, plans: list[Plan]) -> None:
    for plan in plans:
        compare(rank, world_size, plan)


def _act(collection: MetricCollection, alone: dict[str, Metric], names: list[str], op: Op) -> None:
    verb, *rest = op
    if verb in ("update", "forward"):
        x = batch(rest[0])
        if verb == "update":
            collection.update(x)
            for metric in alone.values():
                metric.update(x)
        else:
            assert bits(collection(x)) == bits({name: metric(x) for name, metric in alone.items()})
        return
    if verb == "reset":
        collection.reset()
        for metric in alone.values():
            metric.reset()
        return
    name = names[rest[0] % len(names)]
    for metric in (collection[name], alone[name]):
        if verb == "update of":
            metric.update(batch(rest[1]))
        elif verb == "forward of":
            metric(batch(rest[1]))
        elif verb == "reset of":
            metric.reset()
        elif verb == "set on":
            metric.remark = "a setting that nothing depends on"
        elif verb == "clone of":
            metric.clone().update(batch(0))
        else:
            other = type(metric)(metric.kinds)  # type: ignore[call-arg,arg-type]
            other.update(batch(rest[1]))
            if verb == "merge into":
                metric.merge_state(other)
            else:
                other.persistent(True)
                metric.load_state_dict(other.state_dict())


def one_by_one(rank: int, world_size: int, act: str) -> None:
    """Treat the members one by one on rank 0 only. The other rank does nothing."""
    labels, targets = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2])

    def make() -> dict[str, Metric]:
        return {"a": MulticlassAccuracy(3), "f": MulticlassF1Score(3)}

    collection, alone = MetricCollection(make()), make()
    other = make()
    for metric in other.values():
        metric.persistent(True)
        metric.update(labels, targets)
    if act != "update":
        for metrics in (collection.values(), alone.values()):
            for metric in metrics:
                metric.update(targets, targets)
    if rank == 0:
        for metrics in (collection, alone):
            for name, metric in metrics.items():
                if act == "update":
                    metric.update(labels, targets)
                elif act == "forward":
                    metric(labels, targets)
                elif act == "reset":
                    metric.reset()
                elif act == "merge":
                    metric.merge_state(other[name])
                else:
                    metric.load_state_dict(other[name].state_dict())
    assert bits(collection.compute()) == bits({name: metric.compute() for name, metric in alone.items()})


def steps_apart(rank: int, world_size: int, uneven: bool) -> None:
    """Take synced steps where one rank has members apart; and where the others have no steps left."""
    labels, targets = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2])
    options = {"dist_sync_on_step": True, "compute_with_cache": False}

    def make() -> dict[str, Metric]:
        return {"a": MulticlassAccuracy(3, **options), "f": MulticlassF1Score(3, **options)}

    collection, alone = MetricCollection(make()), make()
    if rank == 0:
        collection["a"].update(labels, targets)
        alone["a"].update(labels, targets)
    for _ in range(2):
        with join(collection) if uneven else nullcontext():
            for _ in range(2 - rank if uneven else 2):
                collection(targets, labels)
        for metric in alone.values():
            for _ in range(2 - rank if uneven else 2):
                metric.update(targets, labels)
        kept = {name: _local(metric) for name, metric in alone.items()}
        assert {name: _local(metric) for name, metric in collection.items()} == kept
        assert bits(collection.compute()) == bits({name: metric.compute() for name, metric in alone.items()})


def records(rank: int, world_size: int, apart: bool) -> int:
    """Give the number of exchanges of one sync of metrics that share, or that one rank has taken apart."""
    labels = torch.tensor([0, 1, 2])
    collection = MetricCollection({"a": MulticlassAccuracy(3), "f": MulticlassF1Score(3)})
    collection.update(labels, labels)
    if apart and rank == 0:
        collection["a"].update(labels, labels)
    with trace() as found:
        collection.compute()
    (exchanges,) = {record.collectives for record in found.syncs}  # the other rank is a thread of this process
    return exchanges
