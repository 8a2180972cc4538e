"""What classification metrics refuse, and that refused data leave no trace."""

import pytest
import torch

from syncmetrics import (
    BinaryAccuracy,
    BinaryAUROC,
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

MULTICLASS = (MulticlassAccuracy, MulticlassPrecision, MulticlassRecall, MulticlassF1Score, MulticlassConfusionMatrix)
BINARY = (BinaryAccuracy, BinaryAUROC)
Y = torch.tensor([0, 1, 2])


def counted(metric):
    # Without scores, the range that they lie in is empty, and its ends are infinite.
    states = [value for name, value in metric.metric_state.items() if name not in ("lowest", "highest")]
    assert states
    return sum(len(state) if isinstance(state, list) else int(state.sum()) for state in states)


@pytest.mark.parametrize("metric_class", MULTICLASS)
@pytest.mark.parametrize(
    ("preds", "target", "error", "text"),
    [
        (torch.eye(3), Y.float(), TypeError, r"`target` must hold integer labels, but is torch.float32"),
        (Y.float(), Y, TypeError, r"`preds` of the shape of `target` must hold integer labels, but is torch.float32"),
        (
            torch.eye(3).long(),
            Y,
            TypeError,
            r"`preds` of shape \(N, C, ...\) must hold float scores, but is torch.int64",
        ),
        ([0, 1, 2], Y, TypeError, "`preds` must be a torch.Tensor, but is list"),
        (Y, None, TypeError, "`target` must be a torch.Tensor, but is NoneType"),
        (torch.eye(3, dtype=torch.complex64), Y, TypeError, "`preds` must be real"),
        (Y[:2], Y, ValueError, r"`preds` must have the shape of `target`, \(3,\), .* but has \(2,\)"),
        (Y[:1], Y, ValueError, r"`preds` must have the shape of `target`"),
        (torch.rand(3, 4), Y, ValueError, r"\(N, C, ...\) = \(3, 3\), but has \(3, 4\)"),
        (torch.rand(2, 3), Y, ValueError, r"= \(3, 3\), but has \(2, 3\)"),
        (torch.rand(2, 5, 3), Y.expand(2, 3), ValueError, r"= \(2, 3, 3\), but has \(2, 5, 3\)"),
        (torch.rand(3), torch.tensor(1), ValueError, r"but has \(3,\)"),
        (Y, Y + 1, ValueError, r"labels in `target` must be in 0..2, but range from 1 to 3"),
        (Y, Y - 1, ValueError, r"labels in `target` must be in 0..2, but range from -1 to 1"),
        (Y + 1, Y, ValueError, r"labels in `preds` must be in 0..2, but range from 1 to 3"),
        (Y - 1, Y, ValueError, r"labels in `preds` must be in 0..2, but range from -1 to 1"),
        (Y, torch.full((3,), 2**62), ValueError, r"labels in `target` must be in 0..2"),
        (torch.eye(3), Y + 1, ValueError, r"labels in `target` must be in 0..2, but range from 1 to 3"),
        (torch.eye(3), Y - 1, ValueError, r"labels in `target` must be in 0..2, but range from -1 to 1"),
        (torch.eye(3), torch.full((3,), 2**62), ValueError, r"labels in `target` must be in 0..2"),
    ],
)
def test_multiclass_refuses(metric_class, preds, target, error, text):
    metric = metric_class(3)
    with pytest.raises(error, match=f"^{metric_class.__name__}: .*{text}.* instead"):
        metric.update(preds, target)
    assert counted(metric) == 0


@pytest.mark.parametrize("metric_class", MULTICLASS)
@pytest.mark.parametrize(
    ("preds", "target"),
    [
        (Y, Y + 1),
        (Y, Y - 1),
        (Y, Y + 3),
        (Y, Y - 3),
        (Y + 1, Y),
        (Y - 1, Y),
        (Y + 3, Y),
        (Y - 3, Y),
        (torch.eye(3), Y + 1),
    ],
)
def test_a_label_out_of_range_is_not_counted_without_checks_either(metric_class, preds, target):
    metric = metric_class(3, validate_args=False)
    with pytest.raises((ValueError, RuntimeError)):
        metric.update(preds, target)
    assert counted(metric) == 0


@pytest.mark.parametrize("metric_class", MULTICLASS)
@pytest.mark.parametrize("options", [{}, {"ignore_index": 0}])
def test_labels_are_checked_in_any_case(metric_class, options):
    with pytest.raises(ValueError, match=r"labels in `target` must be in 0\.\.2, but range from \d to 3"):
        metric_class(3, validate_args=False, **options).update(Y, Y + 1)


@pytest.mark.parametrize("metric_class", MULTICLASS)
@pytest.mark.parametrize("ignore_index", [-1, 3, 255])
def test_an_ignored_label_may_be_out_of_range_and_no_other(metric_class, ignore_index):
    metric = metric_class(3, ignore_index=ignore_index)
    metric.update(Y, torch.tensor([0, 1, ignore_index]))
    assert counted(metric) == 2
    with pytest.raises(ValueError, match=r"labels in `target` must be in 0..2"):
        metric.update(Y, torch.tensor([0, ignore_index, 7]))
    assert counted(metric) == 2


@pytest.mark.parametrize("metric_class", MULTICLASS[:-1])
def test_top_k_needs_scores(metric_class):
    metric = metric_class(3, top_k=2)
    with pytest.raises(ValueError, match=f"{metric_class.__name__}: `preds` must be scores .* when `top_k` is 2"):
        metric.update(Y, Y)
    with pytest.raises(ValueError, match=r"labels in `target` must be in 0..2"):
        metric.update(torch.eye(3), Y + 1)
    assert counted(metric) == 0


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"num_classes": 1}, ValueError, "`num_classes` must be at least 2, but is 1"),
        ({"num_classes": 3.0}, TypeError, "`num_classes` must be an int, but is 3.0"),
        ({"num_classes": True}, TypeError, "`num_classes` must be an int, but is True"),
        ({"num_classes": 3, "ignore_index": "0"}, TypeError, "`ignore_index` must be an int, but is '0'"),
        ({"num_classes": 3, "validate_args": 1}, TypeError, "`validate_args` must be a bool, but is 1"),
    ],
)
@pytest.mark.parametrize("metric_class", MULTICLASS)
def test_multiclass_arguments(metric_class, arguments, error, text):
    with pytest.raises(error, match=f"^{metric_class.__name__}: {text} instead"):
        metric_class(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"top_k": 0}, ValueError, "`top_k` must be at least 1, but is 0"),
        ({"top_k": 4}, ValueError, "`top_k` must be at most `num_classes`, 3, but is 4"),
        ({"top_k": 1.5}, TypeError, "`top_k` must be an int, but is 1.5"),
        ({"average": "samples"}, ValueError, "`average` must be one of 'micro', .*, None, but is 'samples'"),
        ({"average": ["micro"]}, ValueError, "`average` must be one of"),
    ],
)
@pytest.mark.parametrize("metric_class", MULTICLASS[:-1])
def test_stat_scores_arguments(metric_class, arguments, error, text):
    with pytest.raises(error, match=f"^{metric_class.__name__}: {text}.* instead"):
        metric_class(3, **arguments)


def test_confusion_matrix_arguments():
    with pytest.raises(
        ValueError, match=r"^MulticlassConfusionMatrix: `normalize` must be one of 'true', .* but is 'row'"
    ):
        MulticlassConfusionMatrix(3, normalize="row")


B = torch.tensor([0, 1, 1])
S = torch.tensor([0.1, 0.9, 0.4])


@pytest.mark.parametrize("metric_class", BINARY)
@pytest.mark.parametrize(
    ("preds", "target", "error", "text"),
    [
        (S, B.double(), TypeError, "`target` must hold integer labels, but is torch.float64"),
        (S.tolist(), B, TypeError, "`preds` must be a torch.Tensor, but is list"),
        (S, B.tolist(), TypeError, "`target` must be a torch.Tensor, but is list"),
        (S.to(torch.complex64), B, TypeError, "`preds` must be real"),
        (S[:1], B, ValueError, r"`preds` must have the shape of `target`, \(3,\), but has \(1,\)"),
        (torch.rand(3, 2), B, ValueError, r"but has \(3, 2\) instead. For scores of two classes"),
        (S, B + 1, ValueError, r"labels in `target` must be in 0..1, but range from 1 to 2"),
        (S, -B, ValueError, r"labels in `target` must be in 0..1, but range from -1 to 0"),
    ],
)
def test_binary_refuses(metric_class, preds, target, error, text):
    metric = metric_class()
    with pytest.raises(error, match=f"^{metric_class.__name__}: .*{text}"):
        metric.update(preds, target)
    assert counted(metric) == 0


@pytest.mark.parametrize("target", [B + 1, -B, B * 255])
@pytest.mark.parametrize("preds", [S, B])
def test_binary_accuracy_counts_no_wrong_target_without_checks(preds, target):
    metric = BinaryAccuracy(validate_args=False)
    with pytest.raises((ValueError, RuntimeError)):
        metric.update(preds, target)
    assert counted(metric) == 0


@pytest.mark.parametrize("validate_args", [True, False])
@pytest.mark.parametrize("preds", [B + 1, -B])
def test_binary_accuracy_refuses_wrong_predicted_labels(preds, validate_args):
    metric = BinaryAccuracy(validate_args=validate_args)
    with pytest.raises(ValueError, match=r"BinaryAccuracy: labels in `preds` must be in 0..1"):
        metric.update(preds, B)
    assert counted(metric) == 0


def test_auroc_refuses_labels_and_nan_as_scores():
    metric = BinaryAUROC()
    with pytest.raises(TypeError, match=r"BinaryAUROC: `preds` must hold float scores, but is torch.int64"):
        metric.update(B, B)
    with pytest.raises(ValueError, match=r"BinaryAUROC: `preds` must not be NaN, .* 1 of 3 are"):
        metric.update(torch.tensor([0.1, float("nan"), 0.2]), B)
    assert counted(metric) == 0


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: BinaryAccuracy(1.5),
            ValueError,
            r"BinaryAccuracy: `threshold` must be a probability in \[0, 1\], but is 1.5",
        ),
        (lambda: BinaryAccuracy(float("nan")), ValueError, "`threshold` must be a probability .* but is nan"),
        (lambda: BinaryAccuracy("0.5"), TypeError, "`threshold` must be a float, but is '0.5'"),
        (lambda: BinaryAccuracy(ignore_index=0.5), TypeError, "`ignore_index` must be an int, but is 0.5"),
        (lambda: BinaryAccuracy(validate_args=None), TypeError, "`validate_args` must be a bool, but is None"),
        (lambda: BinaryAUROC(0.0), ValueError, r"BinaryAUROC: `max_fpr` must be in \(0, 1\], but is 0.0"),
        (lambda: BinaryAUROC(1.1), ValueError, r"`max_fpr` must be in \(0, 1\], but is 1.1"),
        (lambda: BinaryAUROC("1"), TypeError, "`max_fpr` must be a float or None, but is '1'"),
        (lambda: BinaryAUROC(ignore_index=True), TypeError, "`ignore_index` must be an int, but is True"),
        (lambda: BinaryAUROC(validate_args=0), TypeError, "`validate_args` must be a bool, but is 0"),
    ],
)
def test_binary_arguments(make, error, text):
    with pytest.raises(error, match=f"{text} instead"):
        make()
