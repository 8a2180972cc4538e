"""How much memory one rank needs to compute the area over rows of all ranks: gathered, and shuffled.

Run it: `python -m tests.ranks.shuffle_memory [rows] [ranks]`. Every way has processes of its own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from syncmetrics import BinaryAUROC
from syncmetrics.testing import run_ranks


def _kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def measure(rank: int, world_size: int, rows: int, above: int | None) -> tuple[float, float, float, float]:
    """Give MiB before the metric, with its local rows and at the peak of `compute`; and the value."""
    generator = torch.Generator().manual_seed(rank)
    warm = BinaryAUROC(shuffle_above=above)  # connections, threads and code of either way are there before
    warm.update(torch.rand(64, generator=generator), torch.tensor([0, 1] * 32))
    warm.compute()
    before = _kib("VmRSS")
    metric = BinaryAUROC(shuffle_above=above)
    share = rows // world_size
    for start in range(0, share, 10_000):
        target = (torch.rand(min(10_000, share - start), generator=generator) < 0.3).long()
        metric.update(torch.randn(target.shape, generator=generator) + target, target)
    local = _kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    value = metric.compute()
    return before / 1024, local / 1024, _kib("VmHWM") / 1024, value.double().item()


def main(rows: int, world_size: int) -> None:
    """Print both ways, and how the peaks compare."""
    found = {}
    for name, above in (("gathered", None), ("shuffled", 0)):
        ranks = run_ranks(measure, world_size, rows, above, timeout=600)
        before, local, peak = (max(rank[i] for rank in ranks) for i in range(3))
        found[name] = before, local, peak, {rank[3] for rank in ranks}
        print(f"{name}: before {before:.0f} MiB, with local rows {local:.0f}, peak {peak:.0f}", found[name][3])
    gathered, shuffled = found["gathered"], found["shuffled"]
    assert gathered[3] == shuffled[3], "the values differ"
    print(f"peak of the process: {shuffled[2] / gathered[2]:.2f} of the gathered way")
    print(f"beyond the bare process: {(shuffled[2] - shuffled[0]) / (gathered[2] - gathered[0]):.2f}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(*(int(word) for word in [*sys.argv[1:], "10000000", "4"][:2]))
