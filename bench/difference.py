"""Whether two versions differ beyond noise. Pure functions: samples in, judgements out.

A case differs if all of this holds:

1. The median, over rounds, of the ratio of the two sides in the same round is 5 % or more away from 1. Whatever else
   the machine does lasts longer than a round and hits both sides.
2. The interval of a sign test says with 99 % confidence that this median is not 1. The interval is between two of the
   sorted ratios and supposes no distribution: a round that was disturbed counts as one, however far out it is.
3. All of it holds once more, and in the same direction, in new processes. How an interpreter lays out its memory can
   make it a few percent slower for as long as it lives; and of a hundred cases, one is beyond 99 % by chance.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bench.cases import Case
from bench.verdict import spread

__all__ = [
    "FEWEST",
    "HIDDEN",
    "RULE",
    "Compared",
    "Difference",
    "Verdict",
    "counts",
    "difference",
    "hidden",
    "sign_interval",
]

Verdict = Literal["worse", "better", "the same", "not compared"]

_APART = 0.05
_CONFIDENCE = 0.99
_COARSE = 0.25
#: With so many ratios, one may lie on the other side of 1 for whatever reason, and the rest is still beyond chance.
FEWEST = 12
HIDDEN = f"so noisy that {_COARSE:.0%} would not show"
RULE = (
    f"A case differs if the median of the ratios of the same round is {_APART:.0%} or more from 1, its "
    f"{_CONFIDENCE:.0%} interval (sign test) is without 1, and both hold once more in new processes."
)


def sign_interval(values: Sequence[float], confidence: float = _CONFIDENCE) -> tuple[float, float] | None:
    """Give the interval in which the median of a distribution lies, whatever the distribution.

    Args:
        values: Drawn from it.
        confidence: How often the median is in the interval, at least.

    Returns:
        None if there are too few values.
    """
    number, left_out, tail = len(values), 0, 0.0
    for k in range(number // 2):
        tail += math.comb(number, k) / 2.0**number  # the chance that only k of them are below the median
        if 2 * tail > 1 - confidence:
            break
        left_out = k + 1
    if left_out == 0:
        return None
    ordered = sorted(values)
    return ordered[left_out - 1], ordered[number - left_out]


@dataclass(frozen=True, slots=True)
class Difference:
    """What the samples of one case say.

    Attributes:
        rounds: How many there were.
        here: Median of the working tree.
        there: Median of the commit.
        ratio: Median over rounds of here / there: above 1, the working tree needs more.
        q1: First quartile of the ratios.
        q3: Third quartile.
        low: Begin of the interval of their median.
        high: End of the interval.
    """

    rounds: int
    here: float
    there: float
    ratio: float
    q1: float
    q3: float
    low: float
    high: float

    @property
    def coarse(self) -> bool:
        """Whether the interval is so wide that even a large difference may be in it."""
        return self.high > 1 + _COARSE or self.low < 1 / (1 + _COARSE)

    @property
    def verdict(self) -> Verdict:
        """What it looks like, as long as it has not been measured again."""
        if self.low > 1 and self.ratio >= 1 + _APART:
            return "worse"
        if self.high < 1 and self.ratio <= 1 / (1 + _APART):
            return "better"
        return "the same"


def difference(here: Sequence[float], there: Sequence[float]) -> Difference | None:
    """Compare the samples of both sides, round by round; None if there are too few."""
    ratios = [a / b for a, b in zip(here, there, strict=True) if a > 0 and b > 0]
    middle, interval = spread(ratios), sign_interval(ratios)
    if middle is None or interval is None:
        return None
    low, high = interval
    medians = statistics.median(here), statistics.median(there)
    return Difference(len(ratios), *medians, middle["median"], middle["q1"], middle["q3"], low, high)


@dataclass(frozen=True, slots=True)
class Compared:
    """What became of one case.

    Attributes:
        case: Which.
        first: What was measured at first; None if it could not be.
        again: What was measured in new processes, of a case that seemed to differ.
        failed: By the name of a side, why it could not be measured there.
    """

    case: Case
    first: Difference | None = None
    again: Difference | None = None
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> Difference | None:
        """What to show: the second measurement, if there is one, for it was not picked because it stands out."""
        return self.again or self.first

    @property
    def suspect(self) -> bool:
        """Whether it seems to differ and has to be measured again."""
        return self.first is not None and self.first.verdict != "the same" and self.again is None and not self.failed

    @property
    def verdict(self) -> Verdict:
        """What is said about it. A difference that has not shown itself twice is none."""
        if self.failed or self.first is None:
            return "not compared"
        if self.again is not None and self.again.verdict == self.first.verdict:
            return self.first.verdict
        return "the same"

    def as_data(self) -> dict[str, Any]:
        """Give all of it as plain data."""
        case = self.case
        return {
            "row": case.row,
            "label": case.label,
            "world": case.world,
            "unit": case.unit,
            "verdict": self.verdict,
            "failed": dict(self.failed),
            "first": self.first and asdict(self.first),
            "again": self.again and asdict(self.again),
        }


def counts(found: Sequence[Compared]) -> dict[Verdict, int]:
    """Count the cases by what is said about them."""
    by_verdict = Counter(compared.verdict for compared in found)
    return {verdict: by_verdict[verdict] for verdict in ("worse", "better", "the same", "not compared")}


def hidden(found: Sequence[Compared]) -> int:
    """Count the cases that are said to be the same, but that noise would let nobody tell apart."""
    return sum(c.verdict == "the same" and c.shown is not None and c.shown.coarse for c in found)
