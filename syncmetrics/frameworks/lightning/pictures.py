"""Results that are no numbers, as pictures, for the loggers that take some."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from syncmetrics.metric.collection import MetricCollection
from syncmetrics.plotting.draw import draw_value
from syncmetrics.metric.metric import Metric

__all__ = ["log_picture", "show_picture"]


def log_picture(module: Any, name: str, value: Any, *, labels: Sequence[str] | None = None) -> None:
    """Send a confusion matrix, a curve or the values of classes to the loggers that take pictures, once an epoch.

    Call it in `on_validation_epoch_end` and its like. TensorBoard, Weights & Biases and MLflow take pictures; others
    are passed over. Nothing is sent in the sanity check. Metrics that are logged with `self.log_dict(collection)` need
    no call: what is no number is sent by itself.

    Collective if `value` is a metric: every rank of the group must call this.

    Args:
        module: The LightningModule.
        name: What it is logged as.
        value: A metric, or what its `compute` returned: a tensor of shape `(n, n)` or `(n,)`, or a tuple of x and y.
        labels: Names of the classes.

    Raises:
        TypeError: The value cannot be drawn.
        ImportError: matplotlib is missing.
    """
    if isinstance(value, MetricCollection):
        raise TypeError(f"`value` must be a metric, or its value; a collection is logged with `self.log_dict({name})`.")
    if isinstance(value, Metric):
        value = value.compute()
    _send(module, name, value, labels)


def show_picture(module: Any, name: str, value: Any) -> None:
    """Send what can be drawn, where matplotlib is installed; this is what happens unasked, so it never fails."""
    if module is None or importlib.util.find_spec("matplotlib") is None:
        return
    try:
        _send(module, name, value, None)
    except TypeError:
        return  # no picture can be made of it


def _send(module: Any, name: str, value: Any, labels: Sequence[str] | None) -> None:
    trainer = module._trainer
    if trainer is None or trainer.sanity_checking or not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        experiment = logger.experiment
        if hasattr(experiment, "add_figure"):  # TensorBoard
            experiment.add_figure(name, draw_value(value, title=name, labels=labels), trainer.global_step)
        elif hasattr(logger, "log_image"):  # Weights & Biases
            logger.log_image(key=name, images=[draw_value(value, title=name, labels=labels)], step=trainer.global_step)
        elif hasattr(experiment, "log_figure") and hasattr(logger, "run_id"):  # MLflow
            file = f"{name}/{trainer.global_step}.png"
            experiment.log_figure(logger.run_id, draw_value(value, title=name, labels=labels), file)
