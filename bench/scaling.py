"""What an exchange costs on 1,000 to 16,000 ranks: a model, for nobody has these at hand.

::

    python -m bench.scaling    # prints the tables of docs/scaling.md
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from syncmetrics.sync.packet import packet_size

__all__ = ["NETWORKS", "ON_A_HOST", "WORLDS", "Network", "exchange_seconds", "exchange_table", "hosts_table"]

WORLDS = (8, 64, 256, 1024, 4096, 16384)
#: Ranks of a host, as most have that train large models.
ON_A_HOST = 8


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


def exchange_seconds(world_size: int, network: Network, *, rings: bool, on_a_host: int = 1) -> float:
    """Give the time of the one exchange of a sync, without what it takes inside of a host.

    Args:
        world_size: Number of ranks.
        network: Between them.
        rings: Whether the backend passes packets around a ring, `W - 1` steps, as gloo does and NCCL by default; else
            it doubles what each rank has, in `log2 W` steps.
        on_a_host: Ranks for which one speaks, as they share memory.
    """
    parties = world_size // on_a_host
    steps = parties - 1 if rings else math.ceil(math.log2(parties))
    arriving = (parties - 1) * on_a_host * packet_size(world_size)
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


def hosts_table(worlds: Sequence[int] = WORLDS[1:], on_a_host: int = ON_A_HOST) -> str:
    """Give the same where one rank speaks for all of its host."""
    heads = [f"{network.name}: {how}" for network in NETWORKS for how in ("ring", "doubling")]
    lines = [f"| ranks | hosts in the exchange | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    for world_size in worlds:
        cells = [
            f"{1e3 * exchange_seconds(world_size, network, rings=rings, on_a_host=on_a_host):.2f} ms"
            for network in NETWORKS
            for rings in (True, False)
        ]
        lines.append(f"| {world_size:,} | {world_size // on_a_host:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(exchange_table(), hosts_table(), sep="\n\n")
