"""Hinge loss: how far scores are on the wrong side of a margin."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from syncmetrics.classification._losses import BinaryLoss, MulticlassLoss
from syncmetrics.classification._thresholds import sigmoid_of, softmax_of
from syncmetrics.classification.readings import of_task
from syncmetrics.family.checks import check_bool, check_choice

__all__ = ["BinaryHingeLoss", "HingeLoss", "MulticlassHingeLoss"]

_MODES = ("crammer-singer", "one-vs-all")


class BinaryHingeLoss(BinaryLoss):
    """Average `max(0, 1 - y p)`, where `y` is 1 or -1 and `p` the score (Rosasco et al. 2004).

    Scores outside of [0, 1] are logits, of which the sigmoid is taken.

    Args:
        squared: Whether to square each loss.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryHingeLoss
        >>> metric = BinaryHingeLoss()
        >>> metric.update(torch.tensor([0.25, 0.25, 0.55, 0.75, 0.75]), torch.tensor([0, 0, 1, 1, 1]))
        >>> metric.compute()
        tensor(0.6900, dtype=torch.float64)
    """

    def __init__(
        self,
        squared: bool = False,
        ignore_index: int | None = None,
        validate_args: bool = True,
        *,
        exact: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(exact=exact, ignore_index=ignore_index, validate_args=validate_args, **kwargs)
        check_bool(type(self).__name__, "squared", squared)
        self.squared = squared

    @property
    def compute_group(self) -> Hashable | None:
        """One group for each setting."""
        return ("binary hinge", self.squared, self.ignore_index, self.validate_args, self.exact)

    def _losses(self, scores: Tensor, target: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        signs = 2 * target - 1
        first, second = ((1 - values * signs).clamp(min=0) for values in (scores, sigmoid_of(scores)))
        return (first.square(), second.square()) if self.squared else (first, second)


class MulticlassHingeLoss(MulticlassLoss):
    """Average the hinge loss of many classes.

    That of Crammer and Singer ("On the algorithmic implementation of multiclass kernel-based vector machines", 2001) is
    `max(0, 1 - p[target] + max(p[others]))` for scores `p`; "one-vs-all" has the binary one for each class. Scores
    outside of [0, 1] are logits, of which the softmax is taken.

    Args:
        num_classes: Number of classes, at least 2.
        squared: Whether to square each loss.
        multiclass_mode: "crammer-singer", or "one-vs-all" for a value of each class.
        ignore_index: Target label of samples to leave out.
        validate_args: Whether to read the scores for a check.
        exact: Whether to sum without rounding, so that the value is the same to the last bit however the samples lie
            in batches and on ranks. It costs some time.
        **kwargs: Arguments of `Metric`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: `num_classes` < 2, or the mode is unknown.

    Example:
        >>> import torch
        >>> from syncmetrics import MulticlassHingeLoss
        >>> preds = torch.tensor([[0.25, 0.20, 0.55], [0.55, 0.05, 0.40], [0.10, 0.30, 0.60], [0.90, 0.05, 0.05]])
        >>> metric = MulticlassHingeLoss(num_classes=3)
        >>> metric.update(preds, torch.tensor([0, 1, 2, 0]))
        >>> metric.compute()
        tensor(0.9125, dtype=torch.float64)
    """

    def __init__(
        self,
        num_classes: int,
        squared: bool = False,
        multiclass_mode: str = "crammer-singer",
        ignore_index: int | None = None,
        validate_args: bool = True,
        *,
        exact: bool = False,
        **kwargs: Any,
    ) -> None:
        check_choice(type(self).__name__, "multiclass_mode", multiclass_mode, _MODES)
        super().__init__(
            num_classes,
            by_class=multiclass_mode == "one-vs-all",
            exact=exact,
            ignore_index=ignore_index,
            validate_args=validate_args,
            **kwargs,
        )
        check_bool(type(self).__name__, "squared", squared)
        self.squared = squared
        self.multiclass_mode = multiclass_mode

    @property
    def compute_group(self) -> Hashable | None:
        """One group for each setting."""
        settings = (self.num_classes, self.squared, self.multiclass_mode, self.ignore_index, self.validate_args)
        return ("multiclass hinge", *settings, self.exact)

    def _losses(self, scores: Tensor, target: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        column = target.unsqueeze(1)
        is_target = column == torch.arange(scores.shape[1], device=scores.device)
        found = []
        for values in (scores, softmax_of(scores)):
            if self.multiclass_mode == "one-vs-all":
                margins = torch.where(is_target, values, -values)
            else:
                others = values.masked_fill(is_target, -torch.inf).amax(dim=1)
                margins = values.gather(1, column).squeeze(1) - others
            loss = (1 - margins).clamp(min=0)
            found.append(loss.square() if self.squared else loss)
        return found[0], found[1]


class HingeLoss(of_task):
    """Hinge loss by task.

    `BinaryHingeLoss` or `MulticlassHingeLoss`.

    Example:
        >>> import torch
        >>> from syncmetrics import HingeLoss
        >>> metric = HingeLoss(task="binary")
        >>> metric.update(torch.tensor([0.25, 0.25, 0.55, 0.75, 0.75]), torch.tensor([0, 0, 1, 1, 1]))
        >>> metric.compute()
        tensor(0.6900, dtype=torch.float64)
    """

    _classes: ClassVar = {"binary": BinaryHingeLoss, "multiclass": MulticlassHingeLoss}
