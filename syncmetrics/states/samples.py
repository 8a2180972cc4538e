"""How many samples a batch has: a count that is kept beside the states, and waits for no device.

It is as good as what `update` is given: the first dimension of its first tensor, or the length of its first list. What
came from elsewhere, with a state dict or from another library, has an unknown number of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ["UNKNOWN", "is_known", "samples_in"]

#: A number of samples that nobody knows. Any negative number is one: with known ones added to it, it remains one.
UNKNOWN = -(1 << 62)

_SIZED = (list, tuple, dict)


def is_known(samples: int) -> bool:
    """Whether a number of samples says how many there are."""
    return samples >= 0


def samples_in(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Give the number of samples in a batch.

    Args:
        args: What `update` is called with.
        kwargs: Likewise.

    Returns:
        The size of the first dimension of the first tensor; or, without one, the length of the first list, tuple or
        dict; 1 if there are neither, as for a number or a text.
    """
    given = (*args, *kwargs.values()) if kwargs else args
    for item in given:
        if isinstance(item, Tensor):
            return int(item.shape[0]) if item.dim() else 1
    return next((len(item) for item in given if isinstance(item, _SIZED)), 1)
