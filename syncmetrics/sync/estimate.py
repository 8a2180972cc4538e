"""What the next sync of some metrics would cost, for as many ranks as one likes. It communicates nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from syncmetrics.states.autograd import no_graph
from syncmetrics.sync.engine import describe_alone
from syncmetrics.sync.hosts import hosts_in, together_of
from syncmetrics.sync.node import Syncable
from syncmetrics.sync.packet import packet_size
from syncmetrics.sync.plan import plan_sync
from syncmetrics.sync.price import Price, price_of
from syncmetrics.sync.route import Route

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What computing some metrics would cost this rank, if all ranks had what this one has.

    Attributes:
        syncs: One for each group of ranks that the metrics are synced over; none in a world of one.
    """

    syncs: tuple[Price, ...]

    @property
    def collectives(self) -> int:
        """Number of operations."""
        return sum(price.collectives for price in self.syncs)

    @property
    def bytes_sent(self) -> int:
        """Bytes that this rank sends."""
        return sum(price.bytes_sent for price in self.syncs)

    @property
    def bytes_received(self) -> int:
        """Bytes that arrive here, its own included."""
        return sum(price.bytes_received for price in self.syncs)

    @property
    def bytes_held(self) -> int:
        """Memory for that, of the sync that takes the most: as `Price` counts it."""
        return max((price.bytes_held for price in self.syncs), default=0)

    def __str__(self) -> str:
        """Give a line for each sync."""
        if not self.syncs:
            return "nothing: there is one rank alone"
        return "\n".join(
            f"{price.label} on {price.world_size:,} ranks: {price.collectives} collectives, each rank sends"
            f" {price.bytes_sent:,} bytes, receives {price.bytes_received:,} and holds {price.bytes_held:,}"
            for price in self.syncs
        )


def estimate(metrics: Any, *, world_size: int | None = None) -> Estimate:
    """Say what it would cost to sync metrics now: operations, bytes and memory of this rank.

    It does not communicate, and it takes for granted that all ranks hold what this one holds: states of the same dtypes
    and shapes. Where they do, it is what `trace` counts in the sync. Lists of other things than rows are encoded for
    it, as for a sync; a metric that is shuffled, or computed on one rank, is taken for one that is not.

    Args:
        metrics: A metric, a collection, or lists, tuples and dicts of them.
        world_size: For how many ranks; left out, as many as there are.

    Returns:
        The cost.

    Raises:
        ValueError: `world_size` is less than 1.
        StateError: A metric is synced already.
        TypeError: Something is no metric.

    Example:
        >>> import torch
        >>> from syncmetrics import MeanMetric, estimate
        >>> loss = MeanMetric()
        >>> loss.update(torch.rand(8))
        >>> print(estimate(loss, world_size=64))
        MeanMetric on 64 ranks: 1 collectives, each rank sends 32,768 bytes, receives 2,097,152 and holds 2,129,920
    """
    if world_size is not None and world_size < 1:
        raise ValueError(f"`world_size` must be at least 1, but is {world_size} instead.")
    hosts = list(hosts_in(metrics))
    label = getattr(hosts[0][1], "_label", "synced") if len(hosts) == 1 else "synced"
    with no_graph():
        prices = [_price(nodes, route, str(label), world_size) for nodes, route in together_of(hosts)]
    return Estimate(tuple(price for price in prices if price is not None))


def _price(nodes: Sequence[Syncable], route: Route, label: str, world_size: int | None) -> Price | None:
    """Plan a sync of ranks that all say what this one says."""
    ranks = route.transport.world_size if world_size is None else world_size
    if ranks == 1:
        return None
    schema, manifest, nbytes, sources = describe_alone([node.local_part() for node in nodes], route.transport, label)
    manifests, sizes = (manifest,) * ranks, (nbytes,) * ranks
    plan = plan_sync(schema, manifests, sizes, packet_size(ranks))
    return price_of(label, route, schema, plan, manifests, sizes, sources)
