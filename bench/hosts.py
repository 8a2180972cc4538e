"""Hosts inside of this one: a network and a shared memory of their own each, and a link between two. Only root may."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["enter", "hosts", "reason_against"]

_ADDRESS = "10.78.0.{}"
#: A host lives as long as this shell reads: it ends with the process that holds the other end.
_HOST = "mount --make-rprivate / && mount -t tmpfs tmpfs /dev/shm && ip link set lo up && echo here && read line"
_SECONDS = 30.0


def _interface(host: int) -> str:
    return f"host{host}"


@contextmanager
def hosts(count: int) -> Iterator[list[int]]:
    """Make one or two hosts; give a process of each, by which others enter.

    Raises:
        OSError: This process may not.
    """
    shells = [
        subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", _HOST],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        for shell in shells:
            assert shell.stdout is not None
            if shell.stdout.readline().strip() != "here":
                raise OSError("network namespaces cannot be made here")
        pids = [shell.pid for shell in shells]
        if count == 2:
            _link(pids)
        yield pids
    finally:
        for shell in shells:
            shell.kill()
            shell.communicate()


def _link(pids: Sequence[int]) -> None:
    one, other = _interface(0), _interface(1)
    _run("ip", "link", "add", one, "netns", str(pids[0]), "type", "veth", "peer", "name", other, "netns", str(pids[1]))
    for host, pid in enumerate(pids):
        inside = ("nsenter", "--target", str(pid), "--net", "ip")
        _run(*inside, "addr", "add", f"{_ADDRESS.format(host + 1)}/24", "dev", _interface(host))
        _run(*inside, "link", "set", _interface(host), "up")


def _run(*words: str) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, timeout=_SECONDS)
    except subprocess.SubprocessError as error:
        raise OSError(f"{' '.join(words)}: {error}") from error


def enter(pid: int, host: int) -> None:
    """Go to a host, as the first thing that a process does: it must not have a second thread yet.

    Raises:
        OSError: This process may not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for kind in ("net", "mnt"):
        descriptor = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
        try:
            if libc.setns(descriptor, 0):
                raise OSError(ctypes.get_errno(), f"cannot enter the {kind} namespace of a host")
        finally:
            os.close(descriptor)
    os.environ["GLOO_SOCKET_IFNAME"] = _interface(host)


@functools.cache
def reason_against() -> str | None:
    """Give why no hosts can be made here, or None."""
    try:
        with hosts(2):
            return None
    except OSError as error:
        return str(error)
