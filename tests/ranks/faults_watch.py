"""What a rank sees while something goes wrong, written down so that it can be compared with what the others saw."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.distributed as dist

from syncmetrics import SyncError
from tests.samples import Total, bits, local_bits

__all__ = ["BoomError", "Seen", "Watch", "fresh_value", "gave_up", "probe", "say", "wait_to_hear"]

#: What a call was meant to give: the right value; the error of the scenario; the rank's own error, which is no
#: `SyncError`; or, for a rank that comes too late, the right value or a named error.
Role = Literal["right", "fault", "own", "either"]


class BoomError(Exception):
    """What a rank's own code raises."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One call, as one rank saw it.

    Attributes:
        tag: What it was; calls with one tag on several ranks belong to one sync.
        role: What it was meant to give.
        error: Class of what was raised; empty if nothing was.
        text: Its text.
        missing: Its `missing`, if it has that.
        failures: Its `failures`, if it has that.
        value: What was returned, bit by bit.
        right: What should have been, bit by bit.
        kept: Whether the local states were byte for byte the same afterwards.
        seconds: How long it took.
    """

    tag: str
    role: Role
    error: str = ""
    text: str = ""
    missing: tuple[int, ...] | None = None
    failures: dict[int, str] | None = None
    value: Any = None
    right: Any = None
    kept: bool = True
    seconds: float = 0.0


@dataclass(slots=True)
class Watch:
    """Makes calls and writes down what became of them."""

    seen: list[Seen] = field(default_factory=list)

    def right(self, tag: str, call: Callable[[], Any], value: Any, *metrics: torch.nn.Module) -> None:
        """Expect the right value."""
        self._see(tag, "right", call, value, metrics)

    def fault(self, tag: str, call: Callable[[], Any], *metrics: torch.nn.Module) -> None:
        """Expect the error of the scenario."""
        self._see(tag, "fault", call, None, metrics)

    def own(self, tag: str, call: Callable[[], Any], *metrics: torch.nn.Module) -> None:
        """Expect what this rank's own code raises."""
        self._see(tag, "own", call, None, metrics)

    def either(self, tag: str, call: Callable[[], Any], value: Any, *metrics: torch.nn.Module) -> None:
        """Expect the right value, or any named error."""
        self._see(tag, "either", call, value, metrics)

    def _see(
        self, tag: str, role: Role, call: Callable[[], Any], value: Any, metrics: tuple[torch.nn.Module, ...]
    ) -> None:
        before = [local_bits(metric) for metric in metrics]
        start = time.monotonic()
        found, error = None, None
        try:
            found = call()
        except (SyncError, BoomError) as raised:
            error = raised
        seconds = time.monotonic() - start
        self.seen.append(
            Seen(
                tag,
                role,
                "" if error is None else type(error).__name__,
                "" if error is None else str(error),
                getattr(error, "missing", None),
                getattr(error, "failures", None),
                bits(_in_order(found)) if error is None else None,
                bits(_in_order(value)),
                before == [local_bits(metric) for metric in metrics],
                seconds,
            )
        )


def _in_order(value: Any) -> Any:
    """Sort a dict: the ranks may have been given their metrics in any order."""
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def fresh_value(rank: int) -> float:
    return float(2**rank)


def probe(rank: int, world_size: int) -> Seen:
    """Look whether the group is of use: a collective of the user's, and a sync of a metric that nobody has seen."""
    watch = Watch()
    total = torch.tensor([fresh_value(rank)])
    dist.all_reduce(total)
    metric = Total()
    metric.update(torch.tensor(fresh_value(rank)))
    value = torch.tensor(2.0**world_size - 1, dtype=torch.float64)
    watch.right("probe", lambda: (total.item(), metric.compute()), (2.0**world_size - 1, value), metric)
    return watch.seen[0]


# A rank that is meant to be late waits until the others have said that they gave up: no clock decides a verdict.


def say(word: str) -> None:
    """Tell the other ranks something, past all collectives."""
    dist.distributed_c10d._get_default_store().set(word, "yes")


def wait_to_hear(*words: str, limit: float = 45.0) -> None:
    """Wait until all of this has been said."""
    store, start = dist.distributed_c10d._get_default_store(), time.monotonic()
    while not store.check(list(words)):
        if time.monotonic() - start > limit:
            raise TimeoutError(f"never heard {words}")
        time.sleep(0.005)


def gave_up(scenario: str, ranks: list[int]) -> list[str]:
    return [f"{scenario}/{rank} gave up" for rank in ranks]
