"""What the ranks of test_servers.py do. Where it is imported is what they look at."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

HOW = os.environ.get("SYNCMETRICS_TEST_IMPORT")
if HOW == "raise":
    raise ImportError("not to be imported in here")
if HOW == "start a thread":
    threading.Thread(target=threading.Event().wait, daemon=True).start()

IMPORTED_IN = os.getpid()
SEEN: list[int] = []


def whereabouts(rank: int, world_size: int) -> dict[str, Any]:
    """Say who we are, and leave a trace in the process."""
    SEEN.append(rank)
    return {
        "seen": list(SEEN),
        "pid": os.getpid(),
        "parent": os.getppid(),
        "imported in": IMPORTED_IN,
        "directory": os.getcwd(),
        "value": os.environ.get("SYNCMETRICS_TEST_VALUE"),
        "interrupt": str(signal.getsignal(signal.SIGINT)),
    }


def lose_the_server(rank: int, world_size: int) -> None:
    os.kill(os.getppid(), signal.SIGKILL)


def has(rank: int, world_size: int, module: str) -> bool:
    return module in sys.modules
