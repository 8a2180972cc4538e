"""Quantiles of everything that was seen, exact."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from syncmetrics.aggregation.aggregation import as_tensor
from syncmetrics.family.checks import accumulate_dtype, check_choice, check_tensor
from syncmetrics.shuffle import (
    SHUFFLE_ABOVE,
    Peers,
    Question,
    Rows,
    ShuffledMetric,
    decode_floats,
    encode_floats,
    key_dtype,
    share_by_key,
)
from syncmetrics.states.spec import States
from syncmetrics.states.store import Mode

__all__ = ["Median", "Quantile"]

_INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


class Quantile(ShuffledMetric):
    """Quantiles of all values, as of `torch.quantile`, for any number of them.

    The order statistics are exact and so is the position between them; only the interpolation rounds, in float64. If
    a value is NaN, so are the quantiles.

    Args:
        q: A number in [0, 1], or several.
        interpolation: What stands for a quantile between two values: "linear", "lower", "higher", "nearest" (the even
            one if both are as near) or "midpoint".
        shuffle_above: From how many values on, of all ranks together, each rank gets a share of them by size in place
            of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: `q` is no number and no sequence of numbers.
        ValueError: A number is not in [0, 1], or `interpolation` is unknown.

    Example:
        >>> import torch
        >>> from syncmetrics.aggregation import Quantile
        >>> metric = Quantile([0.25, 0.5])
        >>> metric.update(torch.tensor([4.0, 1.0, 2.0]))
        >>> metric.compute()
        tensor([1.5000, 2.0000])
    """

    is_differentiable = False
    full_state_update = False
    _rebinds = True
    values: list[Tensor]

    def __init__(
        self,
        q: float | Sequence[float] = 0.5,
        *,
        interpolation: str = "linear",
        shuffle_above: int | None = SHUFFLE_ABOVE,
        **kwargs: Any,
    ) -> None:
        super().__init__(shuffle_above=shuffle_above, **kwargs)
        name = type(self).__name__
        check_choice(name, "interpolation", interpolation, _INTERPOLATIONS)
        _numbers(name, q)
        self.q = q
        self.interpolation = interpolation
        self.add_state("values", [], dist_reduce_fx="cat")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for all quantiles: only `compute` reads which."""
        return ("quantile", self.shuffle_above)

    @property
    def question(self) -> Question:
        """The quantiles, whose positions follow when it is known how many values there are."""
        return ("quantile", *_numbers(type(self).__name__, self.q))

    def update(self, value: Tensor | float) -> None:
        """Keep values; copies are kept, so the caller may reuse the tensor.

        Args:
            value: A number, or a real tensor of any shape. Floats keep their dtype; integers become float64.

        Raises:
            TypeError: It is neither.
        """
        given = as_tensor(value, self.device) if isinstance(value, (int, float)) else value
        check_tensor(type(self).__name__, "value", given)
        dtype = given.dtype if given.is_floating_point() else accumulate_dtype(given.device)
        self.values.append(given.detach().flatten().to(dtype, copy=True))

    def compute(self) -> Tensor:
        """Return the quantiles, in the dtype of the values: 0-d for one number, else of shape `(len(q),)`.

        They are NaN, with a warning, if there was no value.
        """
        if self.device.type != "cpu" and self._holder.store.mode is Mode.STEP:
            return self._of_batch()
        count, has_nan, dtype, found = self.answer()
        if count == 0:
            warnings.warn(f"{type(self).__name__}: no value was given, so the value is NaN.", stacklevel=2)
        numbers = _numbers(type(self).__name__, self.q)
        results = [math.nan] * len(numbers)
        if count and not has_nan:
            results = [
                _between(found[low], found[high], _weigh(self.interpolation, low, weight) if weight else 0.0)
                for low, high, weight in (_position(q, count) for q in numbers)
            ]
        flat = torch.tensor(results, dtype=dtype, device=self.device)
        return flat if isinstance(self.q, (list, tuple)) else flat.reshape(())

    def _of_batch(self) -> Tensor:
        """Give the quantiles of a step on an accelerator, for which nobody waits."""
        values = torch.cat([part.reshape(-1) for part in self.values]).sort().values
        count, wide = values.shape[0], accumulate_dtype(values.device)
        if count == 0:
            values, count = values.new_full((1,), math.nan), 1
        found = []
        for q in _numbers(type(self).__name__, self.q):
            low, high, weight = _position(q, count)
            share = _weigh(self.interpolation, low, weight) if weight else 0.0
            below, above = values[low].to(wide), values[high].to(wide)
            # A distance may be infinite, and no distance is one of infinities.
            between = torch.where(
                (above - below).isinf(), below * (1 - share) + above * share, below + (above - below) * share
            )
            found.append(torch.where(below == above, below, below if share == 0 else above if share == 1 else between))
        flat = torch.where(values[-1].isnan(), torch.nan, torch.stack(found) if found else values[:0]).to(values.dtype)
        return flat if isinstance(self.q, (list, tuple)) else flat.reshape(())

    def solve(self, peers: Peers, states: States, questions: Sequence[Question]) -> Mapping[Question, Any]:
        """Find the values at the places that the quantiles lie between."""
        count, dtype = sum(peers.told.rows), peers.told.dtypes["values"]
        share = share_by_key(peers, Rows(states["values"], dtype, self.device, encode_floats))
        keys = share.keys.sort().values
        wanted = {place for _, *numbers in questions for q in numbers for place in _position(q, count)[:2]}
        here = [place for place in sorted(wanted) if 0 <= place - share.below < keys.shape[0]]
        has_nan = keys.shape[0] > 0 and int(keys[-1]) == torch.iinfo(keys.dtype).max
        told = peers.tell([has_nan, [[place, int(keys[place - share.below])] for place in here]], last=True)
        pairs = [pair for _, pairs in told for pair in pairs]
        found = decode_floats(torch.tensor([key for _, key in pairs], dtype=key_dtype(dtype))).tolist()
        by_place = {place: value for (place, _), value in zip(pairs, found, strict=True)}
        return dict.fromkeys(questions, (count, any(nan for nan, _ in told), dtype, by_place))


class Median(Quantile):
    """The median of all values, exact: the one in the middle, or the mean of the two in the middle.

    It is the quantile of one half, and shares the values with other quantiles in a collection. If a value is NaN, so is
    the median.

    Args:
        shuffle_above: From how many values on, of all ranks together, each rank gets a share of them by size in place
            of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Example:
        >>> import torch
        >>> from syncmetrics.aggregation import Median
        >>> metric = Median()
        >>> metric.update(torch.tensor([4.0, 1.0, 2.0, 9.0]))
        >>> metric.compute()
        tensor(3.)
    """

    def __init__(self, *, shuffle_above: int | None = SHUFFLE_ABOVE, **kwargs: Any) -> None:
        super().__init__(0.5, shuffle_above=shuffle_above, **kwargs)


def _numbers(metric: str, q: Any) -> tuple[float, ...]:
    """Give the quantiles that are asked for.

    Raises:
        TypeError: They are no numbers.
        ValueError: They are not in [0, 1].
    """
    numbers: list[Any] = list(q) if isinstance(q, (list, tuple)) else [q]
    if any(isinstance(number, bool) or not isinstance(number, (int, float)) for number in numbers):
        raise TypeError(f"{metric}: `q` must be a number, or several, but is {q!r} instead. Pass e.g. [0.25, 0.75].")
    if not all(0 <= number <= 1 for number in numbers):
        raise ValueError(f"{metric}: `q` must be in [0, 1], but is {q!r} instead. Pass e.g. 0.95.")
    return tuple(map(float, numbers))


def _weigh(interpolation: str, low: int, weight: Fraction) -> float:
    """Give how much the value above counts, of a quantile that lies at `low + weight`."""
    check_choice("Quantile", "interpolation", interpolation, _INTERPOLATIONS)
    if interpolation == "linear":
        return float(weight)
    if interpolation == "nearest":
        half = Fraction(1, 2)
        return float(low % 2 if weight == half else weight > half)
    return {"lower": 0.0, "higher": 1.0, "midpoint": 0.5}[interpolation]


def _between(low: float, high: float, weight: float) -> float:
    if weight == 0 or low == high:
        return low
    if weight == 1:
        return high
    distance = high - low
    return low * (1 - weight) + high * weight if math.isinf(distance) else low + distance * weight


def _position(q: float, count: int) -> tuple[int, int, Fraction]:
    """Give the places of the values around a quantile, and how far it lies from the lower one."""
    exact = Fraction(q) * max(count - 1, 0)
    low = math.floor(exact)
    return low, min(low + 1, max(count - 1, 0)), exact - low
