"""Metrics in Lightning's checkpoints: what was accumulated in the middle of an epoch goes on where it was.

Metrics whose epoch is over are left out: Lightning resets them when the next one begins, which is not before the
checkpoint is loaded. They begin anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from syncmetrics.checkpoint import load_state, save_state
from syncmetrics.frameworks.lightning.hook import ended
from syncmetrics.metric import Metric, MetricCollection

__all__ = ["outermost", "put_into", "take_from"]

_KEY = "syncmetrics"


def put_into(
    checkpoint: dict[str, Any],
    key: str,
    trainer: Any,
    pl_module: Any,
    metrics: Mapping[str, Metric | MetricCollection],
    timeout: float | None = None,
) -> None:
    """Put what all ranks have accumulated into a checkpoint. Collective: Lightning calls the hook on every rank."""
    over = {id(module) for one in ended(trainer, pl_module) for module in one.modules()}
    going_on = {
        name: metric for name, metric in metrics.items() if over.isdisjoint(id(inside) for inside in metric.modules())
    }
    if going_on:
        checkpoint.setdefault(_KEY, {})[key] = save_state(going_on, timeout=timeout)


def take_from(
    checkpoint: Mapping[str, Any], key: str, trainer: Any, metrics: Mapping[str, Metric | MetricCollection]
) -> None:
    """Take it out again, on any number of ranks, for `fit` alone: `validate` and `test` begin with empty metrics.

    Raises:
        StateError: Metrics that were saved are not here, or have other states.
    """
    saved = checkpoint.get(_KEY, {}).get(key)
    if saved is not None and trainer.state.fn == "fit":
        load_state(metrics, saved)


def outermost(module: nn.Module, path: str = "") -> Iterator[tuple[str, Metric | MetricCollection]]:
    """Find the metrics and collections in a module that stand in no other one, by their names there."""
    for name, child in module.named_children():
        where = f"{path}.{name}" if path else name
        if isinstance(child, (Metric, MetricCollection)):
            yield where, child
        else:
            yield from outermost(child, where)
