"""Give the values of the classes under their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from syncmetrics.metric import Metric
from syncmetrics.metric.module import StatefulModule
from syncmetrics.wrappers._inner import as_metric, policy_of, take_over

__all__ = ["ClasswiseWrapper"]


class ClasswiseWrapper(Metric):
    """Give the values of a metric with one value for each class under the names of the classes.

    Args:
        metric: A metric whose `compute` gives a tensor of shape `(num_classes,)` (`average=None`), of ours or of a
            library that has an adapter.
        labels: Names of the classes. Left out, they are numbered, which takes a metric that knows its `num_classes`.
        prefix: In front of each label. Left out, it is the lower-case name of the metric's class and "_", unless there
            is a postfix.
        postfix: Behind each label.

    Raises:
        TypeError: `metric` is none, or the labels are not strings.
        ValueError: The number of classes cannot be known, does not fit, or two labels are equal.

    Example:
        >>> import torch
        >>> from syncmetrics import ClasswiseWrapper, MulticlassRecall
        >>> recall = MulticlassRecall(num_classes=3, average=None)
        >>> metric = ClasswiseWrapper(recall, labels=["cat", "dog", "bird"], prefix="")
        >>> metric.update(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2]))
        >>> metric.compute()
        {'cat': tensor(1.), 'dog': tensor(0.5000), 'bird': tensor(1.)}
    """

    _delegates = True

    def __init__(
        self, metric: Any, labels: Sequence[str] | None = None, prefix: str | None = None, postfix: str | None = None
    ) -> None:
        inner, name = as_metric("metric", metric), type(metric).__name__
        num_classes = getattr(metric, "num_classes", None)
        super().__init__(**policy_of([inner]))
        self.metric = inner
        take_over(self, [inner])
        self.plot_name = inner.plot_name or type(inner).__name__
        self.plot_lower_bound, self.plot_upper_bound = inner.plot_lower_bound, inner.plot_upper_bound
        if labels is None:
            if not isinstance(num_classes, int):
                raise ValueError(f"`labels` must be given for {name}, which does not say its `num_classes`.")
            labels = [str(index) for index in range(num_classes)]
        self._names = _names(name, list(labels), num_classes, prefix, postfix)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the values, one for each class."""
        return self._names

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update the metric inside."""
        self.metric.update(*args, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """Give the value of each class by name. Collective, as the metric inside."""
        values = self.metric.compute()
        if isinstance(values, Tensor) and values.dim() == 0 and len(self._names) == 1:
            values = values.reshape(1)  # a value of one element has lost its dimension
        if not isinstance(values, Tensor) or values.dim() == 0 or values.shape[0] != len(self._names):
            given = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
            raise ValueError(
                f"`ClasswiseWrapper` needs one value for each of {len(self._names)} classes, but"
                f" `{type(self.metric).__name__}` gave"
                f" {given}; construct it with average=None."
            )
        return dict(zip(self._names, values.unbind(0), strict=True))

    @property
    def _core(self) -> StatefulModule:
        return self.metric._core


def _names(
    metric: str, labels: list[str], num_classes: Any, prefix: str | None, postfix: str | None
) -> tuple[str, ...]:
    if not all(isinstance(label, str) for label in labels):
        raise TypeError(f"`labels` must be strings, but are {labels!r}.")
    if isinstance(num_classes, int) and num_classes != len(labels):
        raise ValueError(f"`labels` must name {num_classes} classes, but names {len(labels)}.")
    if len(set(labels)) != len(labels):
        raise ValueError(f"`labels` must differ, but are {labels!r}.")
    if prefix is None and postfix is None:
        prefix = f"{metric.lower()}_"
    return tuple(f"{prefix or ''}{label}{postfix or ''}" for label in labels)
