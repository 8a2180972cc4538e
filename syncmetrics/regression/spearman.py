"""Spearman's rank correlation, exact."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import accumulate_dtype, check_same_shape
from syncmetrics.family.exact import inner_product
from syncmetrics.family.offenders import reads_data
from syncmetrics.shuffle import (
    SHUFFLE_ABOVE,
    Peers,
    Question,
    Rows,
    ShuffledMetric,
    encode_floats,
    send_back,
    share_by_key,
)
from syncmetrics.states.spec import States
from syncmetrics.states.store import Mode

__all__ = ["SpearmanCorrCoef"]


class SpearmanCorrCoef(ShuffledMetric):
    """Correlation of the ranks of predictions with those of targets; equal values have the average of their ranks.

    Twice a rank is an integer, and so are all sums of products of them (Spearman 1904, "The proof and measurement of
    association between two things"); the value is rounded after the last one, and does not depend on the order of the
    samples. There may be 2**31 of them.

    Args:
        shuffle_above: From how many samples on, of all ranks together, each rank gets a share of them by value in
            place of all; None for never. The value is the same either way.
        **kwargs: Arguments of `Metric`.

    Example:
        >>> import torch
        >>> from syncmetrics.regression import SpearmanCorrCoef
        >>> metric = SpearmanCorrCoef()
        >>> metric.update(torch.tensor([2.5, 0.0, 2.0, 8.0]), torch.tensor([3.0, -0.5, 2.0, 1.0]))
        >>> metric.compute()
        tensor(0.4000)
    """

    plot_lower_bound = -1.0
    plot_upper_bound = 1.0
    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self, *, shuffle_above: int | None = SHUFFLE_ABOVE, **kwargs: Any) -> None:
        super().__init__(shuffle_above=shuffle_above, **kwargs)
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    @property
    def compute_group(self) -> Hashable | None:
        """There are no settings that `update` reads."""
        return ("spearman", self.shuffle_above)

    @property
    def question(self) -> Question:
        """The sums of products."""
        return ("rank correlation",)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Keep samples; copies are kept, so the caller may reuse the tensors.

        Args:
            preds: Real tensor (N, ...); N may be 0.
            target: Real tensor of the same shape.

        Raises:
            TypeError: An input is no real tensor.
            ValueError: The shapes differ, or a value is NaN (on a device other than a CPU, `compute` raises that).
        """
        name = type(self).__name__
        check_same_shape(name, preds, target)
        for argument, values in (("preds", preds), ("target", target)):
            if reads_data(values) and (number := int(torch.isnan(values).sum())):
                raise ValueError(_of_nan(name, argument, f"{number} of {values.numel()}"))
        self.preds.append(_flat_copy(preds))
        self.target.append(_flat_copy(target))

    def compute(self) -> Tensor:
        """Return the value, 0-d in `torch.get_default_dtype()`; NaN, with a warning, if all of one side are equal.

        Raises:
            ValueError: If a value is NaN.
        """
        if not reads_data(torch.empty(0, device=self.device)) and self._holder.store.mode is Mode.STEP:
            return _of_batch(torch.cat(self.preds), torch.cat(self.target))
        products, squares, other_squares, has_nan, other_has_nan = self.answer()
        for argument, found in (("preds", has_nan), ("target", other_has_nan)):
            if found:
                raise ValueError(_of_nan(type(self).__name__, argument, "some"))
        if squares == 0 or other_squares == 0:
            side = "preds" if squares == 0 else "target"
            name = type(self).__name__
            warnings.warn(f"{name}: all of `{side}` are equal, so the value is NaN.", stacklevel=2)
            value = math.nan
        else:
            value = math.copysign(math.sqrt(products**2 / (squares * other_squares)), products)
        return torch.tensor(value, dtype=torch.get_default_dtype(), device=self.device)

    def solve(self, peers: Peers, states: States, questions: Sequence[Question]) -> Mapping[Question, Any]:
        """Rank the samples of all ranks by either side, bring the ranks back to the samples, and sum products."""
        (x, x_has_nan), (y, y_has_nan) = (self._centred_ranks(peers, states, name) for name in ("preds", "target"))
        told = [inner_product(x, y), inner_product(x, x), inner_product(y, y), x_has_nan, y_has_nan]
        sums = peers.tell(told, last=True)
        return {question: [sum(column) for column in zip(*sums, strict=True)] for question in questions}

    def _centred_ranks(self, peers: Peers, states: States, name: str) -> tuple[Tensor, bool]:
        """Give twice the distance of each rank from the middle one, int64, for the samples of this process.

        Also whether the keys of this process are NaN, in part, which has the greatest key.
        """
        dtype = peers.told.dtypes[name]
        rows = Rows(states[name], dtype, self.device, encode_floats)
        share = share_by_key(peers, rows)
        keys = share.keys
        has_nan = dtype.is_floating_point and keys.shape[0] > 0 and int(keys.max()) == torch.iinfo(keys.dtype).max
        ranks = twice_ranks(keys).add_(2 * share.below - sum(peers.told.rows) - 1)
        return send_back(peers, share, ranks, rows), has_nan


def _of_nan(metric: str, argument: str, how_many: str) -> str:
    return (
        f"{metric}: `{argument}` must not be NaN, as NaN has no rank, but {how_many} are instead. Leave these samples"
        " out."
    )


def _of_batch(preds: Tensor, target: Tensor) -> Tensor:
    """Give the value of a batch on an accelerator, for which nobody waits."""
    x, y = (_centred(values).to(accumulate_dtype(values.device)) for values in (preds, target))
    value = x.dot(y) / (x.square().sum().sqrt() * y.square().sum().sqrt())
    return value.clamp(-1, 1).to(torch.get_default_dtype())


def _centred(values: Tensor) -> Tensor:
    ordered = values.sort().values
    twice = torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True) + 1
    return twice - (values.shape[0] + 1)


def twice_ranks(keys: Tensor) -> Tensor:
    """Give twice the rank of each key, from 2 on; equal keys have twice the average of theirs.

    Args:
        keys: Of shape (N,).

    Returns:
        Int64 of shape (N,).
    """
    keys, order = keys.sort()
    _, counts = torch.unique_consecutive(keys, return_counts=True)
    ends = counts.cumsum(0)
    ranks = torch.empty_like(order)
    ranks[order] = (2 * ends - counts + 1).repeat_interleave(counts)
    return ranks


def _flat_copy(values: Tensor) -> Tensor:
    return values.detach().flatten().clone(memory_format=torch.contiguous_format)
