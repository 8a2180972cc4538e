"""Wrong process groups, tried where torch.distributed is up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

from syncmetrics import gather_ragged, sync_and_compute, sync_states
from tests.samples import Total

X = torch.tensor([1.0])


def wrong_groups(rank: int, world_size: int) -> dict[str, tuple[str, str, list[str]]]:
    """Give for each call: the error, its text, and the words that must be in it."""
    mesh = init_device_mesh("cpu", (2, 1), mesh_dim_names=("dp", "tp"))
    unnamed = init_device_mesh("cpu", (1, 2))
    outside = ["`process_group`", "this rank is part of", "leave `process_group` out"]
    calls: dict[str, tuple[Callable[[], Any], list[str]]] = {
        "-100": (lambda: Total(process_group=-100), [*outside, "-100"]),
        "outside": (lambda: Total(process_group=dist.GroupMember.NON_GROUP_MEMBER), outside),
        "-100 in a helper": (lambda: sync_states({"x": X}, {"x": "sum"}, process_group=-100), outside),
        "-100 in a gather": (lambda: gather_ragged(X, process_group=-100), outside),
        "-100 in sync_and_compute": (lambda: sync_and_compute(Total(), process_group=-100), outside),
        "two dimensions": (lambda: Total(process_group=mesh), ["2-d", "(mesh, 'dp')", "['dp', 'tp']"]),
        "two dimensions without names": (lambda: Total(process_group=unnamed), ["2-d", "['0', '1']"]),
        "dst": (lambda: gather_ragged(X, dst=2), ["`dst`", "0 to 1", "2"]),
    }
    found = {}
    for what, (call, words) in calls.items():
        try:
            call()
            found[what] = ("nothing", "", words)
        except Exception as error:
            found[what] = (type(error).__name__, str(error), words)
    return found
