"""Law: what was accumulated apart, and merged, is what one metric would have, whatever shares its states."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from syncmetrics import (
    CatMetric,
    MetricCollection,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    StateError,
    SumMetric,
)
from tests.fuzz.player import difference
from tests.fuzz.programs import draw_subject
from tests.fuzz.subjects import Subject, batch, build, expected
from tests.fuzz.thresholds import SETS
from tests.samples import bits, local_bits


def _subject(seed: int) -> Subject:
    chance = random.Random(seed)
    while True:
        subject = draw_subject(chance, 1, SETS[1])
        if subject.can_merge:
            return Subject(subject.kind, subject.declared, None, {}, subject.shared)


@pytest.mark.filterwarnings("ignore:.*before any update")
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_merged_is_what_one_would_have(seed: int, chance: random.Random) -> None:
    subject = _subject(seed)
    one, other = build(subject), build(subject)
    histories: list[list[list[int]]] = [[[] for _ in subject.leaves] for _ in range(2)]
    for metric, history, key in ((one, histories[0], 0), (other, histories[1], 50)):
        for step in range(chance.choice([0, 1, 2, 3])):
            only = chance.randrange(len(subject.leaves)) if chance.random() < 0.3 else None
            if only is None or subject.kind != "collection":
                metric.update(*batch(subject, key + step))
                for keys in history:
                    keys.append(key + step)
            else:  # they share their states no more
                metric[subject.leaves[only]].update(*batch(subject, key + step))
                history[only].append(key + step)
    before = local_bits(other)
    one.merge_state(other)
    assert local_bits(other) == before
    together = [tuple(tuple(a + b) for a, b in zip(*histories, strict=True))]
    assert not difference(one.compute(), expected(subject, together, synced=False), "merged")


def _collection() -> MetricCollection:
    accuracy = MulticlassAccuracy(num_classes=3)
    return MetricCollection({"a": accuracy, "m": MulticlassConfusionMatrix(num_classes=3)}, prefix="val/")


def test_what_shares_its_states_goes_on_sharing() -> None:
    one, other = _collection(), _collection()
    for metric in (one, other):
        metric.update(torch.tensor([0, 1]), torch.tensor([0, 2]))
    one.merge_state(other)
    assert one.compute_groups == {0: ["a", "m"]}
    assert one["val/m"].update_count == 2
    assert int(one.compute()["val/m"].sum()) == 4
    one.merge_state({"val/a": other["a"], "m": other["m"].metric_state})
    assert int(one.compute()["val/m"].sum()) == 6


def test_all_of_it_or_nothing() -> None:
    one = MetricCollection({"rows": CatMetric(), "total": SumMetric()})
    one.update(torch.tensor([1.0]))
    before = bits(one.metric_state)
    with pytest.raises(StateError, match=r"has the states \['invalid', 'sum_value'\], but was given \['x'\]"):
        one.merge_state({"rows": one["rows"].metric_state, "total": {"x": torch.tensor(1.0)}})
    with pytest.raises(StateError, match=r"has the metrics \['rows', 'total'\], but was given \['rows'\]"):
        one.merge_state(MetricCollection({"rows": CatMetric()}))
    assert bits(one.metric_state) == before


def test_metrics_of_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    one, other = (MetricCollection({"t": torchmetrics.CatMetric(), "own": SumMetric()}) for _ in range(2))
    one.update(torch.tensor([1.0]))
    other.update(torch.tensor([2.0, 3.0]))
    one.merge_state(other)
    assert one.compute()["t"].tolist() == [1.0, 2.0, 3.0]
    assert one.compute()["own"] == 6.0
    assert other["t"].compute().tolist() == [2.0, 3.0]
    with pytest.raises(StateError, match="cannot merge a `SumMetric`"):
        one["t"].merge_state(SumMetric())
