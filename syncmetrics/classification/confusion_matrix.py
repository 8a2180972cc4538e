"""The confusion matrix: how often each class was taken for which."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from syncmetrics.classification.counts import BinaryCounts, MultilabelCounts
from syncmetrics.classification.multiclass_counts import MulticlassCounts
from syncmetrics.classification.readings import of_task
from syncmetrics.family.checks import accumulate_dtype, check_choice, rounded

__all__ = ["BinaryConfusionMatrix", "ConfusionMatrix", "MulticlassConfusionMatrix", "MultilabelConfusionMatrix"]

Normalize = Literal["true", "pred", "all", "none"] | None
_NORMALIZE = ("true", "pred", "all", "none", None)


class BinaryConfusionMatrix(BinaryCounts):
    """Count how often target i (row) was predicted as j (column): `[[tn, fp], [fn, tp]]`.

    Args:
        threshold: Probability above which a sample is predicted as 1, in [0, 1].
        ignore_index: Target label of samples to leave out.
        normalize: What to divide by, as for `MulticlassConfusionMatrix`.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryConfusionMatrix
        >>> metric = BinaryConfusionMatrix()
        >>> metric.update(torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1]))
        >>> metric.compute()
        tensor([[1, 1],
                [1, 1]])
    """

    plot_kind = "confusion_matrix"
    higher_is_better = None

    def __init__(
        self,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        normalize: Normalize = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(threshold, ignore_index=ignore_index, validate_args=validate_args, **kwargs)
        check_choice(type(self).__name__, "normalize", normalize, _NORMALIZE)
        self.normalize = normalize

    def compute(self) -> Tensor:
        """Return the matrix (2, 2): int64 counts, or shares in `torch.get_default_dtype()`."""
        return normalized(type(self).__name__, self._table(), self.normalize)


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
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2 or an unknown `normalize`.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassConfusionMatrix
        >>> metric = MulticlassConfusionMatrix(num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor([[1, 1, 0],
                [0, 1, 1],
                [0, 0, 1]])
    """

    plot_kind = "confusion_matrix"
    plot_legend_name = "Class"
    higher_is_better = None

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
        self._tell_invalid()
        return normalized(type(self).__name__, self.confmat, self.normalize)


class MultilabelConfusionMatrix(MultilabelCounts):
    """Count, for each label, how often target i (row) was predicted as j (column).

    Args:
        num_labels: Number of labels, at least 2.
        threshold: Probability above which a label is predicted, in [0, 1].
        ignore_index: Target value that leaves a label of a sample out.
        normalize: What to divide by, as for `MulticlassConfusionMatrix`, in the matrix of each label.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MultilabelConfusionMatrix
        >>> metric = MultilabelConfusionMatrix(num_labels=2)
        >>> metric.update(torch.tensor([[0.9, 0.2], [0.7, 0.6]]), torch.tensor([[1, 0], [0, 1]]))
        >>> metric.compute()
        tensor([[[0, 1],
                 [0, 1]],
        <BLANKLINE>
                [[1, 0],
                 [0, 1]]])
    """

    plot_kind = "confusion_matrix"
    plot_legend_name = "Label"
    higher_is_better = None

    def __init__(
        self,
        num_labels: int,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        normalize: Normalize = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, threshold, ignore_index=ignore_index, validate_args=validate_args, **kwargs)
        check_choice(type(self).__name__, "normalize", normalize, _NORMALIZE)
        self.normalize = normalize

    def compute(self) -> Tensor:
        """Return the matrices (num_labels, 2, 2): int64 counts, or shares in `torch.get_default_dtype()`."""
        return normalized(type(self).__name__, self._table(), self.normalize)


class ConfusionMatrix(of_task):
    """Confusion matrix by task: `BinaryConfusionMatrix`, `MulticlassConfusionMatrix` or `MultilabelConfusionMatrix`.

    Example:
        >>> import torch
        >>> from syncmetrics import ConfusionMatrix
        >>> metric = ConfusionMatrix(task="binary", normalize="true")
        >>> metric.update(torch.tensor([0.1, 0.8, 0.6, 0.4]), torch.tensor([0, 1, 0, 1]))
        >>> metric.compute()
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
    """

    _classes: ClassVar = {
        "binary": BinaryConfusionMatrix,
        "multiclass": MulticlassConfusionMatrix,
        "multilabel": MultilabelConfusionMatrix,
    }


def normalized(metric: str, counts: Tensor, normalize: Normalize) -> Tensor:
    """Divide matrices of counts by what was asked for.

    Args:
        metric: Name for the error text.
        counts: Int64 of shape `(..., C, C)`.
        normalize: By what.
    """
    check_choice(metric, "normalize", normalize, _NORMALIZE)
    if normalize is None or normalize == "none":
        return counts
    if normalize == "all":
        totals = counts.sum(dim=(-2, -1), keepdim=True)
    else:
        totals = counts.sum(dim=-1 if normalize == "true" else -2, keepdim=True)
    # Where the total is 0 the counts are, and may be divided by anything.
    return rounded(counts.to(accumulate_dtype(counts.device)).div_(totals.clamp_(min=1)))
