"""The confusion matrix: how often each class was taken for which."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from syncmetrics.classification.multiclass_counts import MulticlassCounts
from syncmetrics.family.checks import accumulate_dtype, check_choice, rounded

__all__ = ["MulticlassConfusionMatrix"]

Normalize = Literal["true", "pred", "all", "none"] | None
_NORMALIZE = ("true", "pred", "all", "none", None)


class MulticlassConfusionMatrix(MulticlassCounts):
    """Count how often target class i (row) was predicted as class j (column).

    Args:
        num_classes: Number of classes, at least 2.
        ignore_index: Target label of samples to leave out; may lie outside of 0..num_classes-1.
        normalize: What to divide by; 0 where that is 0.

            - `None` or `"none"`: nothing, the counts are returned
            - `"true"`: the number of targets of each class, so that rows sum to 1
            - `"pred"`: the number of predictions of each class, so that columns sum to 1
            - `"all"`: the number of samples
        validate_args: Whether to read the targets for a check before counting. Without it a wrong label still raises,
            with a shorter text.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2 or an unknown `normalize`.
    """

    higher_is_better = None
    confmat: Tensor

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = None,
        normalize: Normalize = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, ignore_index=ignore_index, validate_args=validate_args, matrix=True, **kwargs)
        check_choice(type(self).__name__, "normalize", normalize, _NORMALIZE)
        self.normalize = normalize

    def compute(self) -> Tensor:
        """Return the matrix (num_classes, num_classes).

        Returns:
            Int64 counts; if normalized, shares computed in float64 and rounded once to `torch.get_default_dtype()`.
        """
        counts = self.confmat
        if self.normalize is None or self.normalize == "none":
            return counts
        check_choice(type(self).__name__, "normalize", self.normalize, _NORMALIZE)
        if self.normalize == "all":
            totals = counts.sum()
        else:
            totals = counts.sum(dim=1 if self.normalize == "true" else 0, keepdim=True)
        # Where the total is 0 the counts are, and may be divided by anything.
        return rounded(counts.to(accumulate_dtype(counts.device)).div_(totals.clamp_(min=1)))
