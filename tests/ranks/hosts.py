"""Two hosts on one machine, with a network, a name, an /etc/hosts and a /dev/shm of their own. Only root makes them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import hosts as namespaces

#: All that the hosts know of names: not even their own.
NO_NAMES = "127.0.0.1 localhost\n"


@dataclass(frozen=True, slots=True)
class Host:
    """A host: its name, its address and interface on the link, and the process by which others enter."""

    name: str
    address: str
    interface: str
    process: int

    def command(self, *words: str, cwd: Path) -> list[str]:
        """Give the command line that runs these words on this host, in that folder."""
        enter = ["nsenter", "--target", str(self.process), "--net", "--mount", "--", "unshare", "--uts"]
        return [*enter, "sh", "-c", 'hostname "$0" && cd "$1" && shift && exec "$@"', self.name, str(cwd), *words]


@contextmanager
def two_hosts(folder: Path, names: str = NO_NAMES) -> Iterator[tuple[Host, Host]]:
    """Make the hosts alpha (10.78.0.1) and beta (10.78.0.2), with a link between them; they end with the context.

    Args:
        folder: a folder of this test's, for the file that is their /etc/hosts.
        names: what is in that file. They can look up names in no other way.

    Raises:
        OSError: if this process may not make them.

    """
    table = folder / "etc-hosts"
    table.write_text(names)
    with namespaces.hosts(2) as processes:
        for process in processes:
            _on(process, "--mount", "mount", "--bind", str(table), "/etc/hosts")
        alpha, beta = (
            Host(name, f"10.78.0.{number + 1}", f"host{number}", process)
            for number, (name, process) in enumerate(zip(("alpha", "beta"), processes, strict=True))
        )
        yield alpha, beta


def cut_link(host: Host) -> None:
    """Cut the link at the side of this host: what it sends goes nowhere, and so does what is sent to it."""
    _on(host.process, "--net", "ip", "link", "set", host.interface, "down")


def restore_link(host: Host) -> None:
    """Connect the link again."""
    _on(host.process, "--net", "ip", "link", "set", host.interface, "up")


def _on(process: int, namespace: str, *words: str) -> None:
    enter = ["nsenter", "--target", str(process), namespace, "--"]
    done = subprocess.run([*enter, *words], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
