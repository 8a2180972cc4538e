"""torchmetrics: its metrics in `synced`, all of them through the engine with `install`, and many at once with `fuse`.

Its meaning is kept (what `compute` sees, the order of lists of equal length, `tensor([])` where nobody has rows), and
is right where it is not by itself: ranks without data, lists of other lengths, other dtypes, means, exceptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat, dim_zero_max, dim_zero_mean, dim_zero_min, dim_zero_sum

from syncmetrics.adapters import Adapter, register_adapter
from syncmetrics.reductions import ReduceFx, Reduction, resolve_reduction
from syncmetrics.states import State, States
from syncmetrics.transport import WORLD

__all__ = ["TorchmetricsAdapter"]

_NAMES: dict[Callable[..., Any], ReduceFx] = {
    dim_zero_sum: "sum",
    dim_zero_mean: "mean",
    dim_zero_max: "max",
    dim_zero_min: "min",
    dim_zero_cat: "cat",
}


#: As None, but lists of equal length are joined element by element.
_INTERLEAVED = replace(resolve_reduction(None), interleaved=True)


class TorchmetricsAdapter(Adapter):
    """How a `torchmetrics.Metric` takes part: with all metrics inside it, which wrappers have."""

    def reductions(self, metric: Any) -> Mapping[str, ReduceFx | Reduction]:
        """Give its states."""
        return {name: _reduction_of(fx) for name, fx in metric._reductions.items()}

    def states(self, metric: Any) -> States:
        """Give the local states, also while torchmetrics itself has synced the metric."""
        local = metric._cache if metric._is_synced and metric._cache is not None else {}
        return {name: local.get(name, getattr(metric, name)) for name in metric._reductions}

    def defaults(self, metric: Any) -> Mapping[str, State]:
        """Give what sums started from."""
        defaults: Mapping[str, State] = metric._defaults
        return defaults

    def update_count(self, metric: Any) -> int:
        """Give the number of updates."""
        count: int = metric._update_count
        return count

    def show(self, metric: Any, states: States, update_count: int) -> Callable[[], None]:
        """Put the states of all ranks in place, and keep `compute` from syncing once more."""
        kept = ("_to_sync", "_is_synced", "_update_count")
        before = {name: metric.__dict__[name] for name in kept}
        computed = metric._computed
        put_back_states = super().show(metric, as_torchmetrics(metric, states), update_count)
        metric._to_sync, metric._is_synced, metric._computed = False, False, None
        metric._update_count = update_count

        def put_back() -> None:
            put_back_states()
            metric.__dict__.update(before)
            if metric._computed is None:  # what was computed meanwhile is good until the next update
                metric._computed = computed

        return put_back

    def members(self, metric: Any) -> Iterator[tuple[str, Any]]:
        """Give this metric and all inside it; a collection first lets its groups share what one of them has."""
        for module in metric.modules():
            if isinstance(module, torchmetrics.MetricCollection):
                module._compute_groups_create_state_ref()
        for name, module in metric.named_modules():
            if isinstance(module, torchmetrics.Metric):
                yield name, module

    def process_group(self, metric: Any) -> Any:
        """Give its process group."""
        return WORLD if metric.process_group is None else metric.process_group


def _reduction_of(fx: Any) -> ReduceFx | Reduction:
    if fx is None:
        return _INTERLEAVED
    known = _NAMES.get(fx) if callable(fx) else None
    return known if known is not None else _custom(fx)


def _custom(fx: Callable[[Any], Any]) -> Reduction:
    return replace(resolve_reduction(fx), interleaved=True)


def as_torchmetrics(metric: Any, states: States) -> States:
    """Give merged states the form that torchmetrics gives them: rows as one tensor, `tensor([])` if nobody has any."""
    shown: States = {}
    for name, value in states.items():
        if metric._reductions[name] is dim_zero_cat and isinstance(value, list):
            if not value:
                value = torch.tensor([], device=metric.device, dtype=metric.dtype)
            elif len(value) == 1 and isinstance(value[0], Tensor):
                value = value[0]
        shown[name] = value
    return shown


register_adapter(torchmetrics.Metric, TorchmetricsAdapter())
register_adapter(torchmetrics.MetricCollection, TorchmetricsAdapter())
