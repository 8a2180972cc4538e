"""The same samples in any order and in any batches give the same value: bit for bit where it is made of counts."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from syncmetrics import (
    BinaryAccuracy,
    BinaryAUROC,
    CatMetric,
    MaxMetric,
    MeanAbsoluteError,
    MeanMetric,
    MeanSquaredError,
    MinMetric,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
    SumMetric,
)

CLASSES = 4
# Few different scores, so that ties are common; some beyond [0, 1], so that some batches look like probabilities.
SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 0.4375, 2.0, -3.0])
# Numbers whose squares and sums are exact in float64: then sums, too, must agree bit for bit.
NUMBERS = st.integers(-1000, 1000).map(lambda n: n / 8)


@st.composite
def samples(draw, *columns):
    """Rows of the given columns, a permutation of them, and where to cut it into batches (some may be empty)."""
    rows = draw(st.lists(st.tuples(*columns), min_size=1, max_size=30))
    order = draw(st.permutations(range(len(rows))))
    cuts = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=5)))
    return rows, order, [0, *cuts, len(rows)]


def check(make, drawn, *, in_order=False):
    rows, order, edges = drawn
    columns = [torch.tensor(column) for column in zip(*rows, strict=True)]
    once, split = make(), make()
    once.update(*columns)
    order = torch.tensor(range(len(rows)) if in_order else order)
    for start, stop in pairwise(edges):
        split.update(*(column[order[start:stop]] for column in columns))
    assert torch.equal(split.compute(), once.compute())


@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none"])
@pytest.mark.parametrize("metric_class", [MulticlassAccuracy, MulticlassPrecision, MulticlassRecall, MulticlassF1Score])
@given(drawn=samples(st.integers(0, CLASSES - 1), st.integers(-1, CLASSES - 1)))
@settings(max_examples=15, deadline=None)
def test_multiclass_labels(metric_class, average, drawn):
    check(lambda: metric_class(CLASSES, average=average, ignore_index=-1), drawn)


@pytest.mark.parametrize("top_k", [1, 2, 3])
@given(drawn=samples(st.lists(SCORES, min_size=CLASSES, max_size=CLASSES), st.integers(0, CLASSES - 1)))
@settings(max_examples=30, deadline=None)
def test_multiclass_scores(top_k, drawn):
    check(lambda: MulticlassF1Score(CLASSES, top_k=top_k, average="none"), drawn)


@pytest.mark.parametrize("normalize", [None, "true", "pred", "all"])
@given(drawn=samples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)))
@settings(max_examples=15, deadline=None)
def test_confusion_matrix(normalize, drawn):
    check(lambda: MulticlassConfusionMatrix(CLASSES, normalize=normalize), drawn)


@pytest.mark.parametrize("threshold", [0.5, 0.3])
@given(drawn=samples(SCORES, st.integers(-1, 1)))
@settings(max_examples=100, deadline=None)
def test_binary_accuracy(threshold, drawn):
    check(lambda: BinaryAccuracy(threshold, ignore_index=-1), drawn)


@pytest.mark.parametrize("max_fpr", [None, 0.1, 0.5])
@given(drawn=samples(SCORES, st.integers(0, 1)))
@settings(max_examples=50, deadline=None)
def test_auroc(max_fpr, drawn):
    rows, order, edges = drawn
    both = [(0.5, 0), (0.5, 1)]  # one of each class, so that there is an area
    check(lambda: BinaryAUROC(max_fpr), (rows + both, [*order, len(rows), len(rows) + 1], [*edges, len(rows) + 2]))


@pytest.mark.parametrize("make", [SumMetric, MeanMetric, MinMetric, MaxMetric])
@given(drawn=samples(NUMBERS))
@settings(max_examples=20, deadline=None)
def test_aggregation(make, drawn):
    check(make, drawn)


@given(drawn=samples(NUMBERS))
@settings(max_examples=20, deadline=None)
def test_cat(drawn):
    check(CatMetric, drawn, in_order=True)


@pytest.mark.parametrize(
    "make", [MeanSquaredError, MeanAbsoluteError, lambda: MeanSquaredError(squared=False)], ids=["mse", "mae", "rmse"]
)
@given(drawn=samples(NUMBERS, NUMBERS))
@settings(max_examples=20, deadline=None)
def test_regression(make, drawn):
    check(make, drawn)
