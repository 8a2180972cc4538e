"""The metric inside of a wrapper: taken in, updated, asked for its value, and what the wrapper takes over from it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from syncmetrics import registry
from syncmetrics.metric import Metric, MetricCollection

__all__ = ["Inner", "as_inner", "as_metric", "parameters_of", "policy_of", "take_over", "value_of"]

Inner: TypeAlias = Metric | MetricCollection

#: With whom a metric is synced, and when: a wrapper does as the metric inside.
_POLICY = ("dist_sync_on_step", "sync_on_compute", "sync_timeout", "sync_every", "compute_on")


def as_metric(argument: str, given: Any) -> Metric:
    """Give a metric of ours for what a wrapper was given.

    Raises:
        TypeError: It is no metric, of ours or of a library that has an adapter.
    """
    if isinstance(given, Metric):
        return given
    known = registry.recognise(given)
    found = None if known is None else known.as_metric()
    if isinstance(found, Metric):
        return found
    raise TypeError(
        f"`{argument}` must be a syncmetrics.Metric, or a metric of another library, but is a"
        f" {type(given).__name__} instead."
    )


def as_inner(argument: str, given: Any) -> Inner:
    """Give a metric of ours for what a wrapper was given, or the collection that it was given.

    Raises:
        TypeError: It is neither.
        ValueError: It is a collection with `compute_on` or `sync_every`, which are the wrapper's to say.
    """
    if not isinstance(given, MetricCollection):
        return as_metric(argument, given)
    for option in ("compute_on", "sync_every"):
        if getattr(given, option) is not None:
            raise ValueError(
                f"`{argument}`: a collection inside a wrapper must have no `{option}`, but has"
                f" {getattr(given, option)}; give it to the metrics in it."
            )
    return given


def policy_of(inner: Iterable[Inner]) -> dict[str, Any]:
    """Give the arguments of `Metric` with which a wrapper syncs as the metrics inside do.

    Raises:
        ValueError: They sync in different ways.
    """
    metrics = [metric for one in inner for metric in (one.values() if isinstance(one, MetricCollection) else [one])]
    found = [{name: getattr(metric, name) for name in _POLICY} for metric in metrics]
    for one, metric in zip(found, metrics, strict=True):
        differing = [name for name in _POLICY if one[name] != found[0][name]]
        if metric._books.group is not metrics[0]._books.group:
            differing.append("process_group")
        if differing:
            raise ValueError(
                f"metrics inside one wrapper are synced together, but {type(metrics[0]).__name__} and"
                f" {type(metric).__name__} differ in `{'`, `'.join(differing)}`; construct them alike."
            )
    return {**found[0], "process_group": metrics[0]._books.group} if found else {}


def take_over(wrapper: Metric, inner: Iterable[Inner]) -> None:
    """Say of a wrapper what the metrics inside say of themselves."""
    metrics = [metric for one in inner for metric in (one.values() if isinstance(one, MetricCollection) else [one])]
    better, graphs = {m.higher_is_better for m in metrics}, {m.is_differentiable for m in metrics}
    full = {m.full_state_update for m in metrics}
    wrapper.higher_is_better = better.pop() if len(better) == 1 else None
    wrapper.is_differentiable = graphs.pop() if len(graphs) == 1 else False
    wrapper.full_state_update = True if True in full else None if None in full else False


def value_of(inner: Inner) -> Any:
    """Give the value of what is inside, inside of `compute`: its states are shown already."""
    if isinstance(inner, MetricCollection):
        return inner.named({name: metric.compute() for name, metric in inner.items(keep_base=True)})
    return inner.compute()


def parameters_of(inner: Inner) -> Mapping[str, inspect.Parameter]:
    """Give the arguments that `update` of what is inside takes."""
    if isinstance(inner, MetricCollection):
        return {name: p for metric in inner.values() for name, p in metric._update_parameters().items()}
    return inner._update_parameters()
