"""Metrics of transformed inputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from syncmetrics.metric import Metric
from syncmetrics.wrappers._inner import as_inner, parameters_of, policy_of, take_over, value_of

__all__ = ["BinaryTargetTransformer", "LambdaInputTransformer", "MetricInputTransformer"]

_PREDS, _TARGET = ("preds", "pred"), ("target", "targets")


class MetricInputTransformer(Metric):
    """Give the value of a metric, or of a collection, of transformed predictions and targets.

    To be subclassed: `transform_pred` gets what stands first in `update`, or is named `preds`; `transform_target` what
    stands second, or is named `target`. Whatever else is given goes on as it is.

    Args:
        wrapped_metric: A metric, of ours or of a library that has an adapter, or a `MetricCollection`.
        **kwargs: Arguments of `Metric`; left out, those of `wrapped_metric`.

    Raises:
        TypeError: `wrapped_metric` is neither.

    Example:
        >>> import torch
        >>> from syncmetrics import MeanAbsoluteError, MetricInputTransformer
        >>> class OfLogs(MetricInputTransformer):
        ...     def transform_pred(self, pred):
        ...         return pred.log()
        ...     transform_target = transform_pred
        >>> metric = OfLogs(MeanAbsoluteError())
        >>> metric.update(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 1.0]))
        >>> float(metric.compute())
        0.0
    """

    def __init__(self, wrapped_metric: Any, **kwargs: Any) -> None:
        inner = as_inner("wrapped_metric", wrapped_metric)
        super().__init__(**{**policy_of([inner]), **kwargs})
        self.wrapped_metric = inner
        take_over(self, [inner])

    def transform_pred(self, pred: Any) -> Any:
        """Give what the metric inside gets as predictions: here, what was given."""
        return pred

    def transform_target(self, target: Any) -> Any:
        """Give what the metric inside gets as targets: here, what was given."""
        return target

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update the metric inside with the transformed batch."""
        transforms = (self.transform_pred, self.transform_target)
        given = [transform(value) for transform, value in zip(transforms, args, strict=False)] + list(args[2:])
        named = dict(kwargs)
        for names, transform in zip((_PREDS, _TARGET), transforms, strict=True):
            named.update({name: transform(named[name]) for name in names if name in named})
        self.wrapped_metric.update(*given, **named)

    def compute(self) -> Any:
        """Give the value of the metric inside. Collective, as every `compute`."""
        return value_of(self.wrapped_metric)

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """Names of the values of what is inside."""
        return self.wrapped_metric.output_names

    def _update_parameters(self) -> Mapping[str, inspect.Parameter]:
        return parameters_of(self.wrapped_metric)


class LambdaInputTransformer(MetricInputTransformer):
    """Give the value of a metric of predictions and targets that two functions have transformed.

    Args:
        wrapped_metric: A metric, of ours or of a library that has an adapter, or a `MetricCollection`.
        transform_pred: Takes the predictions and gives others; left out, they stay as they are.
        transform_target: Likewise for the targets.
        **kwargs: Arguments of `Metric`; left out, those of `wrapped_metric`.

    Raises:
        TypeError: `wrapped_metric` is no metric, or a transform is no function.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryAccuracy, LambdaInputTransformer
        >>> metric = LambdaInputTransformer(BinaryAccuracy(), lambda preds: 1 - preds)
        >>> metric.update(torch.tensor([0.9, 0.2]), torch.tensor([0, 1]))
        >>> metric.compute()
        tensor(1.)
    """

    def __init__(
        self,
        wrapped_metric: Any,
        transform_pred: Callable[[Any], Any] | None = None,
        transform_target: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        for name, given in (("transform_pred", transform_pred), ("transform_target", transform_target)):
            if given is not None and not callable(given):
                raise TypeError(f"`{name}` must be a function, but is {given!r} instead.")
        super().__init__(wrapped_metric, **kwargs)
        self._of_pred, self._of_target = transform_pred, transform_target

    def transform_pred(self, pred: Any) -> Any:
        """Give what the function makes of the predictions."""
        return pred if self._of_pred is None else self._of_pred(pred)

    def transform_target(self, target: Any) -> Any:
        """Give what the function makes of the targets."""
        return target if self._of_target is None else self._of_target(target)


class BinaryTargetTransformer(MetricInputTransformer):
    """Give the value of a metric of targets that are 1 where they are above a threshold, and else 0.

    Args:
        wrapped_metric: A metric, of ours or of a library that has an adapter, or a `MetricCollection`.
        threshold: What a target must be above to count as 1. Targets keep their dtype.
        **kwargs: Arguments of `Metric`; left out, those of `wrapped_metric`.

    Raises:
        TypeError: `wrapped_metric` is no metric, or `threshold` no number.

    Example:
        >>> import torch
        >>> from syncmetrics import BinaryAccuracy, BinaryTargetTransformer
        >>> metric = BinaryTargetTransformer(BinaryAccuracy(), threshold=2)
        >>> metric.update(torch.tensor([0.9, 0.2]), torch.tensor([5, 1]))
        >>> metric.compute()
        tensor(1.)
    """

    def __init__(self, wrapped_metric: Any, threshold: float = 0, **kwargs: Any) -> None:
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
            raise TypeError(f"`threshold` must be a number, but is {threshold!r} instead. Pass 0, say.")
        super().__init__(wrapped_metric, **kwargs)
        self.threshold = threshold

    def transform_target(self, target: Tensor) -> Tensor:
        """Give 1 where a target is above the threshold, and else 0, in the dtype that it has."""
        return target.gt(self.threshold).to(target.dtype)
