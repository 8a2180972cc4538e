"""Accuracy and area under the ROC curve of two classes, against scikit-learn and by hand."""

import math

import pytest
import torch
from sklearn.metrics import accuracy_score, roc_auc_score

from syncmetrics import BinaryAccuracy, BinaryAUROC


def data(samples=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(samples, generator=generator), torch.randint(2, (samples,), generator=generator)


def value_of(metric, preds, target):
    metric.update(preds, target)
    return metric.compute()


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("as_logits", [False, True])
def test_accuracy_is_that_of_sklearn(threshold, as_logits):
    scores, target = data()
    value = value_of(BinaryAccuracy(threshold), scores.double().logit() if as_logits else scores, target)
    assert value.dtype == torch.get_default_dtype()
    assert value.item() == pytest.approx(accuracy_score(target, scores > threshold), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_integer_predictions_are_labels(dtype):
    value = value_of(BinaryAccuracy(0.9), torch.tensor([0, 1, 1, 0]).to(dtype), torch.tensor([0, 1, 0, 1]).to(dtype))
    assert value.item() == 0.5


def test_a_score_at_the_threshold_is_no_positive():
    assert value_of(BinaryAccuracy(), torch.tensor([0.5, 0.5]), torch.tensor([0, 1])).item() == 0.5
    assert value_of(BinaryAccuracy(), torch.tensor([0.0, -9.0, 9.0]), torch.tensor([1, 0, 1])).item() == pytest.approx(
        2 / 3
    )


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_logit_in_any_batch_makes_all_scores_logits(order):
    # Read as probabilities, the first batch is half right; as logits, both are positive, and wrong.
    batches = [(torch.tensor([0.4, 0.6]), torch.tensor([0, 0])), (torch.tensor([7.0]), torch.tensor([1]))]
    metric = BinaryAccuracy()
    for index in order:
        metric.update(*batches[index])
    assert metric.compute().item() == pytest.approx(1 / 3)
    alone = BinaryAccuracy()
    alone.update(*batches[0])
    assert alone.compute().item() == 0.5


def test_a_nan_hides_no_logit():
    together, apart = BinaryAccuracy(), BinaryAccuracy()
    scores, target = torch.tensor([float("nan"), 5.0, 0.3]), torch.tensor([0, 1, 1])
    together.update(scores, target)
    for i in range(3):
        apart.update(scores[i : i + 1], target[i : i + 1])
    assert together.compute().item() == apart.compute().item() == 1.0


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("scores", [[0.5, 1.0], [-3.0, 4.0]])
def test_the_ends_of_the_threshold(threshold, expected, scores):
    assert value_of(BinaryAccuracy(threshold), torch.tensor(scores), torch.tensor([1, 1])).item() == expected


@pytest.mark.parametrize("metric_class", [BinaryAccuracy, BinaryAUROC])
def test_ignored_samples_do_not_count(metric_class):
    scores, target = data()
    expected = value_of(metric_class(), scores[50:], target[50:])
    target[:50] = -1
    scores[:50] = 1000.0  # would make all scores logits
    assert torch.equal(value_of(metric_class(ignore_index=-1), scores, target), expected)


@pytest.mark.parametrize("metric_class", [BinaryAccuracy, BinaryAUROC])
def test_an_empty_batch_changes_nothing(metric_class):
    scores, target = data()
    metric = metric_class()
    metric.update(scores, target)
    before = metric.compute()
    metric.update(scores[:0], target[:0])
    metric.update(scores[:1], target[:1])
    metric.update(scores[:0], target[:0])
    once = metric_class()
    once.update(torch.cat([scores, scores[:1]]), torch.cat([target, target[:1]]))
    assert torch.equal(metric.compute(), once.compute())
    assert not torch.equal(metric.compute(), before)


def test_accuracy_of_nothing_is_zero():
    assert value_of(BinaryAccuracy(), torch.zeros(0), torch.zeros(0, dtype=torch.int64)).item() == 0.0


@pytest.mark.parametrize("max_fpr", [None, 0.05, 0.3, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("levels", [3, 10, 10**6])
def test_auroc_is_that_of_sklearn(max_fpr, levels):
    scores, target = data()
    scores = (scores * levels).round() / levels
    value = value_of(BinaryAUROC(max_fpr), scores, target)
    assert value.dtype == torch.get_default_dtype()
    assert value.item() == pytest.approx(roc_auc_score(target, scores.double(), max_fpr=max_fpr), abs=1e-6)


def test_auroc_by_hand():
    # Pairs (positive, negative): 0.8 > 0.5, 0.8 > 0.1, 0.5 = 0.5, 0.5 > 0.1: 3.5 of 4.
    value = value_of(BinaryAUROC(), torch.tensor([0.8, 0.5, 0.5, 0.1]), torch.tensor([1, 1, 0, 0]))
    assert value.item() == 3.5 / 4


def test_auroc_is_one_division_of_integers():
    scores, target = data(samples=97)
    positive, negative = scores[target == 1], scores[target == 0]
    wins = (positive[:, None] > negative[None, :]).sum().item()
    value = value_of(BinaryAUROC(), scores, target)
    assert torch.equal(value, torch.tensor(wins / (len(positive) * len(negative)), dtype=torch.float32))


def test_auroc_tells_apart_what_a_sigmoid_makes_equal():
    value = value_of(BinaryAUROC(), torch.tensor([30.0, 40.0, 50.0, 60.0]), torch.tensor([0, 1, 0, 1]))
    assert value.item() == 0.75


@pytest.mark.parametrize(
    ("target", "missing"),
    [([1, 1], "no negative"), ([0, 0], "no positive"), ([], "no pos")],
)
@pytest.mark.parametrize("max_fpr", [None, 0.5])
def test_auroc_of_one_class_is_zero_with_a_warning(target, missing, max_fpr):
    metric = BinaryAUROC(max_fpr)
    metric.update(torch.rand(len(target)), torch.tensor(target, dtype=torch.int64))
    with pytest.warns(UserWarning, match=f"BinaryAUROC: .*{missing}"):
        assert metric.compute().item() == 0.0


def test_auroc_keeps_copies():
    scores, target = torch.tensor([0.1, 0.9]), torch.tensor([0, 1])
    metric = BinaryAUROC(validate_args=False)
    metric.update(scores, target)
    scores.zero_()
    target.zero_()
    assert metric.compute().item() == 1.0


def test_auroc_keeps_no_graph_and_no_larger_storage():
    scores = torch.rand(4, 2, requires_grad=True)
    metric = BinaryAUROC()
    metric.update(scores[:, 1], torch.tensor([0, 1, 0, 1]))
    (kept,) = metric.preds
    assert not kept.requires_grad
    assert kept.untyped_storage().nbytes() == 4 * 4


def test_auroc_without_checks_counts_no_wrong_label():
    metric = BinaryAUROC(validate_args=False)
    metric.update(torch.rand(3), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="BinaryAUROC: labels in `target` must be 0 or 1"):
        metric.compute()


def test_auroc_without_checks_ranks_all_nan_alike():
    nan = math.nan
    values = []
    for scores, target in (([nan, nan, 0.5], [1, 0, 0]), ([nan, 0.5, nan], [0, 0, 1])):
        values.append(value_of(BinaryAUROC(validate_args=False), torch.tensor(scores), torch.tensor(target)).item())
    assert values == [0.75, 0.75]


def test_compute_groups():
    assert BinaryAUROC().compute_group == BinaryAUROC(0.5).compute_group is not None
    assert BinaryAUROC(ignore_index=0).compute_group != BinaryAUROC().compute_group
    assert BinaryAccuracy().compute_group == BinaryAccuracy(0.5).compute_group is not None
    assert BinaryAccuracy(0.3).compute_group != BinaryAccuracy().compute_group


def test_higher_is_better():
    assert BinaryAccuracy.higher_is_better is True
    assert BinaryAUROC.higher_is_better is True
