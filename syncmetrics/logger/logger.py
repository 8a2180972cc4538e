"""MetricLogger: `log` in the loop, `step` behind each step, `end_epoch` behind each epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from torch import Tensor

from syncmetrics.checkpoint.stateful import asked_for, load_whole, whole
from syncmetrics.errors import SchemaMismatchError
from syncmetrics.logger.curves import draw_history
from syncmetrics.logger.entries import Entry, is_metric
from syncmetrics.logger.records import Record, Sink, make_record
from syncmetrics.logger.values import PlainNode, PlainValues, RunningMeans, as_number, as_weight, fold_rows
from syncmetrics.metric import Coverage, Metric, MetricCollection
from syncmetrics.metric.coverage import shares_of
from syncmetrics.metric.synced import OWN, synced
from syncmetrics.schedule import share_errors
from syncmetrics.sync import Route, Syncable
from syncmetrics.transport import WORLD, bind_group, has_data, is_absent, resolve_transport, writes
from syncmetrics.transport.patience import check_seconds

__all__ = ["MetricLogger"]

_Self = TypeVar("_Self", bound="MetricLogger")
_RESERVED = ("epoch", "step")
_FIX = (
    "\nEvery rank must know the same metrics when it calls `end_epoch`, one without a single batch too: hand them to"
    " `logger.track(...)` before the loop. Plain values may differ."
)


class MetricLogger:
    """Log values and metrics in a plain loop, and get those of all ranks at the end of an epoch.

    ::

        with MetricLogger([JSONLinesSink("run.jsonl")]) as logger:
            logger.track(metrics)
            for epoch in range(epochs):
                for images, labels in loader:
                    loss = train_step(images, labels)
                    logger.log("train/loss", loss, on_step=True)
                    logger.step(batch_size=len(images))
                for images, labels in eval_loader:
                    metrics.update(model(images), labels)
                values = logger.end_epoch()

    Only `end_epoch` communicates. Only rank 0 of the group writes to the sinks, and only there they open anything; with
    `over(mesh, ...)`, which has a group for each replica, that of the first one.

    Args:
        sinks: Where rank 0 writes.
        log_every_n_steps: In which steps the values with `on_step=True` are written; the others do not wait for the
            device.
        process_group: Over which ranks everything is synced, as for `Metric`. Left out: plain values over all ranks,
            each metric over its own group.
        sync_timeout: Seconds to wait for the other ranks in `end_epoch`; left out, each metric's own.

    Attributes:
        epoch: Epochs ended so far. Set it when a run goes on from a checkpoint.
        global_step: Steps ended so far, likewise.
        history: The records of all epochs, on rank 0; arrays are kept of the last one alone.
        coverage: What the metrics of the last epoch rest on: samples and updates of each rank. None before the first
            epoch, and without metrics of ours.

    Raises:
        ValueError: `log_every_n_steps` is less than 1.
        TypeError: Something is no sink.
    """

    def __init__(
        self,
        sinks: Sequence[Sink] = (),
        *,
        log_every_n_steps: int = 1,
        process_group: Any = WORLD,
        sync_timeout: float | None = None,
    ) -> None:
        given: tuple[Any, ...] = tuple(sinks)
        for sink in given:
            if not isinstance(sink, Sink) or isinstance(sink, type):
                raise TypeError(f"`sinks` must have `write`, `picture` and `close`, but one is {sink!r} instead.")
        if log_every_n_steps < 1:
            raise ValueError(f"`log_every_n_steps` must be at least 1, but is {log_every_n_steps} instead.")
        self.sinks: tuple[Sink, ...] = given
        self.log_every_n_steps = log_every_n_steps
        self.sync_timeout = check_seconds("sync_timeout", sync_timeout)
        self.epoch = 0
        self.global_step = 0
        self.history: list[Record] = []
        self.coverage: Coverage | None = None
        self._group = bind_group(process_group)
        self._entries: dict[str, Entry] = {}
        self._means = RunningMeans()
        self._step_values: dict[str, Any] = {}
        self._order: dict[str, None] = {}

    # -- in the loop

    def track(self, metrics: Mapping[str, Any] | MetricCollection) -> None:
        """Make metrics known before the first batch. It does not communicate.

        What is tracked is synced, written and reset by every `end_epoch`; to `log` it too is needed for its values of
        single steps alone. Every rank must know the same metrics, and a rank may have no batch to log any with.

        Args:
            metrics: What `log_dict` takes, without plain values.

        Raises:
            TypeError: Something is no metric.
            ValueError: Two values would have the same name.
        """
        for name, metric in _items(metrics):
            if not is_metric(metric):
                raise TypeError(f"`{name}` must be a metric or a collection, but is a {type(metric).__name__} instead.")
            self._enter(name, metric)

    def log(self, name: str, value: Any, *, on_step: bool = False, on_epoch: bool = True, weight: Any = None) -> None:
        """Log a value of this step, or a metric. It does not communicate.

        Args:
            name: Its name. A metric that gives several values (a collection, a ClasswiseWrapper) has `name/` in front
                of each.
            value: A number, a tensor of one element, or a metric. Of a tensor no graph and no batch is kept.
            on_step: Whether `step` writes it: a plain value as it is, a metric as the value that its last call,
                `metric(preds, target)`, gave. It is that of rank 0 alone.
            on_epoch: Whether it goes into `end_epoch`: plain values as their mean over all steps and ranks, a metric
                as what it computes of the states of all ranks. It is then reset.
            weight: How much a plain value counts in the mean, a number or a tensor of one element: of how many samples
                it is the mean. Left out: the `batch_size` given to the `step` that follows, else 1. A value of weight
                0 does not count, even if it is NaN.

        Raises:
            TypeError: The value is none of these, or a metric has a weight.
            ValueError: The tensor has other than one element, or the name belongs to something else.
        """
        self._log(name, value, on_step, on_epoch, weight)

    def log_dict(
        self,
        values: Mapping[str, Any] | MetricCollection,
        *,
        on_step: bool = False,
        on_epoch: bool = True,
        weight: Any = None,
    ) -> None:
        """Log several values or metrics under their own names. It does not communicate.

        Args:
            values: Names and what `log` takes; or a collection, or a metric that computes a dict, whose values are
                named by its `output_names`.
            on_step: As for `log`.
            on_epoch: As for `log`.
            weight: As for `log`.

        Raises:
            TypeError: As for `log`.
            ValueError: As for `log`.
        """
        for name, value in _items(values):
            self._log(name, value, on_step, on_epoch, weight)

    def step(self, batch_size: Any = None) -> None:
        """End a step: write what was logged in it with `on_step=True`. It does not communicate.

        Args:
            batch_size: The weight of the values that were logged without one since the last step: how many samples of
                this rank they are the mean of, as a number or a tensor of one element. Left out: 1.

        Raises:
            ValueError: It is negative or not finite.
        """
        self._means.end_step(1.0 if batch_size is None else as_weight("batch_size", batch_size))
        self.global_step += 1
        values, self._step_values = self._step_values, {}
        if self.sinks and self._writes():
            self._write(make_record("step", self.epoch + 1, self.global_step, values))

    # -- behind the loop

    def end_epoch(self) -> dict[str, Any]:
        """End an epoch: give the values of all ranks, write them, and reset the metrics.

        Collective: every rank of the group must call this. All plain values and metrics go in one exchange (one for
        each process group or timeout, if metrics have their own). A metric that no rank has updated is left out.

        If it raises before all values are there, nothing is changed, and it may be called again. If a sink raises, on
        rank 0, the epoch has ended, the other sinks have their record, and so does `history`.

        Returns:
            The values by name, on every rank the same: plain values as 0-d float64 tensors on the CPU, those of
            metrics as they computed them.

        Raises:
            SchemaMismatchError: The ranks know different metrics, or have ended different numbers of epochs.
            SyncError: The sync did not come to its end.
            ValueError: Two values have the same name.
        """
        values = self._sync()
        self.coverage = self._covered()
        for entry in self._entries.values():
            entry.metric.reset()
        self._means.clear()
        self.epoch += 1
        if self._writes():
            record = make_record("epoch", self.epoch, self.global_step, values, self.coverage)
            self.history = [Record(r.kind, r.epoch, r.step, r.scalars) for r in self.history] + [record]
            self._write(record)
        return values

    def draw(
        self, path: str | Path, *, title: str | None = None, panels: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Draw the epochs so far as curves, and the matrices of the last one, into a file; on rank 0 alone.

        Args:
            path: The file; its ending says the format (png, svg, pdf).
            title: Stands above the picture.
            panels: Which values go into one panel, by its title. Left out: those whose names end alike, "train/loss"
                and "val/loss".

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: There is no epoch yet, or a panel names a value that is not there.
        """
        if self._writes():
            draw_history(self.history, Path(path), title=title, panels=panels)

    def state_dict(self) -> dict[str, Any]:
        """Give what this rank has of the epoch that is under way, in plain numbers. It does not communicate.

        The metrics are not in it: they are saved with their module, or by `save_state`, which takes a logger too.
        `torch.distributed.checkpoint` and accelerate, which ask every rank, get what `save_state` gives: from them it
        is collective.

        Returns:
            The epochs and steps ended so far, and of each plain value the sum of weight times value, and of weights.
        """
        purpose = asked_for(sys._getframe(1))
        if purpose is not None:
            return dict(whole(self, purpose))
        plain = {name: [total, weight] for name, total, weight in self._means.rows()}
        return {"epoch": self.epoch, "global_step": self.global_step, "plain": plain}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave, on a rank that has the same part of the data. It does not communicate.

        Raises:
            ValueError: It is something else. Nothing is changed.
        """
        if load_whole(self, state_dict):
            return
        try:
            epoch, step = int(state_dict["epoch"]), int(state_dict["global_step"])
            rows = [(str(name), float(total), float(weight)) for name, (total, weight) in state_dict["plain"].items()]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"`state_dict` must be what `MetricLogger.state_dict` gave: {type(error).__name__}: {error}."
            ) from error
        self.epoch, self.global_step = epoch, step
        self._means.load(rows)

    def close(self) -> None:
        """Close the sinks. It does not communicate."""
        self._for_each_sink(lambda sink: sink.close())

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        with suppress(Exception):  # the error of the block is what matters
            self.close()

    # -- saved by `save_state`

    def _hosted(self, path: str) -> list[tuple[Syncable, Route]]:
        here = Route(resolve_transport(self._group), timeout=self.sync_timeout)
        found: list[tuple[Syncable, Route]] = [(PlainNode.of(f"{path}.plain values", self._means), here)]
        for key, entry in self._entries.items():
            found += entry.host._hosted(f"{path}.{key}")
        return found

    def _steps_taken(self) -> list[int]:
        return [self.epoch, self.global_step]

    def _go_on_from(self, steps: Sequence[int]) -> None:
        self.epoch, self.global_step = steps

    # -- inside

    def _log(self, name: str | None, value: Any, on_step: bool, on_epoch: bool, weight: Any) -> None:
        if not (on_step or on_epoch):
            raise ValueError(f"`{name}` must be logged with on_step=True, on_epoch=True, or both.")
        due = on_step and (self.global_step + 1) % self.log_every_n_steps == 0
        if isinstance(value, Tensor) or not is_metric(value):
            self._log_plain(str(name), value, due, on_epoch, weight)
            return
        if weight is not None:
            raise TypeError(f"`{name}` is a metric, which weighs its samples itself; leave `weight` out.")
        entry = self._enter(name, value) if on_epoch else Entry(value, name, self.epoch)
        if due:
            self._step_values |= entry.last_step()

    def _log_plain(self, name: str, value: Any, due: bool, on_epoch: bool, weight: Any) -> None:
        number = as_number(name, value)
        if name not in self._means:
            self._check_free([name])
        if on_epoch:
            self._means.add(name, number, None if weight is None else as_weight("weight", weight))
        if due:
            self._step_values[name] = number.clone() if isinstance(number, Tensor) else number
        self._order.setdefault(name)

    def _enter(self, name: str | None, metric: Any) -> Entry:
        """Give the entry of a metric, a new one if need be."""
        key = _key_of(name, metric)
        known = self._entries.get(key)
        if known is not None and known.metric is metric:
            known.epoch = self.epoch
            return known
        if known is not None and known.epoch == self.epoch:
            raise ValueError(
                f"`{key}` was logged with another metric in this epoch; a name belongs to one metric, which is"
                " updated batch by batch."
            )
        entry = Entry(metric, name, self.epoch)
        self._check_free(entry.names, besides=key)
        self._entries[key] = entry
        self._order.update(dict.fromkeys(entry.names or (key,)))
        return entry

    def _check_free(self, names: Sequence[str], besides: str | None = None) -> None:
        for name in names:
            if name in _RESERVED:
                raise ValueError(f"a value cannot be named `{name}`, which every record has; call it `my_{name}`, say.")
            owners = [key for key, entry in self._entries.items() if key != besides and name in entry.names]
            if owners or (besides is not None and name in self._means):
                raise ValueError(f"`{name}` is the name of another value already; give one of the two another name.")

    def _sync(self) -> dict[str, Any]:
        """Give the values of all ranks. Collective: every rank of the group must call this."""
        if is_absent(self._group):
            return dict.fromkeys(self._order)
        plain = PlainValues(process_group=self._group, sync_timeout=self.sync_timeout)
        with share_errors(process_group=self._group, timeout=self.sync_timeout):
            rows = self._means.rows()
            if rows or has_data(self._group):
                plain.update(rows)
        together = {f"plain values of epoch {self.epoch + 1}": plain}
        together |= {key: entry.to_sync() for key, entry in self._entries.items()}
        group = OWN if self._group is WORLD else self._group
        try:
            with synced(together, process_group=group, timeout=self.sync_timeout):
                values: dict[str, Any] = dict(fold_rows(plain.compute()))
                for entry in self._entries.values():
                    if entry.is_absent() or entry.was_updated():
                        _add_new(values, entry.compute())
        except SchemaMismatchError as error:
            raise SchemaMismatchError(f"{error}{_FIX}") from error
        return {name: values[name] for name in self._order if name in values} | values

    def _covered(self) -> Coverage | None:
        """Give what the metrics rest on that had an update on any rank; it is of the sync that was just made."""
        hosts = [(entry.name or "", entry.host) for entry in self._entries.values() if entry.to_sync()]
        shares = tuple(share for share in shares_of(hosts) if any(share.updates))
        return Coverage(shares) if shares else None

    def _writes(self) -> bool:
        return writes(self._group)

    def _write(self, record: Record) -> None:
        pictures = {name: values for name, values in record.arrays.items() if values.dim() == 2}

        def write(sink: Sink) -> None:
            sink.write(record)
            for name, values in pictures.items():
                sink.picture(name, values, record)

        self._for_each_sink(write)

    def _for_each_sink(self, act: Any) -> None:
        """Do something with every sink, and raise what the first of those that failed has raised."""
        errors = []
        for sink in self.sinks:
            try:
                act(sink)
            except Exception as error:  # the other sinks are not to lose the record for it
                errors.append(error)
        if errors:
            raise errors[0]


def _items(values: Any) -> list[tuple[str | None, Any]]:
    """Give names and values; a collection is one thing without a name of its own."""
    if isinstance(values, Metric) and values.output_names is None:
        raise TypeError(f"a {type(values).__name__} gives a value without a name; give it one: log(name, metric).")
    if is_metric(values):
        return [(None, values)]
    if isinstance(values, Mapping):
        return [(str(name), value) for name, value in values.items()]
    raise TypeError(
        f"a mapping from names to values, or a collection, was expected, but a {type(values).__name__} was given."
    )


def _key_of(name: str | None, metric: Any) -> str:
    """Give what a metric is called in the exchange: the same on every rank."""
    if name is not None:
        return name
    names = Entry(metric, None, 0).names
    return names[0] if names else type(metric).__name__


def _add_new(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    taken = sorted(values.keys() & more.keys())
    if taken:
        raise ValueError(f"two values are named {taken}; give one of them another name.")
    values.update(more)
