"""What the ranks of test_examples.py do: each is a process of a story, as Lightning would have started it."""

from __future__ import annotations

import os
import runpy
import sys
import warnings
from pathlib import Path

import lightning.pytorch  # noqa: F401 - imported once, before the stories are
import torch.distributed as dist
import torchmetrics  # noqa: F401

#: What is told of the wrong way of a story, beginning with these words.
WRONG_ON_PURPOSE = "`UndeclaredAccuracy` declares no state"


def story(rank: int, world_size: int, script: str, numbers: str, output: str) -> object:
    """Run a script whose output goes to a file, every warning an error; give its exit status."""
    _leave_to_lightning(rank, world_size)
    with Path(output).open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = [script, "--devices", str(world_size), "--json", numbers]
    sys.path.insert(0, str(Path(script).parent))
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", WRONG_ON_PURPOSE)
    warnings.filterwarnings("ignore", "The `srun` command is available")
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _leave_to_lightning(rank: int, world_size: int) -> None:
    """Be in no group, and have the environment from which Lightning makes its own."""
    if world_size > 1:
        host = "127.0.0.1"
        store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False) if rank == 0 else None
        port = [0 if store is None else store.port]
        dist.broadcast_object_list(port)
        names = {"MASTER_ADDR": host, "MASTER_PORT": port[0], "LOCAL_RANK": rank, "NODE_RANK": 0}
        # The store is there already, at a port that nobody can have taken in between.
        names["TORCHELASTIC_USE_AGENT_STORE"] = True
        os.environ.update({name: str(value) for name, value in names.items()})
        _kept.append(store)
    dist.destroy_process_group()


_kept: list[object] = []
