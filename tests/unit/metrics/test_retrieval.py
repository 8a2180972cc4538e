"""Ranked lists: what is refused, nasty documents with their values argued, and that no order of documents matters."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import syncmetrics
from syncmetrics import (
    MetricCollection,
    RetrievalAUROC,
    RetrievalFallOut,
    RetrievalHitRate,
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalPrecisionRecallCurve,
    RetrievalRecall,
    RetrievalRecallAtFixedPrecision,
    RetrievalRPrecision,
)
from syncmetrics.retrieval import base
from syncmetrics.retrieval.ranking import rank_documents
from syncmetrics.transport.threads import run_threads
from tests.natives import retrieval

NAN, INF = math.nan, math.inf
VALUES = (
    RetrievalAUROC,
    RetrievalFallOut,
    RetrievalHitRate,
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalRPrecision,
    RetrievalRecall,
)
CURVES = (RetrievalPrecisionRecallCurve, RetrievalRecallAtFixedPrecision)
ALL = (*VALUES, *CURVES)
EACH = pytest.mark.parametrize("cls", ALL)


def documents(seed: int = 1, count: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    preds = torch.randint(0, 9, (count,), generator=gen) / 3 - 1
    return preds, torch.randint(0, 2, (count,), generator=gen), torch.randint(-2, 7, (count,), generator=gen)


def value_of(metric: Any, preds: Any, target: Any, indexes: Any = None) -> Any:
    preds, target = torch.as_tensor(preds, dtype=torch.float32), torch.as_tensor(target)
    metric.update(preds, target, torch.zeros(preds.shape, dtype=torch.long) if indexes is None else indexes)
    return metric.compute()


def flat(value: Any) -> list[float]:
    return [x for part in (value if isinstance(value, tuple) else (value,)) for x in part.flatten().tolist()]


# ---- what is refused


@EACH
def test_bad_input(cls: Any) -> None:
    rows = torch.rand(3), torch.ones(3, dtype=torch.long), torch.arange(3)
    negative = torch.tensor([0, 1, -1])
    for index, wrong, kind, text in (
        (0, torch.arange(3), TypeError, "`preds` must hold floats"),
        (0, [0.1], TypeError, "`preds` must be a torch.Tensor"),
        (2, torch.rand(3), TypeError, "`indexes` integers"),
        (2, torch.ones(3, dtype=torch.bool), TypeError, "`indexes` integers"),
        (2, torch.arange(4), ValueError, "`indexes` must have the shape of `preds`"),
        (1, torch.ones(4), ValueError, "`preds` must have the shape of `target`"),
        (1, negative, ValueError, "labels in `target` must be"),
        (1, torch.tensor([0, 1, NAN]), ValueError, "labels in `target` must be"),
        (1, torch.tensor([0, 1, INF]), ValueError, "labels in `target` must be"),
        (0, torch.full((3,), NAN), ValueError, "`preds` must not be NaN"),
    ):
        metric = cls()
        with pytest.raises(kind, match=f"^{cls.__name__}: .*{text}"):
            metric.update(*(wrong if i == index else row for i, row in enumerate(rows)))
        assert not metric.preds
    if cls is not RetrievalNormalizedDCG:
        for wrong in (torch.tensor([0, 1, 2]), torch.tensor([0, 1, 0.5])):
            with pytest.raises(ValueError, match=r"must be (0 or 1|in 0\.\.1)"):
                cls().update(rows[0], wrong, rows[2])


@EACH
def test_bad_arguments(cls: Any) -> None:
    for options, kind in (
        ({"empty_target_action": "raise"}, ValueError),
        ({"ignore_index": "x"}, TypeError),
        ({"aggregation": "sum"}, ValueError),
        ({"shuffle_above": -1}, ValueError),
    ):
        with pytest.raises(kind, match=f"^{cls.__name__}: `{next(iter(options))}` must be"):
            cls(**options)
    name = "max_k" if cls in CURVES else "top_k"
    if cls is not RetrievalRPrecision:
        with pytest.raises(ValueError, match=f"`{name}` must be at least 1"):
            cls(**{name: 0})
        with pytest.raises(TypeError, match=f"`{name}` must be an int"):
            cls(**{name: 1.5})


def test_more_bad_arguments() -> None:
    for make, kind in (
        (lambda: RetrievalAUROC(max_fpr=0.0), ValueError),
        (lambda: RetrievalAUROC(max_fpr="1"), TypeError),  # type: ignore[arg-type]
        (lambda: RetrievalPrecision(adaptive_k=1), TypeError),  # type: ignore[arg-type]
        (lambda: RetrievalPrecisionRecallCurve(adaptive_k=None), TypeError),  # type: ignore[arg-type]
        (lambda: RetrievalRecallAtFixedPrecision(1.5), ValueError),
        (lambda: RetrievalRecallAtFixedPrecision(None), TypeError),  # type: ignore[arg-type]
    ):
        with pytest.raises(kind):
            make()


# ---- nasty documents


@EACH
def test_no_query_is_zero_with_a_warning(cls: Any) -> None:
    with pytest.warns(UserWarning, match="no query was given"):
        value = value_of(cls(), [], torch.zeros(0, dtype=torch.long))
    assert not any(flat(value))
    with pytest.warns(UserWarning, match="no query was given"):
        value = value_of(cls(empty_target_action="skip"), [0.5], [1 if cls is RetrievalFallOut else 0])
    assert flat(value)[0] == 0


@EACH
def test_an_empty_query(cls: Any) -> None:
    kind = 1 if cls is RetrievalFallOut else 0
    rows = [0.5, 0.3], [kind, kind]
    assert flat(value_of(cls(empty_target_action="neg"), *rows))[0] == 0
    assert flat(value_of(cls(empty_target_action="pos"), *rows))[0] == 1
    with pytest.raises(ValueError, match=f"{cls.__name__}: with .*'error' every query must have .* but 1 of 1"):
        value_of(cls(empty_target_action="error"), *rows)
    assert RetrievalFallOut().empty_target_action == "pos"


@EACH
def test_everything_left_out_is_nothing(cls: Any) -> None:
    metric = cls(ignore_index=7)
    metric.update(torch.tensor([NAN, 0.5]), torch.tensor([7, 7]), torch.tensor([1, 2]))
    with pytest.warns(UserWarning, match="no query was given"):
        assert not any(flat(metric.compute()))


def test_one_document() -> None:
    for cls in VALUES:
        found = value_of(cls(), [0.5], [1])
        # Nothing is irrelevant: no area, and a query that is empty for the fall-out, which counts as 1.
        assert found == (0.0 if cls is RetrievalAUROC else 1.0), cls


def test_infinite_and_negative_scores_have_their_places() -> None:
    assert value_of(RetrievalMRR(), [-INF, INF, -1.0], [0, 0, 1]) == 0.5
    assert value_of(RetrievalRecall(top_k=2), [-INF, INF, -1.0], [0, 0, 1]) == 1


def test_equal_scores_earn_nothing_but_half_an_area() -> None:
    rows = [0.5] * 4, [1, 0, 1, 0]
    assert value_of(RetrievalMRR(), *rows).item() == pytest.approx(1 / 3)
    assert value_of(RetrievalHitRate(top_k=2), *rows) == 0
    assert value_of(RetrievalFallOut(top_k=2), *rows) == 1
    assert value_of(RetrievalAUROC(), *rows) == 0.5
    # The mean of all orders: all discounts times a half, by the two best.
    discounts = [1 / math.log2(place + 1) for place in range(1, 5)]
    assert value_of(RetrievalNormalizedDCG(), *rows).item() == pytest.approx(sum(discounts) / 2 / sum(discounts[:2]))


def test_very_large_and_very_small_relevance() -> None:
    for factor in (1e308, 5e-324, 1.0):
        target = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64) * factor
        assert value_of(RetrievalNormalizedDCG(), [3, 2, 1], target).item() == pytest.approx(
            1.5 / (1 + 1 / math.log2(3))
        )
    many = torch.tensor([300, 100, 0])
    assert value_of(RetrievalNormalizedDCG(), [1, 2, 3], many).item() == pytest.approx(
        (100 / math.log2(3) + 300 / 2) / (300 + 100 / math.log2(3))
    )


def test_a_gain_is_never_above_one() -> None:
    target = torch.rand(500, generator=torch.Generator().manual_seed(3))
    assert value_of(RetrievalNormalizedDCG(), target.clone(), target) == 1


def test_labels_of_any_dtype() -> None:
    preds, target, indexes = documents()
    for cls in VALUES:
        right = value_of(cls(), preds, target, indexes)
        for dtype in (torch.bool, torch.uint8, torch.int32, torch.float32, torch.bfloat16, torch.float64):
            assert value_of(cls(), preds, target.to(dtype), indexes) == right


# ---- together


def test_a_collection_keeps_documents_once() -> None:
    family = MetricCollection([cls() for cls in ALL])
    assert len(family.compute_groups) == 1
    apart = MetricCollection([RetrievalMAP(ignore_index=0), RetrievalMRR()])
    assert len(apart.compute_groups) == 2


def test_the_questions_of_a_collection_are_answered_together() -> None:
    preds, target, indexes = documents(5, 90)
    options: list[dict[str, Any]] = [{}, {"aggregation": "median"}]

    def value(rank: int, size: int) -> Any:
        family = MetricCollection(
            {f"{cls.__name__} {i}": cls(shuffle_above=0, **one) for cls in ALL for i, one in enumerate(options)}
        )
        family.update(preds[rank::size], target[rank::size], indexes[rank::size])
        return family.compute()

    right = value(0, 1)
    for found in run_threads(value, 3):
        assert {k: flat(v) for k, v in found.items()} == {k: flat(v) for k, v in right.items()}


def test_graded_documents_beside_metrics_of_two_kinds() -> None:
    family = MetricCollection([RetrievalNormalizedDCG(), RetrievalPrecision(top_k=1)])
    family.update(torch.rand(3), torch.tensor([0, 3, 1]), torch.zeros(3, dtype=torch.long))
    assert family["RetrievalNormalizedDCG"].compute() > 0
    with pytest.raises(ValueError, match="RetrievalPrecision: labels in `target` must be 0 or 1, but 1 of them"):
        family["RetrievalPrecision"].compute()


# ---- where nobody may wait


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "reads_data", lambda tensor: False)


@pytest.mark.usefixtures("no_reading")
@EACH
def test_what_nobody_waited_for_is_told_by_compute(cls: Any) -> None:
    preds, target, indexes = documents()
    for wrong_preds, wrong_target, text in (
        (preds.clone().index_fill_(0, torch.tensor([3]), NAN), target, "`preds` must not be NaN"),
        (preds, target - 5, "labels in `target` must be .* but 60 of them are not"),
        (preds, target * NAN, "labels in `target` must be .* but 60 of them are not"),
    ):
        metric = cls()
        metric.update(wrong_preds, wrong_target, indexes)
        with pytest.raises(ValueError, match=f"{cls.__name__}: .*{text}"):
            metric.compute()
    metric, other = cls(ignore_index=-7), cls()
    metric.update(
        torch.cat([preds, torch.tensor([NAN, 0.5])]),
        torch.cat([target, torch.tensor([-7, -7])]),
        torch.cat([indexes, torch.tensor([1, 99])]),
    )
    other.update(preds, target, indexes)
    assert flat(metric.compute()) == flat(other.compute())


@pytest.mark.usefixtures("no_reading")
@pytest.mark.parametrize("row", retrieval.ROWS, ids=[row.id for row in retrieval.ROWS])
def test_the_value_of_a_batch_without_waiting(row: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    metric, empty = row.make(), row.make()
    if callable(metric.aggregation) or (isinstance(metric, CURVES) and metric.max_k is None):
        return
    for some, count in ((metric, 40), (empty, 0)):
        some.update(*row.draw(count, torch.Generator().manual_seed(2)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            right = flat(some.compute())
        with monkeypatch.context() as patched:
            patched.setattr(base.RankedLists, "_waits_for_nothing", True)
            some.ignore_index = some.ignore_index  # what was computed is not good any more
            assert flat(some.compute()) == pytest.approx(right, abs=1e-7)


# ---- any order


@pytest.mark.parametrize("cls", ALL)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1), st.integers(0, 4)), max_size=30), st.randoms())
def test_no_order_and_no_grouping_matters(cls: Any, rows: list[tuple[int, int, int]], random: Any) -> None:
    def metric_of(part: list[tuple[int, int, int]]) -> Any:
        metric = cls()
        table = torch.tensor(part, dtype=torch.long).reshape(-1, 3)
        graded = table[:, 1] * (0.1 + table[:, 0].abs()) if cls is RetrievalNormalizedDCG else table[:, 1]
        metric.update(table[:, 0] / 3, graded, table[:, 2])
        return metric

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = metric_of(rows).compute()
        mixed = random.sample(rows, len(rows))
        cut = random.randint(0, len(rows))
        merged = metric_of(mixed[:cut])
        merged.merge_state(metric_of(mixed[cut:]))
        assert flat(merged.compute()) == flat(wanted)


def test_a_query_has_one_value_whatever_stands_beside_it() -> None:
    preds, target, _ = documents(9, 50)
    target = target * torch.rand(50, generator=torch.Generator().manual_seed(9))

    def alone(before: int) -> Any:
        metric = RetrievalNormalizedDCG(aggregation=lambda values: values[-1])
        others = documents(before, before)
        metric.update(others[0], others[1], others[2])
        metric.update(preds, target, torch.full((50,), 99))
        with syncmetrics.synced(metric):
            return metric.answer()[-1][-1]

    assert len({int(alone(before)) for before in (0, 1, 17, 200)}) == 1


def test_documents_of_a_query_are_ranked() -> None:
    ranking = rank_documents(
        torch.tensor([4, 2, 4, 4]), torch.tensor([1, 5, 3, 3]), torch.tensor([0, 1, 1, 0], dtype=torch.int8)
    )
    assert ranking.query.tolist() == [0, 1, 1, 1]
    assert ranking.place.tolist() == [1, 1, 2, 3]
    assert ranking.scores.tolist() == [5, 3, 3, 1]
    assert ranking.is_relevant.tolist() == [1, 0, 1, 0]
    assert ranking.hits.tolist() == [1, 0, 1, 1]
