"""What rank 0 hands to the sinks, and what a sink is."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from syncmetrics.metric import Coverage

__all__ = ["Record", "Sink", "flatten", "make_record"]


@dataclass(frozen=True, slots=True)
class Record:
    """What was logged in one step or in one epoch.

    Attributes:
        kind: "step" for the values of this rank in one step, "epoch" for those of all ranks in one epoch.
        epoch: Which epoch; the first is 1.
        step: Steps finished so far, in all epochs; the first is 1.
        scalars: Values of one element, by name. They may be NaN or infinite.
        arrays: All others: tensors on the CPU, of any shape.
        coverage: What the values of the metrics of an epoch rest on; None in a step, and without metrics.
    """

    kind: Literal["step", "epoch"]
    epoch: int
    step: int
    scalars: Mapping[str, float]
    arrays: Mapping[str, Tensor] = field(default_factory=dict)
    coverage: Coverage | None = None


@runtime_checkable
class Sink(Protocol):
    """Where records go. Only rank 0 calls these methods, so a sink opens what it needs when it is first written to.

    A sink of your own::

        class Printed:
            def write(self, record):
                for name, value in record.scalars.items():
                    print(f"{record.kind} {record.step} {name} {value:.4f}")

            def picture(self, name, values, record):
                pass

            def close(self):
                pass
    """

    def write(self, record: Record) -> None:
        """Write one record. That of a step comes at every step, without values in those that are not to be written."""
        ...

    def picture(self, name: str, values: Tensor, record: Record) -> None:
        """Show a value with two dimensions, shape `(rows, columns)`: a confusion matrix. It is in `record` too."""
        ...

    def close(self) -> None:
        """Write what is left, and close what was opened. It may be called twice."""
        ...


def make_record(
    kind: Literal["step", "epoch"], epoch: int, step: int, values: Mapping[str, Any], coverage: Coverage | None = None
) -> Record:
    """Make the record of some values. What is neither a number nor a real tensor is left out."""
    scalars: dict[str, float] = {}
    arrays: dict[str, Tensor] = {}
    for name, value in values.items():
        if isinstance(value, Tensor) and value.is_complex():
            continue
        if isinstance(value, Tensor) and value.numel() != 1:
            arrays[name] = value.detach().cpu()
        elif isinstance(value, Tensor | numbers.Real):
            scalars[name] = float(value)
    return Record(kind, epoch, step, scalars, arrays, coverage)


def flatten(name: str | None, value: Any) -> dict[str, Any]:
    """Name what is inside of a dict, a list or a tuple: `name/key`, or the key alone if there is no name."""
    if isinstance(value, Mapping):
        pairs = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [(str(index), item) for index, item in enumerate(value)]
    else:
        return {"value" if name is None else name: value}
    return {
        full: inner
        for key, item in pairs
        for full, inner in flatten(key if name is None else f"{name}/{key}", item).items()
    }
