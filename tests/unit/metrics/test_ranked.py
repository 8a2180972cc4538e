"""Average precision, rank correlation, quantiles and retrieval against simple implementations."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from syncmetrics import (
    BinaryAUROC,
    BinaryAveragePrecision,
    MetricCollection,
    Quantile,
    RetrievalMAP,
    RetrievalMRR,
    SpearmanCorrCoef,
)
from syncmetrics.family.exact import inner_product, join_parts, mean_by_group, sum_of_products, unit_ratios


def value_of(metric: Any, *columns: Tensor, pieces: int = 1) -> Tensor:
    for batch in zip(*(column.tensor_split(pieces) for column in columns), strict=True):
        metric.update(*batch)
    return metric.compute()


def drawn(count: int, seed: int, levels: int = 0) -> Tensor:
    x = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    return (x * levels).round() / levels if levels else x


# ---- exact sums


def test_exact_sums_are_those_of_fractions() -> None:
    big = torch.randint(-(2**31) + 1, 2**31, (500,), generator=torch.Generator().manual_seed(1))
    other = big.flip(0)
    assert inner_product(big, other) == sum(a * b for a, b in zip(big.tolist(), other.tolist(), strict=True))
    counts = torch.randint(0, 2**26, (500,), generator=torch.Generator().manual_seed(2))
    ratios = unit_ratios(counts, counts + 3)
    assert join_parts(*sum_of_products(counts, ratios)) == sum(
        a * b for a, b in zip(counts.tolist(), ratios.tolist(), strict=True)
    )
    for n, d, r in zip(counts.tolist(), (counts + 3).tolist(), ratios.tolist(), strict=True):
        assert abs(Fraction(n, d) - Fraction(r, 2**53)) <= Fraction(1, 2**53)
    group = torch.randint(0, 7, (500,), generator=torch.Generator().manual_seed(3))
    sizes = group.bincount(minlength=8)
    sums = [sum(r for r, g in zip(ratios.tolist(), group.tolist(), strict=True) if g == k) for k in range(8)]
    assert mean_by_group(ratios, group, sizes).tolist() == [
        s // max(n, 1) for s, n in zip(sums, sizes.tolist(), strict=True)
    ]


# ---- average precision


@pytest.mark.parametrize("levels", [0, 1, 3])
@pytest.mark.parametrize("count", [1, 2, 7, 500])
def test_average_precision_is_that_of_sklearn(levels: int, count: int) -> None:
    from sklearn.metrics import average_precision_score

    scores = drawn(count, 1, levels)
    target = (drawn(count, 2) > 0.2).long()
    target[0] = 1
    value = value_of(BinaryAveragePrecision(), scores, target)
    assert value.item() == pytest.approx(average_precision_score(target, scores), abs=1e-7)


def test_average_precision_of_no_positive_is_zero_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="no positive sample was given"):
        assert value_of(BinaryAveragePrecision(), torch.rand(4), torch.zeros(4, dtype=torch.long)) == 0


def test_curves_share_their_samples() -> None:
    metrics = MetricCollection([BinaryAUROC(), BinaryAveragePrecision()])
    assert metrics.compute_groups == {0: ["BinaryAUROC", "BinaryAveragePrecision"]}
    apart = MetricCollection([BinaryAUROC(shuffle_above=5), BinaryAveragePrecision()])
    assert len(apart.compute_groups) == 2


# ---- rank correlation


def plain_spearman(x: list[float], y: list[float]) -> float:
    ranks = [[Fraction(2 * sum(b < a for b in v) + sum(b == a for b in v) + 1, 2) for a in v] for v in (x, y)]
    means = [sum(r) / len(r) for r in ranks]
    a, b = ([r - m for r in rs] for rs, m in zip(ranks, means, strict=True))
    norm = math.sqrt(sum(i * i for i in a)) * math.sqrt(sum(i * i for i in b))
    return float(sum(i * j for i, j in zip(a, b, strict=True))) / norm


@pytest.mark.parametrize("levels", [0, 1, 2])
@pytest.mark.parametrize("count", [2, 3, 60])
def test_spearman_is_the_correlation_of_average_ranks(levels: int, count: int) -> None:
    x = drawn(count, 3, levels) + torch.arange(count) * 0.2
    y = drawn(count, 4, levels) - torch.arange(count) * 0.3
    assert value_of(SpearmanCorrCoef(), x, y).item() == pytest.approx(plain_spearman(x.tolist(), y.tolist()), abs=1e-7)


def test_spearman_of_the_same_order_is_one() -> None:
    x = drawn(1001, 5)
    assert value_of(SpearmanCorrCoef(), x, x.exp()) == 1
    assert value_of(SpearmanCorrCoef(), x, -x.double()) == -1
    assert value_of(SpearmanCorrCoef(), torch.arange(5), torch.tensor([True, True, True, True, False])) < 0


def test_spearman_of_a_constant_is_nan_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="all of `target` are equal"):
        assert value_of(SpearmanCorrCoef(), torch.rand(4), torch.ones(4)).isnan()
    with pytest.raises(ValueError, match="`preds` must not be NaN, as NaN has no rank, but 1 of 2"):
        SpearmanCorrCoef().update(torch.tensor([1.0, math.nan]), torch.rand(2))


# ---- quantiles


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "nearest", "midpoint"])
@pytest.mark.parametrize("count", [1, 2, 5, 8, 201])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quantiles_are_those_of_torch(interpolation: str, count: int, dtype: torch.dtype) -> None:
    values = drawn(count, 6, 4).to(dtype)
    q = [0.0, 0.125, 0.25, 0.5, 0.75, 0.875, 1.0]
    found = value_of(Quantile(q, interpolation=interpolation), values)
    wanted = torch.quantile(values, torch.tensor(q, dtype=dtype), interpolation=interpolation)
    torch.testing.assert_close(found, wanted)
    one = value_of(Quantile(0.25, interpolation=interpolation), values)
    assert one.shape == ()
    assert one == found[2]


def test_quantiles_of_infinities_of_nan_and_of_nothing() -> None:
    inf = math.inf
    assert value_of(Quantile([0.0, 0.25, 0.75, 1.0]), torch.tensor([-inf, -inf, 1, inf])).tolist() == [
        -inf,
        -inf,
        inf,
        inf,
    ]
    assert value_of(Quantile([0.5]), torch.tensor([-inf, 1.0])) == -inf
    huge = torch.tensor([-1.5e308, 1.5e308], dtype=torch.float64)
    assert value_of(Quantile(0.5), huge) == 0
    assert value_of(Quantile(0.5), torch.tensor([1.0, math.nan, 2.0])).isnan()
    assert value_of(Quantile(0.5), torch.tensor([1, 2])).tolist() == 1.5
    metric = Quantile(0.5)
    metric.update(torch.zeros(0))
    with pytest.warns(UserWarning, match="no value was given"):
        assert metric.compute().isnan()
    metric.update(3)
    assert metric.compute() == 3


def test_bad_quantiles() -> None:
    for wrong in (1.5, -0.1, [0.5, 2], math.nan):
        with pytest.raises(ValueError, match=r"`q` must be in \[0, 1\]"):
            Quantile(wrong)
    for kind in ("0.5", None, [True]):
        with pytest.raises(TypeError, match="`q` must be a number"):
            Quantile(kind)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`interpolation` must be one of"):
        Quantile(0.5, interpolation="cubic")


# ---- retrieval


def plain_retrieval(kind: str, scores: Tensor, target: Tensor, queries: Tensor, empty: str) -> float:
    found = []
    for query in sorted(set(queries.tolist())):
        rows = [
            (-s, t) for s, t, q in zip(scores.tolist(), target.tolist(), queries.tolist(), strict=True) if q == query
        ]
        places = [place for place, (_, t) in enumerate(sorted(rows), start=1) if t]
        if not places:
            if empty != "skip":
                found.append(1.0 if empty == "pos" else 0.0)
        elif kind == "mrr":
            found.append(1 / places[0])
        else:
            found.append(sum(hits / place for hits, place in enumerate(places, start=1)) / len(places))
    return sum(found) / len(found)


@pytest.mark.parametrize("empty", ["neg", "pos", "skip"])
@pytest.mark.parametrize("levels", [0, 1])
@pytest.mark.parametrize("kind", ["mrr", "map"])
def test_retrieval_is_that_of_each_query(kind: str, levels: int, empty: str) -> None:
    scores, target = drawn(300, 7, levels), (drawn(300, 8) > 0.8).long()
    queries = torch.randint(-9, 60, (300,), generator=torch.Generator().manual_seed(9)) * 10**12
    metric = (RetrievalMRR if kind == "mrr" else RetrievalMAP)(empty)
    value = value_of(metric, scores, target, queries, pieces=4)
    assert value.item() == pytest.approx(plain_retrieval(kind, scores, target, queries, empty), abs=1e-7)


def test_retrieval_refuses() -> None:
    rows = torch.rand(3), torch.ones(3, dtype=torch.long), torch.arange(3)
    for index, wrong, text in (
        (0, torch.arange(3), "`preds` must hold floats"),
        (2, torch.rand(3), "`indexes` integers"),
        (2, torch.arange(4), "`indexes` must have the shape of `preds`"),
        (1, torch.full((3,), 2), "labels in `target`"),
        (0, torch.full((3,), math.nan), "must not be NaN"),
    ):
        with pytest.raises((TypeError, ValueError), match=text):
            RetrievalMRR().update(*(wrong if i == index else row for i, row in enumerate(rows)))
    with pytest.raises(ValueError, match="`empty_target_action` must be one of"):
        RetrievalMAP("raise")


# ---- all of them


MAKERS = [
    (BinaryAveragePrecision, 2),
    (SpearmanCorrCoef, 2),
    (lambda: Quantile([0.1, 0.9]), 1),
    (RetrievalMRR, 3),
    (RetrievalMAP, 3),
]


@pytest.mark.parametrize(("make", "columns"), MAKERS, ids=["ap", "spearman", "quantile", "mrr", "map"])
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1), st.integers(0, 4)), max_size=30), st.randoms())
def test_no_order_and_no_grouping_matters(
    make: Any, columns: int, rows: list[tuple[int, int, int]], random: Any
) -> None:
    def metric_of(part: list[tuple[int, int, int]]) -> Any:
        metric = make()
        table = torch.tensor(part, dtype=torch.long).reshape(-1, 3)
        metric.update(*[table[:, 0] / 3, table[:, 1], table[:, 2]][:columns])
        return metric

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = metric_of(rows).compute()
        mixed = random.sample(rows, len(rows))
        cut = random.randint(0, len(rows))
        merged = metric_of(mixed[:cut])
        merged.merge_state(metric_of(mixed[cut:]))
        found = merged.compute()
    assert torch.equal(found.nan_to_num(9), wanted.nan_to_num(9))
    assert found.dtype is wanted.dtype
