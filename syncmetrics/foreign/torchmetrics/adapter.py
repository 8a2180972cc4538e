"""How a metric of torchmetrics takes part in a sync, with all metrics inside it."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat, dim_zero_max, dim_zero_mean, dim_zero_min, dim_zero_sum
from torchmetrics.utilities.exceptions import TorchMetricsUserError
from torchmetrics.wrappers import ClasswiseWrapper, MinMaxMetric

from syncmetrics.foreign.adapter import Adapter, register_adapter
from syncmetrics.states.joined import joined_of
from syncmetrics.states.reductions import ReduceFx, Reduction, cat_rows, resolve_reduction
from syncmetrics.states.spec import State, States
from syncmetrics.transport import WORLD

__all__ = ["ADAPTER", "TorchmetricsAdapter", "as_torchmetrics", "refuse_update"]

_NAMES: dict[Callable[..., Any], ReduceFx] = {
    dim_zero_sum: "sum",
    dim_zero_mean: "mean",
    dim_zero_max: "max",
    dim_zero_min: "min",
    dim_zero_cat: "cat",
}


#: As None, but lists of equal length are joined element by element.
_INTERLEAVED = replace(resolve_reduction(None), interleaved=True)


#: In front of the names of classes.
_TASKS = ("Binary", "Multiclass", "Multilabel")

#: How the values are drawn that are no numbers.
_PLOT_KINDS = {
    "ROC": "roc",
    "PrecisionRecallCurve": "precision_recall",
    "ConfusionMatrix": "confusion_matrix",
    "StatScores": "counts",
    "PrecisionAtFixedRecall": "value_at_threshold",
    "RecallAtFixedPrecision": "value_at_threshold",
    "SensitivityAtSpecificity": "value_at_threshold",
    "SpecificityAtSensitivity": "value_at_threshold",
}


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
        own = metric.__dict__  # a ClasswiseWrapper hands what is set on to the metric inside
        computed = own.get("_computed")
        put_back_states = super().show(metric, as_torchmetrics(metric, states), update_count)
        own.update(_to_sync=False, _is_synced=False, _computed=None, _update_count=update_count)
        update = own["update"]
        own["update"] = functools.wraps(update)(_refusal(metric))

        def put_back() -> None:
            put_back_states()
            own.update(before, update=update)
            if own.get("_computed") is None:  # what was computed meanwhile is good until the next update
                own["_computed"] = computed

        return put_back

    def load(self, metric: Any, states: States, update_count: int) -> None:
        """Put states in place."""
        super().load(metric, states, update_count)
        metric.__dict__.update(_update_count=update_count, _computed=None)

    def members(self, metric: Any) -> Iterator[tuple[str, Any]]:
        """Give this metric and all inside it; a collection first lets its groups share what one of them has."""
        for module in metric.modules():
            if isinstance(module, torchmetrics.MetricCollection):
                module._compute_groups_create_state_ref()
        for name, module in metric.named_modules():
            if isinstance(module, torchmetrics.Metric) and not isinstance(module, ClasswiseWrapper):
                yield name, module  # a ClasswiseWrapper shows the states of the metric inside as its own

    def process_group(self, metric: Any) -> Any:
        """Give its process group; of a collection, that of its metrics.

        Raises:
            ValueError: They have different ones.
        """
        if isinstance(metric, torchmetrics.MetricCollection):
            found = {id(group): group for group in map(self.process_group, metric.values(copy_state=False))}
            if len(found) > 1:
                raise ValueError(
                    f"the metrics of a {type(metric).__name__} of torchmetrics have different process groups, so it"
                    " cannot be one metric of a MetricCollection; give its metrics themselves."
                )
            return next(iter(found.values()), WORLD)
        return WORLD if metric.process_group is None else metric.process_group

    def forward(self, metric: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Add one batch, and give its value. The value of a wrapper comes from a `compute`, which must not sync."""
        members = [member for _, member in self.members(metric) if isinstance(member, torchmetrics.Metric)]
        before = [member.distributed_available_fn for member in members]
        try:
            for member in members:
                member.distributed_available_fn = _nobody
            return _forward_range(metric, args, kwargs) if isinstance(metric, MinMaxMetric) else metric(*args, **kwargs)
        finally:
            for member, available in zip(members, before, strict=True):
                member.distributed_available_fn = available

    def output_names(self, metric: Any) -> tuple[str, ...] | None:
        """Give the names in the dict that wrappers give; None where there is one value, or they cannot be known."""
        if isinstance(metric, ClasswiseWrapper):
            count: Any = getattr(metric.metric, "num_classes", None) or getattr(metric.metric, "num_labels", None)
            labels: Any = metric.labels or (range(count) if isinstance(count, int) else None)
            return None if labels is None else tuple(metric._convert_output(labels))
        return ("raw", "max", "min") if isinstance(metric, MinMaxMetric) else None

    def plot_kind(self, metric: Any) -> str | None:
        """Give which picture its values get: as a class that it inherits from, up to the one that has its `plot`."""
        for cls in type(metric).__mro__:
            task = next((task for task in _TASKS if cls.__name__.startswith(task)), "")
            kind = _PLOT_KINDS.get(cls.__name__.removeprefix(task))
            if kind is not None or "plot" in vars(cls):
                return kind
        return None


def refuse_update(metric: Any) -> NoReturn:
    """Refuse an update of states that are not those of this process: it would be lost.

    Raises:
        TorchMetricsUserError: Always.
    """
    raise TorchMetricsUserError(
        f"`update` of {type(metric).__name__} must not be called while it is synced: it shows the states of all ranks,"
        " and what is added would be lost. Update it before, or after `unsync()`."
    )


def _refusal(metric: Any) -> Callable[..., NoReturn]:
    this = weakref.ref(metric)

    def update(*args: Any, **kwargs: Any) -> NoReturn:
        refuse_update(this())

    return update


def _nobody() -> bool:
    return False


def _forward_range(metric: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Add one batch to a MinMaxMetric.

    Its own `forward` forgets the batches before (torchmetrics 1.9). And the range that it keeps is here over what
    `compute` gives, the same on every rank, and not over the values of batches too, which are not.
    """
    value = metric._base_metric(*args, **metric._filter_kwargs(**kwargs))
    lowest, highest = metric.min_val.to(value.device), metric.max_val.to(value.device)
    return {"raw": value, "max": torch.maximum(highest, value), "min": torch.minimum(lowest, value)}


def _reduction_of(fx: Any) -> ReduceFx | Reduction:
    if fx is None:
        return _INTERLEAVED
    known = _NAMES.get(fx) if callable(fx) else None
    return known if known is not None else _custom(fx)


def _custom(fx: Callable[[Any], Any]) -> Reduction:
    return replace(resolve_reduction(fx), interleaved=True)


def as_torchmetrics(metric: Any, states: States) -> States:
    """Give merged states the form that torchmetrics gives them: rows as one tensor, `tensor([])` if nobody has any.

    The states of the metric must be the local ones: each merged one goes to the device of its local one.
    """
    shown: States = {}
    for name, value in states.items():
        if metric._reductions[name] is dim_zero_cat and isinstance(value, list):
            if not value:
                value = torch.tensor([], device=metric.device, dtype=metric.dtype)
            elif (joined := joined_of(value)) is not None:
                value = joined
            elif isinstance(value[0], Tensor):
                value = cat_rows(value)
        shown[name] = _moved(value, _device_of(metric, getattr(metric, name)))
    return shown


def _device_of(metric: Any, local: Any) -> torch.device:
    for item in local if isinstance(local, list) else [local]:
        if isinstance(item, Tensor):
            return item.device
    device: torch.device = torch.device("cpu") if metric.compute_on_cpu else metric.device
    return device


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    return value.to(device) if isinstance(value, Tensor) else value


ADAPTER = TorchmetricsAdapter()
register_adapter(torchmetrics.Metric, ADAPTER)
register_adapter(torchmetrics.MetricCollection, ADAPTER)
