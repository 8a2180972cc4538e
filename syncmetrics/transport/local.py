"""A world of one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["LocalTransport", "OutsideTransport"]


class LocalTransport:
    """The transport of a process that has no peers: everything has already arrived."""

    rank = 0
    world_size = 1
    name = "this process alone"

    def wire_device(self, device_types: Sequence[str]) -> torch.device:
        """Give the device that the data is on."""
        return torch.device(device_types[0]) if len(set(device_types)) == 1 else torch.device("cpu")

    def begin(self, *, timeout: float | None = None, what: str = "a sync", vainly: bool = False) -> bool:
        """Wait for nobody."""
        return False

    def end(self, error: BaseException | None = None) -> None:
        """Tell nobody."""

    def confirm(self, apart: float, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Find that nobody has concluded anything."""

    def twin(self) -> LocalTransport:
        """Give another world of one."""
        return LocalTransport()

    def all_gather(
        self,
        out: Tensor,
        local: Tensor,
        *,
        filled: int | None = None,
        timeout: float | None = None,
        what: str = "a sync",
    ) -> None:
        """Copy `local` into `out`."""
        out.copy_(local)

    def broadcast(self, buffer: Tensor, src: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Leave `buffer` as it is."""

    def broadcasts(
        self, buffers: Sequence[tuple[int, Tensor]], *, timeout: float | None = None, what: str = "a sync"
    ) -> None:
        """Leave the buffers as they are."""

    def gather(self, pieces: Sequence[Tensor], dst: int, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Leave `pieces` as they are."""

    def all_to_all(
        self,
        out: Tensor,
        local: Tensor,
        out_sizes: Sequence[int],
        local_sizes: Sequence[int],
        *,
        timeout: float | None = None,
        what: str = "a sync",
    ) -> None:
        """Copy `local` into `out`."""
        out.copy_(local)

    def all_reduce_sum(self, buffer: Tensor, *, timeout: float | None = None, what: str = "a sync") -> None:
        """Leave `buffer` as it is."""


class OutsideTransport(LocalTransport):
    """The transport of a rank that takes no part: it has no data, and gets no value."""

    name = "a rank without data"
