"""This process and the machine under it: software, cores, limits, memory that processes share, timeouts, variables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from syncmetrics.diagnose.tested import LIBRARIES
from syncmetrics.transport.patience import current_patience

__all__ = [
    "Cores",
    "Limits",
    "SharedMemoryFolder",
    "Software",
    "cores_of_process",
    "environment_of_process",
    "limits_of_process",
    "patience_of_process",
    "shared_memory_folder",
    "software_of_process",
]

#: Variables that decide how ranks meet and wait, by their beginnings.
_VARIABLES = (
    "CUDA_",
    "GLOO_",
    "GROUP_",
    "HIP_VISIBLE",
    "LOCAL_",
    "MASTER_",
    "NCCL_",
    "OMP_",
    "MKL_NUM",
    "RANK",
    "ROLE_",
    "SYNCMETRICS_",
    "TORCH_",
    "TORCHELASTIC_",
    "TP_SOCKET",
    "WORLD_SIZE",
)


@dataclass(frozen=True, slots=True)
class Software:
    """What runs here.

    Attributes:
        python: Version of Python.
        system: The operating system.
        torch: Version of torch.
        build: What torch was built for: `"CPU only"`, `"CUDA 12.8"`.
        syncmetrics: Version of this package.
        devices: The accelerators that this process sees.
        libraries: Versions of the optional libraries that are installed.
    """

    python: str
    system: str
    torch: str
    build: str
    syncmetrics: str
    devices: tuple[str, ...]
    libraries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cores:
    """What this process may compute with.

    Attributes:
        machine: Cores of the machine.
        allowed: Those that this process may run on.
        quota: What the container may use of them, in cores; None if all.
        threads: Threads of torch in one operation.
        omp: `OMP_NUM_THREADS`; None if it is not set.
    """

    machine: int
    allowed: int
    quota: float | None
    threads: int
    omp: str | None

    @property
    def usable(self) -> float:
        """Cores that can work at the same time for this process."""
        return self.allowed if self.quota is None else min(self.allowed, self.quota)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the system allows this process, as `ulimit` says it; None where there is no limit.

    Attributes:
        files: Open files and sockets.
        processes: Processes and threads of this user.
        locked: Bytes that may be pinned.
    """

    files: int | None
    processes: int | None
    locked: int | None


@dataclass(frozen=True, slots=True)
class SharedMemoryFolder:
    """The folder `/dev/shm`.

    Attributes:
        is_there: Whether there is one.
        is_writable: Whether this process may write there.
        size: Its bytes in all.
        free: Those that are free.
    """

    is_there: bool
    is_writable: bool = False
    size: int = 0
    free: int = 0


def software_of_process() -> Software:
    """Say which versions run in this process."""
    return Software(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        torch=torch.__version__,
        build=_build(),
        syncmetrics=_version("syncmetrics") or "from a folder",
        devices=_devices(),
        libraries={name: found for name in LIBRARIES if (found := _version(name)) is not None},
    )


def _build() -> str:
    if torch.version.cuda:
        return f"CUDA {torch.version.cuda}"
    hip = getattr(torch.version, "hip", None)
    return f"ROCm {hip}" if hip else "CPU only"


def _devices() -> tuple[str, ...]:
    if torch.cuda.is_available():
        return tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return ("mps",) if torch.backends.mps.is_available() else ()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def cores_of_process() -> Cores:
    """Count the cores that this process may use: those of its affinity, and what its container is given of them."""
    machine = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    return Cores(machine, allowed, _quota(), torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS"))


def _quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Read what a container may use, in cores: of both kinds of control groups, the least on the way to its root."""
    found: list[float] = []
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "cpu" not in kinds.split(","):
            continue
        folder = root / kinds if kinds else root
        here = folder / path.lstrip("/")
        for place in (here, *here.parents):
            found += filter(None, [_quota_in(place)])
            if place == folder:
                break
    return min(found, default=None)


def _quota_in(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            most, period = (folder / "cpu.max").read_text().split()
        else:
            most = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return None if most in ("max", "-1") else float(most) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def limits_of_process() -> Limits | None:
    """Read what the system allows this process; None where it has no such limits."""
    try:
        import resource
    except ImportError:
        return None

    def soft(kind: str) -> int | None:
        number = getattr(resource, kind, None)
        limit = resource.RLIM_INFINITY if number is None else resource.getrlimit(number)[0]
        return None if limit == resource.RLIM_INFINITY else int(limit)

    return Limits(soft("RLIMIT_NOFILE"), soft("RLIMIT_NPROC"), soft("RLIMIT_MEMLOCK"))


def shared_memory_folder(folder: str = "/dev/shm") -> SharedMemoryFolder | None:
    """Look at the memory that processes of this host share by name; None on systems where that is not used."""
    if sys.platform != "linux":
        return None
    try:
        found = os.statvfs(folder)
    except OSError:
        return SharedMemoryFolder(False)
    writable = os.access(folder, os.W_OK | os.X_OK)
    return SharedMemoryFolder(True, writable, found.f_frsize * found.f_blocks, found.f_frsize * found.f_bavail)


def patience_of_process() -> tuple[float | None, float, str]:
    """Give the timeout of a sync, the seconds until its warning, and what is wrong with the variables for them."""
    try:
        patience = current_patience()
    except ValueError as error:
        return None, 0.0, str(error)
    return patience.timeout, patience.warn_after, ""


def environment_of_process(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give the variables that decide how ranks meet, exchange and wait, in the order of their names."""
    return {name: environment[name] for name in sorted(environment) if name.startswith(_VARIABLES)}
