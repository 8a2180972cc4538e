"""The confusion matrix: how often each class was taken for which."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

from torch import Tensor

from syncmetrics.metric import Metric
from syncmetrics.metrics._common import check_bool, check_choice, check_int, rounded, safe_divide, zero_count
from syncmetrics.metrics.classification._inputs import count_keys, multiclass_inputs

__all__ = ["MulticlassConfusionMatrix"]

Normalize = Literal["true", "pred", "all", "none"] | None


class MulticlassConfusionMatrix(Metric):
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
    is_differentiable = False
    confmat: Tensor

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = None,
        normalize: Normalize = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        check_int(name, "num_classes", num_classes, minimum=2)
        if ignore_index is not None:
            check_int(name, "ignore_index", ignore_index)
        check_choice(name, "normalize", normalize, ("true", "pred", "all", "none", None))
        check_bool(name, "validate_args", validate_args)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.normalize = normalize
        self.validate_args = validate_args
        self.add_state("confmat", zero_count(num_classes, num_classes), dist_reduce_fx="sum")

    @property
    def compute_group(self) -> Hashable | None:
        """The same for every `normalize`: only `compute` reads it."""
        if type(self).update is not MulticlassConfusionMatrix.update:
            return None
        return ("multiclass_confusion_matrix", self.num_classes, self.ignore_index, self.validate_args)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Count samples.

        Args:
            preds: Integer labels (N, ...), or float scores (probabilities or logits) (N, C, ...). N may be 0.
            target: Integer labels (N, ...).

        Raises:
            TypeError: An input is not a tensor or has the wrong dtype.
            ValueError: Shapes do not fit, or a label is out of range.
        """
        name, classes = type(self).__name__, self.num_classes
        preds, target = multiclass_inputs(
            name,
            preds,
            target,
            num_classes=classes,
            ignore_index=self.ignore_index,
            validate_args=self.validate_args,
        )
        keys = target * classes + preds
        self.confmat = self.confmat + count_keys(name, keys, classes * classes).view(classes, classes)

    def compute(self) -> Tensor:
        """Return the matrix (num_classes, num_classes).

        Returns:
            Int64 counts; if normalized, shares computed in float64 and rounded once to `torch.get_default_dtype()`.
        """
        counts = self.confmat
        if self.normalize is None or self.normalize == "none":
            return counts.clone()
        if self.normalize == "all":
            return rounded(safe_divide(counts, counts.sum()))
        return rounded(safe_divide(counts, counts.sum(dim=1 if self.normalize == "true" else 0, keepdim=True)))
