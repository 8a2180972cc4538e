"""Outside of inference mode and without a graph: how everything here handles states.

The switches are set by hand. Torch's own context managers cost more than most of what runs inside of them, and a sync
or a step passes several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch

__all__ = ["no_graph", "without_grad"]

_in_inference_mode = torch.is_inference_mode_enabled
_grad_mode = torch.is_grad_enabled
_set_grad_mode = torch._C._set_grad_enabled


class no_graph:  # noqa: N801 - it stands where torch.no_grad() would
    """Leave inference mode, and record no graph, inside a `with` block."""

    __slots__ = ("_grad", "_inference")

    def __enter__(self) -> None:
        self._inference = None
        if _in_inference_mode():
            self._inference = torch.inference_mode(False)
            self._inference.__enter__()
        self._grad = _grad_mode()
        try:
            _set_grad_mode(False)
        except BaseException:  # an interrupt, when it is set already
            _set_grad_mode(self._grad)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _set_grad_mode(self._grad)
        if self._inference is not None:
            self._inference.__exit__(kind, error, traceback)


def without_grad(function: Callable[..., Any], metric: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Run what the user wrote, outside of inference mode and without a graph."""
    if not _grad_mode() and not _in_inference_mode():
        return function(metric, *args, **kwargs)
    with no_graph():
        return function(metric, *args, **kwargs)
