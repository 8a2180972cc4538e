"""Mean squared and mean absolute error, against scikit-learn and by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error

from syncmetrics import MeanAbsoluteError, MeanSquaredError


def data():
    return torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()


def value_of(metric, preds, target):
    metric.update(preds, target)
    return metric.compute()


@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (lambda n: MeanSquaredError(num_outputs=n), mean_squared_error),
        (
            lambda n: MeanSquaredError(squared=False, num_outputs=n),
            lambda t, p, **k: mean_squared_error(t, p, **k) ** 0.5,
        ),
        (lambda n: MeanAbsoluteError(num_outputs=n), mean_absolute_error),
    ],
)
def test_values_are_those_of_sklearn(make, reference, num_outputs):
    preds, target = data()
    value = value_of(make(num_outputs), preds, target)
    if num_outputs == 1:
        expected = reference(target.flatten(), preds.flatten())
    else:
        expected = reference(target, preds, multioutput="raw_values")
    assert value.dtype == torch.float64
    assert value.shape == (() if num_outputs == 1 else (3,))
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("make", "expected"), [(MeanSquaredError, 40000.0), (MeanAbsoluteError, 200.0)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float16, torch.bfloat16])
def test_converted_before_subtracted(make, expected, dtype):
    # 10 - 210 wraps in uint8, and the square of 200 is rounded in half precision.
    value = value_of(make(), torch.tensor([8, 208]).to(dtype), torch.tensor([208, 8]).to(dtype))
    assert value.item() == expected


def test_mixed_dtypes():
    assert value_of(MeanAbsoluteError(), torch.tensor([1, 2]), torch.tensor([1.5, 2.5])).item() == 0.5


@pytest.mark.parametrize("metric_class", [MeanSquaredError, MeanAbsoluteError])
def test_empty_batches(metric_class):
    metric = metric_class()
    metric.update(torch.zeros(0), torch.zeros(0))
    assert math.isnan(metric.compute().item())
    metric.update(torch.tensor([1.0]), torch.tensor([3.0]))
    metric.update(torch.zeros(0, 4), torch.zeros(0, 4))
    assert metric.total.item() == 1
    assert metric.compute().item() == (4.0 if metric_class is MeanSquaredError else 2.0)


@pytest.mark.parametrize("metric_class", [MeanSquaredError, MeanAbsoluteError])
@pytest.mark.parametrize(
    ("preds", "target", "num_outputs", "error", "text"),
    [
        (
            torch.ones(3),
            torch.ones(3, 1),
            1,
            ValueError,
            r"`preds` must have the shape of `target`, \(3, 1\), but has \(3,\)",
        ),
        (torch.ones(3), torch.ones(3), 2, ValueError, r"must have the shape \(N, 2\), but have \(3,\)"),
        (torch.ones(3, 3), torch.ones(3, 3), 2, ValueError, r"must have the shape \(N, 2\)"),
        ([1.0], torch.ones(1), 1, TypeError, "`preds` must be a torch.Tensor, but is list"),
        (torch.ones(1), 1.0, 1, TypeError, "`target` must be a torch.Tensor, but is float"),
        (torch.ones(1, dtype=torch.complex64), torch.ones(1), 1, TypeError, "`preds` must be real"),
    ],
)
def test_bad_inputs(metric_class, preds, target, num_outputs, error, text):
    metric = metric_class(num_outputs=num_outputs)
    with pytest.raises(error, match=f"{metric_class.__name__}: .*{text}"):
        metric.update(preds, target)
    assert metric.total.item() == 0


def test_bad_arguments():
    with pytest.raises(ValueError, match="MeanAbsoluteError: `num_outputs` must be at least 1, but is 0"):
        MeanAbsoluteError(num_outputs=0)
    with pytest.raises(TypeError, match=r"MeanSquaredError: `num_outputs` must be an int, but is 2.0"):
        MeanSquaredError(num_outputs=2.0)
    with pytest.raises(TypeError, match="MeanSquaredError: `squared` must be a bool, but is 'no'"):
        MeanSquaredError(squared="no")


def test_compute_groups():
    assert MeanSquaredError().compute_group == MeanSquaredError(squared=False).compute_group is not None
    assert MeanSquaredError().compute_group != MeanSquaredError(num_outputs=2).compute_group
    assert MeanSquaredError().compute_group != MeanAbsoluteError().compute_group is not None


def test_lower_is_better():
    assert MeanSquaredError.higher_is_better is False
    assert MeanAbsoluteError.higher_is_better is False
