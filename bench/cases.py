"""What a row is made of: cases, contenders and targets. Data only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Built", "Case", "Contender", "Role", "Row", "Scale", "Target", "no_skip"]

#: ours: what is judged. peer: what users have today. raw: the same by hand, as fast as it goes. other: shown only.
Role = Literal["ours", "peer", "raw", "other"]
Size = Literal["quick", "default", "full"]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much to measure.

    Attributes:
        size: "quick", "default" or "full".
        rounds: At most so many rounds a case.
        budget: Seconds after which no further round of a case begins.
        worlds: Only these world sizes, if given.
    """

    size: Size = "default"
    rounds: int = 60
    budget: float = 3.0
    worlds: tuple[int, ...] | None = None

    @property
    def quick(self) -> bool:
        """Whether the run is only to show that everything works."""
        return self.size == "quick"

    @property
    def full(self) -> bool:
        """Whether the run may take long."""
        return self.size == "full"

    def pick(self, *worlds: int) -> tuple[int, ...]:
        """Give those of the world sizes of a row that were asked for; a quick run takes the smallest only."""
        if self.worlds is not None:
            return tuple(world for world in worlds if world in self.worlds)
        return worlds[:1] if self.quick else worlds


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of the contender called ours.

    Attributes:
        kind: "peer": at least `limit` times as fast as the peer. "raw": at most `limit` times the best by hand.
            "value": at most `limit`, in the unit of the case. "over raw": at most `limit` above the best by hand, in
            the unit of the case. "other": at most `limit` times the first contender that is only shown.
            "same": the result is bit for bit that of the first contender that is only shown.
        limit: The number; 1 where there is none.
    """

    kind: Literal["peer", "raw", "value", "over raw", "other", "same"]
    limit: float


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table.

    Attributes:
        row: Id of the row.
        world: Number of ranks.
        label: What sets it apart from the other cases of the row.
        contenders: Their names, in the order in which the builder makes them, and what each stands for.
        params: What the builder needs to know. Plain data.
        targets: What is wanted.
        unit: "s" for times, "bytes" for peak memory, which is measured in fresh processes.
        headline: Whether it goes into the table of docs/benchmarks.md.
        limit: Seconds after which the case is given up.
        fewest: At least so many rounds, if the run is of so many at all, however long they take.
        hosts: On how many hosts the ranks are, as many on each, where it is more than this one.
    """

    row: str
    world: int
    label: str
    contenders: Mapping[str, Role]
    params: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()
    unit: Literal["s", "bytes"] = "s"
    headline: bool = False
    limit: float = 240.0
    fewest: int = 0
    hosts: int = 1

    @property
    def name(self) -> str:
        """What to call it in one line."""
        return f"{self.row}, {self.label}, {self.world} rank{'s' if self.world > 1 else ''}"

    @property
    def ours(self) -> str | None:
        """The contender that is judged."""
        return next((name for name, role in self.contenders.items() if role == "ours"), None)


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do what a case is about.

    Attributes:
        act: What is measured.
        prepare: What has to happen before each time, outside of the clock.
        number: How often `act` is called for one sample, which is then their mean.
        self_timed: Whether `act` returns the seconds itself.
        shown: Gives what to write down of the result, as text, after the measurement.
        rehearse: Does the same with next to nothing, before memory is weighed: what the code itself takes when it runs
            for the first time is not what the data take.
    """

    act: Callable[[], Any]
    prepare: Callable[[], Any] = _nothing
    number: int = 1
    self_timed: bool = False
    shown: Callable[[], str] | None = None
    rehearse: Callable[[], Any] = _nothing


Built = dict[str, Contender]


def no_skip() -> str | None:
    """Give no reason to leave a row out."""
    return None


def _as_it_is(case: Case) -> Case:
    return case


@dataclass(frozen=True, slots=True)
class Row:
    """One question.

    Attributes:
        id: Its name on the command line.
        title: What is measured, in words.
        cases: Gives the cases for a scale.
        build: Makes the contenders of a case; called as `build(case, rank)` on every rank.
        skip: Gives the reason why it cannot be measured here, or None.
        settle: Puts into a case what must be found out on this machine first, and be the same for all who measure it.
    """

    id: str
    title: str
    cases: Callable[[Scale], list[Case]]
    build: Callable[[Case, int], Built]
    skip: Callable[[], str | None] = no_skip
    settle: Callable[[Case], Case] = _as_it_is
