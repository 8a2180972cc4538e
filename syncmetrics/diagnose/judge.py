"""What is to be said of one process: from what was found to findings. Pure functions, one for each area."""

from __future__ import annotations

from collections.abc import Callable

from syncmetrics.diagnose.exchange import Exchange
from syncmetrics.diagnose.findings import Finding, note, ok, problem
from syncmetrics.diagnose.network import Choice, Lookup
from syncmetrics.diagnose.process import Process
from syncmetrics.diagnose.tested import LIBRARIES, PYTHONS, TORCH, TORCH_LEAST, was_tested
from syncmetrics.transport.process_group.greeting import is_wanted
from syncmetrics.transport.process_group.shared_memory import MOST_RANKS, bytes_needed

__all__ = ["judge_exchange", "judge_process", "listed"]

_SLOW_LOOKUP = 1.0
_FEW_FILES = 1024
_SMALL_FOLDER = 64 << 20
_PINNED = 64 << 20
#: What is slow for ranks on one host: cores that are free exchange 8 KiB in a tenth of a millisecond.
_SLOW_EXCHANGE = 0.005
#: Variables that torch has renamed, and reads no more.
_RENAMED = ("NCCL_ASYNC_ERROR_HANDLING", "NCCL_BLOCKING_WAIT", "NCCL_DESYNC_DEBUG", "NCCL_ENABLE_TIMING")


def judge_process(process: Process) -> list[Finding]:
    """Judge all that was found in one process, in the order in which it is read."""
    areas: tuple[Callable[[Process], list[Finding]], ...] = (
        _software,
        _backends,
        _network,
        _meeting,
        _timeouts,
        _cores,
        _folder,
        _limits,
        _libraries,
    )
    return [finding for area in areas for finding in area(process)]


def listed(names: object) -> str:
    """Join names as a sentence does.

    Example:
        >>> listed(["eth0"]), listed(["eth0", "ib0", "ib1"])
        ('eth0', 'eth0, ib0 and ib1')
    """
    texts = [str(name) for name in names] if isinstance(names, (list, tuple)) else [str(names)]
    return " and ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


def _software(process: Process) -> list[Finding]:
    software = process.software
    found = []
    if was_tested(software.torch, TORCH):
        found.append(ok("software", "torch", f"{software.torch} ({software.build}) is what the tests ran with."))
    elif _numbers(software.torch) < _numbers(TORCH_LEAST):
        text = f"{software.torch} is older than {TORCH_LEAST}, which this package needs."
        found.append(problem("software", "torch", text, f"Install a newer one: pip install 'torch>={TORCH_LEAST}'."))
    else:
        text = f"{software.torch} ({software.build}) is expected to work; the tests ran with {TORCH}."
        found.append(ok("software", "torch", text))
    python = ".".join(software.python.split(".")[:2])
    ran = "is what the tests ran on" if python in PYTHONS else f"is expected to work; the tests ran on {PYTHONS[-1]}"
    found.append(ok("software", "Python", f"{software.python} {ran}."))
    found.append(ok("software", "syncmetrics", f"{software.syncmetrics}, on {software.system}."))
    has = f"This process sees {listed(list(software.devices))}." if software.devices else "There is none but the CPU."
    found.append(ok("software", "devices", has))
    place = process.place
    if "cuda" in process.backends.by_device and (place.local_rank or 0) >= len(software.devices):
        text = f"LOCAL_RANK is {place.local_rank}, but this process sees {len(software.devices)} devices."
        advice = "Start as many processes on a host as it has devices, or let each see one: CUDA_VISIBLE_DEVICES."
        found.append(problem("software", "device of this rank", text, advice))
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("+")[0].split(".")[:2] if part.isdigit())


def _backends(process: Process) -> list[Finding]:
    backends = process.backends
    if "gloo" not in backends.available:
        text = f"This torch communicates by {listed(list(backends.available)) or 'nothing'}, and not by gloo."
        advice = "Install a torch that was built with gloo, which all wheels for Linux and macOS have."
        return [problem("software", "backends", text, advice)]
    serves = ",".join(f"{device}:{backend}" for device, backend in backends.by_device.items())
    nccl = f" NCCL is {backends.nccl}." if backends.nccl else ""
    text = f"torch has {listed(list(backends.available))}. A group that is not told otherwise serves {serves}.{nccl}"
    return [ok("software", "backends", text)]


# ---- the network ----------------------------------------------------------------------------------------------------


def _network(process: Process) -> list[Finding]:
    network, found = process.network, []
    if network.interfaces is None:
        text = "The network interfaces are not known, because `psutil` is not installed."
        found.append(note("network", "interfaces", text, "Install it: pip install syncmetrics[cli]."))
    for interface in network.interfaces or ():
        if interface.addresses:
            speed = f", {interface.speed} Mbit/s" if interface.speed else ""
            state = "up" if interface.is_up else "down"
            where = listed(list(interface.addresses))
            found.append(ok("network", interface.name, f"{state}, {where}, MTU {interface.mtu}{speed}."))
    found.append(_own_name(network.own, process))
    if network.gloo is not None:
        found.append(_gloo(network.gloo, process))
    if network.nccl is not None and (process.backends.nccl or "NCCL_SOCKET_IFNAME" in process.environment):
        found.append(_nccl(network.nccl, process))
    return found


def _own_name(own: Lookup, process: Process) -> Finding:
    if own.error:
        text = f"The name of this host, {own.name}, has no address ({own.error})."
        if process.network.master is not None and not process.network.master.error:  # the ranks meet elsewhere
            advice = f"Add a line with the address and {own.name} to /etc/hosts: libraries ask for it, and wait."
            return note("network", "host name", text, advice)
        advice = (
            "torchrun hands this name to all ranks, and they wait for it in vain, with --standalone too. Add a line"
            f" with the address and {own.name} to /etc/hosts, or start with --local-addr ADDRESS (127.0.0.1 on one"
            " host) and set GLOO_SOCKET_IFNAME."
        )
        return problem("network", "host name", text, advice)
    if not own.usable:
        text = f"The name of this host, {own.name}, stands for {listed(list(own.addresses))}, which is not this host."
        advice = f"Correct the line of {own.name} in /etc/hosts or in DNS, or start with --local-addr ADDRESS."
        return problem("network", "host name", text, advice)
    if own.seconds > _SLOW_LOOKUP:
        text = f"Looking up the name of this host, {own.name}, took {own.seconds:.1f} s."
        advice = f"Add a line with the address and {own.name} to /etc/hosts: every rank asks several times."
        return note("network", "host name", text, advice)
    return ok("network", "host name", f"{own.name} stands for {listed(list(own.addresses))}.")


def _gloo(choice: Choice, process: Process) -> Finding:
    setting = process.environment.get("GLOO_SOCKET_IFNAME")
    if not choice.names:
        names = listed([one.name for one in process.network.interfaces or () if one.addresses])
        text = f"GLOO_SOCKET_IFNAME={setting} names no interface of this host that has an address."
        return problem("network", "gloo", text, f"Set it to one that has, or unset it. There are {names}.")
    text = f"takes {listed(list(choice.names))} ({listed(list(choice.addresses))}): {choice.why}."
    wires = [one for one in process.network.interfaces or () if one.addresses and not one.is_loopback]
    if choice.is_loopback and wires and not setting and not process.place.is_launched:  # a job knows its hosts
        advice = (
            "That is right for ranks on one host. For several hosts, set GLOO_SOCKET_IFNAME to the interface between"
            f" them on each, such as {wires[0].name}."
        )
        return note("network", "gloo", text, advice)
    return ok("network", "gloo", text)


def _nccl(choice: Choice, process: Process) -> Finding:
    setting = process.environment.get("NCCL_SOCKET_IFNAME")
    if not choice.names:
        text = f"NCCL finds no interface: NCCL_SOCKET_IFNAME={setting}." if setting else f"NCCL: {choice.why}."
        advice = "Set it to the beginning of the name of one that is up, such as eth or ib; = in front means the whole."
        return (problem if process.backends.nccl else note)("network", "NCCL", text, advice)
    return ok("network", "NCCL", f"takes {listed(list(choice.names))}: {choice.why}.")


# ---- how ranks meet, and how long they wait -------------------------------------------------------------------------


def _meeting(process: Process) -> list[Finding]:
    needed = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    has = [name for name in needed if process.environment.get(name)]
    found: list[Finding] = []
    if not has:
        if process.launcher:
            names = listed(list(needed))
            text = f"{process.launcher} has started this process, but {names}, which torch reads, are not set."
            advice = "Start it with torchrun on each host, or set them from the variables of the launcher."
            return [note("meeting", "variables", text, advice)]
        text = "No launcher has started this process: RANK and WORLD_SIZE are not set."
        return [ok("meeting", "variables", text, "To look at a whole job, run it with torchrun -m syncmetrics doctor.")]
    if len(has) < len(needed):
        missing = [name for name in needed if name not in has]
        text = f"{listed(has)} {'are' if len(has) > 1 else 'is'} set, but {listed(missing)} not."
        found.append(problem("meeting", "variables", text, "Set all four, as torchrun does, or none."))
    else:
        values = ", ".join(f"{name}={process.environment[name]}" for name in needed)
        found.append(ok("meeting", "variables", f"{values}."))
    master = process.network.master
    if master is not None and master.error:
        text = f"MASTER_ADDR={master.name} cannot be looked up here ({master.error})."
        advice = "Use the address of the host of rank 0, or add the name to /etc/hosts on all hosts."
        found.append(problem("meeting", "MASTER_ADDR", text, advice))
    return found


def _timeouts(process: Process) -> list[Finding]:
    found, backends = [], process.backends
    groups = listed([f"{seconds:g} s on {name}" for name, seconds in backends.timeouts.items()])
    if process.bad_patience:
        advice = "Set it to a number such as 120, or unset it: every sync raises this."
        return [problem("timeouts", "sync", process.bad_patience, advice)]
    warns = f"A warning names the ranks that are missing after {process.warn_after:g} s."
    if process.timeout is None:
        text = f"A sync waits as long as its process group, {groups} unless the group was made with another. {warns}"
        advice = "To be told sooner, call syncmetrics.set_sync_timeout(120) or set SYNCMETRICS_TIMEOUT=120."
        found.append(ok("timeouts", "sync", text, advice))
    else:
        found.append(ok("timeouts", "sync", f"A sync waits {process.timeout:g} s. {warns}"))
    set_here = {name: value for name, value in process.environment.items() if name.startswith("TORCH_NCCL_")}
    if set_here:
        text = ", ".join(f"{name}={value}" for name, value in set_here.items())
        found.append(ok("timeouts", "NCCL", f"The environment says {text}."))
    if set_here.get("TORCH_NCCL_ASYNC_ERROR_HANDLING") == "0":
        text = "TORCH_NCCL_ASYNC_ERROR_HANDLING=0 has NCCL wait for ever for a rank that is gone."
        found.append(note("timeouts", "NCCL errors", text, "Unset it, unless something else ends the job then."))
    old = [name for name in _RENAMED if name in process.environment]
    if old:
        text = f"{listed(old)}: torch has renamed this and reads it no more."
        found.append(note("timeouts", "old names", text, f"Set TORCH_{old[0]} in its place."))
    if process.environment.get("TORCH_DISTRIBUTED_DEBUG", "").upper() == "DETAIL":
        text = "TORCH_DISTRIBUTED_DEBUG=DETAIL has all ranks wait for each other before every collective."
        found.append(note("timeouts", "debugging", text, "Unset it when the search is over: it slows every step."))
    return found


# ---- the machine ----------------------------------------------------------------------------------------------------


def _cores(process: Process) -> list[Finding]:
    cores, place = process.cores, process.place
    parts = [f"The machine has {cores.machine} cores"]
    if cores.allowed < cores.machine:
        parts.append(f"this process may run on {cores.allowed} of them")
    if cores.quota is not None:
        parts.append(f"its container gets {cores.quota:g}")
    threads = f"torch computes with {cores.threads} thread{'s' if cores.threads > 1 else ''}"
    text = f"{', '.join(parts)}; {threads} (OMP_NUM_THREADS={cores.omp or 'not set'})."
    together = place.local_world_size or 1
    if together * cores.threads > max(cores.usable, 1) and cores.threads > 1:
        each = max(1, int(cores.usable // together))
        if together > 1:
            text += f" {together} ranks run here, which makes {together * cores.threads} threads."
        return [note("cores", "threads", text, f"Set OMP_NUM_THREADS={each}: threads that wait slow all others.")]
    if together > cores.usable:
        text += f" {together} ranks run here."
        advice = "Give the job more cores, or start fewer ranks: those without a core delay each sync by milliseconds."
        return [note("cores", "ranks", text, advice)]
    return [ok("cores", "cores", text)]


def _folder(process: Process) -> list[Finding]:
    folder, area, about = process.folder, "shared memory", "/dev/shm"
    if folder is None:
        return [ok(area, about, "It is used on Linux alone; here syncs go over the process group.")]
    if not is_wanted():
        text = "Ranks of one host may not share memory: SYNCMETRICS_SHARED_MEMORY or set_shared_memory says so."
        return [note(area, about, text, "Unset it for syncs that take about half of the time on one host.")]
    mount = "Mount a larger one: docker run --shm-size=1g, or an emptyDir with medium: Memory in Kubernetes."
    if not folder.is_there:
        text = "There is no /dev/shm. Syncs go over the process group, and workers of a DataLoader cannot start."
        return [problem(area, about, text, mount)]
    if not folder.is_writable:
        text = "This process may not write to /dev/shm. Syncs go over the process group."
        return [problem(area, about, text, "Make it writable for this user: chmod 1777 /dev/shm.")]
    size = f"It has {_bytes(folder.size)}, of which {_bytes(folder.free)} are free"
    world = min(process.place.local_world_size or 2, MOST_RANKS)
    needed = bytes_needed(world, max(world, process.place.world_size))
    if folder.free < needed:
        text = (
            f"{size}; {world} ranks need {_bytes(needed)} to share. Syncs go over the process group, and workers of a"
            " DataLoader end with a bus error."
        )
        return [problem(area, about, text, mount)]
    if folder.size <= _SMALL_FOLDER:
        text = f"{size}. That is enough for syncs, but a DataLoader with workers, and NCCL, soon need more."
        return [note(area, about, text, mount)]
    return [ok(area, about, f"{size}.")]


def _bytes(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.3g} {unit}"
        count /= 1024
    raise AssertionError("the loop returns")


def _limits(process: Process) -> list[Finding]:
    limits = process.limits
    if limits is None:
        return []
    found, world = [], process.place.world_size
    files = "any number of" if limits.files is None else str(limits.files)
    needed = max(_FEW_FILES, 256 + 4 * world)
    text = f"This process may open {files} files and sockets."
    if limits.files is not None and limits.files < needed:
        text += f" A gloo group opens one to each of {world} ranks, and a DataLoader more."
        found.append(note("limits", "open files", text, f"Allow more: ulimit -n {max(needed, 65536)}."))
    else:
        found.append(ok("limits", "open files", text))
    if limits.processes is not None and limits.processes < 256:
        text = f"This user may have {limits.processes} processes and threads; each gloo group has about 3."
        found.append(note("limits", "processes", text, "Allow more: ulimit -u 4096."))
    if limits.locked is not None and limits.locked < _PINNED and process.backends.nccl:
        text = f"This process may pin {_bytes(limits.locked)}; NCCL over InfiniBand needs more, and ends without it."
        found.append(note("limits", "pinned memory", text, "Allow it: ulimit -l unlimited, or --ulimit memlock=-1."))
    return found


def _libraries(process: Process) -> list[Finding]:
    found = process.software.libraries
    same = [name for name, version in found.items() if was_tested(version, LIBRARIES[name])]
    others = [f"{name} {version} (tests: {LIBRARIES[name]})" for name, version in found.items() if name not in same]
    texts = []
    if same:
        texts.append(f"As in the tests: {listed([f'{name} {found[name]}' for name in same])}.")
    if others:
        texts.append(f"Expected to work: {listed(others)}.")
    return [ok("libraries", "optional", " ".join(texts) or "None of the optional libraries is installed.")]


# ---- exchanges ------------------------------------------------------------------------------------------------------


def judge_exchange(exchange: Exchange, process: Process, *, on_one_host: bool = True) -> list[Finding]:
    """Judge what exchanges between ranks took.

    Args:
        exchange: What they took.
        process: Where rank 0 runs.
        on_one_host: Whether all ranks run on one machine.
    """
    area, world = "exchange", exchange.world_size
    met = f"{world} ranks met." if world > 1 else "There is one rank."
    found = [ok(area, "group", f"{met} The group serves {exchange.backends}.")]
    bare, plain = f"{exchange.bare * 1e3:.2f} ms", f"{exchange.plain * 1e3:.2f} ms"
    text = f"A bare all_gather of 8 KiB takes {bare}, a sync over the group {plain}"
    if exchange.shared is not None:
        where = "" if on_one_host else " on each host"
        text += f", and one through shared memory{where}, which these ranks use, {exchange.shared * 1e3:.2f} ms"
    if exchange.accelerator is not None:
        text += f". Between accelerators the gather takes {exchange.accelerator * 1e3:.2f} ms"
    if exchange.bare > _SLOW_EXCHANGE and on_one_host:
        advice = (
            "Give each rank a core of its own, and no more threads than that (OMP_NUM_THREADS): a rank that waits for a"
            " core has all others wait."
        )
        found.append(note(area, "time", f"{text}. That is slow.", advice))
    else:
        found.append(ok(area, "time", f"{text}."))
    can_share = process.folder is not None and is_wanted() and on_one_host and 1 < world <= MOST_RANKS
    if exchange.shared is None and can_share and "cpu:gloo" in exchange.backends:
        text = "The ranks run on one machine, but do not share memory: their syncs go over the group."
        advice = "Start them as one user, give /dev/shm room, and let containers share it: --ipc=host."
        found.append(note(area, "shared memory", text, advice))
    return found
