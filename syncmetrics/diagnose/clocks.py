"""How far the clocks of the ranks are apart, from when each of them came to exchanges and left them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Clock", "clocks_of_ranks"]


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of a rank.

    Attributes:
        ahead: Seconds that it is ahead of that of rank 0; negative if it is behind.
        within: How exactly that is known, in seconds, on both sides.
    """

    ahead: float
    within: float


def clocks_of_ranks(entered: Sequence[Sequence[int]], left: Sequence[Sequence[int]]) -> list[Clock]:
    """Compare the clocks of ranks that went through exchanges together.

    Nobody leaves an exchange before all have come to it. So what a rank reads when it comes is no later than what
    another one reads when it leaves, and twice that, with rank 0, bounds the difference of two clocks from both sides.
    The bounds of several exchanges hold together.

    Args:
        entered: For each exchange what each rank read when it came, in nanoseconds.
        left: The same for when it left.

    Example:
        >>> clocks_of_ranks([[0, 5_000_000_000]], [[2_000_000, 5_004_000_000]])
        [Clock(ahead=0.0, within=0.002), Clock(ahead=5.001, within=0.003)]
    """
    clocks = []
    for rank in range(len(entered[0])):
        rounds = list(zip(entered, left, strict=True))
        least = max(came[rank] - went[0] for came, went in rounds)
        most = min(went[rank] - came[0] for came, went in rounds)
        middle = 0.0 if rank == 0 else (least + most) / 2e9
        clocks.append(Clock(middle, (most - least) / 2e9))
    return clocks
