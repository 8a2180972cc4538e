"""The value of a metric for each output of a model."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from syncmetrics.family.checks import check_bool, check_int
from syncmetrics.metric import Metric
from syncmetrics.wrappers._inner import as_metric, parameters_of, policy_of, take_over

__all__ = ["MultioutputWrapper"]


class MultioutputWrapper(Metric):
    """Give the values of a metric for each of several outputs, stacked along a new first dimension.

    With `remove_nans=True`, the default, it depends on the data how many samples an output has: on an accelerator
    `update` waits for that number, as for all that is chosen by a mask. With `remove_nans=False` it never waits.

    Args:
        base_metric: A metric of one output, of ours or of a library that has an adapter. Each output gets a copy.
        num_outputs: The number of outputs.
        output_dim: The dimension of the inputs along which the outputs lie.
        remove_nans: Whether to leave out, for each output, the samples of which one of the inputs is NaN.
        squeeze_outputs: Whether the metrics get their inputs without that dimension, or with size 1 there.

    Raises:
        TypeError: `base_metric` is no metric, or another argument has a wrong type.
        ValueError: `num_outputs` is smaller than 1.

    Example:
        >>> import torch
        >>> from syncmetrics import MeanSquaredError, MultioutputWrapper
        >>> metric = MultioutputWrapper(MeanSquaredError(), num_outputs=2)
        >>> preds, target = torch.tensor([[1.0, 2.0], [3.0, torch.nan]]), torch.tensor([[1.0, 4.0], [5.0, 6.0]])
        >>> metric.update(preds, target)
        >>> metric.compute().tolist()
        [2.0, 4.0]
    """

    def __init__(
        self,
        base_metric: Any,
        num_outputs: int,
        output_dim: int = -1,
        remove_nans: bool = True,
        squeeze_outputs: bool = True,
    ) -> None:
        inner = as_metric("base_metric", base_metric)
        check_int("MultioutputWrapper", "num_outputs", num_outputs, minimum=1)
        check_int("MultioutputWrapper", "output_dim", output_dim)
        check_bool("MultioutputWrapper", "remove_nans", remove_nans)
        check_bool("MultioutputWrapper", "squeeze_outputs", squeeze_outputs)
        super().__init__(**policy_of([inner]))
        self.metrics = nn.ModuleList([copy.deepcopy(inner) for _ in range(num_outputs)])
        self.output_dim = output_dim
        self.remove_nans = remove_nans
        self.squeeze_outputs = squeeze_outputs
        take_over(self, [inner])

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update each metric with its output.

        Args:
            *args: Tensors with `num_outputs` entries along `output_dim`; what is no tensor goes to every metric.
            **kwargs: Likewise.

        Raises:
            ValueError: A tensor has another number of outputs.
        """
        given = {**{str(place): value for place, value in enumerate(args)}, **kwargs}
        tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
        for name, value in tensors.items():
            self._check(f"input {name}" if name.isdigit() else f"`{name}`", value)
        for index, metric in enumerate(self.metrics):
            own = {**given, **self._of_output(tensors, index)}
            positional = [own.pop(str(place)) for place in range(len(args))]
            metric.update(*positional, **own)  # type: ignore[operator]  # torch types it as a Module

    def compute(self) -> Tensor | dict[str, Tensor]:
        """Give the values, stacked; of a metric that gives a dict, each of its values. Collective."""
        values = [metric.compute() for metric in self.metrics]  # type: ignore[operator]  # likewise
        if isinstance(values[0], dict):
            return {name: torch.stack([value[name] for value in values]) for name in values[0]}
        return torch.stack(values)

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """Names of the values of the metric of one output."""
        return self._first.output_names

    def _of_output(self, tensors: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
        own = {name: value.narrow(self.output_dim, index, 1) for name, value in tensors.items()}
        if self.remove_nans:
            kept = torch.ones((), dtype=torch.bool)
            for value in own.values():
                if value.is_floating_point():
                    kept = kept.to(value.device) & ~value.isnan().flatten(1).any(1)
            if kept.ndim:
                own = {name: value[kept] for name, value in own.items()}
        if self.squeeze_outputs:
            own = {name: value.squeeze(self.output_dim) for name, value in own.items()}
        return own

    def _check(self, name: str, value: Tensor) -> None:
        wanted, dim = len(self.metrics), self.output_dim
        has_dim = -value.ndim <= dim < value.ndim
        if not has_dim or value.shape[dim] != wanted:
            raise ValueError(
                f"MultioutputWrapper: {name} must have {wanted} outputs along dimension {dim}, but has the shape"
                f" {tuple(value.shape)} instead. Pass `output_dim` for the dimension of the outputs."
            )

    @property
    def _first(self) -> Metric:
        return self.metrics[0]  # type: ignore[return-value]  # likewise

    def _update_parameters(self) -> Mapping[str, inspect.Parameter]:
        return parameters_of(self._first)
