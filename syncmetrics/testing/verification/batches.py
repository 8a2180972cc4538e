"""Batches for a metric: as its user gives them, or drawn from the names of what `update` takes."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from syncmetrics.metric import Metric, MetricCollection

__all__ = ["Batch", "Batches", "Drawn", "NoBatchesError", "draw_for", "given", "joined", "rows_of", "written"]

#: Arguments of `update`.
Batch: TypeAlias = tuple[Any, ...]
#: Makes a batch of so many rows, the same for the same key.
Draw: TypeAlias = Callable[[int, int], Batch]

_CLASSES = 3
_SIDE = 12
_MOST_NUMBERS = 60


class NoBatchesError(ValueError):
    """No batches could be drawn that `update` takes."""


@dataclass(frozen=True, slots=True)
class Batches:
    """Where batches come from.

    Attributes:
        draw: Makes one.
        words: What they are, in words.
        code: Gives code for one, or None where it is to be written out.
        keywords: The names of the arguments, if they are given by name.
    """

    draw: Draw
    words: str
    code: Callable[[int, int], str] | None = None
    keywords: tuple[str, ...] = ()

    def give(self, function: Callable[..., Any], batch: Sequence[Any]) -> Any:
        """Call a function with the arguments of a batch."""
        if self.keywords:
            return function(**dict(zip(self.keywords, batch, strict=True)))
        return function(*batch)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One batch of an example.

    Attributes:
        rows: How many rows it has.
        key: Which one it is.
    """

    rows: int
    key: int


def given(batches: Sequence[Any], where: str = "") -> Batches:
    """Take the batches of a user: rows of them are taken, where all that is in a batch has rows."""
    if not batches:
        raise NoBatchesError("`batches` must give at least one batch.")
    keywords = tuple(batches[0]) if isinstance(batches[0], Mapping) else ()
    whole = [_arguments(batch, keywords) for batch in batches]

    def draw(rows: int, key: int) -> Batch:
        batch = whole[key % len(whole)]
        count = rows_of(batch)
        return batch if count is None else tuple(argument[:rows] for argument in batch)

    def code(rows: int, key: int) -> str:
        name = f"batches[{key % len(whole)}]"
        cut = rows_of(whole[key % len(whole)])
        if cut is None or rows >= cut:
            return name
        if keywords:
            return f"{{key: part[:{rows}] for key, part in {name}.items()}}"
        return f"tuple(part[:{rows}] for part in {name})"

    is_large = any(_numbers(batch) > _MOST_NUMBERS for batch in whole)
    return Batches(draw, f"{len(whole)} batches of {where or 'yours'}", code if where and is_large else None, keywords)


def _arguments(batch: Any, keywords: tuple[str, ...]) -> Batch:
    if isinstance(batch, Mapping) != bool(keywords) or (keywords and set(batch) != set(keywords)):
        raise NoBatchesError(
            "each batch must be a tuple of the arguments of `update`, or its only argument; or each a dict of arguments"
            " by name, with the same names."
        )
    if keywords:
        return tuple(batch[name] for name in keywords)
    return tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)


def rows_of(batch: Batch) -> int | None:
    """Give how many rows a batch has; None where its arguments have no rows, or not as many."""
    counts = {
        len(argument) if isinstance(argument, list) or (isinstance(argument, Tensor) and argument.dim()) else -1
        for argument in batch
    }
    return counts.pop() if len(counts) == 1 and -1 not in counts else None


def joined(batches: Sequence[Batch]) -> Batch | None:
    """Give one batch with the rows of all; None where they cannot be joined."""
    if any(rows_of(batch) is None for batch in batches) or len({len(batch) for batch in batches}) != 1:
        return None
    try:
        return tuple(
            torch.cat(list(column)) if isinstance(column[0], Tensor) else [item for part in column for item in part]
            for column in zip(*batches, strict=True)
        )
    except RuntimeError:  # rows of other shapes
        return None


# -- drawn from names


def draw_for(make: Callable[[], Any]) -> Batches:
    """Find batches that `update` takes, by the names of its arguments, and of which the value depends.

    Raises:
        NoBatchesError: None were found.
    """
    metric = make()
    names, by_name = _names(metric)
    tried: list[str] = []
    works: list[Batches] = []
    for words, draw in _kinds(metric, names):
        batches = Batches(draw, words, keywords=tuple(names) if by_name else ())
        try:
            values = [_value(make(), batches, [draw(4, key), draw(3, key + 1)]) for key in range(3)]
        except Exception as error:
            tried.append(f"{words}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
            continue
        if any(value != values[0] for value in values):
            return batches
        works.append(batches)
    if works:
        return works[0]
    raise NoBatchesError(
        f"`update({', '.join(names)})` of {type(metric).__name__} took none of what was drawn for it; give batches of"
        " your own. Tried:\n  " + "\n  ".join(tried)
    )


def _value(metric: Any, source: Batches, batches: Sequence[Batch]) -> str:
    for batch in batches:
        source.give(metric.update, batch)
    return str(metric.compute())


def _names(metric: Any) -> tuple[list[str], bool]:
    """Give the names of the arguments that `update` has to be given, and whether it takes one of them by name alone."""
    if isinstance(metric, MetricCollection):
        metric = next(iter(metric.values()))
    theirs = getattr(metric, "inner", None)  # a collection of another library takes whatever its metrics take
    metric = next(iter(theirs.values())) if isinstance(theirs, torch.nn.ModuleDict) and len(theirs) else metric
    update = metric._update_parameters() if isinstance(metric, Metric) else inspect.signature(metric.update).parameters
    parameters = update.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [p for p in parameters if p.kind in kinds and p.default is p.empty]
    return [p.name for p in needed] or ["value"], any(p.kind is p.KEYWORD_ONLY for p in needed)


def _kinds(metric: Any, names: Sequence[str]) -> Iterator[tuple[str, Draw]]:
    """Give what might be meant by the names, the likeliest first."""
    inside = next(iter(metric.values())) if isinstance(metric, MetricCollection) else metric
    classes = int(getattr(inside, "num_classes", None) or getattr(inside, "num_labels", None) or _CLASSES)
    hints = _hints(inside)
    kinds: dict[str, Callable[[str, int, torch.Generator], Any]] = {
        "scores for each class, and labels": lambda n, rows, g: _classes(n, rows, g, classes),
        "probabilities, and labels of 0 and 1": _binary,
        "numbers": _numbers_of,
        "labels": lambda n, rows, g: _labels(n, rows, g, classes),
        "scores and labels of several labels": lambda n, rows, g: _multilabel(n, rows, g, classes),
        "texts": _texts,
        "images": _images,
        "masks": lambda n, rows, g: _masks(n, rows, g, classes),
    }
    if len(names) == 1 and not _is_truth(names[0]):
        kinds = {"numbers": _numbers_of, **kinds}
    if any(hints.get(name) in (str, list[str], Sequence[str]) for name in names):
        kinds = {"texts": _texts, **kinds}
    for words, make in kinds.items():
        yield words, _draw_of(names, make)


def _hints(metric: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(type(getattr(metric, "inner", metric)).update))
    except Exception:  # names that only a type checker knows
        return {}


def _draw_of(names: Sequence[str], make: Callable[[str, int, torch.Generator], Any]) -> Draw:
    def draw(rows: int, key: int) -> Batch:
        generator = torch.Generator().manual_seed(1000 * key + rows)
        return tuple(make(name, rows, generator) for name in names)

    return draw


def _is_truth(name: str) -> bool:
    return any(word in name for word in ("target", "label", "true", "truth", "actual")) or name == "y"


def _common(name: str, rows: int, generator: torch.Generator) -> Any:
    """Give what a name means whatever the others are; None if it does not say."""
    if "weight" in name:
        return torch.randint(1, 5, (rows,), generator=generator).float()
    if "index" in name or name.endswith("ids"):
        return torch.randint(2, (rows,), generator=generator)
    if "mask" in name:
        return torch.rand(rows, generator=generator) < 0.7
    return None


def _round(values: Tensor) -> Tensor:
    return (values * 100).round() / 100


def _classes(name: str, rows: int, generator: torch.Generator, classes: int) -> Any:
    if _is_truth(name):
        return torch.randint(classes, (rows,), generator=generator)
    found = _common(name, rows, generator)
    return _round(torch.rand(rows, classes, generator=generator)) if found is None else found


def _binary(name: str, rows: int, generator: torch.Generator) -> Any:
    if _is_truth(name):
        return torch.randint(2, (rows,), generator=generator)
    found = _common(name, rows, generator)
    return _round(torch.rand(rows, generator=generator)) if found is None else found


def _numbers_of(name: str, rows: int, generator: torch.Generator) -> Any:
    found = _common(name, rows, generator)
    return torch.randint(-9, 10, (rows,), generator=generator).float() if found is None else found


def _labels(name: str, rows: int, generator: torch.Generator, classes: int) -> Any:
    found = None if _is_truth(name) else _common(name, rows, generator)
    return torch.randint(classes, (rows,), generator=generator) if found is None else found


def _multilabel(name: str, rows: int, generator: torch.Generator, labels: int) -> Any:
    if _is_truth(name):
        return torch.randint(2, (rows, labels), generator=generator)
    found = _common(name, rows, generator)
    return _round(torch.rand(rows, labels, generator=generator)) if found is None else found


def _texts(name: str, rows: int, generator: torch.Generator) -> Any:
    words = ("the", "cat", "sat", "on", "a", "mat")
    return [" ".join(words[int(i)] for i in torch.randint(len(words), (4,), generator=generator)) for _ in range(rows)]


def _images(name: str, rows: int, generator: torch.Generator) -> Any:
    return _round(torch.rand(rows, 3, _SIDE, _SIDE, generator=generator))


def _masks(name: str, rows: int, generator: torch.Generator, classes: int) -> Any:
    return torch.randint(classes, (rows, 4, 4), generator=generator)


# -- as code


def written(batch: Batch, keywords: Sequence[str] = ()) -> str:
    """Write a batch as code."""
    parts = [_write(argument) for argument in batch]
    if keywords:
        return "{" + ", ".join(f"{name!r}: {part}" for name, part in zip(keywords, parts, strict=True)) + "}"
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def _write(value: Any) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    if value.numel() == 0 and value.dim() > 1:
        return f"torch.empty({tuple(value.shape)}, dtype={value.dtype})"
    if value.dtype.is_floating_point and value.dtype != torch.float32:
        return f"torch.tensor({_round_list(value)}, dtype={value.dtype})"
    if value.numel() == 0:
        return f"torch.tensor([], dtype={value.dtype})"
    return f"torch.tensor({_round_list(value)})"


def _round_list(value: Tensor) -> Any:
    listed = value.tolist()
    return _rounded(listed) if value.dtype.is_floating_point else listed


def _rounded(listed: Any) -> Any:
    if isinstance(listed, list):
        return [_rounded(item) for item in listed]
    short = round(listed, 6)
    return short if abs(short - listed) < 1e-7 else listed


def _numbers(batch: Batch) -> int:
    return sum(argument.numel() if isinstance(argument, Tensor) else 1 for argument in batch)
