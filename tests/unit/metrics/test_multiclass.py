"""Accuracy, precision, recall and F1 of many classes, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from syncmetrics import (
    MetricCollection,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
    synced,
)
from syncmetrics.classification.multiclass_counts import _rows_of
from syncmetrics.classification.multiclass_scores import scores_of, scores_of_matrix

FAMILY = (MulticlassAccuracy, MulticlassPrecision, MulticlassRecall, MulticlassF1Score)
COLUMN = {MulticlassPrecision: 0, MulticlassRecall: 1, MulticlassF1Score: 2}


def value_of(metric, preds, target):
    metric.update(preds, target)
    return metric.compute()


def labels(classes=5, samples=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(classes, (2, samples), generator=generator).unbind()


@pytest.mark.parametrize("metric_class", COLUMN)
@pytest.mark.parametrize("average", ["micro", "macro", "weighted", "none", None])
@pytest.mark.parametrize("ignore_index", [None, 2, -1])
def test_precision_recall_f1_are_those_of_sklearn(metric_class, average, ignore_index):
    preds, target = labels()
    if ignore_index is not None:
        target[::7] = ignore_index
    kept = target != ignore_index if ignore_index is not None else torch.ones_like(target, dtype=torch.bool)
    expected = precision_recall_fscore_support(
        target[kept], preds[kept], labels=range(5), average=None if average == "none" else average, zero_division=0
    )[COLUMN[metric_class]]
    value = value_of(metric_class(5, average=average, ignore_index=ignore_index), preds, target)
    assert value.dtype == torch.get_default_dtype()
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6)


def test_accuracies_are_those_of_sklearn():
    preds, target = labels()
    micro = value_of(MulticlassAccuracy(5, average="micro"), preds, target)
    macro = value_of(MulticlassAccuracy(5), preds, target)
    weighted = value_of(MulticlassAccuracy(5, average="weighted"), preds, target)
    assert micro.item() == pytest.approx(accuracy_score(target, preds), rel=1e-6)
    assert macro.item() == pytest.approx(balanced_accuracy_score(target, preds), rel=1e-6)
    assert weighted.item() == pytest.approx(accuracy_score(target, preds), rel=1e-6)


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_top_k_accuracy_is_that_of_sklearn(top_k):
    _, target = labels()
    scores = torch.randn(200, 5, generator=torch.Generator().manual_seed(1))
    value = value_of(MulticlassAccuracy(5, top_k=top_k, average="micro"), scores, target)
    expected = top_k_accuracy_score(target, scores.numpy(), k=top_k, labels=range(5))
    assert value.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("metric_class", "expected"),
    [
        # Class 0 has 2 targets, 1 found, 1 predicted; class 1 has 1 of 1 found, 2 predicted; classes 2, 3 never occur.
        (MulticlassAccuracy, (1 / 2 + 1) / 2),
        (MulticlassRecall, (1 / 2 + 1) / 2),
        (MulticlassPrecision, (1 + 1 / 2) / 2),
        (MulticlassF1Score, (2 / 3 + 2 / 3) / 2),
    ],
)
def test_macro_leaves_out_classes_that_never_occur(metric_class, expected):
    value = value_of(metric_class(4), torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_macro_counts_a_class_that_is_only_predicted():
    value = value_of(MulticlassAccuracy(3), torch.tensor([0, 2]), torch.tensor([0, 0]))
    assert value.item() == pytest.approx((1 / 2 + 0) / 2)


@pytest.mark.parametrize(
    ("metric_class", "expected"),
    # Targets 0 and 1; the first is a hit, the second is taken for class 2, which is no target. For k > 1 accuracy,
    # precision and recall average over the classes with targets, F1 over all that occur.
    [
        (MulticlassAccuracy, 1 / 2),
        (MulticlassRecall, 1 / 2),
        (MulticlassPrecision, 1 / 2),
        (MulticlassF1Score, 1 / 3),
    ],
)
def test_macro_with_top_k(metric_class, expected):
    scores = torch.tensor([[0.3, 0.4, 0.2, 0.1], [0.3, 0.0, 0.5, 0.2]])
    value = value_of(metric_class(4, top_k=2), scores, torch.tensor([0, 1]))
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_top_k_counts_a_hit_as_the_target_and_a_miss_as_the_best_class():
    metric = MulticlassAccuracy(4, top_k=2)
    metric.update(torch.tensor([[0.3, 0.4, 0.2, 0.1], [0.3, 0.0, 0.5, 0.2]]), torch.tensor([0, 1]))
    assert metric.tp.tolist() == [1, 0, 0, 0]
    assert metric.fp.tolist() == [0, 0, 1, 0]
    assert metric.fn.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(("target", "hit"), [(0, 1.0), (1, 1.0), (2, 0.0), (3, 0.0)])
def test_equal_scores_rank_the_lower_class_first(target, hit):
    value = value_of(MulticlassAccuracy(4, top_k=2, average="micro"), torch.zeros(1, 4), torch.tensor([target]))
    assert value.item() == hit


def test_a_nan_score_goes_before_every_number():
    scores = torch.tensor([[0.1, float("nan"), 0.2]]).expand(3, 3)
    value = value_of(MulticlassAccuracy(3, top_k=2, average="none"), scores, torch.tensor([0, 1, 2]))
    assert value.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("metric_class", FAMILY)
def test_more_dimensions_are_more_samples(metric_class, top_k):
    scores = torch.randn(6, 4, 3, 2, generator=torch.Generator().manual_seed(2))
    target = torch.randint(4, (6, 3, 2), generator=torch.Generator().manual_seed(3))
    flat = scores.permute(0, 2, 3, 1).reshape(-1, 4)
    many = value_of(metric_class(4, top_k=top_k, average="none"), scores, target)
    assert torch.equal(many, value_of(metric_class(4, top_k=top_k, average="none"), flat, target.reshape(-1)))
    assert many.sum() > 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.bool])
def test_any_integer_dtype_is_a_label(dtype):
    classes = 2 if dtype is torch.bool else 120
    preds, target = labels(classes, 50)
    target[:20] = preds[:20]  # with 2 * label beyond the int8 and uint8 range
    value = value_of(MulticlassAccuracy(classes, average="micro"), preds.to(dtype), target.to(dtype))
    assert value.item() == pytest.approx((preds == target).double().mean().item(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("top_k", [1, 2])
def test_any_float_dtype_is_a_score(dtype, top_k):
    scores = torch.tensor([[0.0, 2.0, 1.0], [3.0, 1.0, 2.0]], dtype=dtype)
    value = value_of(MulticlassAccuracy(3, top_k=top_k, average="micro"), scores, torch.tensor([2, 0]))
    assert value.item() == (0.5 if top_k == 1 else 1.0)


@pytest.mark.parametrize("metric_class", FAMILY)
@pytest.mark.parametrize("top_k", [1, 2])
def test_an_empty_batch_changes_nothing(metric_class, top_k):
    scores, target = torch.eye(3), torch.tensor([0, 1, 1])
    metric = metric_class(3, top_k=top_k)
    metric.update(scores, target)
    before = metric.compute()
    metric.update(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert torch.equal(metric.tp + metric.fn, torch.tensor([1, 2, 0]))
    assert torch.equal(metric.compute(), before)


@pytest.mark.parametrize("metric_class", FAMILY)
@pytest.mark.parametrize("average", ["micro", "macro", "weighted"])
def test_no_samples_at_all_are_zero(metric_class, average):
    metric = metric_class(3, average=average)
    metric.update(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    assert metric.compute().item() == 0.0


def test_all_samples_ignored_is_like_no_samples():
    metric = MulticlassAccuracy(3, ignore_index=255)
    metric.update(torch.eye(3), torch.full((3,), 255))
    assert (metric.tp + metric.fp + metric.fn).sum() == 0
    assert metric.compute().item() == 0.0


def test_predictions_of_ignored_samples_may_be_anything():
    metric = MulticlassAccuracy(3, ignore_index=-100, average="micro")
    metric.update(torch.tensor([77, 1, 2]), torch.tensor([-100, 1, 1]))
    assert metric.compute().item() == 0.5


def test_counts_are_int64():
    metric = MulticlassF1Score(3)
    metric.update(torch.eye(3), torch.tensor([0, 1, 2], dtype=torch.int32))
    assert {metric.tp.dtype, metric.fp.dtype, metric.fn.dtype} == {torch.int64}


def test_a_ratio_is_rounded_once_to_the_default_dtype():
    metric = MulticlassAccuracy(2, average="micro")
    metric.update(torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0]))
    assert torch.equal(metric.compute(), torch.tensor(2 / 3, dtype=torch.float32))
    wide = MulticlassAccuracy(2, average="micro")
    wide.update(torch.tensor([0, 0, 1]), torch.tensor([0, 0, 0]))
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(wide.compute(), torch.tensor(2 / 3, dtype=torch.float64))
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_family_shares_one_compute_group():
    groups = {c(5, average=a).compute_group for c in FAMILY for a in ("micro", "macro", "weighted", "none", None)}
    assert len(groups) == 1
    assert None not in groups


@pytest.mark.parametrize("arguments", [{"top_k": 2}, {"ignore_index": 0}])
@pytest.mark.parametrize("metric_class", FAMILY)
def test_other_counts_are_another_compute_group(metric_class, arguments):
    assert metric_class(5, **arguments).compute_group != metric_class(5).compute_group
    assert metric_class(6).compute_group != metric_class(5).compute_group
    assert MulticlassConfusionMatrix(5).compute_group == metric_class(5).compute_group


def test_a_subclass_with_its_own_update_shares_nothing():
    class Mine(MulticlassAccuracy):
        def update(self, preds, target):
            super().update(preds, target)

    class MineToo(MulticlassAccuracy):
        pass

    members = {"a": Mine(5), "b": Mine(5), "c": MineToo(5), "d": MulticlassAccuracy(5), "e": MulticlassF1Score(5)}
    assert MetricCollection(members).compute_groups == {0: ["a"], 1: ["b"], 2: ["c", "d", "e"]}


def test_higher_is_better():
    assert all(metric_class.higher_is_better is True for metric_class in FAMILY)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 3, 7, 32])
@pytest.mark.parametrize("seed", range(6))
def test_scores_in_python_are_those_of_tensors(classes, seed, dtype):
    """A matrix with many empty rows and columns, and one with none: both ways to write the scores agree."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randint(10 ** (seed + 1), (classes, classes), generator=generator)
    keep = torch.rand(classes, classes, generator=generator) < (1.0 if seed % 2 else 1.5 / classes)
    matrix = matrix * keep
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        tensors, python = scores_of(_rows_of(matrix)), scores_of_matrix(matrix)
    finally:
        torch.set_default_dtype(before)
    for field in ("per_class", "micro", "macro", "macro_of_targets", "weighted"):
        ours, theirs = torch.stack(getattr(python, field)), torch.stack(getattr(tensors, field))
        assert ours.dtype == theirs.dtype == dtype
        torch.testing.assert_close(ours, theirs, rtol=4 * torch.finfo(dtype).eps, atol=0)


def test_scores_of_nothing_are_zero():
    empty = torch.zeros(3, 3, dtype=torch.int64)
    for scores in (scores_of(_rows_of(empty)), scores_of_matrix(empty)):
        for field in ("per_class", "micro", "macro", "macro_of_targets", "weighted"):
            assert not torch.stack(getattr(scores, field)).any()


def test_a_value_is_the_callers_own():
    pair = MetricCollection({"a": MulticlassAccuracy(3, average="none"), "b": MulticlassRecall(3, average="none")})
    pair.update(torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1]))
    with synced(pair):
        pair["a"].compute().zero_()
        assert pair["b"].compute().tolist() == [1.0, 0.5, 0.0]
