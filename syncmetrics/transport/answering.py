"""Answering: a rank that others wait for tells them where it stands, whatever its main thread does.

A rank that has not come to a sync does not know that it is waited for, so something in it must listen. It is one thread
a process, from the first sync over several processes on, asleep in the kernel in `accept` until somebody asks: it has
no period, asks the store nothing, and takes part in no operation. Where a rank can be asked it writes down once, in the
store of the job; who asks shows the random token that is written there too.

The thread does not listen at the store itself, by a `wait` for a key. Such a wait takes the connection of the whole
process, or one more to the process that keeps the store; and when that one ends, as it does at the end of every job,
torch prints the stack of the broken wait on every other rank. A file store has no wait but asking again and again.
"""

from __future__ import annotations

import atexit
import hmac
import json
import os
import secrets
import socket
import struct
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from syncmetrics.transport.environment import is_on
from syncmetrics.transport.neighbours import host_of_process, start_of_process
from syncmetrics.transport.stacks import encode_standing, standing_of_thread, thread_to_show, with_sources

__all__ = ["LOOPBACK", "Address", "Syncing", "answer_for", "is_wanted", "listen", "own_address"]

#: Who has connected says within this time what it wants, and takes the answer.
_TALK_SECONDS = 2.0
#: So many are answered at the same time; more are not.
_MOST_TALKS = 16
_MOST_REQUEST = 256
_MOST_NAME = 100
#: What only this host reaches.
LOOPBACK = "127.0.0.1"
#: An address of no host (RFC 5737): the way there is the way to anywhere. Nothing is sent.
_ANYWHERE = "192.0.2.1"


def is_wanted() -> bool:
    """Whether this process answers, and asks: unless `SYNCMETRICS_STANDINGS=0` says otherwise."""
    return is_on("SYNCMETRICS_STANDINGS")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a process can be asked, and which process it is.

    Attributes:
        host: Host and space of process numbers, as `host_of_process` gives it.
        pid: Its number there.
        started: When it began, as `start_of_process` gives it.
        at: Address and port.
        token: What is to be shown there.
        name: What the host is called.
    """

    host: str
    pid: int
    started: str
    at: tuple[str, int]
    token: str
    name: str

    def encode(self) -> str:
        """Give it as text."""
        return json.dumps([self.host, self.pid, self.started, *self.at, self.token, self.name])

    @classmethod
    def decode(cls, text: str) -> Address:
        """Read it."""
        host, pid, started, at, port, token, name = json.loads(text)
        return cls(host, int(pid), started, (at, int(port)), token, name)


class Syncing(Protocol):
    """What syncs over a group in this process, as far as it is told to others."""

    @property
    def rank(self) -> int:
        """Rank in the group."""

    @property
    def name(self) -> str:
        """What to call the group in a message."""

    @property
    def last_thread(self) -> int:
        """Which thread synced last; 0 if none has."""

    @property
    def last_sync(self) -> str:
        """The last sync that came to its end; empty if none has."""

    @property
    def present_sync(self) -> str:
        """The sync that is under way; empty if none is."""


#: What syncs in this process, by a key that is the same on all ranks of a group.
_syncing: weakref.WeakValueDictionary[str, Syncing] = weakref.WeakValueDictionary()


def answer_for(key: str, syncing: Syncing) -> None:
    """Have those answered who ask with this key."""
    _syncing[key] = syncing


def _sync_of(ident: int | None) -> str:
    for syncing in list(_syncing.values()):
        if syncing.present_sync and syncing.last_thread == ident:
            return f"{syncing.present_sync} over {syncing.name[:_MOST_NAME]}"
    return ""


class _Listener:
    """A socket, and the thread that sleeps at it."""

    def __init__(self, toward: str | None) -> None:
        self._toward = toward
        self._token = secrets.token_hex(16)
        self._talks = threading.BoundedSemaphore(_MOST_TALKS)
        self._address: Address | None = None
        self._is_ready = threading.Event()
        self._socket: socket.socket | None = None
        self.groups = 0
        self.is_closed = False
        self.thread = threading.Thread(target=self._run, name="syncmetrics listener", daemon=True)

    def address(self) -> Address | None:
        """Give where it listens, once it does; None if it cannot."""
        self._is_ready.wait()
        return self._address

    def _run(self) -> None:
        with suppress(Exception):  # it has nobody to tell
            try:
                self._open()
            finally:
                self._is_ready.set()
            self._serve()

    def _open(self) -> None:
        at = own_address(self._toward)
        self._socket = socket.create_server(
            (at, 0), family=socket.AF_INET6 if ":" in at else socket.AF_INET, backlog=64
        )
        pid, port = os.getpid(), self._socket.getsockname()[1]
        host, name = host_of_process() or "", socket.gethostname()
        self._address = Address(host, pid, start_of_process(pid), (at, port), self._token, name)

    def _serve(self) -> None:
        assert self._socket is not None
        with self._socket as listening:
            while True:
                connection, _ = listening.accept()
                if self.is_closed:
                    connection.close()
                    return
                if not self._talks.acquire(blocking=False):
                    connection.close()
                    continue
                try:
                    # A thread for each: to read the sources of a stack may take as long as what the rank waits for.
                    threading.Thread(
                        target=self._talk, args=(connection,), name="syncmetrics answer", daemon=True
                    ).start()
                except RuntimeError:  # there is no memory for it, or the process is ending
                    connection.close()
                    self._talks.release()

    def _talk(self, connection: socket.socket) -> None:
        """Answer one who asks. What is raised here concerns nobody but the one who asks."""
        try:
            with connection, suppress(Exception):
                connection.settimeout(_TALK_SECONDS)
                request = _receive(connection)
                token, _, key = request.partition(" ")
                if not hmac.compare_digest(token.encode(), self._token.encode()):
                    return
                syncing = _syncing.get(key)
                thread = thread_to_show(0 if syncing is None else syncing.last_thread)
                rank, last = (-1, "") if syncing is None else (syncing.rank, syncing.last_sync)
                standing = standing_of_thread(rank, thread, last, _sync_of(thread.ident))
                connection.sendall(encode_standing(standing).encode() + b"\n")
                connection.sendall(encode_standing(with_sources(standing)).encode() + b"\n")
        finally:
            self._talks.release()

    def leave(self) -> None:
        """End with the last group. It takes no lock: a garbage collection may come here from anywhere."""
        self.groups -= 1
        if self.groups <= 0:
            self.close()

    def close(self) -> None:
        """Have the thread end. It does not wait for that."""
        if self.is_closed:
            return
        self.is_closed = True
        address = self._address
        if address is not None:
            with suppress(OSError):
                socket.create_connection(address.at, 0.2).close()

    def forget(self) -> None:
        """Let go, in a process that was forked from the one that listens: its thread is not here."""
        self.is_closed = True
        if self._socket is not None:
            with suppress(OSError):
                os.close(self._socket.detach())


def _receive(connection: socket.socket) -> str:
    """Read until the end of a line."""
    found = b""
    while not found.endswith(b"\n") and len(found) < _MOST_REQUEST:
        piece = connection.recv(_MOST_REQUEST)
        if not piece:
            break
        found += piece
    return found.decode("ascii").strip()


_listener: _Listener | None = None
_lock = threading.Lock()
_telling: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def listen(group: Any, toward: str | None, publish: Callable[[str], None]) -> None:
    """Have this process answer those who ask where it stands, as long as the group lives. It does not wait.

    Args:
        group: Anything that can be referred to weakly.
        toward: Name or address of a host that the ranks reach; None if they are all on this one.
        publish: Writes down, for all ranks, where this process can be asked.
    """
    if not is_wanted():
        return
    try:
        listener = _present(toward)
    except RuntimeError:  # there is no memory for a thread, or the process is ending
        return
    weakref.finalize(group, listener.leave).atexit = False

    def tell() -> None:
        with suppress(Exception):  # stores of other makers raise what they like; the others hear no answer then
            address = listener.address()
            if address is not None:
                publish(address.encode())

    with suppress(RuntimeError):
        thread = threading.Thread(target=tell, name="syncmetrics address", daemon=True)
        _telling.add(thread)
        thread.start()


def _present(toward: str | None) -> _Listener:
    """Give the listener of this process, with one group more."""
    global _listener
    with _lock:
        while True:
            if _listener is None or _listener.is_closed:
                fresh = _Listener(toward)
                fresh.thread.start()
                _listener = fresh
            found = _listener
            found.groups += 1
            if not found.is_closed:  # a group may have been collected in between
                return found


def _end() -> None:
    """End with the process, before the interpreter takes itself apart."""
    if _listener is not None:
        _listener.close()
    for thread in [*_telling, *([] if _listener is None else [_listener.thread])]:
        # One that came back from the store of torch while the interpreter ends would end the process with SIGABRT.
        if thread.is_alive():
            thread.join(0.5)


def _after_fork() -> None:
    global _listener, _lock
    if _listener is not None:
        _listener.forget()
    _listener, _lock = None, threading.Lock()
    _syncing.clear()
    _telling.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def own_address(toward: str | None) -> str:
    """Give the address of this host by which the other ranks reach it.

    It is that of the interface which gloo was told to use, else the one from which the way leads to `toward`. Where
    all ranks are on this host it is one that no other host reaches.

    Args:
        toward: Name or address of a host that the ranks reach; None if they are all on this one.
    """
    interface = os.environ.get("GLOO_SOCKET_IFNAME", "").split(",")[0].strip()
    found = _address_of(interface) if interface else None
    if found is not None:
        return found
    if toward is None or toward == "localhost" or _is_loopback(toward):
        return LOOPBACK
    for target in (toward, _ANYWHERE):
        with suppress(OSError):
            for family, kind, _, _, where in socket.getaddrinfo(target, 9, type=socket.SOCK_DGRAM):
                with socket.socket(family, kind) as one:
                    one.connect(where)  # of a datagram socket: it finds the way, and sends nothing
                    found = str(one.getsockname()[0])
                # Many hosts have their own name stand for a loopback address.
                if not _is_loopback(found):
                    return found
    return LOOPBACK


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _address_of(interface: str) -> str | None:
    """Give the IPv4 address of an interface; None if it has none, or the system does not say."""
    try:
        import fcntl

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            name = struct.pack("256s", interface.encode()[:15])
            return socket.inet_ntoa(fcntl.ioctl(one.fileno(), 0x8915, name)[20:24])  # SIOCGIFADDR
    except (ImportError, OSError):
        return None
