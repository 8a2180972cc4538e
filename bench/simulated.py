"""Worlds that nobody has at hand: a transport of so many ranks, the others of which repeat what this one sends."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from syncmetrics.transport.local import LocalTransport

__all__ = ["RepeatingTransport"]


class RepeatingTransport(LocalTransport):
    """A world of ranks that say and have what this one says and has: what a sync costs in this process alone.

    Args:
        world_size: Number of ranks.
    """

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.name = f"{world_size:,} simulated ranks"

    def wire_device(self, device_types: Sequence[str]) -> torch.device:
        """Give the CPU."""
        return torch.device("cpu")

    def twin(self) -> RepeatingTransport:
        """Give another such world."""
        return RepeatingTransport(self.world_size)

    def all_gather(
        self,
        out: Tensor,
        local: Tensor,
        *,
        filled: int | None = None,
        timeout: float | None = None,
        what: str = "a sync",
    ) -> None:
        """Copy `local` to the place of every rank."""
        out.view(self.world_size, -1).copy_(local)
