"""What `LightningModule.log` and `log_dict` learn about our metrics, and about the values that these gave."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torchmetrics
from torch import Tensor, nn

from syncmetrics.foreign.replacements import Replacements
from syncmetrics.frameworks.lightning.pictures import show_picture
from syncmetrics.frameworks.lightning.views import Epoch, GlobalValue, ScalarView
from syncmetrics.metric import Metric, MetricCollection
from syncmetrics.metric.origins import Origin, origin_of, stop_watching, watch

__all__ = ["ended", "install", "uninstall"]

#: Where the two packages of Lightning have their LightningModule.
_LIGHTNING = ("lightning.pytorch.core.module", "pytorch_lightning.core.module")

_replaced = Replacements()

#: What is logged together, by LightningModule and stage.
_epochs: weakref.WeakKeyDictionary[nn.Module, dict[str, Epoch]] = weakref.WeakKeyDictionary()

#: Names whose value was told to be averaged where the metric was meant.
_told: weakref.WeakKeyDictionary[nn.Module, set[str]] = weakref.WeakKeyDictionary()


def install() -> None:
    """Let `LightningModule.log` and `log_dict` take our metrics and collections.

    It is called by itself when a metric is made in a process that has loaded Lightning. Doing it twice is harmless.
    """
    for view in (ScalarView, GlobalValue):
        if not issubclass(view, torchmetrics.Metric):
            torchmetrics.Metric.register(view)  # all that Lightning asks for before it logs something that computes
    for name in _LIGHTNING:
        cls = getattr(sys.modules.get(name), "LightningModule", None)
        if cls is not None and cls not in _replaced:
            _replaced.replace(cls, "log", _log(cls.log))
            _replaced.replace(cls, "log_dict", _log_dict(cls.log_dict))
            watch()


def meet(module: Any) -> bool:
    """Introduce our metrics to a Lightning that this process has loaded.

    Args:
        module: Where it has its LightningModule.

    Returns:
        Whether that is done: a module that is still being imported has no class yet.
    """
    if not hasattr(module, "LightningModule"):
        return False
    install()
    return True


def uninstall() -> None:
    """Give Lightning its own methods back."""
    _replaced.undo()
    stop_watching()


def _log(original: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def log(self: Any, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(value, (Metric, MetricCollection)):
            bound = signature.bind(self, name, value, *args, **kwargs).arguments
            _log_views(original, bound, name, value)
            return
        origin = origin_of(value) if isinstance(value, Tensor) else None
        if origin is not None and self._trainer is not None:
            bound = signature.bind(self, name, value, *args, **kwargs).arguments
            _log_value(original, bound, origin)
            return
        original(self, name, value, *args, **kwargs)

    return log


def _log_dict(original: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def log_dict(self: Any, dictionary: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(dictionary, MetricCollection):
            original(self, dictionary, *args, **kwargs)
            return
        bound = signature.bind(self, dictionary, *args, **kwargs).arguments
        del bound["dictionary"]
        _log_views(_replaced.original(type(self), "log"), bound, None, dictionary)

    return log_dict


def _log_views(
    original: Callable[..., None], arguments: dict[str, Any], name: str | None, metric: Metric | MetricCollection
) -> None:
    """Log a metric or a collection: a view for each name."""
    module = arguments["self"]
    options = {key: value for key, value in arguments.items() if key not in ("self", "name", "value")}
    options.setdefault("metric_attribute", "metric")  # views are no modules, and need not be found among them
    live = _is_for_epoch(module, options)
    for full, view in _epoch(module).views(name, metric, _loader_of(module)):
        view.source.is_live |= live
        original(module, full, view, **options)


def _log_value(original: Callable[..., None], arguments: dict[str, Any], origin: Origin) -> None:
    """Log a value that a metric gave: as it is, if it is that of all ranks, and never quietly averaged."""
    module, name, value = arguments["self"], arguments["name"], arguments["value"]
    options = {key: item for key, item in arguments.items() if key not in ("self", "name", "value")}
    if _is_step(module) and _is_for_epoch(module, options):
        _tell(module, name, origin)
        if origin.is_global:
            options["sync_dist"] = False
    elif origin.is_global and value.numel() == 1:
        value = GlobalValue(value.detach().reshape(()))
        options.update(metric_attribute="metric", sync_dist=False)
    original(module, name, value, **options)


def _is_step(module: Any) -> bool:
    hook = module._current_fx_name or ""
    return hook.endswith("_step") or "batch" in hook


def _is_for_epoch(module: Any, options: dict[str, Any]) -> bool:
    """Whether a value of the whole epoch is wanted: if it is not said, as the hook has it."""
    wanted: bool | None = options.get("on_epoch")
    if wanted is None:
        return not (module._trainer is not None and module._trainer.training and _is_step(module))
    return wanted


def _epoch(module: Any) -> Epoch:
    trainer = module._trainer
    stage = "" if trainer is None or trainer.state.stage is None else trainer.state.stage.dataloader_prefix
    stages = _epochs.setdefault(module, {})
    if stage not in stages:
        this = weakref.ref(module)
        stages[stage] = Epoch(functools.partial(_show, this), lambda: _loader_of(this()))
    return stages[stage]


def _show(this: Callable[[], Any], name: str, value: Any, metric: Metric) -> None:
    show_picture(this(), name, value, metric)


def ended(trainer: Any, module: Any) -> list[nn.Module]:
    """Give the metrics that were logged and whose epoch is over: Lightning resets them before they are used again.

    Those are the ones of the stage at work, if it has come to its end; those of other stages, but for a training that
    a validation interrupts; and those whose value was given, with nothing added since. What is saved behind the last
    batch of an epoch goes on with the first one of the next.
    """
    now = trainer.state.stage.dataloader_prefix if trainer.state.stage is not None else "train"
    is_over = bool(getattr(trainer._logger_connector, "_epoch_end_reached", False))
    is_over |= now == "train" and bool(trainer.fit_loop.epoch_loop.batch_progress.is_last_batch)
    found: list[nn.Module] = []
    for stage, epoch in _epochs.get(module, {}).items():
        over = is_over if stage == now else stage != "train"
        found += [source.metric for source in epoch.sources if over or source.is_good]
    return found


def _loader_of(module: Any) -> int | None:
    """Give which of several data loaders the present batch is from; None if there is one."""
    loader: int | None = getattr(getattr(getattr(module, "_trainer", None), "_results", None), "dataloader_idx", None)
    return loader


def _tell(module: Any, name: str, origin: Origin) -> None:
    """Say once that a value is averaged where the metric was meant, and what to write."""
    told = _told.setdefault(module, set())
    if name in told:
        return
    told.add(name)
    # Lightning would recommend `sync_dist=True`, which mends nothing.
    warnings.filterwarnings("ignore", message=f".*{re.escape(f'`self.log({name!r}, ..., sync_dist=True)`')}")
    if not module._trainer.is_global_zero:
        return
    metric = origin.metric()
    call = f"{type(metric).__name__}.{origin.method}()"
    warnings.warn(
        f"`self.log({name!r}, ...)` in `{module._current_fx_name}` was given a value that `{call}` returned: Lightning"
        " averages it over the batches, and the result is not the metric of the epoch. Update the metric in the step"
        f" and log the metric itself: {_advice(module, name, metric)}.",
        UserWarning,
        stacklevel=5,
    )


def _advice(module: Any, name: str, metric: Any) -> str:
    paths = {id(inner): path for path, inner in module.named_modules()}
    path = paths.get(id(metric), "metric")
    owner = path.rpartition(".")[0]
    if owner and isinstance(module.get_submodule(owner), MetricCollection):
        return f"`self.log_dict(self.{owner})`"
    return f"`self.log({name!r}, self.{path})`"
