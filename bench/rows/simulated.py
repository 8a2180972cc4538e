"""What a sync costs in a process when there are many ranks: the others are simulated, and repeat what this one says."""

from __future__ import annotations

from typing import Any

from bench.cases import Built, Case, Contender, Row, Scale, Target
from bench.rows.classification import batch_of, our_collection
from bench.simulated import RepeatingTransport
from syncmetrics.sync.engine import sync_parts
from syncmetrics.sync.route import Route

__all__ = ["ROWS"]

WORLDS = (2, 64, 256, 1024, 4096, 16384)
#: Of each rank, from 256 on.
_GOAL = 1e-6


def _cases(scale: Scale) -> list[Case]:
    if not scale.pick(1):
        return []
    return [
        Case(
            "simulated",
            1,
            f"{world_size:,} simulated ranks",
            {"syncmetrics": "ours"},
            {"world": world_size},
            (Target("value", _GOAL * world_size),) if world_size >= 256 else (),
        )
        for world_size in (WORLDS[:2] if scale.quick else WORLDS)
    ]


def _build(case: Case, rank: int) -> Built:
    metrics: Any = our_collection()
    metrics.update(*batch_of(256, 0))
    parts = [node.local_part() for node in metrics._members().nodes()]
    route = Route(RepeatingTransport(case.params["world"]))

    def sync() -> None:
        sync_parts(parts, route, label="eighteen")

    return {name: Contender(sync, number=5) for name in case.contenders}


ROWS = (Row("simulated", "The sync of 18 metrics, without what it takes to send", _cases, _build),)
