"""Results that are no numbers, as pictures, for the loggers that take some."""

from __future__ import annotations

import importlib.util
import warnings
import weakref
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from syncmetrics.metric import Metric, MetricCollection
from syncmetrics.plotting import draw_value, is_picture

__all__ = ["log_picture", "show_picture"]

#: Names of values that nobody takes, and of which that was said.
_told: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def log_picture(module: Any, name: str, value: Any, *, labels: Sequence[str] | None = None) -> None:
    """Send a confusion matrix, a curve or the values of classes to the loggers that take pictures, once an epoch.

    Call it in `on_validation_epoch_end` and its like. TensorBoard, Weights & Biases and MLflow take pictures; others
    are passed over. Nothing is sent in the sanity check. Metrics that are logged with `self.log_dict(collection)` need
    no call: what is no number is sent by itself.

    Collective if `value` is a metric: every rank of the group must call this.

    Args:
        module: The LightningModule.
        name: What it is logged as.
        value: A metric, which is drawn as by its `plot`; or what `compute` returned: a tensor of shape `(n, n)` or
            `(n,)`, or a tuple of x and y.
        labels: Names of the classes.

    Raises:
        TypeError: The value cannot be drawn.
        ImportError: matplotlib is missing.
    """
    if isinstance(value, MetricCollection):
        raise TypeError(f"`value` must be a metric, or its value; a collection is logged with `self.log_dict({name})`.")
    metric = value if isinstance(value, Metric) else None
    _send(module, name, value if metric is None else metric.compute(), labels, metric)


def show_picture(module: Any, name: str, value: Any, metric: Metric) -> None:
    """Send what can be drawn, where somebody takes pictures; this is what happens to logged values that are no numbers.

    Raises:
        TypeError: It is neither a number nor a picture, so that nothing would be logged.
    """
    if not is_picture(value, metric):
        given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise TypeError(
            f"`self.log({name!r}, metric)`: `compute` of the metric gives {given}, which cannot be logged as a number"
            " or drawn as a picture. Let `compute` give a dict and declare its keys in `output_names`, or log the"
            f" parts: self.log({name + '/0'!r}, metric.compute()[0])."
        )
    can_draw = module is not None and importlib.util.find_spec("matplotlib") is not None
    sent = can_draw and _send(module, name, value, None, metric)
    if module is not None and not sent and name not in _told.setdefault(module, set()):
        _told[module].add(name)
        warnings.warn(
            f"`{name}` is no number, and no logger of this Trainer takes pictures (or matplotlib is missing): it is not"
            " logged.",
            UserWarning,
            stacklevel=2,
        )


def _send(module: Any, name: str, value: Any, labels: Sequence[str] | None, metric: Metric | None) -> bool:
    """Send a picture to every logger that takes some, and say whether one did; there is nothing to say elsewhere."""
    trainer = module._trainer
    if trainer is None or trainer.sanity_checking or not trainer.is_global_zero:
        return True

    def drawn() -> Any:
        return draw_value(value, title=name, labels=labels, metric=metric)

    sent = False
    for logger in trainer.loggers:
        experiment = logger.experiment
        if hasattr(experiment, "add_figure"):  # TensorBoard
            experiment.add_figure(name, drawn(), trainer.global_step)
            sent = True
        elif hasattr(logger, "log_image"):  # Weights & Biases
            logger.log_image(key=name, images=[drawn()], step=trainer.global_step)
            sent = True
        elif hasattr(experiment, "log_figure") and hasattr(logger, "run_id"):  # MLflow
            file = f"{name}/{trainer.global_step}.png"
            experiment.log_figure(logger.run_id, drawn(), file)
            sent = True
    return sent
