"""Log loss: the mean negative logarithm of the probability of what is true, as scikit-learn has it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from syncmetrics.classification._losses import BinaryLoss, MulticlassLoss
from syncmetrics.classification.readings import of_task
from syncmetrics.family.checks import check_bool

__all__ = ["BinaryLogLoss", "LogLoss", "MulticlassLogLoss"]


class BinaryLogLoss(BinaryLoss):
    """Average `-log(p)` over samples of class 1 and `-log(1 - p)` over those of class 0.

    (Good, "Rational Decisions", 1952.) Probabilities are cut to `[eps, 1 - eps]` first, where `eps` is the precision of
    float64, or of float32 for those in float32 or narrower dtypes, so that a single one of 0 does not make the value
    infinite. Scores outside of [0, 1] are logits, which are not cut.

    Args:
        normalize: Whether to return the mean; if False, the sum.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryLogLoss
        >>> metric = BinaryLogLoss()
        >>> metric.update(torch.tensor([0.1, 0.9, 0.8, 0.35]), torch.tensor([0, 1, 1, 0]))
        >>> metric.compute()
        tensor(0.2162, dtype=torch.float64)
    """

    def __init__(
        self,
        normalize: bool = True,
        ignore_index: int | None = None,
        validate_args: bool = True,
        *,
        exact: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(exact=exact, ignore_index=ignore_index, validate_args=validate_args, **kwargs)
        check_bool(type(self).__name__, "normalize", normalize)
        self.normalize = normalize

    @property
    def compute_group(self) -> Hashable | None:
        """The same for the mean and the sum: only `compute` reads which."""
        return ("binary log loss", self.ignore_index, self.validate_args, self.exact)

    def _losses(self, scores: Tensor, target: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        is_one = target == 1
        eps = _eps(dtype)
        of_target = torch.where(is_one, scores, 1 - scores)
        # log(1 + exp(x)) without overflow, of the logit that says how wrong the sample is.
        wrong = torch.where(is_one, -scores, scores)
        return -of_target.clamp(eps, 1 - eps).log(), wrong.clamp(min=0) + (-wrong.abs()).exp().log1p()

    def compute(self) -> Tensor:
        """Return the loss in nats, 0-d in float64; the mean of no samples is NaN.

        Raises:
            ValueError: If labels were out of range.
        """
        return super().compute() if self.normalize else self._sum()


class MulticlassLogLoss(MulticlassLoss):
    """Average `-log(p[target])` over samples, where `p` are the probabilities of the classes (Good 1952).

    Probabilities are cut to `[eps, 1 - eps]` first, where `eps` is the precision of float64, or of float32 for those
    in float32 or narrower dtypes; they are not made to sum to 1. Scores outside of [0, 1] are logits, of which the
    softmax is taken.

    Args:
        num_classes: Number of classes, at least 2.
        normalize: Whether to return the mean; if False, the sum.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassLogLoss
        >>> preds = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.4, 0.3], [0.2, 0.2, 0.6]])
        >>> metric = MulticlassLogLoss(num_classes=3)
        >>> metric.update(preds, torch.tensor([0, 1, 0, 2]))
        >>> metric.compute()
        tensor(0.6456, dtype=torch.float64)
    """

    def __init__(
        self,
        num_classes: int,
        normalize: bool = True,
        ignore_index: int | None = None,
        validate_args: bool = True,
        *,
        exact: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, exact=exact, ignore_index=ignore_index, validate_args=validate_args, **kwargs)
        check_bool(type(self).__name__, "normalize", normalize)
        self.normalize = normalize

    @property
    def compute_group(self) -> Hashable | None:
        """The same for the mean and the sum: only `compute` reads which."""
        return ("multiclass log loss", self.num_classes, self.ignore_index, self.validate_args, self.exact)

    def _losses(self, scores: Tensor, target: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        column, eps = target.unsqueeze(1), _eps(dtype)
        first = -scores.gather(1, column).squeeze(1).clamp(eps, 1 - eps).log()
        return first, -scores.clamp(max=torch.finfo(scores.dtype).max).log_softmax(1).gather(1, column).squeeze(1)

    def compute(self) -> Tensor:
        """Return the loss in nats, 0-d in float64; the mean of no samples is NaN.

        Raises:
            ValueError: If labels were out of range.
        """
        return super().compute() if self.normalize else self._sum()


class LogLoss(of_task):
    """Log loss by task.

    `BinaryLogLoss` or `MulticlassLogLoss`.

    Example:
        >>> import torch
        >>> from syncmetrics import LogLoss
        >>> metric = LogLoss(task="binary")
        >>> metric.update(torch.tensor([0.1, 0.9, 0.8, 0.35]), torch.tensor([0, 1, 1, 0]))
        >>> metric.compute()
        tensor(0.2162, dtype=torch.float64)
    """

    _classes: ClassVar = {"binary": BinaryLogLoss, "multiclass": MulticlassLogLoss}


def _eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype if dtype is torch.float64 else torch.float32).eps
