"""Sinks for TensorBoard, Weights & Biases, and MLflow. Each library is imported when its sink is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from syncmetrics.logger.curves import matrix_image
from syncmetrics.logger.records import Record
from syncmetrics.optional import load

__all__ = ["MLflowSink", "TensorBoardSink", "WandbSink"]


def _tagged(record: Record) -> dict[str, float]:
    """Give the scalars under names that tell steps from epochs: these have different axes."""
    return {f"{name}_step" if record.kind == "step" else name: value for name, value in record.scalars.items()}


class TensorBoardSink:
    """Write event files for TensorBoard.

    Epoch values have the epoch as their axis; those of steps are named `NAME_step` and have the step. Matrices become
    pictures.

    Args:
        directory: Where the event files go.

    Raises:
        ImportError: tensorboard or matplotlib is not installed.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        load("matplotlib", needed_by=type(self).__name__, install="matplotlib")
        load("tensorboard", needed_by=type(self).__name__, install="tensorboard")
        self._writer: Any = None

    def write(self, record: Record) -> None:
        """Write the scalars."""
        x = record.step if record.kind == "step" else record.epoch
        for name, value in _tagged(record).items():
            self._open().add_scalar(name, value, x)
        if record.kind == "epoch":
            self._open().flush()

    def picture(self, name: str, values: Tensor, record: Record) -> None:
        """Write a matrix as a picture."""
        self._open().add_image(name, matrix_image(name, values), record.epoch, dataformats="HWC")

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        if self._writer is None:
            module = load("torch.utils.tensorboard", needed_by=type(self).__name__, install="tensorboard")
            self._writer = module.SummaryWriter(str(self.directory))
        return self._writer


class WandbSink:
    """Write to Weights & Biases.

    Epoch values have the epoch as their axis; those of steps are named `NAME_step` and have the step. Matrices become
    pictures.

    Args:
        run: The run; left out, the one that is active when the first record comes, else a new one.
        **init: Arguments of `wandb.init` for a new run, which `close` finishes.

    Raises:
        ImportError: wandb or matplotlib is not installed.
    """

    def __init__(self, run: Any = None, **init: Any) -> None:
        load("matplotlib", needed_by=type(self).__name__, install="matplotlib")
        self._wandb = load("wandb", needed_by=type(self).__name__, install="wandb")
        self._run = run
        self._init = init
        self._is_own = False
        self._known: set[str] = set()

    def write(self, record: Record) -> None:
        """Write the scalars."""
        if record.scalars:
            self._log(_tagged(record), record)

    def picture(self, name: str, values: Tensor, record: Record) -> None:
        """Write a matrix as a picture."""
        self._log({name: self._wandb.Image(matrix_image(name, values).numpy())}, record)

    def close(self) -> None:
        """Finish the run, if this sink has begun it."""
        if self._is_own:
            self._run.finish()
            self._run, self._is_own = None, False

    def _log(self, values: dict[str, Any], record: Record) -> None:
        if self._run is None:
            self._run = self._wandb.run
        if self._run is None:
            self._run, self._is_own = self._wandb.init(**self._init), True
        for name in values.keys() - self._known:
            self._run.define_metric(name, step_metric=record.kind)
        self._known |= values.keys()
        self._run.log({**values, "epoch": record.epoch, "step": record.step})


class MLflowSink:
    """Write to the active run of MLflow, or to a new one.

    Epoch values have the epoch as their step; those of steps are named `NAME_step`. Matrices become pictures among the
    artifacts.

    Raises:
        ImportError: mlflow or matplotlib is not installed.
    """

    def __init__(self) -> None:
        load("matplotlib", needed_by=type(self).__name__, install="matplotlib")
        self._mlflow = load("mlflow", needed_by=type(self).__name__, install="mlflow")
        self._is_own = False

    def write(self, record: Record) -> None:
        """Write the scalars."""
        if record.scalars:
            self._begin()
            self._mlflow.log_metrics(_tagged(record), step=record.step if record.kind == "step" else record.epoch)

    def picture(self, name: str, values: Tensor, record: Record) -> None:
        """Write a matrix as a picture."""
        self._begin()
        self._mlflow.log_image(matrix_image(name, values).numpy(), f"{name}/epoch_{record.epoch}.png")

    def close(self) -> None:
        """End the run, if this sink has begun it."""
        if self._is_own:
            self._mlflow.end_run()
            self._is_own = False

    def _begin(self) -> None:
        if self._mlflow.active_run() is None:
            self._mlflow.start_run()
            self._is_own = True
