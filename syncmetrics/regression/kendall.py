"""Kendall's rank correlation, exact."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import check_bool, check_choice, check_int, check_same_shape
from syncmetrics.family.offenders import reads_data
from syncmetrics.metric import Metric
from syncmetrics.regression._moments import warn_of
from syncmetrics.states.rows import RowBuffer, dim_zero_cat
from syncmetrics.states.store import Mode

__all__ = ["KendallRankCorrCoef"]

_ALTERNATIVES = ("two-sided", "less", "greater", None)


class KendallRankCorrCoef(Metric):
    """Compare all pairs of samples: how many are in the same order in predictions and targets, and how many are not.

    With `n` samples, `c` pairs in the same order and `d` in the opposite one, variant "a" is `2 (c - d) / (n (n - 1))`
    (Kendall, "A new measure of rank correlation", 1938); "b" divides by the geometric mean of the numbers of pairs that
    are not tied on either side (Kendall 1945); "c" is `2 (c - d) m / (n**2 (m - 1))`, where `m` is the smaller of the
    numbers of distinct values (Stuart 1953). Pairs are counted in integers, in `n log(n)**2` steps.

    Args:
        variant: "a", "b" or "c".
        t_test: Whether to give the p-value of the hypothesis that there is no correlation, too, by the normal
            approximation with its correction for ties (Kendall, "Rank Correlation Methods", 1970).
        alternative: "two-sided", "less" or "greater": which correlation the hypothesis is tested against.
        num_outputs: 1, or the number of columns that each get a value of their own.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `t_test` is not a bool, or `num_outputs` is not an int.
        ValueError: If `variant` or `alternative` is none of these, or `num_outputs` is smaller than 1.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import KendallRankCorrCoef
        >>> metric = KendallRankCorrCoef()
        >>> metric.update(torch.tensor([2.5, 0.0, 2.0, 8.0]), torch.tensor([3.0, -0.5, 2.0, 1.0]))
        >>> metric.compute()
        tensor(0.3333)
    """

    higher_is_better = None
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    plot_lower_bound = -1.0
    plot_upper_bound = 1.0
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(
        self,
        variant: str = "b",
        t_test: bool = False,
        alternative: str | None = "two-sided",
        num_outputs: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_choice(name, "variant", variant, ("a", "b", "c"))
        check_bool(name, "t_test", t_test)
        check_choice(name, "alternative", alternative, _ALTERNATIVES)
        check_int(name, "num_outputs", num_outputs, minimum=1)
        if t_test and alternative is None:
            raise ValueError(
                f"{name}: `alternative` must be 'two-sided', 'less' or 'greater' with t_test=True, but is None instead."
                " Pass 'two-sided'."
            )
        self.variant = variant
        self.t_test = t_test
        self.alternative = alternative
        self.num_outputs = num_outputs
        self.add_state("preds", RowBuffer(), dist_reduce_fx="cat")
        self.add_state("target", RowBuffer(), dist_reduce_fx="cat")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for every variant and test: only `compute` reads them."""
        return ("kendall", self.num_outputs)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Keep samples; copies are kept, so the caller may reuse the tensors.

        Args:
            preds: Real tensor of any dtype, of shape (N,), or (N, num_outputs) for more than one output.
            target: Real tensor of any dtype and the same shape.

        Raises:
            TypeError: If one is not a tensor or is complex.
            ValueError: If the shapes differ or do not fit `num_outputs`, or a value is NaN (on a device other than a
                CPU, `compute` raises that).
        """
        name = type(self).__name__
        check_same_shape(name, preds, target)
        if self.num_outputs > 1 and (preds.ndim != 2 or preds.shape[1] != self.num_outputs):
            raise ValueError(
                f"{name}: `preds` and `target` must have the shape (N, {self.num_outputs}), but have "
                f"{tuple(preds.shape)} instead. Reshape them, or pass num_outputs=1 for one value of everything."
            )
        for argument, values in (("preds", preds), ("target", target)):
            if reads_data(values):
                _check_numbers(name, argument, values)
        self.preds.append(self._rows(preds))
        self.target.append(self._rows(target))

    def compute(self) -> Tensor | tuple[Tensor, Tensor]:
        """Return the value, 0-d or (num_outputs,) in `torch.get_default_dtype()`, and with `t_test` the p-value, too.

        NaN, with a warning, where all values of one side are equal.

        Raises:
            ValueError: If a value is NaN.
        """
        preds, target = (dim_zero_cat(rows).reshape(-1, self.num_outputs) for rows in (self.preds, self.target))
        if reads_data(preds) or self._holder.store.mode is not Mode.STEP:
            _check_numbers(type(self).__name__, "preds", preds)
            _check_numbers(type(self).__name__, "target", target)
        columns = [values.T.contiguous() for values in (preds, target)]
        found = [_compared(x, y, self.variant, self.alternative) for x, y in zip(*columns, strict=True)]
        value, p_value = (torch.stack(list(column)) for column in zip(*found, strict=True))
        warn_of(self, "all of `preds` or of `target` are equal, so the value is NaN", value.isnan())
        dtype = torch.get_default_dtype()
        value, p_value = value.to(dtype).squeeze(0), p_value.to(dtype).squeeze(0)
        return (value, p_value) if self.t_test else value

    def _rows(self, values: Tensor) -> Tensor:
        return values.detach().reshape(-1, self.num_outputs).clone(memory_format=torch.contiguous_format)


def _check_numbers(metric: str, argument: str, values: Tensor) -> None:
    number = int(torch.isnan(values).sum())
    if number:
        raise ValueError(
            f"{metric}: `{argument}` must not be NaN, as NaN has no rank, but {number} of {values.numel()} are instead."
            " Leave these samples out."
        )


def _compared(x: Tensor, y: Tensor, variant: str, alternative: str | None) -> tuple[Tensor, Tensor]:
    """Give the correlation and its p-value of samples of shape (N,), without waiting for their device."""
    count = x.shape[0]
    if count == 0:
        nan = torch.full((), torch.nan, dtype=torch.float64, device=x.device)
        return nan, nan
    (low_x, ties_x), (low_y, ties_y) = _places(x), _places(y)
    low_both, ties_both = _places(low_x * count + low_y)
    order = low_both.argsort()
    against = _inversions(low_y[order])
    pairs = count * (count - 1) // 2
    tied_x, tied_y, tied_both = (_pairs(ties) for ties in (ties_x, ties_y, ties_both))
    ahead = pairs - tied_x - tied_y + tied_both - 2 * against  # pairs in the same order, less those in the opposite one
    distinct = torch.minimum(_distinct(ties_x), _distinct(ties_y))
    if variant == "a":
        value = ahead.double() / pairs if pairs else torch.full_like(ahead, torch.nan, dtype=torch.float64)
    elif variant == "b":
        value = ahead / (pairs - tied_x).double().sqrt() / (pairs - tied_y).double().sqrt()
    else:
        value = 2.0 * ahead * distinct / (count**2 * (distinct - 1).double())
    value = torch.where(distinct < 2, torch.nan, value).clamp(-1, 1)
    return value, _p_value(ahead, count, ties_x, ties_y, variant, alternative)


def _places(values: Tensor) -> tuple[Tensor, Tensor]:
    """Give how many values are smaller than each, and how many are equal to it, itself included."""
    ordered = values.sort().values
    low = torch.searchsorted(ordered, values)
    return low, torch.searchsorted(ordered, values, right=True) - low


def _pairs(ties: Tensor) -> Tensor:
    """Give the number of pairs of equal values."""
    return (ties - 1).sum() // 2


def _distinct(ties: Tensor) -> Tensor:
    """Give the number of distinct values: each of `t` equal ones is the `t`-th part of one."""
    return (1.0 / ties.double()).sum().round().long()


def _inversions(ranks: Tensor) -> Tensor:
    """Count the pairs of which the first is greater, by merging blocks of 1, 2, 4 and so on that are in order."""
    count = ranks.shape[0]
    size = 1 << (count - 1).bit_length()
    blocks = torch.cat([ranks, ranks.new_full((size - count,), count)])  # what is added at the end is in order
    found = torch.zeros((), dtype=torch.int64, device=ranks.device)
    width = 1
    while width < size:
        halves = blocks.view(-1, 2, width)
        left, right = halves[:, 0].contiguous(), halves[:, 1].contiguous()
        found = found + (width - torch.searchsorted(left, right, right=True)).sum()
        width *= 2
        blocks = blocks.view(-1, width).sort(dim=1).values
    return found


def _p_value(
    ahead: Tensor, count: int, ties_x: Tensor, ties_y: Tensor, variant: str, alternative: str | None
) -> Tensor:
    """Give the probability of such an order by chance, by the normal approximation."""
    n = float(count)
    variance = torch.full_like(ahead, n * (n - 1) * (2 * n + 5) / 18, dtype=torch.float64)
    if variant != "a" and count > 2:
        sums = []
        for ties in (ties_x.double(), ties_y.double()):
            # Sums over groups of equal values: each of `t` equal ones is the `t`-th part of its group.
            sums.append(
                (
                    (ties - 1).sum(),
                    ((ties - 1) * (ties - 2)).sum(),
                    ((ties - 1) * (2 * ties + 5)).sum(),
                )
            )
        (pairs_x, triples_x, whole_x), (pairs_y, triples_y, whole_y) = sums
        variance = variance - (whole_x + whole_y) / 18
        variance = variance + pairs_x * pairs_y / (2 * n * (n - 1))
        variance = variance + triples_x * triples_y / (9 * n * (n - 1) * (n - 2))
    score = ahead / variance.sqrt()
    if alternative not in ("less", "greater"):
        score = score.abs()
    tail: Tensor = torch.special.ndtr(score if alternative == "less" else -score)
    return tail if alternative in ("less", "greater") else 2 * tail
