"""Arithmetic on metrics: each operator gives a metric of the values, which the room of wrappers makes."""

from __future__ import annotations

import operator
from typing import Any

import torch

from syncmetrics import registry

__all__ = ["Operators"]


class Operators:
    """Operators that give a metric: `2 * a`, `a + b`, `a[0]`, `abs(a)`, `a > 0.5`; see `CompositionalMetric`.

    `a == b` is none of them. It says whether the two are one object, as for every module of torch: were it a metric, it
    would be true as every object is, so that `metric in metrics`, `list.index` and `list.remove` would find the first
    metric of any list, here and in every framework that keeps modules in lists. `CompositionalMetric(torch.eq, a, b)`
    compares the values.
    """

    #: A metric is no container, although it has `a[0]`: without this, `for x in a` would never end.
    __iter__ = None

    #: numpy leaves an operator with one of its numbers on the left to the metric on the right.
    __array_ufunc__ = None

    def __add__(self, other: Any) -> Any:
        return registry.compose(operator.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return registry.compose(operator.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return registry.compose(operator.sub, self, other)

    def __rsub__(self, other: Any) -> Any:
        return registry.compose(operator.sub, other, self)

    def __mul__(self, other: Any) -> Any:
        return registry.compose(operator.mul, self, other)

    def __rmul__(self, other: Any) -> Any:
        return registry.compose(operator.mul, other, self)

    def __truediv__(self, other: Any) -> Any:
        return registry.compose(operator.truediv, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return registry.compose(operator.truediv, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return registry.compose(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return registry.compose(operator.floordiv, other, self)

    def __mod__(self, other: Any) -> Any:
        return registry.compose(torch.fmod, self, other)

    def __rmod__(self, other: Any) -> Any:
        return registry.compose(torch.fmod, other, self)

    def __pow__(self, other: Any) -> Any:
        return registry.compose(operator.pow, self, other)

    def __rpow__(self, other: Any) -> Any:
        return registry.compose(operator.pow, other, self)

    def __matmul__(self, other: Any) -> Any:
        return registry.compose(operator.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return registry.compose(operator.matmul, other, self)

    def __and__(self, other: Any) -> Any:
        return registry.compose(operator.and_, self, other)

    def __rand__(self, other: Any) -> Any:
        return registry.compose(operator.and_, other, self)

    def __or__(self, other: Any) -> Any:
        return registry.compose(operator.or_, self, other)

    def __ror__(self, other: Any) -> Any:
        return registry.compose(operator.or_, other, self)

    def __xor__(self, other: Any) -> Any:
        return registry.compose(operator.xor, self, other)

    def __rxor__(self, other: Any) -> Any:
        return registry.compose(operator.xor, other, self)

    def __lt__(self, other: Any) -> Any:
        return registry.compose(operator.lt, self, other)

    def __le__(self, other: Any) -> Any:
        return registry.compose(operator.le, self, other)

    def __gt__(self, other: Any) -> Any:
        return registry.compose(operator.gt, self, other)

    def __ge__(self, other: Any) -> Any:
        return registry.compose(operator.ge, self, other)

    def __abs__(self) -> Any:
        return registry.compose(operator.abs, self)

    def __neg__(self) -> Any:
        return registry.compose(operator.neg, self)

    def __pos__(self) -> Any:
        return registry.compose(operator.pos, self)

    def __invert__(self) -> Any:
        return registry.compose(operator.invert, self)

    def __inv__(self) -> Any:
        return ~self

    def __getitem__(self, index: Any) -> Any:
        return registry.compose(operator.itemgetter(index), self)
