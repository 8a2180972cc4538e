"""What the ranks of test_on_our_base.py do: torchmetrics is imported with our `Metric` in the place of its own.

Nothing here may import torchmetrics before that.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import io
import pickle
import sys
import warnings
from functools import partial
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist

import syncmetrics

SHARDS = [[6, 3], [2, 7, 5]]


class _Loader:
    """Loads `torchmetrics.metric`, and puts our class into it before any other module takes one out."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.Metric = syncmetrics.Metric  # type: ignore[attr-defined]


class _Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name != "torchmetrics.metric":
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None
        spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


def rows(ours: bool) -> dict[str, Any]:
    """Give the metrics of torchmetrics, on our base or on its own."""
    if ours and "torchmetrics" not in sys.modules:
        sys.meta_path.insert(0, _Finder)  # type: ignore[arg-type]
    module = importlib.import_module("tests.ranks.torchmetrics_rows")
    import torchmetrics

    assert issubclass(torchmetrics.SumMetric, syncmetrics.Metric) is ours
    return module.ROWS  # type: ignore[no-any-return]


def _outcome(act: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "", act()
        except Exception as error:
            return f"{type(error).__name__}: {error}"[:300], None


def _feed(row: Any, metric: Any, ranks: list[int]) -> Any:
    for rank in ranks:
        g = torch.Generator().manual_seed(100 + rank)
        for n in SHARDS[rank]:
            row.feed(metric, n, g)
    return metric


class _Forward:
    """A metric whose `update` is its `forward`, for what feeds it."""

    def __init__(self, metric: Any) -> None:
        self.update = metric


def one_process(rank: int, world_size: int, ours: bool) -> dict[str, dict[str, Any]]:
    """Give the value of each row in one process, after whatever a metric may go through."""
    dist.destroy_process_group()
    return {name: {way: _outcome(partial(act, row)) for way, act in WAYS.items()} for name, row in rows(ours).items()}


def two_ranks(rank: int, world_size: int) -> dict[str, Any]:
    """Give the value of each row on our base, of a shard on each rank."""
    found = {}
    for name, row in rows(True).items():
        error, metric = _outcome(partial(_made, row, [rank]))
        found[name] = (error, None) if metric is None else _outcome(metric.compute)
    return found


def _made(row: Any, ranks: list[int] | None = None) -> Any:
    return _feed(row, row.make(), [0, 1] if ranks is None else ranks)


def _by_forward(row: Any) -> Any:
    metric = row.make()
    _feed(row, _Forward(metric), [0, 1])
    return metric.compute()


def _after_reset(row: Any) -> Any:
    metric = _made(row)
    metric.reset()
    return _feed(row, metric, [0, 1]).compute()


def _saved_and_loaded(row: Any) -> Any:
    metric, other, file = _made(row), row.make(), io.BytesIO()
    for module in (*metric.modules(), *other.modules()):  # theirs does not reach those inside
        if hasattr(module, "persistent"):
            module.persistent(True)
    torch.save(metric.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    return _feed(row, other, [0]).compute()


WAYS: dict[str, Any] = {
    "update": lambda row: _made(row).compute(),
    "forward": _by_forward,
    "reset": _after_reset,
    "deepcopy": lambda row: copy.deepcopy(_made(row)).compute(),
    "pickle": lambda row: pickle.loads(pickle.dumps(_made(row))).compute(),
    "state_dict": _saved_and_loaded,
}
