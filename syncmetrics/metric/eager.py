"""Outside of torch.compile: a sync cannot be part of a graph, so whoever compiles around one gets a graph break.

`torch.compiler.disable` does the same, and imports all of the compiler, which takes longer than torch itself.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import torch

__all__ = ["eager", "leave_out_of_graphs"]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_frames: Any = torch._C._dynamo.eval_frame
_set_eval_frame: Callable[[Any], Any] = _frames.set_eval_frame


def leave_out_of_graphs(function: _Function) -> _Function:
    """Have whoever traces a call of this function stop there, and make the call."""
    function._torchdynamo_disable = True  # type: ignore[attr-defined]
    function._torchdynamo_disable_msg = "a sync is no part of a graph"  # type: ignore[attr-defined]
    if hasattr(_frames, "skip_code"):  # an older torch
        _frames.skip_code(function.__code__)
    elif hasattr(_frames, "set_code_exec_strategy"):
        action = _frames._FrameAction
        _frames.set_code_exec_strategy(function.__code__, _frames._FrameExecStrategy(action.SKIP, action.DEFAULT))
    return function


class eager:  # noqa: N801 - it is used in a `with` statement
    """Have nothing compiled of what runs inside a `with` block."""

    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _set_eval_frame(None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _set_eval_frame(self._before)
