"""What is verified, and how its values are made and compared."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from syncmetrics.metric.module import StatefulModule
from syncmetrics.states.spec import StateSpec
from syncmetrics.testing.verification.batches import Batch, Batches, Drawn, written
from syncmetrics.transport.threads import run_threads

__all__ = ["Example", "Subject", "alike", "quietly", "reductions_of", "said", "specs_of"]

#: Floats that were added up in another order are this near.
_NEAR = 1e-5


#: How code that gives the arguments of `update` in their order gives them by name.
_BY_NAME = (
    (
        "*[torch.cat(parts) for parts in zip(*batches)]",
        "**{name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}",
    ),
    ("for tensor in batch:", "for tensor in batch.values():"),
    *((f"(*{what}", f"(**{what}") for what in ("batch", "{")),
)


@dataclass(frozen=True, slots=True)
class Example:
    """Batches, and which rank has which.

    Attributes:
        world: Number of ranks.
        batches: They.
        ranks: For each batch the rank that has it.
    """

    world: int
    batches: tuple[Drawn, ...]
    ranks: tuple[int, ...]

    def of(self, rank: int) -> list[Drawn]:
        """Give the batches of a rank."""
        return [batch for batch, owner in zip(self.batches, self.ranks, strict=True) if owner == rank]

    def in_rank_order(self) -> list[Drawn]:
        """Give all batches as one process has them that goes from rank to rank."""
        return [batch for rank in range(self.world) for batch in self.of(rank)]


@dataclass(frozen=True, slots=True)
class Subject:
    """A metric, by what makes it.

    Attributes:
        make: Makes a fresh one.
        batches: Where its batches come from.
        name: What to call it.
        importable: Module and name by which code reaches what makes it; None where it does not.
        batches_from: The same for the batches of a user.
        reference: Gives the true value of all samples.
        is_foreign: Whether what makes it gives metrics of another library, which are put into a collection of ours.
    """

    make: Callable[[], Any]
    batches: Batches
    name: str
    importable: tuple[str, str] | None = None
    batches_from: tuple[str, str] | None = None
    reference: Callable[..., Any] | None = None
    is_foreign: bool = False

    def draw(self, batch: Drawn) -> Batch:
        """Make a batch anew: nobody else has its tensors."""
        return copy.deepcopy(self.batches.draw(batch.rows, batch.key))

    def fed(self, batches: Sequence[Drawn], make: Callable[[], Any] | None = None) -> Any:
        """Give a metric that has seen these batches."""
        metric = (make or self.make)()
        for batch in batches:
            self.update(metric, self.draw(batch))
        return metric

    def update(self, metric: Any, batch: Sequence[Any]) -> None:
        """Update a metric with a batch."""
        self.batches.give(metric.update, batch)

    def value(self, batches: Sequence[Drawn], make: Callable[[], Any] | None = None) -> Any:
        """Give the value of these batches in one process."""
        return self.fed(batches, make).compute()

    def values_on_ranks(self, example: Example, make: Callable[[], Any] | None = None) -> list[Any]:
        """Give the value on each rank."""
        return run_threads(partial(self._on_rank, example, make), example.world)

    def _on_rank(self, example: Example, make: Callable[[], Any] | None, rank: int, _: int) -> Any:
        return self.value(example.of(rank), make)

    # -- as code

    def code(self, lines: Sequence[str]) -> str:
        """Give lines as code to paste: with what it imports, and arguments by name where they are given so."""
        text = "\n".join(lines)
        if self.batches.keywords:
            for positional, by_name in _BY_NAME:
                text = text.replace(positional, by_name)
        return "\n".join([*self.head(), text])

    def head(self) -> list[str]:
        """Give the lines that code begins with."""
        module, name = self.importable or ("your_module", "make_metric")
        lines = ["import torch", f"from {module} import {name.partition('.')[0]}"]
        if self.is_foreign:
            lines += ["from syncmetrics import MetricCollection", f"make = lambda: MetricCollection([{name}()])"]
        if self.batches.code is not None and self.batches_from is not None:
            lines += [f"from {self.batches_from[0]} import {self.batches_from[1]}"]
            lines += [f"batches = list({self.batches_from[1]}())"]
        return lines

    @property
    def factory(self) -> str:
        """What makes the metric, in code."""
        return "make" if self.is_foreign else (self.importable or ("", "make_metric"))[1]

    def written(self, batch: Drawn) -> str:
        """Give a batch in code."""
        if self.batches.code is not None and self.batches_from is not None:
            return self.batches.code(batch.rows, batch.key)
        return self.written_out(self.draw(batch))

    def written_out(self, batch: Batch) -> str:
        """Give arguments of `update` in code."""
        return written(batch, self.batches.keywords)

    def listed(self, batches: Sequence[Drawn]) -> str:
        """Give a list of batches in code."""
        return f"[{', '.join(self.written(batch) for batch in batches)}]"

    def given(self, batches: Sequence[Drawn], *names: str) -> list[str]:
        """Give the lines that make batches, and metrics of these names."""
        metrics = ", ".join(f"{self.factory}()" for _ in names)
        return [f"batches = {self.listed(batches)}", f"{', '.join(names)} = {metrics}"]

    def feeding(self, batches: Sequence[Drawn]) -> list[str]:
        """Give the lines that make a metric and update it."""
        return [f"metric = {self.factory}()"] + [f"metric.update(*{self.written(batch)})" for batch in batches]


@contextmanager
def quietly() -> Iterator[None]:
    """Let warnings pass: what they are about is found out otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reductions_of(metric: Any) -> list[tuple[StateSpec, Callable[[Tensor], Tensor], Tensor]]:
    """Give the states that have a reduction of the user's own: declaration, reduction and present value."""
    found = []
    for module, spec in specs_of(metric):
        value = getattr(module, spec.name)
        if spec.reduction.fx is not None and isinstance(value, Tensor):
            found.append((spec, spec.reduction.fx, value))
    return found


def specs_of(metric: Any) -> list[tuple[StatefulModule, StateSpec]]:
    """Give all declared states, with the metric that declares each."""
    found = []
    seen: set[int] = set()
    for module in metric.modules():
        if isinstance(module, StatefulModule) and not module._delegates:
            holder = module._holder
            if id(holder) not in seen:
                seen.add(id(holder))
                found += [(module, spec) for spec in holder.specs.values()]
    return found


def alike(found: Any, right: Any, near: float = _NEAR) -> bool:
    """Whether two values are the same, but for the rounding of floats."""
    if isinstance(right, Tensor) and isinstance(found, Tensor):
        if found.shape != right.shape:
            return found.numel() == right.numel() == 1 and alike(found.reshape(()), right.reshape(()), near)
        if found.is_floating_point() or right.is_floating_point():
            return torch.allclose(found.double(), right.double(), rtol=near, atol=near, equal_nan=True)
        return torch.equal(found.cpu(), right.cpu())
    if isinstance(right, Mapping) and isinstance(found, Mapping):
        return list(found) == list(right) and all(alike(found[key], right[key], near) for key in right)
    if isinstance(right, (list, tuple)) and isinstance(found, (list, tuple)):
        return len(found) == len(right) and all(alike(f, r, near) for f, r in zip(found, right, strict=True))
    if isinstance(right, (int, float)) or isinstance(found, (int, float)):
        try:
            f, r = float(found), float(right)
        except (TypeError, ValueError):
            return False
        return math.isclose(f, r, rel_tol=near, abs_tol=near) or (math.isnan(f) and math.isnan(r)) or f == r
    return bool(found == right)


def said(value: Any) -> str:
    """Give a value as words, short."""
    if isinstance(value, Tensor):
        text = f"{value.item():.6g}" if value.numel() == 1 and not value.is_complex() else str(value.tolist())
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key!r}: {said(item)}" for key, item in value.items()) + "}"
    else:
        text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
