"""Dice score."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import accumulate_dtype, check_choice, safe_divide, zero_count, zero_sum
from syncmetrics.segmentation._masks import MaskMetric

__all__ = ["DiceScore"]


class DiceScore(MaskMetric):
    """Divide twice the pixels that both masks have in common by the pixels of both (Dice 1945).

    A class that is in neither mask, of a sample or of all, has no score, and is left out of every average. A target
    pixel labelled `ignore_index` counts in neither mask.

    Args:
        num_classes: The number of classes.
        include_background: Whether class 0 counts.
        average: "micro" for one score of the pixels of all classes; "macro" for the mean over classes; "weighted" for
            the mean weighted by target pixels; "none" or None for one score for each class.
        aggregation_level: "samplewise" for the mean of the scores of samples; "global" for the score of all pixels.
        input_format: "one-hot" for masks (N, C, ...), where every number but 0 is a member, and floats are scores of
            which the highest wins; "index" for integer labels (N, ...); "mixed" for one of each.
        ignore_index: A label of the target to leave out; for "index" and "mixed".
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If one is out of range, or none of the choices.

    Example:
        >>> import torch
        >>> from syncmetrics.segmentation import DiceScore
        >>> preds = torch.tensor([[[0, 1], [1, 1]]])
        >>> target = torch.tensor([[[0, 1], [0, 1]]])
        >>> metric = DiceScore(num_classes=3, average="none", input_format="index")
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor([0.6667, 0.8000,    nan], dtype=torch.float64)
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    plot_legend_name = "Class"
    score: Tensor
    samples: Tensor
    intersection: Tensor
    preds_pixels: Tensor
    target_pixels: Tensor

    def __init__(
        self,
        num_classes: int,
        include_background: bool = True,
        average: str | None = "macro",
        aggregation_level: str = "samplewise",
        input_format: str = "one-hot",
        ignore_index: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, include_background, input_format, ignore_index, **kwargs)
        name = type(self).__name__
        if num_classes is None:
            raise TypeError(f"{name}: `num_classes` must be an int, but is None instead. Pass the number of classes.")
        check_choice(name, "average", average, ("micro", "macro", "weighted", "none", None))
        check_choice(name, "aggregation_level", aggregation_level, ("samplewise", "global"))
        self.average = average or "none"
        self.aggregation_level = aggregation_level
        if aggregation_level == "global":
            for state in ("intersection", "preds_pixels", "target_pixels"):
                self.add_state(state, zero_count(self._kept_classes), dist_reduce_fx="sum")
        else:
            shape = (self._kept_classes,) if self.average == "none" else ()
            self.add_state("score", zero_sum(*shape), dist_reduce_fx="sum")
            self.add_state("samples", zero_count(*shape), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for every `average` of all pixels; else one for each."""
        return ("dice", *self._mask_settings, None if self.aggregation_level == "global" else self.average)

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
        if self.aggregation_level == "global":
            self.intersection = self.intersection + pixels.both.sum(dim=0)
            self.preds_pixels = self.preds_pixels + pixels.preds.sum(dim=0)
            self.target_pixels = self.target_pixels + pixels.target.sum(dim=0)
        else:
            scores = _scores(*pixels, self.average)
            self.score = self.score + scores.nansum(dim=0)
            self.samples = self.samples + (~scores.isnan()).sum(dim=0)

    def compute(self) -> Tensor:
        """Return the score in float64, 0-d, or one for each class; NaN for what never occurs.

        Raises:
            ValueError: If labels were out of range.
        """
        self._raise_for_offenders()
        if self.aggregation_level == "global":
            counts = (self.intersection.unsqueeze(0), self.preds_pixels.unsqueeze(0), self.target_pixels.unsqueeze(0))
            return _scores(*counts, self.average).squeeze(0)
        return self.score / self.samples


def _scores(both: Tensor, preds: Tensor, target: Tensor, average: str) -> Tensor:
    """Give the scores of counts of shape (N, C): (N,), or (N, C) for "none"; NaN where there is nothing."""
    common, pixels = (2 * both).to(accumulate_dtype(both.device)), preds + target
    if average == "micro":
        return common.sum(dim=1) / pixels.sum(dim=1)
    dice = common / pixels
    if average == "macro":
        return dice.nanmean(dim=1)
    if average == "weighted":
        mean = (dice * safe_divide(target, target.sum(dim=1, keepdim=True))).nansum(dim=1)
        return torch.where((pixels > 0).any(dim=1), mean, torch.nan)
    return dice
