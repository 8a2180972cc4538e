"""Our metrics as guests of torchmetrics: its containers and wrappers check that they are given what is its own."""

from __future__ import annotations

from typing import Any

from syncmetrics.metric.collection import MetricCollection
from syncmetrics.metric.module import StatefulModule

__all__ = ["meet"]


def meet(module: Any) -> bool:
    """Make our metrics virtual subclasses of torchmetrics' own; and our collections, where a wrapper takes collections.

    Args:
        module: `torchmetrics.metric`, or the module of the wrapper.

    Returns:
        Whether that is done: a module that is still being imported has no class yet.
    """
    if module.__name__ == "torchmetrics.metric":
        base = getattr(module, "Metric", None)
        if base is not None and hasattr(base, "register") and not issubclass(StatefulModule, base):
            base.register(StatefulModule)
        return base is not None
    theirs = getattr(module, "MetricCollection", None)
    if theirs is None or not hasattr(module, "MetricTracker"):
        return False
    if theirs is not MetricCollection and type(theirs) is type:  # it is no ABC, to which ours could be added
        module.MetricCollection = _either(theirs)
    return True


def _either(theirs: type) -> type:
    """Give a class of which their collections are instances, and ours."""

    class Either(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, (theirs, MetricCollection))

    return Either(theirs.__name__, (theirs,), {})
