"""A sink for the terminal: a progress bar for the steps, and the values of each epoch, by rich."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from syncmetrics.logger.records import Record
from syncmetrics.optional import load

__all__ = ["ConsoleSink"]

_WIDEST = 10  # of what `_short` gives


class ConsoleSink:
    """Show the progress of an epoch with the values of the last step, and a table of the values of each epoch.

    Args:
        steps_per_epoch: How many steps an epoch has, for the bar; left out, they are counted without an end.
        names: Which values to show; left out, all scalars.
        console: A `rich.console.Console`; left out, one for the standard output.

    Raises:
        ImportError: rich is not installed.
    """

    def __init__(
        self, *, steps_per_epoch: int | None = None, names: Sequence[str] | None = None, console: Any = None
    ) -> None:
        for part in ("console", "progress", "table"):
            load(f"rich.{part}", needed_by=type(self).__name__, install="rich")
        self.steps_per_epoch = steps_per_epoch
        self.names = None if names is None else tuple(names)
        self._console = console
        self._progress: Any = None
        self._task: Any = None
        self._columns: tuple[str, ...] = ()

    def write(self, record: Record) -> None:
        """Move the bar by a step, or print the table of an epoch, and what its metrics rest on."""
        names = record.scalars if self.names is None else self.names
        shown = {name: record.scalars[name] for name in names if name in record.scalars}
        if record.kind == "step":
            self._move(record, shown)
            return
        if self._progress is not None:
            self._progress.reset(self._task, total=self.steps_per_epoch)
        if shown:
            self._open_console().print(self._table(record, shown))
        if record.coverage is not None:
            self._open_console().print(str(record.coverage), style="dim", markup=False, highlight=False)

    def picture(self, name: str, values: Tensor, record: Record) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Stop the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        self._columns = ()

    def _open_console(self) -> Any:
        if self._console is None:
            self._console = load("rich.console", needed_by=type(self).__name__, install="rich").Console()
        return self._console

    def _move(self, record: Record, shown: dict[str, float]) -> None:
        rich = load("rich.progress", needed_by=type(self).__name__, install="rich")
        if self._progress is None:
            columns = (
                rich.TextColumn("epoch {task.fields[epoch]}", markup=False),
                rich.BarColumn(),
                rich.MofNCompleteColumn(),
                rich.TimeElapsedColumn(),
                rich.TextColumn("{task.fields[values]}", markup=False),
            )
            self._progress = rich.Progress(*columns, console=self._open_console(), transient=True)
            self._task = self._progress.add_task("", total=self.steps_per_epoch, epoch=record.epoch, values="")
            self._progress.start()
        values = {"values": "  ".join(f"{n} {_short(v)}" for n, v in shown.items())} if shown else {}
        self._progress.update(self._task, advance=1, epoch=record.epoch, **values)

    def _table(self, record: Record, shown: dict[str, float]) -> Any:
        """Make a row of the table of epochs, or a table of its own if there are too many values for one row."""
        rich = load("rich.table", needed_by=type(self).__name__, install="rich")
        widths = {name: max(len(name), _WIDEST) for name in ("epoch", *shown)}
        if sum(width + 2 for width in widths.values()) > self._open_console().width:
            table = rich.Table("value", title=f"epoch {record.epoch}", title_justify="left", box=None, pad_edge=False)
            table.add_column(justify="right")
            for name, value in shown.items():
                table.add_row(name, _short(value))
            return table
        is_first, self._columns = self._columns != tuple(widths), tuple(widths)
        table = rich.Table(show_header=is_first, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name, width in widths.items():
            table.add_column(name, justify="right", width=width)
        table.add_row(str(record.epoch), *(_short(value) for value in shown.values()))
        return table


def _short(value: float) -> str:
    is_plain = value == 0 or not math.isfinite(value) or 1e-3 <= abs(value) < 1e5
    return f"{value:.4f}" if is_plain else f"{value:.3e}"
