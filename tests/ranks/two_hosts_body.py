"""One rank on one of two hosts, whose link is cut between two syncs. Run as a program: rank, address, interface."""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist

from syncmetrics import CatMetric, SyncTimeoutError


def main(rank: int, address: str, interface: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = interface
    store = dist.TCPStore(address, 29777, 4, rank == 0, timeout=timedelta(seconds=60), wait_for_workers=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=4)
    metric = CatMetric(sync_timeout=3.0)
    metric.update(torch.tensor([float(rank)]))
    print(metric.compute().tolist(), flush=True)
    metric.update(torch.tensor([float(rank)]))
    sys.stdin.readline()  # until the link is cut
    start = time.monotonic()
    try:
        metric.compute()
    except SyncTimeoutError as error:
        print(error.missing, time.monotonic() - start, flush=True)
    sys.stdin.readline()  # until all have told: rank 0 has the store, and a rank that asks it later sees it lost
    os._exit(0)  # what is left of the group and its store waits for the other host


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
