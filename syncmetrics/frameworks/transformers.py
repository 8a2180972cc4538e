"""The Trainer of transformers: metrics that accumulate where the logits are, instead of gathering all of them.

Give the Trainer the two callables of `TrainerMetrics`::

metrics = TrainerMetrics(MetricCollection({"accuracy": MulticlassAccuracy(num_classes=3)}))
trainer = Trainer(
...,
preprocess_logits_for_metrics=metrics.preprocess_logits_for_metrics,
compute_metrics=metrics.compute_metrics,
)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate.state import GradientState
from torch import Tensor

from syncmetrics.frameworks.accelerate import valid_mask
from syncmetrics.metric import Metric, MetricCollection

__all__ = ["TrainerMetrics"]


class TrainerMetrics:
    """The two callables that a Trainer takes, for metrics that need one sync at the end of an evaluation.

    Logits never leave their process: the Trainer gets one byte a sample in their place, and gathers these, the labels
    and the losses as it always does. Use it for `evaluate`; what `predict` returns as predictions are these bytes.

    Args:
        metrics: A metric, or a collection, whose `update` takes logits and labels.
        name: Name of the value of a single metric.
        update: What to do with the logits and labels that are left, instead of `metrics.update(logits, labels)`.
        shift: Whether the logits at one position predict the label at the next, as those of causal language models.
        ignore_index: The integer label that is masked; so are the positions to which sequences were padded.
    """

    def __init__(
        self,
        metrics: Metric | MetricCollection,
        *,
        name: str = "metric",
        update: Callable[[Tensor, Tensor], Any] | None = None,
        shift: bool = False,
        ignore_index: int = -100,
    ) -> None:
        self.metrics = metrics
        self.name = name
        self.update = metrics.update if update is None else update
        self.shift = shift
        self.ignore_index = ignore_index

    @torch.no_grad()
    def preprocess_logits_for_metrics(self, logits: Any, labels: Any) -> Any:
        """Update the metrics with the samples of this process that are no repetition. It does not communicate.

        Args:
            logits: Of shape `(samples, ...)`; of a tuple, the first.
            labels: Of shape `(samples, ...)`. Without them, nothing is accumulated.

        Returns:
            A tensor of shape `(samples,)` to be gathered in place of the logits; the logits, if there are no labels.
        """
        if not isinstance(labels, Tensor):
            return logits
        found = logits[0] if isinstance(logits, (tuple, list)) else logits
        valid = _valid(found)
        kept, targets = found[valid], labels[valid]
        if self.shift:
            kept, targets = kept[:, :-1], targets[:, 1:]
        if not targets.is_floating_point() and kept.shape[: targets.dim()] == targets.shape:
            counted = targets != self.ignore_index
            kept, targets = kept[counted], targets[counted]
        if targets.numel() > 0:
            self.metrics.to(kept.device)
            self.update(kept, targets)
        return torch.zeros(found.shape[0], dtype=torch.uint8, device=found.device)

    def compute_metrics(self, prediction: Any = None, compute_result: bool = True) -> dict[str, Any]:
        """Compute over all processes, and reset. Collective: every process must call this, as the Trainer does.

        Args:
            prediction: What the Trainer gathered, which is not looked at.
            compute_result: Whether this is the last batch, if the Trainer asks after each (`batch_eval_metrics`).

        Returns:
            The values by name: numbers, and lists for tensors with dimensions.
        """
        if not compute_result:
            return {}
        try:
            values = self.metrics.compute()
        finally:
            self.metrics.reset()
        if not isinstance(values, Mapping):
            values = {self.name: values}
        return {key: value.tolist() if isinstance(value, Tensor) else value for key, value in values.items()}


def _valid(logits: Tensor) -> Tensor:
    gradient_state = GradientState()
    if not gradient_state.in_dataloader:  # no Trainer, and nothing that accelerate could have filled up
        return torch.ones(logits.shape[0], dtype=torch.bool, device=logits.device)
    return valid_mask(gradient_state.active_dataloader, logits)
