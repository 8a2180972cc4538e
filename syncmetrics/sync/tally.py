"""What all ranks said in one sync of how much they brought: numbers of updates and of samples, metric by metric.

It comes with the manifests anyway. Metrics that are synced together have seen the same samples mostly, so a rank says
their number once for all metrics that stand beside each other, in the order of their paths, and have the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import TypeAlias

from torch import Tensor

from syncmetrics.states.samples import UNKNOWN, is_known

__all__ = ["Heard", "Runs", "Tally", "in_runs", "out_of_runs"]

#: For metrics beside each other that have the same number of samples: that number, and how many metrics they are.
Runs: TypeAlias = "tuple[tuple[int, int], ...]"


def in_runs(samples: Sequence[int]) -> Runs:
    """Give the numbers of samples of all metrics, run-length coded; all that are unknown are -1."""
    first = samples[0] if samples else 0
    if first >= 0 and samples.count(first) == len(samples):  # as in almost every sync
        return ((first, len(samples)),) if samples else ()
    known = [count if is_known(count) else -1 for count in samples]
    return tuple((count, len(list(alike))) for count, alike in groupby(known))


def out_of_runs(runs: Runs, parts: int) -> tuple[int, ...]:
    """Give the number of samples of each of so many metrics again; -1 if nothing is said of them."""
    return tuple(count for count, length in runs or ((-1, parts),) for _ in range(length))


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """What all ranks brought to one sync.

    Attributes:
        told: For each rank the updates of each metric, and then the samples of each run of metrics.
        lengths: How many metrics each of these runs has.
        label: What was synced.
    """

    told: Tensor | Sequence[Sequence[int]]
    lengths: tuple[int, ...]
    label: str

    def of(self, index: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Give the numbers of updates and of samples of one metric, rank by rank; -1 where the latter is unknown."""
        parts = sum(self.lengths)
        run = next(run for run, end in enumerate(accumulate(self.lengths)) if index < end)
        if isinstance(self.told, Tensor):
            rows = self.told[:, [index, parts + run]].tolist()
        else:
            rows = [(row[index], row[parts + run]) for row in self.told]
        return tuple(int(u) for u, _ in rows), tuple(int(s) if is_known(s) else -1 for _, s in rows)

    @classmethod
    def alone(cls, update_count: int, samples: int, label: str) -> Tally:
        """Give that of a world of one with one metric."""
        return cls(((update_count, samples if is_known(samples) else UNKNOWN),), (1,), label)


#: Gets what all ranks brought of a metric, and which of the metrics it is.
Heard: TypeAlias = "Callable[[Tally, int], None]"
