"""What a sync costs before it is paid: the real transfers, gone through with tensors that have no data.

What is counted is what `trace` counts, and the same code counts it: the transfers of a plan are made ready and carried
out on the meta device, over a transport that goes nowhere. So nothing is decided here that is decided elsewhere.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from syncmetrics.sync.manifest import Manifest, Schema
from syncmetrics.sync.packet import HEADER_BYTES, packet_size
from syncmetrics.sync.plan import SyncPlan
from syncmetrics.sync.ragged import gather_ragged_bytes, staging_bytes
from syncmetrics.sync.route import Route
from syncmetrics.sync.slices import arriving_bytes
from syncmetrics.sync.trace import CountingTransport, SyncRecord
from syncmetrics.sync.transfer import Transfer
from syncmetrics.transport.base import Transport

__all__ = ["Price", "has_budget", "price_of", "set_sync_budget", "warn_over_budget"]

_META = torch.device("meta")


@dataclass(frozen=True, slots=True)
class Price:
    """What one sync costs a rank.

    Attributes:
        label: What is synced.
        world_size: Number of ranks.
        collectives: Number of operations.
        bytes_sent: What this rank puts into them.
        bytes_received: What it gets out of them, its own part included.
        bytes_held: Memory that it takes for that: packets, the buffers in which large states arrive, which are the
            result of those whose rows are joined, and staging. The states that it has already are not counted, nor
            what is folded out of the buffers.
    """

    label: str
    world_size: int
    collectives: int
    bytes_sent: int
    bytes_received: int
    bytes_held: int


class _Nowhere:
    """A transport of no ranks: what is sent over it goes nowhere, and nothing arrives."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank = rank
        self.world_size = world_size

    def wire_device(self, device_types: Sequence[str]) -> torch.device:
        return _META

    def all_gather(self, *args: Any, **kwargs: Any) -> None:
        pass

    broadcast = broadcasts = gather = all_to_all = all_reduce_sum = all_gather


def price_of(
    label: str,
    route: Route,
    schema: Schema,
    plan: SyncPlan,
    manifests: Sequence[Manifest],
    manifest_bytes: Sequence[int],
    sources: Sequence[Sequence[Tensor]],
) -> Price:
    """Say what a sync costs this rank. It does not communicate, and needs no memory.

    Args:
        label: What is synced.
        route: To whom, and in which chunks; over whom, as far as ranks are numbered.
        schema: What takes part.
        plan: What has to be sent after the exchange.
        manifests: What each rank holds.
        manifest_bytes: Size of each manifest.
        sources: The tensors that make up each state of this rank.
    """
    world_size, rank = len(manifests), route.transport.rank
    record = SyncRecord(label, "nobody")
    over = Route(
        CountingTransport(cast(Transport, _Nowhere(rank, world_size)), record),
        route.dst,
        max_chunk_bytes=route.max_chunk_bytes,
    )
    size = packet_size(world_size)
    packets, packet = _nothing(world_size * size).view(world_size, size), _nothing(size)
    held = packets.nbytes + packet.nbytes
    over.transport.all_gather(packets.view(-1), packet)
    if any(HEADER_BYTES + n > size for n in manifest_bytes):
        gather_ragged_bytes(over.to_all(), [_nothing(n) for n in manifest_bytes], manifest_bytes)
        held += sum(manifest_bytes) + staging_bytes(over.to_all(), manifest_bytes)
    if not plan.is_inside:
        held += packets.nbytes + packet.nbytes
        over.transport.all_gather(packets.view(-1), packet)  # the votes, before and after
        over.transport.all_gather(packets.view(-1), packet)
        without_data = [[tensor.to(_META) for tensor in tensors] for tensors in sources]
        Transfer(over, plan, manifests, without_data, packets, schema).carry_out()
        held += _held_for(plan, over, manifests)
    return Price(label, world_size, record.collectives, record.bytes_sent, record.bytes_received, held)


def _nothing(nbytes: int) -> Tensor:
    return torch.empty(nbytes, dtype=torch.uint8, device=_META)


def _held_for(plan: SyncPlan, route: Route, manifests: Sequence[Manifest]) -> int:
    """Give the memory that a transfer has before it begins."""
    rank, held, staged = route.transport.rank, 0, 0
    if plan.reduced is not None:
        held += 8 * sum(math.prod(shape) for shape in plan.reduced.shapes)
    if plan.shared is not None:
        held += sum(plan.shared.sizes) if route.receives else plan.shared.sizes[rank]
        staged = staging_bytes(route, plan.shared.sizes)
    for direct in plan.direct:
        held += direct.total if route.receives else 0
        staged = max(staged, staging_bytes(route, direct.sizes) if route.receives else 0)
    for sliced in plan.sliced:
        record = manifests[rank].records[sliced.state]
        held += record.nbytes + arriving_bytes(route, math.prod(record.shape), record.dtype.itemsize)
    return held + staged


# -- a budget

_budget: int | None = None
_warned: set[str] = set()


def set_sync_budget(max_bytes: int | None) -> None:
    """Have a sync that costs more than a budget warned of, once for each thing that is synced.

    The sync goes on all the same. Every rank knows what all of them bring, so the ranks that are over it say so before
    a byte of a large state is sent. A sync whose states all fit into the packets of the one exchange is not looked at.

    Args:
        max_bytes: How many bytes a rank may send in one sync, and how many it may hold for it, of what `Price` counts;
            None takes the budget away.

    Raises:
        ValueError: It is negative.

    Example:
        >>> import syncmetrics
        >>> syncmetrics.set_sync_budget(100 << 20)  # 100 MiB
        >>> syncmetrics.set_sync_budget(None)
    """
    global _budget
    if max_bytes is not None and max_bytes < 0:
        raise ValueError(f"`max_bytes` must be a number of bytes or None, but is {max_bytes} instead.")
    _budget = max_bytes
    _warned.clear()


def has_budget() -> bool:
    """Whether anybody wants to be warned."""
    return _budget is not None


def warn_over_budget(price: Price) -> None:
    """Warn once of a sync that costs more than the budget."""
    if _budget is None or price.label in _warned or max(price.bytes_sent, price.bytes_held) <= _budget:
        return
    _warned.add(price.label)
    warnings.warn(
        f"the sync of `{price.label}` sends {price.bytes_sent:,} bytes from this rank and holds {price.bytes_held:,},"
        f" more than the budget of {_budget:,}; see syncmetrics.estimate(...) for what it takes, compute_on=... to"
        " bring it to one rank alone, and metrics with thresholds= or a shuffle for rows that are not joined.",
        UserWarning,
        stacklevel=2,
    )
