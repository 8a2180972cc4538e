"""Assert that a metric has one value, however its data is spread over ranks."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from syncmetrics.metric import Metric, MetricCollection
from syncmetrics.metric.again import attributes_of, changed
from syncmetrics.states import States
from syncmetrics.transport.threads import run_threads

__all__ = ["assert_matches_single_process", "attributes_by_name", "states_of"]

#: Up to this relative difference two values may well be the same sum in another order.
_ROUNDING = 1e-4
#: What a reference may differ by if no tolerance is given: it adds up in its own way.
_REFERENCE_RTOL = 1e-6


def assert_matches_single_process(
    make_metric: Callable[[], Metric | MetricCollection],
    batches: Sequence[Any],
    world_sizes: Sequence[int] = (1, 2, 3, 4),
    *,
    reference: Callable[..., Any] | None = None,
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
    - that is the value of the reference, if one is given;
    - the local states are byte for byte what they were before;
    - `forward` accumulates what `update` does;
    - metrics that were updated apart and merged with `merge_state`, from either end, give the same value (no
      collections).

    Args:
        make_metric: Makes a fresh metric or collection.
        batches: One element a batch: the arguments of `update` as a tuple, its keyword arguments as a dict, or its
            only argument.
        world_sizes: Numbers of ranks to try.
        reference: A function of all samples, which gives the true value: it is called as `update` is, with the tensors
            of all batches joined, and all that are no tensors in lists. Only it can tell that a metric is wrong on one
            process too: a "max" that starts from 0, say.
        rtol: Relative tolerance between N ranks and one process; 0 asks for equal bits. Between one process and the
            reference it is at least 1e-6.
        atol: Absolute tolerance, likewise.
        compare: Called with the value of N ranks and that of one process in place of the comparison, for values of
            which a permutation is as good: it raises AssertionError if they differ.

    Raises:
        AssertionError: Something differs; the text says what, on which rank, at which world size, and what to do.
    """
    if not batches:
        raise ValueError("`batches` must have at least one element.")
    alone = make_metric()
    before = attributes_by_name(alone)
    for batch in batches:
        _feed(alone.update, batch)
    undeclared = changed(before, attributes_by_name(alone))
    expected = alone.compute()
    check = compare or functools.partial(_assert_equal, rtol=rtol, atol=atol)
    explain = functools.partial(_explain, undeclared=undeclared)

    if reference is not None:
        true = _feed(reference, _joined(batches))
        near = compare or functools.partial(_assert_near, rtol=max(rtol, _REFERENCE_RTOL), atol=atol)
        _explain(near, expected, true, "one process differs from the reference", hint=False)
    stepped = make_metric()
    for batch in batches:
        _feed(stepped, batch)
    explain(check, stepped.compute(), expected, "`forward` on every batch differs from `update` on every batch")
    for world_size in world_sizes:
        values = run_threads(functools.partial(_on_rank, make_metric, batches), world_size)
        for rank, value in enumerate(values):
            explain(_assert_equal, value, values[0], f"rank {rank} of {world_size} differs from rank 0")
        explain(check, values[0], expected, f"{world_size} ranks differ from one process")
        if isinstance(alone, Metric):
            for last_first in (False, True):
                merged = _merge_parts(make_metric, batches, world_size, last_first)
                explain(check, merged, expected, f"{world_size} parts joined by `merge_state` differ from one process")


def _on_rank(make_metric: Callable[[], Any], batches: Sequence[Any], rank: int, world_size: int) -> Any:
    metric = make_metric()
    for batch in batches[rank::world_size]:
        _feed(metric.update, batch)
    before = states_of(metric)
    value = metric.compute()
    what = f"the local states of rank {rank} of {world_size} changed in `compute`"
    _explain(_assert_equal, states_of(metric), before, what)
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


def _feed(function: Callable[..., Any], batch: Any) -> Any:
    if isinstance(batch, tuple):
        return function(*batch)
    return function(**batch) if isinstance(batch, Mapping) else function(batch)


def _joined(batches: Sequence[Any]) -> Any:
    """Give one batch that has all."""
    first = batches[0]
    if isinstance(first, tuple):
        return tuple(_join(column) for column in zip(*batches, strict=True))
    if isinstance(first, Mapping):
        return {key: _join([batch[key] for batch in batches]) for key in first}
    return _join(batches)


def _join(column: Sequence[Any]) -> Any:
    if not all(isinstance(item, Tensor) for item in column):
        return list(column)
    return torch.cat([item.reshape(1) if item.dim() == 0 else item for item in column])


def attributes_by_name(metric: nn.Module) -> dict[str, Any]:
    """Give the attributes that are no states, by name; those of a metric inside with its class in front."""
    return {
        name if module is metric else f"{type(module).__name__}.{name}": value
        for module, attributes in attributes_of(metric)
        for name, value in attributes.items()
    }


def states_of(metric: nn.Module) -> list[States]:
    """Give copies of the states of a metric and of those inside it."""
    return [module.metric_state for module in metric.modules() if isinstance(module, Metric)]


def _explain(
    check: Callable[[Any, Any], None],
    actual: Any,
    expected: Any,
    what: str,
    *,
    undeclared: Sequence[str] = (),
    hint: bool = True,
) -> None:
    try:
        check(actual, expected)
    except AssertionError as error:
        advice = ""
        if undeclared:
            names = " and ".join(f"`self.{name}`" for name in undeclared)
            advice = (
                f"\n`update` sets {names}, which no state holds, so that it is neither synced nor merged: declare it in"
                f" `__init__` with self.add_state({undeclared[0]!r}, ...)."
            )
        elif hint and _is_rounding(str(error)):
            advice = (
                "\nThe difference is as small as that of floats added up in another order: accumulate in float64,"
                " torch.tensor(0.0, dtype=torch.float64), or pass rtol=1e-6."
            )
        raise AssertionError(f"{what}: {error}{advice}") from None


def _is_rounding(text: str) -> bool:
    found = re.search(r"elative difference: ([0-9.e+-]+)", text)
    return found is not None and float(found[1]) <= _ROUNDING


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


def _assert_near(actual: Any, expected: Any, *, rtol: float, atol: float) -> None:
    """Compare with a reference, which may give numbers where the metric gives tensors, and another dtype."""
    if isinstance(expected, Mapping):
        assert set(actual) == set(expected), f"keys {sorted(actual)} and {sorted(expected)}"
        for key in expected:
            _assert_near(actual[key], expected[key], rtol=rtol, atol=atol)
        return
    given, true = (torch.as_tensor(value).detach().cpu() for value in (actual, expected))
    if not true.is_complex():
        given, true = given.double(), true.double()
    torch.testing.assert_close(given, true.reshape(given.shape), rtol=rtol, atol=atol, equal_nan=True)
