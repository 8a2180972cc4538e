"""Edit distance of texts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import accumulate_dtype, check_choice, check_int, rounded, zero_count
from syncmetrics.metric import Metric
from syncmetrics.text._edits import edit_distance, text_pairs

__all__ = ["EditDistance"]


class EditDistance(Metric):
    """Count the characters to put in, leave out or replace to turn a prediction into its target (Levenshtein 1966).

    The least number is found however long and different the texts are.

    Args:
        substitution_cost: What replacing a character costs; putting in and leaving out cost 1.
        reduction: "mean" or "sum" over the texts, or "none" or None for one distance each.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If `substitution_cost` is not an int.
        ValueError: If it is negative, or `reduction` is none of these.

    Example:
        >>> from syncmetrics.text import EditDistance
        >>> metric = EditDistance()
        >>> metric.update(["rain", "lnaguaeg"], ["shine", "language"])
        >>> metric.compute()
        tensor(3.5000)
    """

    plot_lower_bound = 0.0
    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    _rebinds = True
    edit_scores: Tensor
    num_elements: Tensor
    edit_scores_list: list[Tensor]

    def __init__(self, substitution_cost: int = 1, reduction: str | None = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_int(name, "substitution_cost", substitution_cost, minimum=0)
        check_choice(name, "reduction", reduction, ("mean", "sum", "none", None))
        self.substitution_cost = substitution_cost
        self.reduction = reduction
        if self._keeps_each:
            self.add_state("edit_scores_list", [], dist_reduce_fx="cat")
        else:
            self.add_state("edit_scores", zero_count(), dist_reduce_fx="sum")
            self.add_state("num_elements", zero_count(), dist_reduce_fx="sum")

    @property
    def _keeps_each(self) -> bool:
        return self.reduction in ("none", None)

    @property
    def compute_group(self) -> Hashable | None:
        """The mean and the sum share."""
        return ("edit_distance", self.substitution_cost, self._keeps_each)

    def update(self, preds: str | Sequence[str], target: str | Sequence[str]) -> None:
        """Add texts.

        Args:
            preds: A text, or a list of them; one may be empty.
            target: What it should be, one text for each.

        Raises:
            TypeError: If one is no string.
            ValueError: If there are more of the one than of the other.
        """
        pairs = text_pairs(type(self).__name__, preds, target)
        distances = [edit_distance(predicted, wanted, self.substitution_cost) for predicted, wanted in pairs]
        if self._keeps_each:
            self.edit_scores_list.append(torch.tensor(distances, dtype=torch.int64, device=self.device))
        else:
            self.edit_scores = self.edit_scores + sum(distances)
            self.num_elements = self.num_elements + len(distances)

    def compute(self) -> Tensor:
        """Return the mean in `torch.get_default_dtype()` (NaN without texts), or the sum or (N,) distances in int64."""
        if self._keeps_each:
            return torch.cat([torch.zeros(0, dtype=torch.int64, device=self.device), *self.edit_scores_list])
        if self.reduction == "sum":
            return self.edit_scores.clone()
        return rounded(self.edit_scores.to(accumulate_dtype(self.edit_scores.device)) / self.num_elements)
