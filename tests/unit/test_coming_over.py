"""Metrics as people write them for torchmetrics run after the import is changed, and give the same values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import syncmetrics
from syncmetrics.testing import assert_matches_single_process

torchmetrics = pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")


def written_for(base: Any, dim_zero_cat: Callable[[Any], Tensor]) -> dict[str, Callable[[], Any]]:
    """Give fifteen metrics on top of one base class, which is all that changes."""

    class InPlace(base):
        higher_is_better = True
        full_state_update = False

        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.add_state("correct", default=torch.tensor(0), dist_reduce_fx="sum")
            self.add_state("total", default=torch.tensor(0), dist_reduce_fx="sum")

        def update(self, preds: Tensor, target: Tensor) -> None:
            self.correct += (preds > 0).eq(target > 0).sum()
            self.total += target.numel()

        def compute(self) -> Tensor:
            return self.correct.float() / self.total

    class Rebinding(base):
        full_state_update: bool = False

        def __init__(self) -> None:
            super().__init__()
            self.add_state("error", torch.zeros(1), dist_reduce_fx="sum")
            self.add_state("count", torch.tensor(0.0), "sum")

        def update(self, preds: Tensor, target: Tensor) -> None:
            self.error = self.error + (preds - target).abs().sum()
            self.count = self.count + len(preds)

        def compute(self) -> Tensor:
            return self.error / self.count

    class Appending(base):
        full_state_update = False
        preds: list[Tensor]
        target: list[Tensor]

        def __init__(self) -> None:
            super().__init__()
            self.add_state("preds", default=[], dist_reduce_fx="cat")
            self.add_state("target", default=[], dist_reduce_fx="cat")

        def update(self, preds: Tensor, target: Tensor) -> None:
            self.preds.append(preds.detach())
            self.target.append(target.detach())

        def compute(self) -> Tensor:
            preds, target = dim_zero_cat(self.preds), dim_zero_cat(self.target)
            return (preds.sort().values * target.sort().values).sum()

    class TensorRows(base):
        full_state_update = True

        def __init__(self) -> None:
            super().__init__()
            self.add_state("rows", torch.zeros(0), dist_reduce_fx="cat")

        def update(self, preds: Tensor, target: Tensor) -> None:
            self.rows = torch.cat([self.rows, preds])

        def compute(self) -> Tensor:
            return self.rows.sort().values

    class Highest(base):
        higher_is_better = True
        full_state_update = True

        def __init__(self) -> None:
            super().__init__()
            self.add_state("best", torch.tensor(-float("inf")), dist_reduce_fx="max")

        def update(self, preds: Tensor, target: Tensor) -> None:
            self.best = torch.max(self.best, preds.max())

        def compute(self) -> Tensor:
            return self.best

    class Lowest(base):
        higher_is_better = False
        full_state_update = True

        def __init__(self) -> None:
            super().__init__()
            self.add_state("worst", torch.tensor(float("inf")), dist_reduce_fx="min")

        def update(self, preds: Tensor, target: Tensor) -> None:
            if preds.min() < self.worst:
                self.worst = preds.min()

        def compute(self) -> Tensor:
            return self.worst

    class Callables(base):
        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.add_state("norm", torch.tensor(0.0), dist_reduce_fx=lambda stack: stack.sum(0))
            self.add_state("top", torch.tensor(-100.0), dist_reduce_fx=lambda stack: torch.amax(stack, dim=0))

        def update(self, preds: Tensor, target: Tensor) -> None:
            self.norm += (preds**2).sum()
            self.top = torch.maximum(self.top, preds.max())

        def compute(self) -> dict[str, Tensor]:
            return {"norm": self.norm.sqrt(), "top": self.top}

    class Several(base):
        full_state_update = False

        def __init__(self, num_classes: int = 3) -> None:
            super().__init__()
            self.num_classes = num_classes
            for name in ("tp", "fp", "fn"):
                self.add_state(name, torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

        def update(self, preds: Tensor, target: Tensor) -> None:
            labels, truth = (x.abs().long().clamp(max=self.num_classes - 1) for x in (preds, target))
            for c in range(self.num_classes):
                self.tp[c] += ((labels == c) & (truth == c)).sum()
                self.fp[c] += ((labels == c) & (truth != c)).sum()
                self.fn[c] += ((labels != c) & (truth == c)).sum()

        def compute(self) -> Tensor:
            return 2 * self.tp / (2 * self.tp + self.fp + self.fn).clamp(min=1)

    class Inherited(InPlace):
        def update(self, preds: Tensor, target: Tensor) -> None:
            super().update(preds * 2, target)

        def compute(self) -> Tensor:
            return 1 - super().compute()

    class Nested(base):
        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.inner = InPlace()
            self.others = nn.ModuleDict({"low": Lowest(), "rows": Appending()})

        def update(self, preds: Tensor, target: Tensor) -> None:
            self.inner.update(preds, target)
            for metric in self.others.values():
                metric.update(preds, target)

        def compute(self) -> Tensor:
            return self.inner.compute() + self.others["low"].compute() + self.others["rows"].compute()

    class WithBuffer(base):
        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("edges", torch.linspace(-3, 3, 7))
            self.add_state("histogram", torch.zeros(8, dtype=torch.int64), dist_reduce_fx="sum", persistent=True)

        def update(self, preds: Tensor, target: Tensor) -> None:
            self.histogram += torch.bincount(torch.bucketize(preds, self.edges), minlength=8)

        def compute(self) -> Tensor:
            return self.histogram

    class KeepsAll(base):
        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.add_state("pieces", [], dist_reduce_fx=None)

        def update(self, preds: Tensor, target: Tensor) -> None:
            self.pieces += [preds, target]

        def compute(self) -> Tensor:
            return torch.stack([piece.sum() for piece in self.pieces]).sort().values

    class ScalarRows(base):
        full_state_update = False

        def __init__(self) -> None:
            super().__init__()
            self.add_state("losses", [], dist_reduce_fx="cat")

        def update(self, preds: Tensor, target: Tensor) -> None:
            self.losses.append((preds - target).pow(2).mean())

        def compute(self) -> Tensor:
            return dim_zero_cat(self.losses).sort().values.median()

    class Keywords(base):
        full_state_update = False

        def __init__(self, weight: float = 2.0, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.weight = weight
            self.add_state("sum_value", default=torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")

        def update(self, preds: Tensor, target: Tensor, weight: float | None = None) -> None:
            self.sum_value += (preds * target).double().sum() * (self.weight if weight is None else weight)

        def compute(self) -> Tensor:
            return self.sum_value

    class BranchesOnUpdates(base):
        full_state_update = True

        def __init__(self) -> None:
            super().__init__()
            self.add_state("longest", torch.tensor(0), dist_reduce_fx="max")

        def update(self, preds: Tensor, target: Tensor) -> None:
            self.longest = max(self.longest, torch.tensor(len(preds)))

        def compute(self) -> Tensor:
            return self.longest if self.update_called else torch.tensor(-1)

    classes = (InPlace, Rebinding, Appending, TensorRows, Highest, Lowest, Callables, Several, Inherited)
    classes += (Nested, WithBuffer, KeepsAll, ScalarRows, Keywords, BranchesOnUpdates)
    return {cls.__name__: cls for cls in classes}


OURS = written_for(syncmetrics.Metric, syncmetrics.dim_zero_cat)
THEIRS = written_for(torchmetrics.Metric, torchmetrics.utilities.dim_zero_cat)
BATCHES = [
    (torch.randint(-4, 5, (n,), generator=torch.Generator().manual_seed(n)).float(),) * 1
    + (torch.randint(-4, 5, (n,), generator=torch.Generator().manual_seed(50 + n)).float(),)
    for n in (3, 1, 6, 4, 2)
]


def test_there_are_fifteen() -> None:
    assert len(OURS) == 15


@pytest.mark.parametrize("name", OURS)
def test_value_is_that_of_torchmetrics(name: str) -> None:
    ours, theirs = OURS[name](), THEIRS[name]()
    for preds, target in BATCHES:
        ours.update(preds, target)
        theirs.update(preds, target)
    value = ours.compute()
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.squeeze()  # torchmetrics takes the shape off a single number
    torch.testing.assert_close(value, theirs.compute(), rtol=0, atol=0)


@pytest.mark.parametrize("name", OURS)
def test_any_shards_give_that_value(name: str) -> None:
    assert_matches_single_process(OURS[name], BATCHES, world_sizes=(1, 2, 3, 7))


@pytest.mark.parametrize("option", ["compute_on_cpu", "dist_sync_fn", "distributed_available_fn", "full_state_update"])
def test_what_torchmetrics_takes_is_refused_with_what_to_write(option: str) -> None:
    with pytest.raises(TypeError, match=rf"`InPlace` has no argument `{option}`; \w+"):
        OURS["InPlace"](**{option: True})
    OURS["InPlace"](**{option: None})  # as left out


def test_an_argument_that_nobody_has_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`InPlace` has no argument `colour`\.$"):
        OURS["InPlace"](colour="red")


def test_compute_without_cache() -> None:
    runs = []

    class Counting(OURS["InPlace"]):  # type: ignore[misc]
        def compute(self) -> Tensor:
            runs.append(1)
            return super().compute()

    for cached, expected in ((True, 1), (False, 2)):
        runs.clear()
        metric = Counting(compute_with_cache=cached)
        metric.update(*BATCHES[0])
        metric.compute()
        metric.compute()
        assert len(runs) == expected
