"""What a user subclasses and collects, and what happens when it is called. Each verb has one file, for one or many.

`metric` and `collection` are the two faces. Behind them: `module` (what a metric is and has), `members` (what is done
to one is done to n), `share` (who holds one state), `update`, `step`, `value`, `showing`, `pending`, `synced`,
`coverage`; `names`, `options`, `books`, `origins`. How states are synced is in `sync`, when it happens in `schedule`.
"""

from syncmetrics.metric.collection import MetricCollection
from syncmetrics.metric.coverage import Coverage, coverage
from syncmetrics.metric.metric import Metric
from syncmetrics.metric.pending import PendingStates, PendingValue
from syncmetrics.metric.synced import sync_and_compute, synced

__all__ = [
    "Coverage",
    "Metric",
    "MetricCollection",
    "PendingStates",
    "PendingValue",
    "coverage",
    "sync_and_compute",
    "synced",
]
