"""Generalized Dice score."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import (
    accumulate_dtype,
    check_bool,
    check_choice,
    safe_divide,
    zero_count,
    zero_sum,
)
from syncmetrics.segmentation._masks import MaskMetric

__all__ = ["GeneralizedDiceScore"]


class GeneralizedDiceScore(MaskMetric):
    """Average over samples the Dice score of all classes, each weighted by how rare it is in the target.

    The score is that of Sudre et al., "Generalised Dice overlap as a deep learning loss function for highly unbalanced
    segmentations" (2017). A class that is not in the target of a sample has the largest weight of those that are, so
    that the value does not depend on which samples are in a batch together. A sample without a target has the score 0.

    Args:
        num_classes: The number of classes.
        include_background: Whether class 0 counts.
        per_class: Whether to give one mean for each class.
        weight_type: "square" for a weight of 1 / pixels**2, "simple" for 1 / pixels, or "linear" for 1.
        input_format: "one-hot" for masks (N, C, ...), where every number but 0 is a member, and floats are scores of
            which the highest wins; "index" for integer labels (N, ...); "mixed" for one of each.
        ignore_index: A label of the target to leave out; for "index" and "mixed".
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If one is out of range, or none of the choices.

    Example:
        >>> import torch
        >>> from syncmetrics.segmentation import GeneralizedDiceScore
        >>> preds = torch.tensor([[[0, 1], [1, 1]]])
        >>> target = torch.tensor([[[0, 0], [0, 1]]])
        >>> metric = GeneralizedDiceScore(num_classes=2, input_format="index")
        >>> metric.update(preds, target)
        >>> metric.compute()  # 2 * (1 / 9 + 1) / (4 / 9 + 4)
        tensor(0.5000, dtype=torch.float64)
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    plot_legend_name = "Class"
    score: Tensor
    samples: Tensor

    def __init__(
        self,
        num_classes: int,
        include_background: bool = True,
        per_class: bool = False,
        weight_type: str = "square",
        input_format: str = "one-hot",
        ignore_index: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, include_background, input_format, ignore_index, **kwargs)
        name = type(self).__name__
        if num_classes is None:
            raise TypeError(f"{name}: `num_classes` must be an int, but is None instead. Pass the number of classes.")
        check_bool(name, "per_class", per_class)
        check_choice(name, "weight_type", weight_type, ("square", "simple", "linear"))
        self.per_class = per_class
        self.weight_type = weight_type
        self.add_state("score", zero_sum(*((self._kept_classes,) if per_class else ())), dist_reduce_fx="sum")
        self.add_state("samples", zero_count(), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """One group per setting; by class, the weights cancel."""
        return ("generalized_dice", *self._mask_settings, self.per_class, None if self.per_class else self.weight_type)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Masks (N, C, ...) of any dtype, or integer labels (N, ...), as `input_format` says.
            target: Likewise.

        Raises:
            TypeError: If one is not a tensor, or one of labels is not integer.
            ValueError: If the shapes do not fit, or a label is out of range (on a device other than a CPU, `compute`
                raises that).
        """
        pixels = self._count_pixels(preds, target)
        common, both = 2 * pixels.both, pixels.preds + pixels.target
        if self.per_class:
            scores = safe_divide(common, both)
        else:
            weights = self._weights(pixels.target)
            scores = safe_divide((common * weights).sum(dim=1), (both * weights).sum(dim=1))
        self.score = self.score + scores.sum(dim=0)
        self.samples = self.samples + scores.shape[0]

    def compute(self) -> Tensor:
        """Return the mean in float64, 0-d, or one for each class; NaN without samples.

        Raises:
            ValueError: If labels were out of range.
        """
        self._raise_for_offenders()
        return self.score / self.samples

    def _weights(self, target: Tensor) -> Tensor:
        """Give the weights of classes of which there are so many pixels, (N, C)."""
        pixels = target.to(accumulate_dtype(target.device))
        if self.weight_type == "linear":
            return torch.ones_like(pixels)
        weights = safe_divide(torch.ones_like(pixels), pixels.square() if self.weight_type == "square" else pixels)
        return torch.where(target > 0, weights, weights.amax(dim=1, keepdim=True))
