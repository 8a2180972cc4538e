"""What torchmetrics' containers and Lightning ask of a metric, so that ours can be a guest with them.

They check `isinstance(metric, torchmetrics.Metric)`, which a virtual subclass passes, and use a few attributes beyond
the public ones. Neither is ever imported for this: only a process that has loaded them can have such a host.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

__all__ = ["GuestMixin", "meet_hosts", "refuse_options"]

#: Where the two packages of Lightning have their LightningModule.
LIGHTNING = ("lightning.pytorch.core.module", "pytorch_lightning.core.module")

#: Modules that were seen, and told of our metrics.
_met: set[str] = set()


def meet_hosts() -> None:
    """Make our metrics known to torchmetrics and Lightning, as far as this process has loaded them by now.

    A metric asks for this whenever it is made, copied, moved, or put into training or evaluation, so that nobody has to
    import things in some order.
    """
    base = getattr(sys.modules.get("torchmetrics.metric"), "Metric", None)
    if base is not None and not issubclass(GuestMixin, base):
        base.register(GuestMixin)
    for name in LIGHTNING:
        if name in sys.modules and name not in _met and hasattr(sys.modules[name], "LightningModule"):
            _met.add(name)
            importlib.import_module("syncmetrics.frameworks.lightning").install()


_INSTEAD = {
    "compute_on_cpu": "append `.cpu()` tensors in `update`: states on the CPU are synced over any group",
    "dist_sync_fn": "give a transport of your own as `process_group`",
    "distributed_available_fn": "leave it out, or say `sync_on_compute=False`: without a process group nothing is sent",
    "full_state_update": "set it as an attribute of the class",
}


def refuse_options(metric: str, options: dict[str, Any]) -> None:
    """Refuse arguments that a metric does not have, with what to write in place of torchmetrics' own.

    Raises:
        TypeError: There are any.
    """
    for name in options:
        advice = f"; {_INSTEAD[name]}" if name in _INSTEAD else ""
        raise TypeError(f"`{metric}` has no argument `{name}`{advice}.")


class GuestMixin:
    """The attributes that torchmetrics' containers use. Groups by values are declined: `_defaults` is empty."""

    _defaults: dict[str, Any] = {}  # noqa: RUF012 - never filled
    _is_synced = False
    _cache: tuple[Any, Any, Any] | None

    def train(self, mode: bool = True) -> Any:
        """Do as every module does. A metric is the same in training and in evaluation."""
        meet_hosts()
        return super().train(mode)  # type: ignore[misc]

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        meet_hosts()
        return super()._apply(*args, **kwargs)  # type: ignore[misc]

    def __setstate__(self, state: dict[str, Any]) -> None:
        meet_hosts()
        super().__setstate__(state)  # type: ignore[misc]

    @property
    def _update_count(self) -> int:
        count: int = self.update_count  # type: ignore[attr-defined]
        return count

    @property
    def _computed(self) -> Any:
        return None if self._cache is None else self._cache[-1]

    @_computed.setter
    def _computed(self, value: Any) -> None:
        if value is None:
            self._cache = None

    def _filter_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        """Leave the keyword arguments that `update` takes."""
        parameters = self._update_parameters().values()  # type: ignore[attr-defined]
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return kwargs
        return {name: value for name, value in kwargs.items() if name in {p.name for p in parameters}}
