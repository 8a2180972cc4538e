"""Cohen's kappa and Matthews' correlation: agreement beyond chance, out of the confusion matrix."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from syncmetrics.classification.counts import BinaryCounts, MultilabelCounts
from syncmetrics.classification.multiclass_counts import MulticlassCounts
from syncmetrics.classification.readings import of_task
from syncmetrics.family.checks import accumulate_dtype, check_choice, rounded

__all__ = [
    "BinaryCohenKappa",
    "BinaryMatthewsCorrCoef",
    "CohenKappa",
    "MatthewsCorrCoef",
    "MulticlassCohenKappa",
    "MulticlassMatthewsCorrCoef",
    "MultilabelMatthewsCorrCoef",
]

Weights = Literal["linear", "quadratic", "none"] | None
_WEIGHTS = ("linear", "quadratic", "none", None)


class BinaryCohenKappa(BinaryCounts):
    """Agreement of predictions and targets beyond that of chance, as `MulticlassCohenKappa`, of two classes.

    Args:
        threshold: Probability above which a sample is predicted as 1, in [0, 1].
        ignore_index: Target label of samples to leave out.
        weights: Taken for symmetry: of two classes all weights are one.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryCohenKappa
        >>> metric = BinaryCohenKappa()
        >>> metric.update(torch.tensor([0.1, 0.8, 0.6, 0.9]), torch.tensor([0, 1, 0, 1]))
        >>> metric.compute()
        tensor(0.5000)
    """

    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        weights: Weights = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(threshold, ignore_index=ignore_index, validate_args=validate_args, **kwargs)
        check_choice(type(self).__name__, "weights", weights, _WEIGHTS)
        self.weights = weights

    def compute(self) -> Tensor:
        """Return kappa, 0-d; NaN where all samples are of one class, predicted so."""
        return rounded(_kappa(self._table(), self.weights))


class MulticlassCohenKappa(MulticlassCounts):
    """Agreement of predictions and targets beyond that of chance: `1 - observed / expected` disagreement.

    Cohen 1960, "A coefficient of agreement for nominal scales"; with weights, Cohen 1968, "Weighted kappa".

    Args:
        num_classes: Number of classes, at least 2.
        ignore_index: Target label of samples to leave out.
        weights: How much a disagreement of classes i and j counts: `None` or `"none"` for one, `"linear"` for
            `|i - j|`, `"quadratic"` for its square.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassCohenKappa
        >>> metric = MulticlassCohenKappa(num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor(0.4118)
    """

    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = None,
        weights: Weights = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, ignore_index=ignore_index, validate_args=validate_args, matrix=True, **kwargs)
        check_choice(type(self).__name__, "weights", weights, _WEIGHTS)
        self.weights = weights

    def compute(self) -> Tensor:
        """Return kappa, 0-d; NaN where all samples are of one class, predicted so."""
        self._tell_invalid()
        return rounded(_kappa(self.confmat, self.weights))


class CohenKappa(of_task):
    """Cohen's kappa by task: `BinaryCohenKappa` or `MulticlassCohenKappa`.

    Example:
        >>> import torch
        >>> from syncmetrics import CohenKappa
        >>> metric = CohenKappa(task="multiclass", num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor(0.4118)
    """

    _classes: ClassVar = {"binary": BinaryCohenKappa, "multiclass": MulticlassCohenKappa}


class BinaryMatthewsCorrCoef(BinaryCounts):
    """Correlation of predictions and targets, as `MulticlassMatthewsCorrCoef`, of two classes.

    Args:
        threshold: Probability above which a sample is predicted as 1, in [0, 1].
        ignore_index: Target label of samples to leave out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryMatthewsCorrCoef
        >>> metric = BinaryMatthewsCorrCoef()
        >>> metric.update(torch.tensor([0.1, 0.8, 0.6, 0.9]), torch.tensor([0, 1, 0, 1]))
        >>> metric.compute()
        tensor(0.5774)
    """

    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(threshold, ignore_index=ignore_index, validate_args=validate_args, **kwargs)

    def compute(self) -> Tensor:
        """Return the correlation, 0-d. See `MulticlassMatthewsCorrCoef` for what has none."""
        return rounded(_correlation(self._table()))


class MulticlassMatthewsCorrCoef(MulticlassCounts):
    """Correlation of predictions and targets, out of the whole confusion matrix.

    Matthews 1975, "Comparison of the predicted and observed secondary structure of T4 phage lysozyme"; for many
    classes, Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient". Where all
    predictions, or all targets, are of one class there is no correlation, and the value is 0; but of two classes it is
    1 where all samples are right and -1 where all are wrong, as torchmetrics has it.

    Args:
        num_classes: Number of classes, at least 2.
        ignore_index: Target label of samples to leave out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassMatthewsCorrCoef
        >>> metric = MulticlassMatthewsCorrCoef(num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor(0.4375)
    """

    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        num_classes: int,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, ignore_index=ignore_index, validate_args=validate_args, matrix=True, **kwargs)

    def compute(self) -> Tensor:
        """Return the correlation, 0-d."""
        self._tell_invalid()
        return rounded(_correlation(self.confmat))


class MultilabelMatthewsCorrCoef(MultilabelCounts):
    """Correlation of predictions and targets, all labels counted together, as `MulticlassMatthewsCorrCoef`.

    Args:
        num_labels: Number of labels, at least 2.
        threshold: Probability above which a label is predicted, in [0, 1].
        ignore_index: Target value that leaves a label of a sample out.
        validate_args: Taken as torchmetrics has it; labels are checked in any case.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.

    Example:
        >>> import torch
        >>> from syncmetrics import MultilabelMatthewsCorrCoef
        >>> metric = MultilabelMatthewsCorrCoef(num_labels=2)
        >>> metric.update(torch.tensor([[0.9, 0.2], [0.7, 0.6]]), torch.tensor([[1, 0], [0, 1]]))
        >>> metric.compute()
        tensor(0.5774)
    """

    plot_lower_bound = -1.0
    plot_upper_bound = 1.0

    def __init__(
        self,
        num_labels: int,
        threshold: float = 0.5,
        ignore_index: int | None = None,
        validate_args: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_labels, threshold, ignore_index=ignore_index, validate_args=validate_args, **kwargs)

    def compute(self) -> Tensor:
        """Return the correlation, 0-d."""
        return rounded(_correlation(self._table().sum(0)))


class MatthewsCorrCoef(of_task):
    """Matthews' correlation by task.

    `BinaryMatthewsCorrCoef`, `MulticlassMatthewsCorrCoef` or `MultilabelMatthewsCorrCoef`.

    Example:
        >>> import torch
        >>> from syncmetrics import MatthewsCorrCoef
        >>> metric = MatthewsCorrCoef(task="multiclass", num_classes=3)
        >>> metric.update(torch.tensor([2, 1, 0, 1, 2]), torch.tensor([2, 1, 0, 0, 1]))
        >>> metric.compute()
        tensor(0.4375)
    """

    _classes: ClassVar = {
        "binary": BinaryMatthewsCorrCoef,
        "multiclass": MulticlassMatthewsCorrCoef,
        "multilabel": MultilabelMatthewsCorrCoef,
    }


def _kappa(confmat: Tensor, weights: Weights) -> Tensor:
    """Give kappa of a matrix of counts, in float64."""
    counts = confmat.to(accumulate_dtype(confmat.device))
    classes = torch.arange(counts.shape[0], device=counts.device, dtype=counts.dtype)
    distance = (classes.unsqueeze(1) - classes).abs()
    if weights is None or weights == "none":
        distance = (distance > 0).to(counts.dtype)
    elif weights == "quadratic":
        distance = distance.square()
    expected = counts.sum(1, keepdim=True) @ counts.sum(0, keepdim=True) / counts.sum()
    return 1 - (distance * counts).sum() / (distance * expected).sum()


def _correlation(confmat: Tensor) -> Tensor:
    """Give Matthews' correlation of a matrix of counts, in float64."""
    counts = confmat.to(accumulate_dtype(confmat.device))
    targets, preds, total = counts.sum(1), counts.sum(0), counts.sum()
    hits = counts.diagonal().sum()
    # Shares in place of counts: squares of squares of counts would be beyond what float64 has exactly.
    scale = total.clamp(min=1)
    targets, preds, right = targets / scale, preds / scale, hits / scale
    whole = total / scale
    covariance = right * whole - (targets * preds).sum()
    spread = (whole * whole - preds.square().sum()) * (whole * whole - targets.square().sum())
    is_constant = (preds.max() == whole) | (targets.max() == whole)
    value = torch.where(is_constant, 0.0, covariance / spread.clamp(min=torch.finfo(spread.dtype).tiny).sqrt())
    if counts.shape[0] == 2:
        value = torch.where((hits == total) & (total > 0), 1.0, value)
        value = torch.where((hits == 0) & (total > 0), -1.0, value)
    return value
