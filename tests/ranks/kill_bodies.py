"""A rank is killed at a random moment around a large sync; the others write down what they saw."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import torch
import torch.distributed as dist

from syncmetrics import PeerLostError
from tests.ranks.faults_gone import filled

ROWS = 2_000_000  # 8 MB of each rank


def killed(rank: int, world_size: int, seed: int) -> list[tuple[str, tuple[int, ...], float]]:
    """Sync while a rank is killed, and once more."""
    chance = random.Random(seed)
    victim, delay = chance.randrange(world_size), chance.uniform(0.0, 0.08)
    metric, seen = filled(chance.choice([10, 5_000, ROWS]), rank), []
    dist.barrier()
    if rank == victim:
        kill = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
        kill.start()
    for _ in range(2):
        start = time.monotonic()
        try:
            metric.compute()
            seen.append(("", (), time.monotonic() - start))
        except PeerLostError as error:
            seen.append((type(error).__name__, error.missing, time.monotonic() - start))
        if rank == victim:
            kill.join()
            signal.pause()
        metric.update(torch.ones(1))
    return seen
