"""One process as a whole: everything that can be found out without another one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from syncmetrics.diagnose.backends import Backends, backends_of_torch
from syncmetrics.diagnose.host import (
    Cores,
    Limits,
    SharedMemoryFolder,
    Software,
    cores_of_process,
    environment_of_process,
    limits_of_process,
    patience_of_process,
    shared_memory_folder,
    software_of_process,
)
from syncmetrics.diagnose.network import Network, network_of_host
from syncmetrics.transport.neighbours import host_of_process

__all__ = ["Place", "Process", "facts_of", "place_of_process", "process_here"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process stands in its job, as the launcher says.

    Attributes:
        rank: Its rank; 0 where there is no job.
        world_size: Ranks of the job; 1 where there is none.
        local_rank: Its rank among those of its host; None if the launcher does not say.
        local_world_size: How many ranks run on its host; None if the launcher does not say.
        is_launched: Whether a launcher has set `RANK` and `WORLD_SIZE`.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int | None = None
    local_world_size: int | None = None
    is_launched: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """What was found in one process.

    Attributes:
        place: Where it stands in its job.
        machine: What tells its host from others, and its container from others; empty where the system does not say.
        software: What runs here.
        backends: What torch can communicate with.
        network: The network of its host.
        cores: What it may compute with.
        limits: What the system allows it; None where there are no such limits.
        folder: The memory that processes share by name; None on systems where this package does not use it.
        timeout: Seconds until a sync fails; None if the process group says so.
        warn_after: Seconds until a sync warns.
        bad_patience: What is wrong with the variables that say so; empty if nothing is.
        environment: The variables that decide how ranks meet, exchange and wait.
        launcher: Another launcher than torchrun that has started it; empty if none is known.
    """

    place: Place
    machine: str
    software: Software
    backends: Backends
    network: Network
    cores: Cores
    limits: Limits | None
    folder: SharedMemoryFolder | None
    timeout: float | None
    warn_after: float
    bad_patience: str
    environment: Mapping[str, str]
    launcher: str = ""


#: What other launchers number their processes by.
_LAUNCHERS = {"SLURM_PROCID": "Slurm", "OMPI_COMM_WORLD_RANK": "mpirun", "PMI_RANK": "mpiexec"}


def place_of_process(environment: Mapping[str, str] = os.environ) -> Place:
    """Read what a launcher has set.

    Example:
        >>> place_of_process({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"})
        Place(rank=3, world_size=8, local_rank=1, local_world_size=2, is_launched=True)
    """

    def number(name: str) -> int | None:
        text = environment.get(name, "")
        return int(text) if text.isdigit() else None

    rank, world = number("RANK"), number("WORLD_SIZE")
    if rank is None or world is None:
        return Place()
    return Place(rank, world, number("LOCAL_RANK"), number("LOCAL_WORLD_SIZE"), True)


def process_here() -> Process:
    """Find out all that can be found out in this process. It asks the name server, and no other rank."""
    timeout, warn_after, bad_patience = patience_of_process()
    return Process(
        place=place_of_process(),
        machine=host_of_process() or "",
        software=software_of_process(),
        backends=backends_of_torch(),
        network=network_of_host(),
        cores=cores_of_process(),
        limits=limits_of_process(),
        folder=shared_memory_folder(),
        timeout=timeout,
        warn_after=warn_after,
        bad_patience=bad_patience,
        environment=environment_of_process(),
        launcher=next((name for variable, name in _LAUNCHERS.items() if variable in os.environ), ""),
    )


def facts_of(process: Process) -> dict[str, str]:
    """Give what was found as text by name: what is told of a rank, and compared between ranks."""
    software, network, cores = process.software, process.network, process.cores
    facts = {
        "host": network.host,
        "machine": process.machine,
        "python": software.python,
        "system": software.system,
        "torch": software.torch,
        "torch build": software.build,
        "syncmetrics": software.syncmetrics,
        "devices": ", ".join(software.devices) or "none",
        "backends": ", ".join(process.backends.available),
        "cores": f"{cores.usable:g}",
        "threads": str(cores.threads),
        "sync timeout": "that of the group" if process.timeout is None else f"{process.timeout:g} s",
        "sync warning": f"{process.warn_after:g} s",
        "gloo interface": _chosen(network.gloo),
        "gloo address": ", ".join(network.gloo.addresses) if network.gloo else "",
        "NCCL interface": _chosen(network.nccl),
    }
    facts |= {f"version of {name}": version for name, version in software.libraries.items()}
    return facts | {f"${name}": value for name, value in process.environment.items()}


def _chosen(choice: object) -> str:
    return ", ".join(getattr(choice, "names", ())) or ("none" if choice is not None else "not known")
