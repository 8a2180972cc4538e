"""Random numbers that belong to samples: computed from who a sample is, and not from when or where it is seen."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

__all__ = ["ids_of_place", "poisson_counts", "uniform_places"]

_BITS = 53  #: of a draw
_SIGN = 1 << 63
_CPU = torch.device("cpu")  # whatever device new tensors are made on: nothing is to wait for the numbers


def _signed(number: int) -> int:
    number &= (1 << 64) - 1
    return number - (1 << 64) if number & _SIGN else number


#: The steps of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
_GOLDEN, _FIRST, _SECOND = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _shifted(bits: Tensor, by: int) -> Tensor:
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mixed(bits: Tensor) -> Tensor:
    bits = bits + _GOLDEN
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    return bits ^ _shifted(bits, 31)


def ids_of_place(rank: int, turn: int, count: int) -> Tensor:
    """Give numbers for the samples of one batch, which no other batch of any rank has (but by chance).

    Args:
        rank: The rank that sees them.
        turn: How many batches it has seen before.
        count: How many they are.
    """
    where = _mixed(_mixed(torch.tensor(rank, device=_CPU)) ^ turn)
    return _mixed(where ^ torch.arange(count, device=_CPU))


def _draws(seed: int, replicates: int, ids: Tensor) -> Tensor:
    """Give a whole number below 2**53 for each replicate and each id, of shape `(replicates, len(ids))`."""
    keys = _mixed(_mixed(torch.tensor(_signed(seed), device=_CPU)) ^ torch.arange(replicates, device=_CPU))
    return _shifted(_mixed(keys[:, None] ^ _mixed(ids)), 64 - _BITS)


#: The distribution function of the Poisson distribution with mean 1, in units of a draw.
_POISSON = torch.tensor(
    [int(p * (1 << _BITS)) for p in itertools.accumulate(math.exp(-1) / math.factorial(k) for k in range(19))],
    device=_CPU,
)


def poisson_counts(seed: int, replicates: int, ids: Tensor) -> Tensor:
    """Give how often each sample is in each replicate: int64 of shape `(replicates, len(ids))`, Poisson with mean 1."""
    return torch.searchsorted(_POISSON, _draws(seed, replicates, ids), right=True)


def uniform_places(seed: int, replicates: int, ids: Tensor) -> Tensor:
    """Give, for each replicate, as many places of samples as there are, each of which is any with equal chance."""
    share = _draws(seed, replicates, ids).double() / (1 << _BITS)
    return (share * len(ids)).to(torch.int64).clamp_(max=max(len(ids) - 1, 0))
