"""Scalar views of metrics, for a logger that knows numbers only: one view a name, and one sync for all views."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from syncmetrics.metric import Metric, MetricCollection, synced

__all__ = ["Epoch", "GlobalValue", "ScalarView"]

Picture = Callable[[str, Any, Metric], None]


class Source:
    """A metric or a collection that is logged, and the values that it had at last.

    Args:
        name: What it is called in an exchange: the same on every rank.
        metric: The metric or the collection.

    Attributes:
        outputs: For each name the metric that gives the value, and its key in what that metric gives.
        is_live: Whether its value of the epoch is wanted.
        loader: For which of several data loaders it was logged last.
    """

    def __init__(self, name: str, metric: Metric | MetricCollection) -> None:
        self.name = name
        self.metric = metric
        self.outputs = metric._hosted_outputs()
        self.is_live = False
        self.loader: int | None = None
        self._values: dict[str, Any] = {}
        self._computed_at: tuple[Any, ...] | None = None
        self._reset_at: tuple[Any, ...] | None = None

    @property
    def syncs(self) -> bool:
        """Whether its values are those of all ranks."""
        return all(metric.sync_on_compute for metric, _ in self.outputs.values())

    @property
    def is_good(self) -> bool:
        """Whether the values are those of what was accumulated by now."""
        return self._computed_at == self.metric._hosted_versions()

    def take(self) -> None:
        """Compute, and keep the values. Collective, unless the metric is synced already."""
        versions = self.metric._hosted_versions()
        value = self.metric.compute()
        self._values = dict(value) if isinstance(value, Mapping) else {"": value}
        self._computed_at = versions

    def leave_loader(self, now: Callable[[], int | None]) -> None:
        """Start over with the first batch of another data loader: one metric may serve several, one after the other."""
        loader, is_done = self.loader, False

        def reset_for_next() -> None:
            nonlocal is_done
            if not is_done and now() != loader:
                is_done = True
                self.metric.reset()

        if loader is not None:
            self.metric._hosted_before_update(reset_for_next)

    def value(self, name: str) -> Any:
        """Give one value.

        Raises:
            ValueError: There is none of this name.
        """
        if name not in self._values:
            given = sorted(self._values)
            raise ValueError(
                f"`{self.name}` gives {given}, but its `output_names` promised {name!r}; declare `output_names` in the"
                " metric whose `compute` gives a dict."
            )
        return self._values[name]

    def step_value(self, name: str) -> Any:
        """Give what the last `forward` gave under this name; None if there was none."""
        metric, key = self.outputs[name]
        value = metric._forward_cache
        return value.get(key) if isinstance(value, Mapping) else value

    def reset(self) -> None:
        """Reset the metric, once for all of its views."""
        if self.metric._hosted_versions() != self._reset_at:
            self.metric.reset()
            self._reset_at = self.metric._hosted_versions()
        self.is_live = False


class Epoch:
    """What is logged in one stage of one LightningModule: the first value that is wanted brings all, in one sync.

    Args:
        picture: Takes the name and value of what is no number, and the metric that gave it.
        loader: Gives the data loader whose batch is at work, if there are several.
    """

    def __init__(self, picture: Picture, loader: Callable[[], int | None]) -> None:
        self.picture = picture
        self._loader = loader
        self._sources: dict[int, Source] = {}
        self._views: dict[tuple[int, str | None], list[tuple[str, ScalarView]]] = {}
        self._logged: dict[tuple[str, int | None], Source] = {}

    @property
    def sources(self) -> list[Source]:
        """What is logged."""
        return list(self._sources.values())

    def views(
        self, name: str | None, metric: Metric | MetricCollection, loader: int | None = None
    ) -> list[tuple[str, ScalarView]]:
        """Give a view for each value of a metric, by the names under which they are logged.

        Args:
            name: What it is logged as; None for a collection that is logged by its own names.
            metric: What is logged.
            loader: Which of several data loaders it belongs to.

        Raises:
            ValueError: Another metric is logged under one of these names.
        """
        key = id(metric), name
        if key not in self._views:
            source = self._sources.get(id(metric)) or self._new_source(name or type(metric).__name__, metric)
            names = list(_named(name, source))
            for full, _ in names:
                if self._logged.get((full, loader), source) is not source:
                    raise ValueError(
                        f"`{full}` is logged with another {type(metric).__name__} than before; keep one metric in the"
                        " module, `self.metric = ...` in `__init__`, and log it in every step."
                    )
            self._sources[id(metric)] = source
            self._logged.update({(full, loader): source for full, _ in names})
            self._views[key] = [(full, ScalarView(self, source, inner, full)) for full, inner in names]
        self._sources[id(metric)].loader = loader
        return self._views[key]

    def _new_source(self, name: str, metric: Metric | MetricCollection) -> Source:
        """Name a metric for an exchange: it may be logged for one of several data loaders, each with its own metric."""
        taken = {source.name for source in self._sources.values()}
        alike = sum(other == name or other.startswith(f"{name} (") for other in taken)
        return Source(f"{name} ({alike + 1})" if alike else name, metric)

    def bring(self, wanted: Source) -> None:
        """Compute what is wanted, and in the same sync all else that was logged and is not computed yet.

        Collective: every rank of the group must call this.
        """
        if wanted.is_good:
            return
        if not wanted.syncs:
            wanted.take()
            wanted.leave_loader(self._loader)
            return
        stale = [s for s in self._sources.values() if s.syncs and not s.is_good and (s.is_live or s is wanted)]
        with synced({source.name: source.metric for source in stale}):
            for source in stale:
                source.take()
        for source in stale:
            source.leave_loader(self._loader)


def _named(name: str | None, source: Source) -> Iterator[tuple[str, str]]:
    for inner in source.outputs:
        yield (inner if name is None else f"{name}/{inner}" if inner else name), inner


class ScalarView:
    """One value of a metric or a collection, as the metric that Lightning knows: it asks for what stands here.

    Args:
        epoch: Everything that is computed together with it.
        source: Where the value comes from.
        name: Its name there; empty for the only value of a metric.
        full_name: What it is logged as.
    """

    def __init__(self, epoch: Epoch, source: Source, name: str, full_name: str) -> None:
        self._epoch = epoch
        self._name = name
        self._full_name = full_name
        self.source = source
        self._pictured: Any = None

    @property
    def device(self) -> torch.device:
        """The device of the states."""
        device: torch.device = self.source.outputs[self._name][0].device
        return device

    @property
    def _forward_cache(self) -> Tensor | None:
        return _number(self.source.step_value(self._name))

    def compute(self) -> Tensor | None:
        """Give the value of the epoch; None for what is no number, which goes to the loggers as a picture.

        Collective: every rank of the group must call this.
        """
        self._epoch.bring(self.source)
        value = self.source.value(self._name)
        number = _number(value)
        if number is None and self._pictured is not value:  # Lightning asks for a value that is None again and again
            self._pictured = value
            self._epoch.picture(self._full_name, value, self.source.outputs[self._name][0])
        return number

    def reset(self) -> None:
        """Reset the metric."""
        self.source.reset()

    def to(self, device: Any, *args: Any, **kwargs: Any) -> ScalarView:
        """Move the metric, if it is somewhere else."""
        if torch.device(device) != self.device:
            self.source.metric.to(device)
        return self


class GlobalValue:
    """A value that is that of all ranks already: it is logged as it is, and not averaged or reduced once more."""

    def __init__(self, value: Tensor) -> None:
        self._forward_cache = value
        self.device = value.device

    def compute(self) -> Tensor:
        """Give the value."""
        return self._forward_cache

    def reset(self) -> None:
        """Do nothing: the metric is the user's to reset."""

    def to(self, *args: Any, **kwargs: Any) -> GlobalValue:
        """Leave the value where it is."""
        return self


def _number(value: Any) -> Tensor | None:
    """Give a value as a tensor without dimensions; None if it is none, or has several elements."""
    if isinstance(value, (int, float)):
        return torch.tensor(value)
    return value.detach().reshape(()) if isinstance(value, Tensor) and value.numel() == 1 else None
