"""What an exchange costs on 1,000 to 16,000 ranks: a model, for nobody has these at hand.

::

    python -m bench.scaling    # prints the tables of docs/scaling.md
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from syncmetrics.sync.packet import packet_size

__all__ = ["NETWORKS", "WORLDS", "Network", "exchange_seconds", "exchange_table"]

WORLDS = (8, 64, 256, 1024, 4096, 16384)


@dataclass(frozen=True, slots=True)
class Network:
    """What a network is assumed to do.

    Attributes:
        name: What it is.
        latency: Seconds from the send of a small message to its arrival.
        bandwidth: Bytes a second, into one rank.
    """

    name: str
    latency: float
    bandwidth: float


NETWORKS = (Network("RDMA, 200 Gbit/s", 5e-6, 25e9), Network("TCP, 10 Gbit/s", 30e-6, 1.25e9))


def exchange_seconds(world_size: int, network: Network, *, rings: bool) -> float:
    """Give the time of the one exchange of a sync.

    Args:
        world_size: Number of ranks.
        network: Between them.
        rings: Whether the backend passes packets around a ring, `W - 1` steps, as gloo does and NCCL by default; else
            it doubles what each rank has, in `log2 W` steps.
    """
    steps = world_size - 1 if rings else math.ceil(math.log2(world_size))
    arriving = (world_size - 1) * packet_size(world_size)
    return steps * network.latency + arriving / network.bandwidth


def exchange_table(worlds: Sequence[int] = WORLDS) -> str:
    """Give the model as a table in Markdown."""
    heads = [f"{network.name}: {how}" for network in NETWORKS for how in ("ring", "doubling")]
    lines = [
        f"| ranks | packet | arriving at each rank | {' | '.join(heads)} |",
        "|---|---|---|" + "---|" * len(heads),
    ]
    for world_size in worlds:
        packet = packet_size(world_size)
        times = [exchange_seconds(world_size, network, rings=rings) for network in NETWORKS for rings in (True, False)]
        cells = [f"{1e3 * seconds:.2f} ms" for seconds in times]
        lines.append(
            f"| {world_size:,} | {packet / 1024:g} KiB | {packet * world_size / 2**20:g} MiB | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(exchange_table())
