"""State dicts that torchmetrics saved load into metrics of the same name and states, and what does not fit is told."""

from __future__ import annotations

import io
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import syncmetrics
from syncmetrics import MulticlassAccuracy, MulticlassConfusionMatrix, SumMetric
from tests.natives import ROWS
from tests.natives.native import Native, generator

torchmetrics = pytest.importorskip("torchmetrics")
pytestmark = pytest.mark.filterwarnings("ignore:Metric .* will save all", "ignore:DiceScore metric currently defaults")

ROW_OF = {row.name: row for row in reversed(ROWS) if row.peer and row.build is None}


def _has_same_states(row: Native) -> bool:
    theirs = row.make_peer()
    if theirs is None:
        return False
    # `invalid` counts wrong labels, and begins with none.
    ours = {name: spec for name, spec in row.make()._holder.specs.items() if name != "invalid"}
    sizes = {name: default.numel() for name, default in theirs._defaults.items() if isinstance(default, Tensor)}
    return set(theirs._defaults) == set(ours) and all(
        isinstance(spec.default, Tensor) and spec.default.numel() == sizes[name]
        for name, spec in ours.items()
        if name in sizes
    )


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    SAME = sorted(name for name, row in ROW_OF.items() if _has_same_states(row))


def test_the_table_is_not_empty() -> None:
    assert {"BinaryAUROC", "MeanSquaredError", "MulticlassCohenKappa", "MulticlassConfusionMatrix"} <= set(SAME)


@pytest.mark.parametrize("name", SAME)
def test_their_states_are_taken(name: str) -> None:
    row = ROW_OF[name]
    theirs, ours, once = row.make_peer(), row.make(), row.make()
    theirs.persistent(True)
    for seed in range(2):
        batch = row.draw(20, generator(seed))
        theirs.update(*batch, **row.update)
        once.update(*batch, **row.update)
    file = io.BytesIO()
    torch.save(theirs.state_dict(), file)
    file.seek(0)
    ours.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(ours.compute(), once.compute(), rtol=1e-6, atol=1e-6)
    batch = row.draw(20, generator(2))
    ours.update(*batch, **row.update)
    once.update(*batch, **row.update)
    torch.testing.assert_close(ours.compute(), once.compute(), rtol=1e-6, atol=1e-6)
    if isinstance(once.compute(), Tensor):
        assert ours.compute().dtype == once.compute().dtype


def test_other_states_are_told_by_name() -> None:
    theirs = torchmetrics.classification.MulticlassAccuracy(num_classes=4)
    theirs.persistent(True)
    ours = MulticlassAccuracy(num_classes=4)
    ours.persistent(True)
    with pytest.raises(RuntimeError, match=r'Missing key\(s\).*"confmat"(.|\n)*Unexpected key\(s\).*"tp"'):
        ours.load_state_dict(theirs.state_dict())
    theirs = torchmetrics.classification.MulticlassConfusionMatrix(num_classes=3)
    theirs.persistent(True)
    with pytest.raises(RuntimeError, match=r"shape \(3, 3\), but has \(4, 4\) here"):
        MulticlassConfusionMatrix(num_classes=4).load_state_dict(theirs.state_dict())
    with pytest.raises(RuntimeError, match=r"saved as torch.float32, but is torch.int64 here"):
        MulticlassConfusionMatrix(num_classes=2).load_state_dict({"confmat": torch.full((2, 2), 0.5)})


class Model(nn.Module):
    def __init__(self, **metrics: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        for name, metric in metrics.items():
            metric.persistent(True)
            setattr(self, name, metric)


def test_a_metric_that_was_added_since_begins_anew_and_one_that_is_gone_is_told() -> None:
    before = Model(total=SumMetric())
    before.total.update(torch.tensor(2.0))  # type: ignore[operator, union-attr]
    saved = before.state_dict()
    more = Model(total=SumMetric(), matrix=MulticlassConfusionMatrix(num_classes=3))
    assert not more.load_state_dict(saved).missing_keys
    assert more.total.compute() == 2.0  # type: ignore[operator, union-attr]
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\).*"total.sum_value"'):
        Model().load_state_dict(saved)
    part = {key: value for key, value in saved.items() if key != "total.sum_value"}
    with pytest.raises(RuntimeError, match=r'Missing key\(s\).*"total.sum_value"'):
        Model(total=SumMetric()).load_state_dict(part)


def test_another_declaration_is_told_with_both_sides() -> None:
    before = Model(metric=MulticlassConfusionMatrix(num_classes=3)).state_dict()
    with pytest.raises(
        RuntimeError,
        match=r"`metric` .* state `confmat` was saved as int64 \(3, 3\).*but is int64 \(5, 5\)",
    ):
        Model(metric=MulticlassConfusionMatrix(num_classes=5)).load_state_dict(before)

    class One(syncmetrics.Metric):
        def __init__(self, reduction: Any, default: Any) -> None:
            super().__init__()
            self.add_state("x", torch.tensor(default), dist_reduce_fx=reduction)

        def update(self) -> None: ...

        def compute(self) -> None: ...

    def declared(reduction: Any, default: Any = 0.0) -> Any:
        return One(reduction, default)

    before = Model(metric=declared("sum")).state_dict()
    with pytest.raises(RuntimeError, match=r"saved as float32 \(\) reduced by sum, but is float32 \(\) reduced by max"):
        Model(metric=declared("max")).load_state_dict(before)
    with pytest.raises(RuntimeError, match=r"saved as float32 \(\) reduced by sum, but is int64 \(\) reduced by sum"):
        Model(metric=declared("sum", 0)).load_state_dict(before)
    newer = bytes(before["metric._about"]).replace(b'"format": 1', b'"format": 2')
    with pytest.raises(RuntimeError, match=r"saved in format 2, and this version reads format 1"):
        Model(metric=declared("sum")).load_state_dict({**before, "metric._about": torch.tensor(list(newer))})
    for bad in (torch.tensor([255, 0], dtype=torch.uint8), "text", torch.zeros(0), torch.ones(2, 2)):
        with pytest.raises(RuntimeError, match=r"`metric` cannot be loaded: what was saved about it cannot be read"):
            Model(metric=declared("sum")).load_state_dict({**before, "metric._about": bad})
