"""Law: a wrong label raises at once on a CPU; elsewhere, where nobody waits for the data, `compute` names it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from syncmetrics.transport.threads import run_threads
from tests.natives import ROWS
from tests.natives.native import Native, generator

pytestmark = pytest.mark.filterwarnings("ignore:.*before any update", "ignore:.*, so the (value|area) is")
#: Metrics of float scores or labels, and labels: the last argument.
OF_LABELS = [
    row
    for row in ROWS
    if row.name.startswith(("Binary", "Multiclass", "Multilabel", "Perplexity", "RetrievalMAP")) and row.build is None
]
EACH = pytest.mark.parametrize("row", OF_LABELS, ids=[row.id for row in OF_LABELS])


@pytest.fixture
def unread() -> Iterator[None]:
    """Let every metric take the CPU for a device that nobody waits for."""
    found = {name: module for name, module in sys.modules.items() if name.startswith("syncmetrics.")}
    patch = pytest.MonkeyPatch()
    for module in found.values():
        if "reads_data" in vars(module):
            patch.setattr(module, "reads_data", lambda tensor: False)
    yield
    patch.undo()


def _with_wrong_one(row: Native, key: int) -> tuple[Any, ...]:
    place = 1  # preds, target, and for ranked lists the numbers of queries
    samples = list(row.draw(9, generator(key)))
    samples[place] = samples[place].clone()
    samples[place].view(-1)[4] = 77
    return tuple(samples)


@EACH
def test_it_raises_at_once_on_a_cpu(row: Native) -> None:
    metric, batch = row.make(), row.draw(9, generator(1))
    metric.update(*batch, **row.update)
    before = {name: _copied(value) for name, value in metric.metric_state.items()}
    if row.options.get("validate_args", True):
        with pytest.raises(ValueError, match=r"(?s)77|labels"):
            metric.update(*_with_wrong_one(row, 2), **row.update)
        after = metric.metric_state
        assert all(_same(before[name], after[name]) for name in before)


@EACH
def test_it_is_told_by_compute_on_every_rank_elsewhere(row: Native, unread: None) -> None:
    def body(rank: int, world_size: int) -> str:
        metric = row.make()
        metric.update(*row.draw(9, generator(rank)), **row.update)
        if rank == 1:
            metric.update(*_with_wrong_one(row, 5), **row.update)
        with pytest.raises(ValueError, match=r"labels|target") as caught:
            metric.compute()
        return str(caught.value)

    first, second = run_threads(body, 2)
    assert first == second
    assert first.startswith(row.name)


@EACH
def test_what_is_in_range_counts_as_on_a_cpu(row: Native, unread: None) -> None:
    batches = [row.draw(9, generator(key)) for key in range(2)]
    elsewhere = row.make()
    for batch in batches:
        elsewhere.update(*batch, **row.update)
    value = elsewhere.compute()
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("syncmetrics.") and "reads_data" in vars(module):
                patch.setattr(module, "reads_data", lambda tensor: tensor.device.type == "cpu")
        here = row.make()
        for batch in batches:
            here.update(*batch, **row.update)
        torch.testing.assert_close(value, here.compute(), rtol=1e-12, atol=1e-12, equal_nan=True)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else [item.clone() for item in value]


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor):
        return torch.equal(before, after)
    return len(before) == len(after) and all(map(torch.equal, before, after))
