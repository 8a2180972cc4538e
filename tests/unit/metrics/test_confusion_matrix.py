"""The confusion matrix, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from syncmetrics import MulticlassConfusionMatrix


def data(classes=4, samples=100):
    return torch.randint(classes, (2, samples), generator=torch.Generator().manual_seed(0)).unbind()


def test_counts_are_those_of_sklearn():
    preds, target = data()
    metric = MulticlassConfusionMatrix(4)
    metric.update(preds, target)
    assert metric.compute().dtype == torch.int64
    np.testing.assert_array_equal(metric.compute().numpy(), confusion_matrix(target, preds, labels=range(4)))


@pytest.mark.parametrize("normalize", ["true", "pred", "all"])
@pytest.mark.parametrize("ignore_index", [None, 1, 255])
def test_shares_are_those_of_sklearn(normalize, ignore_index):
    preds, target = data()
    if ignore_index is not None:
        target[::5] = ignore_index
    kept = target != (-1 if ignore_index is None else ignore_index)
    metric = MulticlassConfusionMatrix(4, ignore_index=ignore_index, normalize=normalize)
    metric.update(preds, target)
    expected = confusion_matrix(target[kept], preds[kept], labels=range(4), normalize=normalize)
    assert metric.compute().dtype == torch.get_default_dtype()
    np.testing.assert_allclose(metric.compute().numpy(), expected, rtol=1e-6)


def test_rows_are_targets_and_columns_predictions():
    metric = MulticlassConfusionMatrix(3, normalize="none")
    metric.update(torch.tensor([[0.1, 0.7, 0.2], [0.9, 0.0, 0.1]]), torch.tensor([2, 0]))
    assert metric.compute().tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("normalize", ["true", "pred", "all"])
def test_nothing_divided_by_nothing_is_zero(normalize):
    metric = MulticlassConfusionMatrix(2, normalize=normalize)
    metric.update(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    assert metric.compute().tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_the_result_is_not_the_state():
    metric = MulticlassConfusionMatrix(2)
    metric(torch.tensor([0]), torch.tensor([0])).fill_(7)
    metric.compute().fill_(7)
    assert metric.confmat.tolist() == [[1, 0], [0, 0]]


def test_compute_group_depends_on_the_counts_alone():
    groups = {
        MulticlassConfusionMatrix(3, normalize=how).compute_group for how in (None, "none", "true", "pred", "all")
    }
    assert len(groups) == 1
    assert None not in groups
    assert MulticlassConfusionMatrix(4).compute_group not in groups
    assert MulticlassConfusionMatrix(3, ignore_index=0).compute_group not in groups
