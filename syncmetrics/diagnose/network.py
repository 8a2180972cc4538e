"""The network as gloo and NCCL see it: interfaces, the host's own name, and which interface each of the two takes."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from syncmetrics.optional import load

__all__ = [
    "Choice",
    "Interface",
    "Lookup",
    "Network",
    "gloo_choice",
    "is_loopback",
    "look_up_host",
    "nccl_choice",
    "network_of_host",
]

#: A lookup that takes longer is not waited for. A broken name server makes a process wait for up to a minute.
LOOKUP_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface.

    Attributes:
        name: What the system calls it: `"eth0"`.
        addresses: Its IPv4 and IPv6 addresses, without those that hold on one link only.
        is_up: Whether it is on.
        speed: Megabits a second; 0 where the system does not say.
        mtu: Bytes in a packet.
    """

    name: str
    addresses: tuple[str, ...] = ()
    is_up: bool = True
    speed: int = 0
    mtu: int = 0

    @property
    def is_loopback(self) -> bool:
        """Whether it leads to this host alone."""
        return any(is_loopback(address) for address in self.addresses)


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the system says when it is asked for the addresses of a name.

    Attributes:
        name: The name.
        addresses: What it says.
        usable: Those of them that are this host's own: a socket can be bound to them.
        error: Why there are none.
        seconds: How long it took.
    """

    name: str
    addresses: tuple[str, ...] = ()
    usable: tuple[str, ...] = ()
    error: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """The interfaces that a backend takes.

    Attributes:
        names: Their names; empty if it finds none, and then it cannot start.
        addresses: The addresses that other ranks are told to connect to, as far as that is known.
        why: How it came to these.
    """

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    why: str

    @property
    def is_loopback(self) -> bool:
        """Whether only ranks on this host can connect to it."""
        return bool(self.addresses) and all(is_loopback(address) for address in self.addresses)


@dataclass(frozen=True, slots=True)
class Network:
    """The network of this host.

    Attributes:
        host: Its name.
        interfaces: Its interfaces; None if `psutil` is not installed, which reads them.
        own: Its name looked up.
        master: `MASTER_ADDR` looked up; None where it is not set.
        gloo: What gloo takes; None where the interfaces are not known.
        nccl: What NCCL takes for its sockets; None where the interfaces are not known.
    """

    host: str
    interfaces: tuple[Interface, ...] | None
    own: Lookup
    master: Lookup | None
    gloo: Choice | None
    nccl: Choice | None


def is_loopback(address: str) -> bool:
    """Whether an address leads to the host that uses it."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def gloo_choice(setting: str | None, interfaces: Sequence[Interface], own: Lookup) -> Choice:
    """Say what gloo takes, as torch decides it: the variable, else the host's own name, else the loopback.

    Args:
        setting: `GLOO_SOCKET_IFNAME`, where it is set.
        interfaces: All there are.
        own: The name of the host looked up.

    Example:
        >>> wires = [Interface("lo", ("127.0.0.1",)), Interface("eth0", ("10.0.0.7",))]
        >>> gloo_choice(None, wires, Lookup("node7", ("10.0.0.7",), usable=("10.0.0.7",))).names
        ('eth0',)
        >>> gloo_choice(None, wires, Lookup("node7", error="Name or service not known")).names
        ('lo',)
    """
    known = {interface.name: interface for interface in interfaces}
    if setting:
        names = [name for name in setting.split(",") if name]
        there = all(name in known and known[name].addresses for name in names)
        addresses = tuple(known[name].addresses[0] for name in names) if there else ()
        return Choice(tuple(names) if there else (), addresses, "GLOO_SOCKET_IFNAME names it")
    if own.usable:
        address = own.usable[0]
        owners = [interface.name for interface in interfaces if address in interface.addresses]
        owners += [interface.name for interface in interfaces if is_loopback(address) and interface.is_loopback]
        return Choice(tuple(owners[:1]), (address,), f"the host's own name, {own.name}, stands for {address}")
    loops = [interface for interface in interfaces if interface.is_loopback]
    why = f"the host's own name, {own.name}, does not stand for an address of this host"
    return Choice(tuple(loop.name for loop in loops[:1]), tuple(loop.addresses[0] for loop in loops[:1]), why)


def nccl_choice(setting: str | None, interfaces: Sequence[Interface]) -> Choice:
    """Say what NCCL takes for its sockets: the variable, else InfiniBand, else what is neither docker's nor loopback.

    Args:
        setting: `NCCL_SOCKET_IFNAME`, where it is set: beginnings of names; after `=` whole names, after `^` those that
            are not wanted.
        interfaces: All there are.

    Example:
        >>> wires = [Interface("lo", ("127.0.0.1",)), Interface("eth0", ("10.0.0.7",)), Interface("ib0", ("10.1.0.7",))]
        >>> nccl_choice(None, wires).names, nccl_choice("^ib,lo", wires).names, nccl_choice("=eth", wires).names
        (('ib0',), ('eth0',), ())
    """
    ready = [interface for interface in interfaces if interface.is_up and interface.addresses]
    if setting:
        is_other, is_whole = setting.startswith("^"), setting.lstrip("^").startswith("=")
        given = [name for name in setting.lstrip("^").lstrip("=").split(",") if name]

        def is_named(name: str) -> bool:
            return any(name == one if is_whole else name.startswith(one) for one in given)

        found = [interface for interface in ready if is_named(interface.name) != is_other]
        return _choice(found, "NCCL_SOCKET_IFNAME chooses it")
    for why, takes in _NCCL_ORDER:
        found = [interface for interface in ready if takes(interface.name)]
        if found:
            return _choice(found, why)
    return Choice((), (), "no interface is up and has an address")


_ASIDE = ("docker", "lo", "virbr")
_NCCL_ORDER: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("InfiniBand comes first", lambda name: name.startswith("ib")),
    ("it takes what is neither docker's, virtual nor the loopback", lambda name: not name.startswith(_ASIDE)),
    ("there is nothing but docker's", lambda name: name.startswith("docker")),
    ("there is nothing but the loopback", lambda name: name.startswith("lo")),
)


def _choice(found: Iterable[Interface], why: str) -> Choice:
    found = list(found)
    return Choice(tuple(one.name for one in found), tuple(one.addresses[0] for one in found), why)


def look_up_host(name: str, *, seconds: float = LOOKUP_SECONDS) -> Lookup:
    """Look up a name as gloo, torchrun and the store of a process group do.

    Args:
        name: The name of a host, or an address.
        seconds: How long to wait for the answer.
    """
    said: list[tuple[str, ...]] = []
    errors: list[str] = []

    def ask() -> None:
        try:
            rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            said.append(tuple(dict.fromkeys(str(row[4][0]) for row in rows)))
        except (OSError, UnicodeError) as error:
            errors.append(getattr(error, "strerror", None) or str(error))

    start = time.monotonic()
    asking = threading.Thread(target=ask, daemon=True)  # it cannot be interrupted
    asking.start()
    asking.join(seconds)
    took = time.monotonic() - start
    if said:
        return Lookup(name, said[0], tuple(filter(_can_bind, said[0])), seconds=took)
    why = errors[0] if errors else f"no answer within {seconds:g} s"
    return Lookup(name, error=why, seconds=took)


def _can_bind(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.bind((address, 0))
    except OSError:
        return False
    return True


def read_interfaces() -> tuple[Interface, ...] | None:
    """Read the interfaces of this host; None without `psutil`."""
    try:
        psutil: Any = load("psutil", needed_by="`python -m syncmetrics doctor`", install="syncmetrics[cli]")
    except ImportError:
        return None
    states, found = psutil.net_if_stats(), []
    for name, rows in psutil.net_if_addrs().items():
        addresses = [row.address for row in rows if row.family in (socket.AF_INET, socket.AF_INET6)]
        kept = tuple(one for one in addresses if "%" not in one and not one.startswith("fe80"))
        state = states.get(name)
        if state is None:
            found.append(Interface(name, kept, is_up=False))
        else:
            found.append(Interface(name, kept, state.isup, state.speed, state.mtu))
    return tuple(found)


def network_of_host(environment: Mapping[str, str] = os.environ) -> Network:
    """Look at the network of this host. It asks the name server, and nobody else.

    Args:
        environment: The variables that gloo, NCCL and torch read.
    """
    interfaces = read_interfaces()
    host = socket.gethostname()
    own = look_up_host(host)
    master = environment.get("MASTER_ADDR")
    gloo = nccl = None
    if interfaces is not None:
        gloo = gloo_choice(environment.get("GLOO_SOCKET_IFNAME"), interfaces, own)
        nccl = nccl_choice(environment.get("NCCL_SOCKET_IFNAME"), interfaces)
    return Network(host, interfaces, own, look_up_host(master) if master else None, gloo, nccl)
