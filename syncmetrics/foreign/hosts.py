"""Our metrics as guests of torchmetrics: its containers check that they are given metrics of its own."""

from __future__ import annotations

from typing import Any

from syncmetrics.metric.module import StatefulModule

__all__ = ["meet"]


def meet(module: Any) -> bool:
    """Make our metrics virtual subclasses of torchmetrics' own.

    Args:
        module: `torchmetrics.metric`.

    Returns:
        Whether that is done: a module that is still being imported has no class yet.
    """
    base = getattr(module, "Metric", None)
    if base is None:
        return False
    if hasattr(base, "register") and not issubclass(StatefulModule, base):
        base.register(StatefulModule)
    return True
