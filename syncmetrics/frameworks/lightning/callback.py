"""Callbacks: metrics outside of the LightningModule, updated from what a step returns; and metrics in checkpoints."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from syncmetrics.frameworks.lightning.checkpoint import outermost, put_into, take_from
from syncmetrics.metric import Metric, MetricCollection

if TYPE_CHECKING:
    from lightning.pytorch import Callback
else:
    _package = "lightning.pytorch" if "lightning.pytorch" in sys.modules else "pytorch_lightning"
    Callback = importlib.import_module(_package if _package in sys.modules else "lightning.pytorch").Callback

__all__ = ["MetricsCallback", "MetricsCheckpoint"]

#: From what a step returned, to what `update` is called with.
Take = Sequence[str] | Mapping[str, str] | Callable[[Any], Any]


class MetricsCallback(Callback):
    """Update metrics from what `training_step`, `validation_step` or `test_step` returned, and log them.

    It works with automatic and with manual optimization. A step that returns None adds nothing, but the metrics are
    logged all the same, so that every rank logs the same names. What they have accumulated on all ranks is in every
    checkpoint, and `fit(ckpt_path=...)` goes on with it on any number of ranks. ::

        MetricsCallback(
            {"d/accuracy": BinaryAccuracy(), "g/loss": MeanMetric()},
            take={"d/accuracy": ("d_preds", "d_target"), "g/loss": ("g_loss",)},
        )

    Args:
        metrics: Metrics by the name that they are logged as; or a collection, which is logged by its `output_names`.
        take: For each metric, or for a collection as a whole, what its `update` is given: the keys of the step's dict
            in order; a mapping from argument to key; or a function of what the step returned, which gives a tuple of
            arguments, a dict of them, or the only one. Left out: all entries of the dict that `update` has arguments
            for.
        stage: "train", "validate" or "test".
        on_step: Whether the value of each batch is logged.
        on_epoch: Whether the value of the epoch is logged.
        prog_bar: Whether the progress bar shows them.

    Raises:
        TypeError: Something is no metric.
        ValueError: There is no such stage, or `take` names another metric.
    """

    def __init__(
        self,
        metrics: MetricCollection | Mapping[str, Metric | MetricCollection],
        *,
        take: Any = None,
        stage: str = "train",
        on_step: bool = False,
        on_epoch: bool = True,
        prog_bar: bool = False,
    ) -> None:
        super().__init__()
        if stage not in ("train", "validate", "test"):
            raise ValueError(f'`stage` must be "train", "validate" or "test", but is {stage!r} instead.')
        whole = isinstance(metrics, MetricCollection)
        self.metrics: dict[str, Metric | MetricCollection] = {"": metrics} if whole else dict(metrics)  # type: ignore[dict-item]
        for name, metric in self.metrics.items():
            if not isinstance(metric, (Metric, MetricCollection)):
                raise TypeError(f"`metrics` must hold metrics, but `{name}` is a {type(metric).__name__} instead.")
        self._take: dict[str, Any] = {"": take} if whole else dict(take or {})
        unknown = sorted(set(self._take) - set(self.metrics))
        if unknown:
            raise ValueError(f"`take` names {unknown}, but the metrics are {sorted(self.metrics)}.")
        self.stage = stage
        self._options = {"on_step": on_step, "on_epoch": on_epoch, "prog_bar": prog_bar}

    @property
    def state_key(self) -> str:
        """Tell several of these apart in a checkpoint."""
        return f"{type(self).__name__}[{self.stage}: {', '.join(sorted(self.metrics))}]"

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Update and log, after a training step."""
        if self.stage == "train":
            self._update(pl_module, outputs)

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Update and log, after a validation step."""
        if self.stage == "validate":
            self._update(pl_module, outputs)

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Update and log, after a test step."""
        if self.stage == "test":
            self._update(pl_module, outputs)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Save what all ranks have accumulated. Collective: Lightning calls it on every rank."""
        put_into(checkpoint, self.state_key, trainer, pl_module, self.metrics)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Go on with what was saved. It does not communicate."""
        take_from(checkpoint, self.state_key, trainer, self.metrics)

    def _update(self, pl_module: Any, outputs: Any) -> None:
        given = outputs is not None and not (isinstance(outputs, Mapping) and not outputs)  # {}: no loss, no outputs
        for name, metric in self.metrics.items():
            if given:
                args, kwargs = _arguments(name, metric, self._take.get(name), outputs)
                if self._options["on_step"]:
                    metric(*args, **kwargs)
                else:
                    metric.update(*args, **kwargs)
            if isinstance(metric, MetricCollection) and not name:
                pl_module.log_dict(metric, **self._options)
            else:
                pl_module.log(name, metric, **self._options)


class MetricsCheckpoint(Callback):
    """Have what the metrics of a LightningModule have accumulated in every checkpoint, by one sync.

    `fit(ckpt_path=...)` goes on with it on any number of ranks. A checkpoint in the middle of an epoch has what was
    accumulated by then; metrics whose epoch is over are left out, and begin anew. ::

        trainer = Trainer(callbacks=[MetricsCheckpoint(), ModelCheckpoint(every_n_train_steps=100)])
        trainer.fit(model, ckpt_path="last")

    Args:
        timeout: Seconds to wait for the other ranks when a checkpoint is saved.
    """

    def __init__(self, timeout: float | None = None) -> None:
        super().__init__()
        self._timeout = timeout

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Save what all ranks have accumulated. Collective: Lightning calls it on every rank."""
        put_into(checkpoint, self.state_key, trainer, pl_module, dict(outermost(pl_module)), self._timeout)

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Go on with what was saved. It does not communicate.

        Raises:
            StateError: Metrics that were saved are not here, or have other states.
        """
        take_from(checkpoint, self.state_key, trainer, dict(outermost(pl_module)))


def _arguments(name: str, metric: Any, take: Any, outputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give what `update` is called with.

    Raises:
        TypeError: The step returned no dict, and nothing says what to take of it.
        KeyError: The dict has no such entry.
    """
    if callable(take):
        chosen = take(outputs)
        if isinstance(chosen, Mapping):
            return (), dict(chosen)
        return (chosen if isinstance(chosen, tuple) else (chosen,)), {}
    if not isinstance(outputs, Mapping):
        raise TypeError(
            f"metric `{name}`: the step must return a dict, but returned a {type(outputs).__name__}; write"
            f" take={{{name!r}: lambda outputs: ...}}."
        )
    try:
        if isinstance(take, Mapping):
            return (), {argument: outputs[key] for argument, key in take.items()}
        if take is not None:
            return tuple(outputs[key] for key in ([take] if isinstance(take, str) else take)), {}
    except KeyError as error:
        raise KeyError(
            f"metric `{name}` takes {error} of what the step returned, which has {sorted(outputs)}."
        ) from None
    return (), _fitting(metric, outputs)


def _fitting(metric: Metric | MetricCollection, outputs: Mapping[str, Any]) -> dict[str, Any]:
    members = metric.values() if isinstance(metric, MetricCollection) else [metric]
    names = {name for member in members for name in member._filter_kwargs(**outputs)}
    return {name: value for name, value in outputs.items() if name in names}
