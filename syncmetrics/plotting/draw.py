"""Which picture a value gets: what the metric says of itself, or what the value looks like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from syncmetrics.metric import Metric
from syncmetrics.plotting.curves import CURVES, curves, curves_of, is_curve
from syncmetrics.plotting.look import Look, Options, look_of, numbers_of, what_is
from syncmetrics.plotting.matrices import matrix
from syncmetrics.plotting.style import Panel, named, paint
from syncmetrics.plotting.values import bars, lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_value", "is_picture", "plot_collection", "plot_metric"]

_MOST_BARS = 150  # more are drawn as a line
_MOST_STEPS = 24  # of what takes a panel for each
_COUNTS = ("tp", "fp", "tn", "fn", "support")


def draw_value(
    value: Any, *, title: str = "", labels: Sequence[str] | None = None, metric: Metric | None = None
) -> Figure:
    """Draw one value of a metric.

    Args:
        value: A number; values of classes, of shape `(n,)`; a matrix of shape `(n, n)`, rows the target, columns what
            was predicted; a curve: a tuple of its x and y, of shape `(points,)`, whose third item, thresholds, is left
            out; or whatever else the metric gives.
        title: Above the picture.
        labels: Names of the classes.
        metric: Whose value it is, which says how it is drawn.

    Returns:
        A `matplotlib.figure.Figure`, which belongs to no window.

    Raises:
        ImportError: matplotlib is missing.
        TypeError: The value is none of these.
    """
    look = Look(title) if metric is None else look_of(metric, title)
    panels = _panels(value, look, Options(labels=labels), computed=True)
    figure, _ = paint(panels, None, needed_by="a picture")
    return figure


def is_picture(value: Any, metric: Metric | None = None) -> bool:
    """Whether a value is more than numbers, and can be drawn."""
    kind = None if metric is None else metric.plot_kind
    if isinstance(value, Tensor):
        return value.dim() in (1, 2, 3 if kind == "confusion_matrix" else 2)
    if not isinstance(value, (tuple, list)) or len(value) < 2:
        return False
    return is_curve(value) or (kind is not None and all(isinstance(part, list) or part.dim() > 0 for part in value))


def plot_metric(
    metric: Metric,
    val: Any,
    ax: Any,
    *,
    labels: Sequence[str] | None,
    add_text: bool,
    cmap: Any,
    score: Any,
) -> tuple[Figure, Any]:
    """Draw the value of a metric, or values of it that were given: see `Metric.plot`."""
    look = look_of(metric)
    value = metric.compute() if val is None else val
    panels = _panels(value, look, Options(labels, add_text, cmap, score), computed=val is None)
    return paint(panels, ax, needed_by=f"`{look.title}.plot`", heading=look.title if _is_split(panels, look) else None)


def plot_collection(
    parts: Sequence[tuple[str, Metric, Mapping[str, str | None]]],
    values: Any,
    ax: Any,
    *,
    together: bool,
    labels: Sequence[str] | None,
    computed: bool,
) -> Any:
    """Draw the values of a collection: see `MetricCollection.plot`.

    Args:
        parts: For each metric what it is called, the metric, and the names of its values with their keys in what it
            gives; the key of one that gives no dict is None.
        values: A dict by name, or a list of such.
        ax: As the user gave it.
        together: Whether all are drawn into one pair of axes.
        labels: Names of the classes.
        computed: Whether `compute` gave the values.
    """
    steps = values if isinstance(values, (list, tuple)) else None
    dicts = [values] if steps is None else list(steps)
    if not dicts:
        raise ValueError("MetricCollection: `val` must hold at least one dict of values, but is empty.")
    for one in dicts:
        if not isinstance(one, Mapping):
            raise TypeError(
                "MetricCollection: `val` must be a dict of values by name, or a list of such dicts, but there is"
                f" {what_is(one)}."
            )
    found: list[tuple[Metric | None, Look, list[Any]]] = [
        (metric, look_of(metric, title), _of(names, dicts)) for title, metric, names in parts
    ]
    claimed = {name for _, _, names in parts for name in names}
    rest = dict.fromkeys(name for one in dicts for name in one if name not in claimed)
    found += [(None, Look(name), [one[name] for one in dicts if name in one]) for name in rest]
    found = [part for part in found if part[2]]
    if not found:
        raise ValueError(
            "MetricCollection: `val` has no value of a metric of the collection, whose values are"
            f" {[name for _, _, names in parts for name in names]}."
        )
    options = Options(labels=labels)
    each = [(metric, look, given if steps is not None else given[0]) for metric, look, given in found]
    if together:
        looks = [(look, value) for _, look, value in each]
        return paint([_overlaid(looks, options, steps is None)], ax, needed_by="`MetricCollection.plot`")
    places = _places(ax, len(each))
    drawn = []
    for (metric, look, value), place in zip(each, places, strict=True):
        if metric is not None and _draws_itself(metric):
            drawn.append(metric.plot(value, ax=place))
            continue
        panels = _panels(value, look, options, computed=computed or steps is None)
        heading = look.title if _is_split(panels, look) else None
        drawn.append(paint(panels, place, needed_by=f"`MetricCollection.plot` of {look.title}", heading=heading))
    return drawn


def _draws_itself(metric: Metric) -> bool:
    """Whether a user wrote its `plot`."""
    owner = next(cls for cls in type(metric).__mro__ if "plot" in vars(cls))
    return owner.__module__.partition(".")[0] != Metric.__module__.partition(".")[0]


def _of(names: Mapping[str, str | None], dicts: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Give the values of one metric, as it gave them, from each dict that has them."""
    if None in names.values():
        (name,) = names
        return [one[name] for one in dicts if name in one]
    found = [{str(key): one[name] for name, key in names.items() if name in one} for one in dicts]
    return [one for one in found if one]


def _places(ax: Any, count: int) -> list[Any]:
    if ax is None:
        return [None] * count
    places = list(getattr(ax, "flat", ax)) if hasattr(ax, "__iter__") else [ax]
    if len(places) != count:
        raise ValueError(
            f"MetricCollection: `ax` must be a sequence of axes, one for each of {count} metrics, but has"
            f" {len(places)}; together=True draws all into one."
        )
    return places


def _is_split(panels: Sequence[Panel], look: Look) -> bool:
    return len(panels) > 1 and bool(look.title)


# -- one metric


def _panels(value: Any, look: Look, options: Options, *, computed: bool) -> list[Panel]:
    """Decide how a value is drawn.

    Args:
        value: One value; or several, one after the other, which is a list that was given.
        look: What the metric says.
        options: What the user chose.
        computed: Whether `compute` gave it: then a list is one value.
    """
    if look.kind not in _KINDS:
        raise ValueError(f"{look.title}: `plot_kind` must be one of {list(_KINDS)}, but is {look.kind!r} instead.")
    is_scored = options.score is not None and options.score is not False
    if (is_scored and look.kind not in CURVES) or (look.kind is None and is_scored and not is_curve(value)):
        raise TypeError(f"{look.title}: `score` is for curves, and the values of this metric are none; leave it out.")
    if isinstance(value, (list, tuple)) and not value:
        raise ValueError(f"{look.title}: there is no value to draw: `val` must hold at least one.")
    return _KINDS[look.kind](value, look, options, computed)


def _draw_any(value: Any, look: Look, options: Options, computed: bool) -> list[Panel]:
    """Draw what looks like a number, numbers, a matrix or a curve."""
    if isinstance(value, Mapping):
        return _draw_dict(value, look, options)
    if is_curve(value) and (computed or isinstance(value, tuple)):
        return [curves(curves_of(value, replace(look, kind=None), options), replace(look, kind=None))]
    if isinstance(value, (list, tuple)):
        if not computed:
            return [_draw_steps(value, look, options)]
        value = _joined(value, look)
    numbers = numbers_of(value, look.title)
    if numbers.numel() == 0:
        raise ValueError(f"{look.title}: there is no value to draw, for it is {what_is(value)}.")
    if numbers.numel() == 1 and numbers.dim() <= 1:
        return [bars({"": [float(numbers)]}, [""], look)]
    if numbers.dim() == 1:
        if len(numbers) > _MOST_BARS and options.labels is None:
            return [lines({"": numbers.tolist()}, look, look.each)]
        return [bars({"": numbers.tolist()}, named(options.labels, len(numbers), look.title, look.each), look)]
    if numbers.dim() == 2:
        is_square = numbers.shape[0] == numbers.shape[1]
        is_confusion = is_square and (
            options.labels is not None or _is_count(value) or "confusion" in look.title.lower()
        )
        return [_one_matrix(value, look.title, options, is_confusion)]
    raise TypeError(f"{look.title}: {what_is(value)} has too many dimensions to be drawn; draw parts of it, `val=...`.")


def _is_count(value: Any) -> bool:
    return isinstance(value, Tensor) and not value.is_floating_point() and bool((value >= 0).all())


def _draw_dict(value: Mapping[str, Any], look: Look, options: Options) -> list[Panel]:
    """Draw numbers by name in one panel; and other values in one each."""
    if not value:
        raise ValueError(f"{look.title}: there is no value to draw: the dict is empty.")
    if all(_is_number(item) for item in value.values()):
        numbers = [float(numbers_of(item, look.title)) for item in value.values()]
        return [bars({"": numbers}, list(map(str, value)), look)]
    found = []
    for name, item in value.items():
        inside = replace(look, title=str(name))
        found += _draw_any(item, inside, options, True)
    return found


def _draw_steps(values: Sequence[Any], look: Look, options: Options) -> Panel:
    """Draw values one after the other as lines."""
    return lines(_by_line(values, look, options), look)


def _by_line(values: Sequence[Any], look: Look, options: Options) -> dict[str, list[float]]:
    """Give the numbers of each line: of each key, or of each class."""
    if all(isinstance(item, Mapping) for item in values):
        names = dict.fromkeys(str(name) for item in values for name in item)
        return {
            name: [float(numbers_of(item[name], look.title)) if name in item else float("nan") for item in values]
            for name in names
        }
    rows = [numbers_of(item, look.title) for item in values]
    shapes = {tuple(row.shape) for row in rows}
    if len({row.numel() for row in rows}) > 1 or max(row.dim() for row in rows) > 1:
        raise TypeError(
            f"{look.title}: the values in a list must be numbers, or of shape (n,) with the same n, but have the shapes"
            f" {sorted(shapes)}."
        )
    table = torch.stack([row.reshape(-1) for row in rows])
    if table.shape[1] == 0:
        raise ValueError(f"{look.title}: there is no value to draw, for each has no element.")
    if table.shape[1] == 1:
        return {"": table[:, 0].tolist()}
    names_of = named(options.labels, table.shape[1], look.title, look.each)
    return dict(zip(names_of, table.T.tolist(), strict=True))


def _joined(values: Sequence[Any], look: Look) -> Tensor:
    """Join what `compute` gave as a list or tuple."""
    parts = [numbers_of(item, look.title) for item in values]
    if any(part.dim() > 1 for part in parts):
        raise TypeError(
            f"{look.title}: {what_is(values)} cannot be drawn; draw parts of it, `val=metric.compute()[0]`."
        )
    if any(part.numel() != 1 for part in parts):
        raise TypeError(
            f"{look.title}: a tuple of tensors of the shapes {[tuple(part.shape) for part in parts]} is neither a curve"
            " nor one number for each class; draw a part of it, `val=metric.compute()[0]`."
        )
    return torch.cat([part.reshape(1) for part in parts])


def _is_number(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) or (hasattr(value, "numel") and value.numel() == 1)


def _draw_curves(value: Any, look: Look, options: Options, computed: bool) -> list[Panel]:
    if _are_several(value, computed):
        found = [curve for step, one in enumerate(value) for curve in curves_of(one, look, options, f"step {step}")]
    else:
        found = curves_of(value, look, options)
    return [curves(found, look)]


def _are_several(value: Any, computed: bool) -> bool:
    """Whether this is a list of values that are tuples themselves."""
    return not computed and isinstance(value, list) and all(isinstance(item, tuple) for item in value)


def _draw_confusion(value: Any, look: Look, options: Options, computed: bool) -> list[Panel]:
    if isinstance(value, (list, tuple)):
        if len(value) > _MOST_STEPS:
            raise ValueError(
                f"{look.title}: a matrix takes a panel of its own, and at most {_MOST_STEPS} are drawn, but there are"
                f" {len(value)}; give some of them."
            )
        titles = [f"step {step}" for step in range(len(value))]
        return [panel for t, v in zip(titles, value, strict=True) for panel in _matrices(v, t, look, options)]
    return _matrices(value, look.title, look, options)


def _matrices(value: Any, title: str, look: Look, options: Options) -> list[Panel]:
    numbers = numbers_of(value, look.title)
    values = _in_its_dtype(value)
    if numbers.dim() not in (2, 3) or numbers.shape[-1] != numbers.shape[-2] or numbers.numel() == 0:
        raise TypeError(
            f"{look.title}: a confusion matrix must be of shape (n, n), or (labels, 2, 2), but is {what_is(value)}"
            " instead."
        )
    if numbers.dim() == 2:
        return [_one_matrix(values, title, options, True)]
    names = named(options.labels, len(numbers), look.title, look.each)
    if title != look.title:
        names = [f"{title}, {name}" for name in names]
    inside = replace(options, labels=None)
    return [_one_matrix(one, name, inside, True) for name, one in zip(names, values, strict=True)]


def _one_matrix(value: Any, title: str, options: Options, is_confusion: bool) -> Panel:
    labels = options.labels
    values = _in_its_dtype(value)
    across = labels if labels is not None and len(labels) == values.shape[1] else None
    return matrix(
        values,
        title,
        rows=labels,
        columns=across,
        is_confusion=is_confusion,
        add_text=options.add_text,
        cmap=options.cmap,
    )


def _in_its_dtype(value: Any) -> Tensor:
    """Give what has numbers as a tensor of its dtype, which says whether they are counts."""
    return torch.as_tensor(value)


def _draw_at_threshold(value: Any, look: Look, options: Options, computed: bool) -> list[Panel]:
    """Draw the best value, and write the threshold beside it."""
    if isinstance(value, list) and not computed:
        return [_draw_steps([item[0] if isinstance(item, (tuple, list)) else item for item in value], look, options)]
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return _draw_any(value, look, options, computed)
    best, thresholds = (numbers_of(_stacked(part), look.title).reshape(-1) for part in value)
    names = [""] if len(best) == 1 else named(options.labels, len(best), look.title, look.each)
    pairs = zip(best.tolist(), thresholds.tolist(), strict=True)
    texts = [
        f"{value:.4g} at {threshold:.4g}" if threshold == threshold else f"{value:.4g}" for value, threshold in pairs
    ]
    return [bars({"": best.tolist()}, names, look, texts)]


def _stacked(part: Any) -> Any:
    return torch.stack(list(part)) if isinstance(part, (list, tuple)) else part


def _draw_counts(value: Any, look: Look, options: Options, computed: bool) -> list[Panel]:
    """Draw true and false positives and negatives: as bars, and of several classes as a table."""
    numbers = None if isinstance(value, (list, tuple, Mapping)) else numbers_of(value, look.title)
    if numbers is None or numbers.shape[-1] != len(_COUNTS) or numbers.dim() > 2:
        steps = not computed and isinstance(value, (list, tuple))
        rows = steps and all(isinstance(item, Tensor) and item.shape == (len(_COUNTS),) for item in value)
        return _draw_any(value, look, replace(options, labels=_COUNTS) if rows else options, computed)
    if numbers.dim() == 1:
        return [bars({"": numbers.tolist()}, _COUNTS, look)]
    names = named(options.labels, len(numbers), look.title, look.each)
    table = value if isinstance(value, Tensor) else numbers
    cells = matrix(table, look.title, rows=names, columns=_COUNTS, is_confusion=False, add_text=options.add_text)
    return [cells]


_CURVES = {kind for kind in CURVES if kind is not None}
#: What `Metric.plot_kind` may be.
_KINDS: dict[str | None, Callable[[Any, Look, Options, bool], list[Panel]]] = {
    None: _draw_any,
    "roc": _draw_curves,
    "precision_recall": _draw_curves,
    "calibration": _draw_curves,
    "precision_recall_at_k": _draw_curves,
    "confusion_matrix": _draw_confusion,
    "value_at_threshold": _draw_at_threshold,
    "counts": _draw_counts,
}


# -- many metrics in one pair of axes


@dataclass(frozen=True, slots=True)
class _Row:
    """The numbers of one metric: one, or one for each class."""

    name: str
    look: Look
    numbers: Tensor


def _overlaid(each: Sequence[tuple[Look, Any]], options: Options, is_one: bool) -> Panel:
    """Draw all values of a collection into one pair of axes.

    Raises:
        TypeError: They are of different kinds, or take a panel each.
    """
    kinds = {look.kind for look, _ in each}
    if is_one and len(kinds) == 1 and kinds <= _CURVES:
        (kind,) = kinds
        found = [curve for look, value in each for curve in curves_of(value, look, options, look.title)]
        return curves(found, Look(CURVES[kind].title, kind))
    if not is_one:
        table = {}
        for look, values in each:
            of_one = _by_line([_first(value, look) for value in values], look, options)
            table.update({" ".join(filter(None, (look.title, name))): ys for name, ys in of_one.items()})
        return lines(table, _common(look for look, _ in each))
    rows = [row for look, value in each for row in _rows(value, look)]
    look, counts = _common(row.look for row in rows), {len(row.numbers) for row in rows}
    if counts == {1}:
        return bars({"": [float(row.numbers) for row in rows]}, [row.name for row in rows], look)
    if len(counts) > 1:
        told = {row.name: len(row.numbers) for row in rows}
        raise TypeError(
            f"MetricCollection: together=True takes as many values of each metric, but there are {told}; leave it out."
        )
    names = named(options.labels, counts.pop(), "MetricCollection", look.each)
    return bars({row.name: row.numbers.tolist() for row in rows}, names, look)


def _rows(value: Any, look: Look) -> list[_Row]:
    if isinstance(value, Mapping):
        return [row for name, item in value.items() for row in _rows(item, replace(look, title=f"{look.title} {name}"))]
    numbers = numbers_of(_first(value, look), look.title)
    if numbers.dim() > 1 or look.kind in {"confusion_matrix", *_CURVES}:
        raise TypeError(
            f"MetricCollection: together=True draws numbers, or curves of one kind; {look.title} gives"
            f" {what_is(value)}. Leave it out, or draw that metric by itself."
        )
    return [_Row(look.title, look, numbers.reshape(-1))]


def _first(value: Any, look: Look) -> Any:
    """Give the value without what is told beside it."""
    if isinstance(value, (tuple, list)) and value:
        if look.kind == "value_at_threshold":
            return _stacked(value[0])
        if look.kind in _CURVES:
            raise TypeError(
                f"MetricCollection: together=True draws numbers, or curves of one kind; {look.title} gives a curve."
                " Leave it out, or draw that metric by itself."
            )
    return value


def _common(looks: Iterable[Look]) -> Look:
    """Give the bounds that all have, and nothing else."""
    several = list(looks)
    low, high = {look.low for look in several}, {look.high for look in several}
    each = {look.each for look in several}
    higher = {look.higher_is_better for look in several}
    return Look(
        "",
        low=low.pop() if len(low) == 1 else None,
        high=high.pop() if len(high) == 1 else None,
        each=each.pop() if len(each) == 1 else "class",
        higher_is_better=higher.pop() if len(higher) == 1 else None,
    )
