"""Numbers to keys: integers that are in the same order, equal where the numbers are. Pure."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["decode_floats", "encode_floats", "key_dtype"]


def key_dtype(dtype: torch.dtype) -> torch.dtype:
    """Give the dtype of the keys for numbers of this dtype: four bytes for the floats that fit, else eight."""
    return torch.int32 if dtype.is_floating_point and dtype.itemsize <= 4 else torch.int64


def encode_floats(values: Tensor) -> Tensor:
    """Give keys in the order of the values.

    -0.0 and 0.0 have one key; all NaN have one, above that of infinity. Integers are their own keys.

    Args:
        values: Real tensor of any shape.

    Returns:
        Int32 keys for floats of at most four bytes, else int64 keys, of the same shape.
    """
    if not values.is_floating_point():
        return values.long()
    wide = values if values.dtype.itemsize == 8 else values.float()
    integers = key_dtype(values.dtype)
    bits = (wide + 0.0).view(integers)  # a new tensor, in which -0.0 is 0.0
    _flip(bits)
    return bits.masked_fill_(wide.isnan(), torch.iinfo(integers).max)


def decode_floats(keys: Tensor) -> Tensor:
    """Give the numbers of keys that `encode_floats` made of floats: float32 for int32 keys, float64 for int64 ones."""
    bits = keys.clone()
    _flip(bits)
    return bits.view(torch.float32 if keys.dtype is torch.int32 else torch.float64)


def _flip(bits: Tensor) -> None:
    """Turn the bits of negative floats around, all but the sign: done twice, it does nothing."""
    bits.bitwise_xor_((bits >> (8 * bits.dtype.itemsize - 1)) & torch.iinfo(bits.dtype).max)
