"""What a sync costs on this machine: eighteen metrics, beside torchmetrics' own sync and a bare `all_gather`.

A short form of what the repository's bench does. All that is compared runs in turn on the same ranks, and before each
the ranks meet, so that nobody is timed while another is late.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import quantiles
from typing import Any

import torch
import torch.distributed as dist

from syncmetrics import classification
from syncmetrics.diagnose.exchange import BARE_BYTES, gather_into
from syncmetrics.diagnose.host import cores_of_process, software_of_process
from syncmetrics.metric import MetricCollection
from syncmetrics.optional import load
from syncmetrics.sync import trace
from syncmetrics.testing import run_ranks
from syncmetrics.transport.process_group import world_transport

__all__ = ["Measured", "Timed", "measure", "measured_on_rank"]

_CLASSES, _SAMPLES = 10, 512
_NAMES = ("MulticlassAccuracy", "MulticlassPrecision", "MulticlassRecall", "MulticlassF1Score")
_AVERAGES = ("micro", "macro", "weighted", "none")
_LEAST_ROUNDS, _MOST_ROUNDS = 5, 300
#: Functions of `torch.distributed` in which a metric of torchmetrics communicates.
_COLLECTIVES = ("all_gather", "all_reduce", "barrier", "broadcast", "gather")


@dataclass(frozen=True, slots=True)
class Timed:
    """What one contender took, in seconds on rank 0.

    Attributes:
        name: What it is.
        median: The middle of all rounds.
        low: The first quartile.
        high: The third one.
        collectives: How often it had the ranks communicate, in one round.
    """

    name: str
    median: float
    low: float
    high: float
    collectives: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured between some number of ranks.

    Attributes:
        world_size: Number of ranks.
        backends: Which backend serves which device.
        device: Where the states lie.
        rounds: How often each contender ran.
        shares_memory: Whether the ranks exchange small states through memory that they share.
        timed: `compute()` of 18 metrics, ours first; torchmetrics' if it is installed; a bare gather.
        are_equal: Whether all 18 values are those of torchmetrics; None if it is not installed.
        about: Cores and versions.
    """

    world_size: int
    backends: str
    device: str
    rounds: int
    shares_memory: bool
    timed: tuple[Timed, ...]
    are_equal: bool | None = None
    about: dict[str, str] = field(default_factory=dict)


def measure(
    *, world_sizes: Sequence[int] = (2, 4), seconds: float = 16.0, backend: str | None = None, timeout: float = 120.0
) -> list[Measured]:
    """Measure between the ranks of the job that this process is one of, or between ranks that are started for it.

    Collective in a job, which is one where the process group is up or a launcher has set `RANK` and `WORLD_SIZE`: every
    rank of the job must call this.

    Args:
        world_sizes: How many ranks to start, one measurement after the other. Nothing in a job.
        seconds: How long all measurements may take, without the start of the ranks.
        backend: As for `init_process_group`, where it is not up; None for gloo, and in a job for what it takes.
        timeout: Seconds to wait for the other ranks.
    """
    if dist.is_initialized() or {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        with _job(backend, timeout):
            return [measured_on_rank(dist.get_rank(), dist.get_world_size(), seconds)]
    share = seconds / len(world_sizes)
    return [
        run_ranks(measured_on_rank, world, share, timeout=timeout, backend=backend or "gloo")[0]
        for world in world_sizes
    ]


def measured_on_rank(rank: int, world_size: int, seconds: float) -> Measured:
    """Measure, as a rank of a group that is up. Collective: every rank of the group must call this.

    Args:
        rank: Rank in the group.
        world_size: Number of ranks.
        seconds: How long it may take.
    """
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    device = world_transport().wire_device([kind])
    generator = torch.Generator().manual_seed(rank)
    preds, target = (torch.randint(_CLASSES, (_SAMPLES,), generator=generator).to(device) for _ in range(2))
    found = {"syncmetrics": MetricCollection(_eighteen(classification)).to(device)}
    peer = _torchmetrics()
    if peer is not None:
        found["torchmetrics"] = peer.MetricCollection(_eighteen(peer.classification)).to(device)
    gather = _gather(device)
    ways: dict[str, Callable[[], Any]] = {name: metrics.compute for name, metrics in found.items()}
    ways["bare all_gather"] = gather

    def prepare() -> None:
        for metrics in found.values():
            metrics.update(preds, target)

    prepare()
    are_equal = _agree(*(way() for way in list(ways.values())[:2])) if peer is not None else None
    counts = _counted(ways, prepare)
    rounds = _rounds_for(seconds, ways, prepare, gather, device)
    taken = _timed(ways, rounds, prepare, gather, device)
    timed = tuple(Timed(name, *_quartiles(times), collectives=counts.get(name, 1)) for name, times in taken.items())
    shares, backends = world_transport().shares_memory, str(dist.get_backend_config())
    return Measured(world_size, backends, str(device), rounds, shares, timed, are_equal, _about())


def _eighteen(room: Any) -> dict[str, Any]:
    """Make the same metrics from either library."""
    metrics = {
        f"{name}_{average}": getattr(room, name)(num_classes=_CLASSES, average=average)
        for name in _NAMES
        for average in _AVERAGES
    }
    metrics["confusion"] = room.MulticlassConfusionMatrix(num_classes=_CLASSES)
    metrics["confusion_true"] = room.MulticlassConfusionMatrix(num_classes=_CLASSES, normalize="true")
    return metrics


def _torchmetrics() -> Any:
    try:
        load("torchmetrics.classification", needed_by="a comparison with it", install="syncmetrics[torchmetrics]")
        return load("torchmetrics", needed_by="a comparison with it", install="syncmetrics[torchmetrics]")
    except ImportError:
        return None


def _gather(device: torch.device) -> Callable[[], None]:
    local = torch.zeros(BARE_BYTES, dtype=torch.uint8, device=device)
    out = torch.empty(dist.get_world_size() * BARE_BYTES, dtype=torch.uint8, device=device)

    def gather() -> None:
        gather_into(out, local)

    return gather


def _agree(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return all(torch.allclose(ours[name].double(), theirs[name].double(), atol=1e-6) for name in theirs)


def _counted(ways: dict[str, Callable[[], Any]], prepare: Callable[[], None]) -> dict[str, int]:
    """Count how often each contender has the ranks communicate; never while it is timed."""
    counts: dict[str, int] = {}
    for name in ("syncmetrics", "torchmetrics"):
        if name in ways:
            prepare()
            with _counting() as calls, trace() as record:
                ways[name]()
            counts[name] = record.collectives if name == "syncmetrics" else len(calls)
    return counts


@contextmanager
def _counting() -> Iterator[list[str]]:
    calls: list[str] = []
    before = {name: getattr(dist, name) for name in _COLLECTIVES}

    def counted(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return before[name](*args, **kwargs)

        return call

    for name in _COLLECTIVES:
        setattr(dist, name, counted(name))
    try:
        yield calls
    finally:
        for name, function in before.items():
            setattr(dist, name, function)


def _timed(
    ways: dict[str, Callable[[], Any]],
    rounds: int,
    prepare: Callable[[], None],
    meet: Callable[[], None],
    device: torch.device,
) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        prepare()
        for name, way in ways.items():
            meet()
            _settle(device)
            start = time.perf_counter()
            way()
            _settle(device)
            taken[name].append(time.perf_counter() - start)
    return taken


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _rounds_for(seconds: float, ways: Any, prepare: Any, meet: Any, device: torch.device) -> int:
    """Find how many rounds there is time for: what the slowest rank finds, the same on all."""
    start = time.perf_counter()
    _timed(ways, 2, prepare, meet, device)
    each = (time.perf_counter() - start) / 2
    mine = torch.tensor([int(min(max(math.floor(seconds / each), _LEAST_ROUNDS), _MOST_ROUNDS))], device=device)
    all_of_them = torch.empty(dist.get_world_size(), dtype=mine.dtype, device=device)
    gather_into(all_of_them, mine)
    return int(all_of_them.min())


def _quartiles(times: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = quantiles(times, n=4, method="inclusive")
    return middle, low, high


def _about() -> dict[str, str]:
    software, cores = software_of_process(), cores_of_process()
    about = {"cores": f"{cores.usable:g}", "torch": software.torch, "syncmetrics": software.syncmetrics}
    return about | {name: version for name, version in software.libraries.items() if name == "torchmetrics"}


@contextmanager
def _job(backend: str | None, timeout: float) -> Iterator[None]:
    """Have the process group of the job: the one that is up, or one for a while."""
    if dist.is_initialized():
        yield
        return
    local = os.environ.get("LOCAL_RANK", "")
    if torch.cuda.is_available() and local.isdigit():
        torch.cuda.set_device(int(local))
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    try:
        yield
        dist.barrier()  # who leaves closes its connections, and another rank may not be through
    finally:
        dist.destroy_process_group()
