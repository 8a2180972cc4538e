"""One row of the table of all metrics: how a metric is made, and what data it is given."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import syncmetrics

__all__ = ["Native", "generator", "leaves", "take"]

_FAMILIES = ("classification", "retrieval", "regression", "aggregation", "text", "segmentation", "image", "wrappers")

#: Arguments of `update`, each with one entry for each sample: tensors, or lists.
Samples = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Native:
    """A metric with its settings, and data for it.

    Attributes:
        name: Of the class, `syncmetrics.NAME`.
        draw: Gives so many samples.
        options: What it is constructed with.
        update: Further keyword arguments of `update`.
        truth: Gives the value of samples from another source, scikit-learn or scipy say, in float64. Left out: there is
            none, or it is tested elsewhere.
        exact: Whether the value must be equal to the bit however the samples lie on the ranks; else within 1e-12.
        digits: How far the value may be from the truth for inputs narrower than float64, that is how precise what is
            done before the summing is.
        peer: Whether torchmetrics has a metric of that name and those options that means the same.
        build: Makes the metric in another way, for a wrapper is constructed with metrics; `options` then only name it.
        build_peer: Likewise makes that of torchmetrics.
        on_device: Whether `update` runs where no tensor has values: it needs none, and makes none on the CPU first.
    """

    name: str
    draw: Callable[[int, torch.Generator], Samples]
    options: dict[str, Any] = field(default_factory=dict)
    update: dict[str, Any] = field(default_factory=dict)
    truth: Callable[..., Any] | None = None
    exact: bool = True
    digits: float = 1e-12
    peer: bool = True
    build: Callable[..., Any] | None = None
    build_peer: Callable[[], Any] | None = None
    on_device: bool = True

    @property
    def id(self) -> str:
        """Give the name of the row."""
        options = (f"{name}={_said(value)}" for name, value in self.options.items())
        return "-".join([self.name, self.draw.__name__.strip("_"), *options])

    @property
    def call(self) -> str:
        """Give the row as one would write it."""
        return f"{self.name}({', '.join(f'{name}={_said(value)}' for name, value in self.options.items())})"

    def make(self, **kwargs: Any) -> Any:
        """Make the metric."""
        if self.build is not None:
            return self.build(**kwargs)
        return getattr(syncmetrics, self.name)(**self.options, **kwargs)

    def make_peer(self) -> Any:
        """Make the metric of torchmetrics; None where it has none of that name."""
        if self.build_peer is not None:
            return self.build_peer()
        for family in _FAMILIES:
            found = getattr(importlib.import_module(f"torchmetrics.{family}"), self.name, None)
            if found is not None:
                return found(**self.options)
        return None

    def batch(self, key: int) -> Samples:
        """Give a small batch, the same for the same key."""
        return self.draw(3 + key % 3, generator(key))


def _said(value: Any) -> str:
    return str(getattr(value, "__name__", None) or repr(value))


def leaves(value: Any) -> list[Tensor]:
    """Give the tensors of a value, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves(item)]
    return [torch.as_tensor(value)]


def generator(key: int) -> torch.Generator:
    """Give random numbers that are the same for the same key."""
    return torch.Generator().manual_seed(key)


def take(samples: Samples, places: Sequence[int]) -> Samples:
    """Give some of the samples."""
    return tuple(
        value[torch.tensor(list(places), dtype=torch.int64)]
        if isinstance(value, Tensor)
        else [value[place] for place in places]
        for value in samples
    )
