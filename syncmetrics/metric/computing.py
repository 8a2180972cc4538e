"""The value of a metric: of which states it is computed, and how long it is good."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from syncmetrics.states.autograd import without_grad
from syncmetrics.metric.bookkeeping import raw_function
from syncmetrics.schedule.one_rank import compute_on_one
from syncmetrics.metric.returned import remember
from syncmetrics.sync.show import Node, copied, synced
from syncmetrics.states.store import Mode
from syncmetrics.sync import note

__all__ = ["ComputingMetric"]


class ComputingMetric:
    """What stands between `compute` as it is called and as the user wrote it."""

    compute_on: int | None
    compute_with_cache: bool
    sync_on_compute: bool
    _cache: tuple[Any, Any, Any] | None
    _forward_cache: Any

    def _compute(self: Any, function: Callable[[Any], Any]) -> Any:
        """Run the user's `compute` on the states of all ranks, or give the value that is still good."""
        mode = self._store.mode
        if mode is Mode.STEP:
            return without_grad(function, self, (), {})
        if self._cache is not None and self._is_cached():
            if self.sync_on_compute and mode is Mode.LOCAL:
                note(self._route().transport, f"a cached value of `{self._label}`, without a sync")
            return self._cache[2]
        if self.compute_on is not None and self.sync_on_compute and mode is Mode.LOCAL:
            route = replace(self._route(), dst=self.compute_on)
            nodes = self._local_nodes()
            return self._keep(
                compute_on_one(nodes, route, self._label, lambda: without_grad(function, self, (), {})),
            )
        nodes = self._nodes() if mode is Mode.LOCAL or self._modules else []
        local = [node for node in nodes if node.store.mode is Mode.LOCAL]
        with self._shown(local):
            if local and self._is_idle():
                warnings.warn(f"`{self._label}` computes before any update on any rank.", UserWarning, stacklevel=3)
            value = without_grad(function, self, (), {})
        return self._keep(value)

    def _shown(self: Any, local: list[Node]) -> AbstractContextManager[None]:
        """Show what `compute` is to see in nodes that show the local states."""
        if not local:
            return nullcontext()
        return synced([(local, self._route())], self._label) if self.sync_on_compute else copied(local)

    def _compute_shown(self: Any) -> Any:
        """Give the value of what is shown, for a caller that shows it and has turned gradients off."""
        function = self._own_function()
        return self.compute() if function is None else self._keep(function(self))

    def _compute_step(self: Any) -> Any:
        """Give the value of what one batch brought, for a caller that has turned gradients off."""
        function = self._own_function()
        value = self._forward_cache = self.compute() if function is None else function(self)
        return value

    def _own_function(self: Any) -> Callable[[Any], Any] | None:
        """Give the user's own `compute`, if it can be called as it is: nothing is around it, and no metric inside."""
        compute = type(self).compute
        function = raw_function(compute)
        return None if function is compute or self._modules else function

    def _keep(self: Any, value: Any) -> Any:
        """Keep a value as long as it is good."""
        local, shown = self._cache_keys()  # now, for `compute` may have changed what it saw
        self.__dict__["_cache"] = (local, shown, value)
        remember(value, self, "compute", is_global=local[0])
        return value

    def _cache_keys(self: Any) -> tuple[Any, Any]:
        """Say what a value was computed from: from which local states, of this process or of all; and as shown when."""
        store = self._store if self._modules else self._own_store
        mode = store.mode
        is_global = self.sync_on_compute if mode is Mode.LOCAL else mode is Mode.SYNCED
        if not self._modules:
            return (is_global, store.version), (mode, store.shown)
        nodes = self._nodes()
        return (is_global, *(node.store.version for node in nodes)), (mode, *(node.store.shown for node in nodes))

    def _is_cached(self: Any) -> bool:
        """Say whether the value is still good: of what is shown, if something is, and else of the local states."""
        if self._cache is None or not self.compute_with_cache:
            return False
        local, shown = self._cache_keys()
        return bool(self._cache[0] == local if self._store.mode is Mode.LOCAL else self._cache[1] == shown)

    def _is_idle(self: Any) -> bool:
        """Whether nothing was added to what is shown."""
        if not self._modules:
            return bool(self._store.update_count == 0)
        return all(node.store.update_count == 0 for node in self._nodes())
