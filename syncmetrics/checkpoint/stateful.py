"""What has `state_dict` and `load_state_dict` and means all ranks: for whoever asks every rank for its state.

`torch.distributed.checkpoint` and accelerate call `state_dict()` of what they are given on every rank, and keep one
answer where the keys are the same. Of metrics that would be what one rank has accumulated, or nothing, for states are
not persistent unless that was asked for. So these get what `save_state` gives, as bytes, whose number may be another in
each checkpoint. Anybody else who calls `state_dict()` of a metric gets that of a module.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import FrameType
from typing import Any, Literal

from syncmetrics.checkpoint.saved import is_empty, is_saved, pack
from syncmetrics.checkpoint.state import load_state, save_state

__all__ = ["StatefulMetrics", "asked_for", "load_whole", "whole"]

Purpose = Literal["save", "load"]

#: Which module asks every rank, and what for: before it loads, to know what there may be.
_WHO_ASKS: dict[str, Purpose] = {
    "torch.distributed.checkpoint.state_dict_saver": "save",
    "torch.distributed.checkpoint.state_dict_loader": "load",
    "accelerate.checkpointing": "save",
}


def asked_for(caller: FrameType) -> Purpose | None:
    """Say for what the state of all ranks is asked by the function that runs in a frame; None if it is not.

    Args:
        caller: The frame of whoever called `state_dict()`.
    """
    return _WHO_ASKS.get(caller.f_globals.get("__name__", ""))


def whole(metrics: Any, purpose: Purpose, **options: Any) -> dict[str, bytes]:
    """Give the state of all ranks. Collective, if it is to be saved: every rank of the group must call this."""
    return pack(save_state(metrics, **options) if purpose == "save" else {})


def load_whole(metrics: Any, state_dict: Any, **options: Any) -> bool:
    """Load the state of all ranks, if it is one, and say whether it was. It does not communicate."""
    if not is_saved(state_dict):
        return False
    if not is_empty(state_dict):
        load_state(metrics, state_dict, **options)
    return True


class StatefulMetrics:
    """Metrics as something that has a state of all ranks, for `torch.distributed.checkpoint`, accelerate and others.

    A metric, a collection or a `MetricLogger` can be given to these as it is. This is for several of them, for metrics
    of torchmetrics, and for a class of yours that gives their state as a part of its own. ::

        dcp.save({"model": model, "metrics": StatefulMetrics({"val": collection, "loss": loss})}, checkpoint_id=path)
        accelerator.register_for_checkpointing(StatefulMetrics([accuracy, matrix]))

    Args:
        metrics: As `save_state` takes them.
        process_group: Over which ranks. Left out: the one that the metrics have.
        timeout: Seconds to wait for the other ranks when it is saved.
    """

    def __init__(self, metrics: Any, *, process_group: Any = None, timeout: float | None = None) -> None:
        self.metrics = metrics
        self._group, self._timeout = process_group, timeout

    def state_dict(self) -> dict[str, bytes]:
        """Give what all ranks have accumulated. Collective: every rank of the group must call this. It is one sync.

        `torch.distributed.checkpoint.load` asks for it to know what to load, and gets it without a sync.

        Returns:
            A dict with one entry of bytes.

        Raises:
            SyncError: As `save_state` does.
        """
        purpose = asked_for(sys._getframe(1)) or "save"
        return whole(self.metrics, purpose, process_group=self._group, timeout=self._timeout)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` or `save_state` gave, on any number of ranks. It does not communicate.

        Raises:
            StateError: It is something else, or does not fit. No metric is changed.
        """
        if not load_whole(self.metrics, state_dict, process_group=self._group):
            load_state(self.metrics, state_dict, process_group=self._group)  # which says what is wrong
