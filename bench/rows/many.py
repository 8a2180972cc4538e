"""One, five, fifty and five hundred metrics: does the number matter?"""

from __future__ import annotations

import torch
import torchmetrics

import syncmetrics
from bench.cases import Built, Case, Contender, Row, Scale
from bench.rows.classification import raw_gather
from bench.rows.own import OurTotal, PeerTotal

__all__ = ["ROWS"]


def _cases(scale: Scale) -> list[Case]:
    return [
        Case(
            "many",
            world,
            f"{number} metric{'s' if number > 1 else ''}",
            {"syncmetrics": "ours", "torchmetrics": "peer", "one all_gather": "raw"},
            {"metrics": number},
            headline=number in (1, 500),
        )
        for world in scale.pick(2)
        for number in ((1, 5, 50) if scale.quick else (1, 5, 50, 500))
    ]


def _build(case: Case, rank: int) -> Built:
    number, x = case.params["metrics"], torch.tensor(1.0 + rank)
    mine = syncmetrics.MetricCollection({f"m{i}": OurTotal() for i in range(number)})
    # Without compute groups: these are meant to be that many different metrics, and it would take equal values for one.
    peer = torchmetrics.MetricCollection({f"m{i}": PeerTotal() for i in range(number)}, compute_groups=False)
    return {
        "syncmetrics": Contender(mine.compute, lambda: mine.update(x)),
        "torchmetrics": Contender(peer.compute, lambda: peer.update(x)),
        "one all_gather": Contender(raw_gather(case.world)),
    }


ROWS = (Row("many", "compute() of that many metrics", _cases, _build),)
