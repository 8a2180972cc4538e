"""Mean intersection over union."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from syncmetrics.family.checks import check_bool, safe_divide, zero_count, zero_sum
from syncmetrics.segmentation._masks import MaskMetric

__all__ = ["MeanIoU"]


class MeanIoU(MaskMetric):
    """Average, over samples and classes, the pixels that both masks have in common by those that either has (Jaccard).

    A class that is in neither mask of a sample is left out of the average there. A target pixel labelled `ignore_index`
    counts in neither mask.

    Args:
        num_classes: The number of classes. It may be None for one mean of all classes and a mask that is one-hot.
        include_background: Whether class 0 counts.
        per_class: Whether to give one mean for each class.
        input_format: "one-hot" for masks (N, C, ...), where every number but 0 is a member, and floats are scores of
            which the highest wins; "index" for integer labels (N, H, ...); "mixed" for one of each.
        ignore_index: A label of the target to leave out; for "index" and "mixed".
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If one is out of range, or `num_classes` is None and cannot be.

    Example:
        >>> import torch
        >>> from syncmetrics.segmentation import MeanIoU
        >>> preds = torch.tensor([[[0, 1], [1, 1]]])
        >>> target = torch.tensor([[[0, 1], [0, 255]]], dtype=torch.uint8)
        >>> metric = MeanIoU(num_classes=3, per_class=True, input_format="index", ignore_index=255)
        >>> metric.update(preds, target)
        >>> metric.compute()
        tensor([ 0.5000,  0.5000, -1.0000], dtype=torch.float64)
    """

    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    plot_legend_name = "Class"
    _index_dims = 3
    score: Tensor
    num_batches: Tensor

    def __init__(
        self,
        num_classes: int | None = None,
        include_background: bool = True,
        per_class: bool = False,
        input_format: str = "one-hot",
        ignore_index: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, include_background, input_format, ignore_index, **kwargs)
        name = type(self).__name__
        check_bool(name, "per_class", per_class)
        if num_classes is None and (per_class or input_format == "index"):
            option = "per_class=True" if per_class else "input_format='index'"
            raise ValueError(
                f"{name}: `num_classes` must be given with {option}, but is None instead. Pass the number of classes."
            )
        self.per_class = per_class
        shape = () if num_classes is None else (self._kept_classes,)
        self.add_state("score", zero_sum(*shape), dist_reduce_fx="sum")
        self.add_state("num_batches", zero_count(*shape), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for either `per_class`: only `compute` reads it."""
        return ("mean_iou", *self._mask_settings)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add samples.

        Args:
            preds: Masks (N, C, ...) of any dtype, or integer labels (N, H, ...), as `input_format` says.
            target: Likewise.

        Raises:
            TypeError: If one is not a tensor, or one of labels is not integer.
            ValueError: If the shapes do not fit, or a label is out of range (on a device other than a CPU, `compute`
                raises that).
        """
        pixels = self._count_pixels(preds, target)
        union = pixels.preds + pixels.target - pixels.both
        score, is_there = safe_divide(pixels.both, union), union > 0
        if self.num_classes is None:
            self.score = self.score + score.sum()
            self.num_batches = self.num_batches + is_there.sum()
        else:
            self.score = self.score + score.sum(dim=0)
            self.num_batches = self.num_batches + is_there.sum(dim=0)

    def compute(self) -> Tensor:
        """Return the mean in float64: 0-d, NaN without pixels; or one for each class, -1 for one that never occurs.

        Raises:
            ValueError: If labels were out of range.
        """
        self._raise_for_offenders()
        if not self.per_class:
            return self.score.sum() / self.num_batches.sum()
        return torch.where(self.num_batches > 0, self.score / self.num_batches, -1.0)
