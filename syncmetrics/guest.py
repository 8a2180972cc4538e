"""What the containers and wrappers of torchmetrics ask of a metric, so that ours can be a guest in them.

They check `isinstance(metric, torchmetrics.Metric)`, which a virtual subclass passes, and use a few attributes beyond
the public ones. torchmetrics is never imported for this: only a process that has loaded it can have such a container.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["GuestMixin", "refuse_options", "register_guest"]


def register_guest(cls: type) -> None:
    """Make a class a virtual subclass of `torchmetrics.Metric`, if that is loaded."""
    base = getattr(sys.modules.get("torchmetrics.metric"), "Metric", None)
    if base is not None and not issubclass(cls, base):
        base.register(cls)


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
