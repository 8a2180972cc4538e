"""Metrics of metrics: what an operator makes of their values."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from syncmetrics import registry
from syncmetrics.metric import Metric
from syncmetrics.metric.update import pass_on
from syncmetrics.wrappers._inner import as_metric, policy_of, take_over

__all__ = ["CompositionalMetric", "compose"]


class CompositionalMetric(Metric):
    """Give the value of an operator on the values of metrics: what `2 * a`, `a + b`, `a[0]` and `abs(a)` are.

    The operators of Python do with the values what they do with tensors, but for `%`, which is `torch.fmod` as in
    torchmetrics. `a == b` and `a != b` compare the two objects and not their values, as for every module of torch:
    write `CompositionalMetric(torch.eq, a, b)`. A metric that `==` gave would be true, as every object is, and so would
    `metric in metrics` of any list of metrics.

    A metric that stands in several places, `2 * p * r / (p + r)`, is updated once with a batch, also if it is a member
    of the same `MetricCollection` by itself. The states are those of the metrics: to update these is to update this.

    Args:
        operator: Takes the value of `metric_a`, and that of `metric_b` if there is one.
        metric_a: A metric, of ours or of a library that has an adapter, a number, or a tensor.
        metric_b: Likewise; None for an operator of one value.
        **kwargs: Arguments of `Metric`; left out, those of the metrics.

    Raises:
        TypeError: One of them is something else, or none is a metric.
        ValueError: The metrics are synced in different ways.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryPrecision, BinaryRecall
        >>> precision, recall = BinaryPrecision(), BinaryRecall()
        >>> f1 = 2 * precision * recall / (precision + recall)
        >>> f1.update(torch.tensor([1, 1, 0, 1]), torch.tensor([1, 0, 0, 1]))
        >>> f1.compute()
        tensor(0.8000)
        >>> precision.update_count
        1
    """

    metric_a: Any
    metric_b: Any

    def __init__(self, operator: Callable[..., Any], metric_a: Any, metric_b: Any = None, **kwargs: Any) -> None:
        if not callable(operator):
            raise TypeError(f"`operator` must be a function, but is {operator!r} instead.")
        operands = {"metric_a": _operand("metric_a", metric_a), "metric_b": _operand("metric_b", metric_b)}
        metrics = [one for one in operands.values() if isinstance(one, Metric)]
        if not metrics:
            raise TypeError("`metric_a` or `metric_b` must be a metric; numbers and tensors need none.")
        super().__init__(**{**policy_of(metrics), **kwargs})
        self.op = operator
        for name, operand in operands.items():
            if isinstance(operand, Tensor):
                self.register_buffer(name, operand.detach().clone(), persistent=False)
            else:
                setattr(self, name, operand)
        take_over(self, metrics)
        self.higher_is_better = None

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update each of the metrics once, with those of the keyword arguments that its `update` takes."""
        pass_on(self._leaves(), args, kwargs)

    def compute(self) -> Any:
        """Give the operator's value. Collective, as every `compute`."""
        values = [_value(self.metric_a), _value(self.metric_b)]
        if values[1] is None:
            return self.op(values[0])
        for index, (own, other) in enumerate(zip(values, values[::-1], strict=True)):
            if isinstance(other, Tensor):
                if isinstance(own, Tensor):
                    values[index] = own.to(other.device) if index in self._constant() else own
                elif getattr(self.op, "__module__", "") != "_operator":  # functions of torch want tensors
                    dtype = torch.result_type(other, own)
                    values[index] = torch.scalar_tensor(own, dtype=dtype, device=other.device)
        return self.op(*values)

    def extra_repr(self) -> str:
        """Give what stands in the parentheses of `repr`."""
        fixed = [repr(one) for one in (self.metric_a, self.metric_b) if not isinstance(one, (Metric, type(None)))]
        return ", ".join([getattr(self.op, "__name__", repr(self.op)), *fixed])

    def _constant(self) -> list[int]:
        return [index for index, one in enumerate((self.metric_a, self.metric_b)) if isinstance(one, Tensor)]

    def _leaves(self) -> Iterator[Metric]:
        """Give the metrics that are no compositions, each once."""
        seen = set[int]()
        for operand in (self.metric_a, self.metric_b):
            inside = operand._leaves() if isinstance(operand, CompositionalMetric) else [operand]
            for metric in inside:
                if isinstance(metric, Metric) and id(metric._core) not in seen:
                    seen.add(id(metric._core))
                    yield metric

    def _update_parameters(self) -> Mapping[str, inspect.Parameter]:
        return {name: p for metric in self._leaves() for name, p in metric._update_parameters().items()}


def compose(operator: Callable[..., Any], *operands: Any) -> Any:
    """Give the metric that an operator makes of metrics, numbers and tensors; NotImplemented for anything else."""
    if all(map(_is_operand, operands)):
        return CompositionalMetric(operator, *operands)
    return NotImplemented


def _is_operand(given: Any) -> bool:
    known = isinstance(given, (Metric, Tensor, numbers.Number))
    return known or (given is not None and registry.recognise(given) is not None)


def _operand(argument: str, given: Any) -> Any:
    if given is None or isinstance(given, Tensor):
        return given
    if isinstance(given, numbers.Number):
        return given.item() if hasattr(given, "item") else given  # a number of numpy
    return as_metric(argument, given)


def _value(operand: Any) -> Any:
    return operand.compute() if isinstance(operand, Metric) else operand
