"""Assert that a metric has one value, however its data is spread over ranks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from syncmetrics.metric.collection import MetricCollection
from syncmetrics.metric.metric import Metric
from syncmetrics.states.store import States
from syncmetrics.transport.threads import run_threads

__all__ = ["assert_matches_single_process"]


def assert_matches_single_process(
    make_metric: Callable[[], Metric | MetricCollection],
    batches: Sequence[Any],
    world_sizes: Sequence[int] = (1, 2, 3, 4),
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    compare: Callable[[Any, Any], None] | None = None,
) -> None:
    """Assert that the value on N ranks is the value of one process.

    Ranks are threads of this process, so `make_metric` may be a lambda and a whole table of metrics takes a second.
    For every world size the batches are dealt to the ranks in turn; ranks beyond the number of batches have no data.
    It is asserted that

    - every rank computes the same value, bit for bit;
    - it is the value of one process that saw all batches;
    - the local states are byte for byte what they were before;
    - `forward` accumulates what `update` does;
    - metrics that were updated apart and merged with `merge_state`, from either end, give the same value (no
    collections).

    Args:
        make_metric: Makes a fresh metric or collection.
        batches: One element a batch: the arguments of `update` as a tuple, its keyword arguments as a dict, or its
            only argument.
        world_sizes: Numbers of ranks to try.
        rtol: Relative tolerance between N ranks and one process; 0 asks for equal bits.
        atol: Absolute tolerance, likewise.
        compare: Called with the value of N ranks and that of one process in place of the comparison, for values of
            which a permutation is as good: it raises AssertionError if they differ.

    Raises:
        AssertionError: Something differs; the text says what, on which rank, at which world size.
    """
    if not batches:
        raise ValueError("`batches` must have at least one element.")
    alone = make_metric()
    for batch in batches:
        _feed(alone.update, batch)
    expected = alone.compute()
    check = compare or functools.partial(_assert_equal, rtol=rtol, atol=atol)

    stepped = make_metric()
    for batch in batches:
        _feed(stepped, batch)
    _explain(check, stepped.compute(), expected, "`forward` on every batch differs from `update` on every batch")
    for world_size in world_sizes:
        values = run_threads(functools.partial(_on_rank, make_metric, batches), world_size)
        for rank, value in enumerate(values):
            _explain(_assert_equal, value, values[0], f"rank {rank} of {world_size} differs from rank 0")
        _explain(check, values[0], expected, f"{world_size} ranks differ from one process")
        if isinstance(alone, Metric):
            for last_first in (False, True):
                merged = _merge_parts(make_metric, batches, world_size, last_first)
                _explain(check, merged, expected, f"{world_size} parts joined by `merge_state` differ from one process")


def _on_rank(make_metric: Callable[[], Any], batches: Sequence[Any], rank: int, world_size: int) -> Any:
    metric = make_metric()
    for batch in batches[rank::world_size]:
        _feed(metric.update, batch)
    before = _snapshot(metric)
    value = metric.compute()
    _explain(
        _assert_equal,
        _snapshot(metric),
        before,
        f"the local states of rank {rank} of {world_size} changed in `compute`",
    )
    return value


def _merge_parts(make_metric: Callable[[], Any], batches: Sequence[Any], world_size: int, last_first: bool) -> Any:
    """Merge parts of consecutive batches, keeping their order: ((a + b) + c), or (a + (b + c))."""
    parts = []
    size = -(-len(batches) // world_size)
    for start in range(0, len(batches), size):
        part = make_metric()
        for batch in batches[start : start + size]:
            _feed(part.update, batch)
        parts.append(part)
    while len(parts) > 1:
        left, right = (parts[-2], parts.pop()) if last_first else (parts[0], parts.pop(1))
        left.merge_state(right)
    return parts[0].compute()


def _feed(function: Callable[..., Any], batch: Any) -> None:
    if isinstance(batch, tuple):
        function(*batch)
    elif isinstance(batch, Mapping):
        function(**batch)
    else:
        function(batch)


def _snapshot(metric: Metric | MetricCollection) -> list[States]:
    metrics = [metric] if isinstance(metric, Metric) else list(metric.values())
    return [
        {
            name: value.clone() if isinstance(value, Tensor) else list(value)
            for name, value in node.store.local[0].items()
        }
        for member in metrics
        for node in member._nodes()
    ]


def _explain(check: Callable[[Any, Any], None], actual: Any, expected: Any, what: str) -> None:
    try:
        check(actual, expected)
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from None


def _assert_equal(actual: Any, expected: Any, *, rtol: float = 0.0, atol: float = 0.0) -> None:
    if isinstance(expected, Tensor):
        torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=True)
    elif isinstance(expected, Mapping):
        assert list(actual) == list(expected), f"keys {list(actual)} and {list(expected)}"
        for key in expected:
            _explain(functools.partial(_assert_equal, rtol=rtol, atol=atol), actual[key], expected[key], str(key))
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), f"{len(actual)} and {len(expected)} elements"
        for index, (a, e) in enumerate(zip(actual, expected, strict=True)):
            _explain(functools.partial(_assert_equal, rtol=rtol, atol=atol), a, e, f"element {index}")
    elif isinstance(expected, float):
        torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=True)
    else:
        assert actual == expected, f"{actual!r} and {expected!r}"
