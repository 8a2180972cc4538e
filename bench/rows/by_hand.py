"""Collectives as a user would call them by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.distributed as dist

__all__ = ["gather_into"]

#: `gather_into(out, local)`. Torch has renamed it, and the old name warns, which costs time.
gather_into: Callable[..., Any] = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
