"""The ranks during a shuffle: every step opens with the engine's exchange, so that none is left alone in the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from syncmetrics.errors import Mark, SyncError, mark
from syncmetrics.states.autograd import no_graph
from syncmetrics.states.spec import declare_state
from syncmetrics.sync import Part, Route, episode, report_failure, sync_parts

__all__ = ["Peers", "Told", "together"]

_Result = TypeVar("_Result")
_TOLD = {"told": declare_state("told", [], None)}


@dataclass(frozen=True, slots=True)
class Told:
    """What the ranks know of each other when a shuffle begins.

    Attributes:
        rows: How many rows each rank has.
        devices: Type of the device that the rows of each rank lie on.
        dtypes: Of each state, what all ranks convert it to.
    """

    rows: tuple[int, ...]
    devices: tuple[str, ...]
    dtypes: Mapping[str, torch.dtype]


class Peers:
    """The ranks during one shuffle."""

    def __init__(self, route: Route, label: str, told: Told) -> None:
        self.route = route
        self.label = label
        self.told = told
        self.rank = route.transport.rank
        self.world_size = route.transport.world_size
        self._steps = 0
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the other ranks may have left: then nobody is there to be told of a failure."""
        return self._ended

    def tell(self, item: Any, *, last: bool = False) -> list[Any]:
        """Give every rank what each of them tells. Collective: every rank of the group must call this.

        Args:
            item: A tensor or plain data.
            last: Whether no rank communicates after this.

        Returns:
            The items in rank order; tensors on the CPU.

        Raises:
            SyncError: A rank has failed before it, or did not come.
        """
        self._steps += 1
        part = Part("", _TOLD, {"told": [item]}, 1, torch.device("cpu"))
        merged = sync_parts([part], self.route, label=f"{self.label}, step {self._steps} of its shuffle")
        assert merged is not None, "every rank is told"
        self._ended = last
        told = merged[0].states["told"]
        assert isinstance(told, list)
        return told

    def all_to_all(self, out: Tensor, local: Tensor, out_sizes: Sequence[int], local_sizes: Sequence[int]) -> None:
        """Send to every rank a piece of its own. Collective: every rank of the group must call this."""
        what = f"the shuffle of `{self.label}`"
        self.route.transport.all_to_all(out, local, out_sizes, local_sizes, timeout=self.route.timeout, what=what)


def together(route: Route, label: str, told: Told, solve: Callable[[Peers], _Result]) -> _Result:
    """Run a shuffle; if it fails on one rank, the others hear of it at their next step.

    Collective: every rank of the group must call this.

    Args:
        route: Over whom.
        label: What is shuffled, for messages.
        told: What the ranks know of each other.
        solve: What each rank does. It communicates through its argument alone.
    """
    peers = Peers(replace(route, dst=None), label, told)
    with episode(route.transport, route.timeout, f"the shuffle of `{label}`"):
        try:
            with no_graph():
                return solve(peers)
        except SyncError:  # every rank has it
            raise
        except Exception as error:
            if not peers.ended:
                report_failure(error, route, label=label)
            mark(error, Mark.AGREED)
            raise
