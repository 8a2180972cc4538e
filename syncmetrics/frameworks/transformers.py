"""The Trainer of transformers: metrics that accumulate where the logits are, and that are in its checkpoints.

Give the Trainer the two callables of `TrainerMetrics`, instead of gathering all logits::

    metrics = TrainerMetrics(MetricCollection({"accuracy": MulticlassAccuracy(num_classes=3)}))
    trainer = Trainer(
        ...,
        preprocess_logits_for_metrics=metrics.preprocess_logits_for_metrics,
        compute_metrics=metrics.compute_metrics,
    )

Metrics that are updated while it trains go on where they were with a callback::

    trainer = Trainer(..., callbacks=[MetricsCheckpoint({"train": train_metrics})])
    trainer.train(resume_from_checkpoint=True)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.state import GradientState
from torch import Tensor
from transformers.trainer_callback import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from syncmetrics.checkpoint import load_state, save_state
from syncmetrics.frameworks.accelerate import valid_mask
from syncmetrics.metric import Metric, MetricCollection

__all__ = ["MetricsCheckpoint", "TrainerMetrics"]

_FILE = "syncmetrics.pt"


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


class MetricsCheckpoint(TrainerCallback):
    """Save with every checkpoint of the Trainer what metrics have accumulated, and go on with it, by one sync for each.

    It is a file of its own in the folder of the checkpoint, and loads on any number of processes.

    Args:
        metrics: A metric, a collection, a `MetricLogger`, or lists and dicts of them, as `save_state` takes them.
        resume_from_checkpoint: The folder that `train` goes on from, where that is not one of its own `output_dir`.
        timeout: Seconds to wait for the other processes when it is saved.
    """

    def __init__(
        self, metrics: Any, *, resume_from_checkpoint: str | Path | None = None, timeout: float | None = None
    ) -> None:
        self.metrics = metrics
        self._resume_from = resume_from_checkpoint
        self._timeout = timeout

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save what all processes have accumulated. Collective: the Trainer calls it in every process."""
        saved = save_state(self.metrics, dst=0, timeout=self._timeout)
        if saved:
            path = _folder(args, state) / _FILE
            path.parent.mkdir(parents=True, exist_ok=True)
            partly = path.with_suffix(".partly")
            torch.save(saved, partly)
            os.replace(partly, path)  # a process that is killed leaves the whole file, or none

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go on with what was saved, if the Trainer goes on from a checkpoint. It does not communicate.

        Raises:
            StateError: What was saved does not fit.
        """
        if state.global_step == 0:
            return
        path = Path(self._resume_from or _folder(args, state)) / _FILE
        if path.exists():
            load_state(self.metrics, torch.load(path, map_location="cpu", weights_only=True))
            return
        warnings.warn(
            f"the Trainer goes on from step {state.global_step}, but there is no {path}: the metrics begin anew. If"
            " the checkpoint is somewhere else, give MetricsCheckpoint its folder, as resume_from_checkpoint.",
            stacklevel=2,
        )


def _folder(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"


def _valid(logits: Tensor) -> Tensor:
    gradient_state = GradientState()
    if not gradient_state.in_dataloader:  # no Trainer, and nothing that accelerate could have filled up
        return torch.ones(logits.shape[0], dtype=torch.bool, device=logits.device)
    return valid_mask(gradient_state.active_dataloader, logits)
