"""Sum, mean, minimum, maximum, concatenation: values, dtypes, NaN, shapes."""

import math

import pytest
import torch

from syncmetrics import CatMetric, MaxMetric, MeanMetric, MinMetric, SumMetric

NAN = float("nan")
ALL = (SumMetric, MeanMetric, MinMetric, MaxMetric, CatMetric)
SCALARS = (SumMetric, MeanMetric, MinMetric, MaxMetric)


def value_of(metric, *updates):
    for update in updates:
        metric.update(*update) if isinstance(update, tuple) else metric.update(update)
    return metric.compute()


@pytest.mark.parametrize(
    ("metric_class", "expected"), [(SumMetric, 8.5), (MeanMetric, 2.125), (MinMetric, -1.0), (MaxMetric, 5.5)]
)
def test_values(metric_class, expected):
    value = value_of(metric_class(), torch.tensor([[1.0, 3.0]]), -1, torch.tensor(5.5))
    assert value.dtype == torch.float64
    assert value.shape == ()
    assert value.item() == expected


@pytest.mark.parametrize(
    ("metric_class", "expected"), [(SumMetric, 0.0), (MinMetric, math.inf), (MaxMetric, -math.inf)]
)
def test_nothing(metric_class, expected):
    assert value_of(metric_class(), torch.zeros(0), torch.zeros(0, 3, dtype=torch.int64)).item() == expected


def test_the_mean_of_nothing_is_nan():
    assert math.isnan(value_of(MeanMetric(), torch.zeros(0)).item())


def test_cat_of_nothing_is_empty():
    assert value_of(CatMetric(), torch.zeros(0)).shape == (0,)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.bool])
@pytest.mark.parametrize("metric_class", SCALARS)
def test_integers_are_taken(metric_class, dtype):
    expected = {SumMetric: 200.0, MeanMetric: 0.5, MinMetric: 0.0, MaxMetric: 1.0}[metric_class]
    value = value_of(metric_class(), torch.tensor([1, 0] * 200).to(dtype))
    assert value.dtype == torch.float64
    assert value.item() == expected


@pytest.mark.parametrize("metric_class", [SumMetric, MeanMetric])
def test_sums_are_kept_in_float64(metric_class):
    # In float32 the second value is lost; in float16 the sum overflows.
    value = value_of(metric_class(), torch.tensor(2.0**25), torch.tensor(1.0))
    assert value.item() == (2.0**25 + 1) / (1 if metric_class is SumMetric else 2)
    value = value_of(metric_class(), torch.full((4,), 60000.0, dtype=torch.float16))
    assert value.item() == (240000.0 if metric_class is SumMetric else 60000.0)


def test_a_python_float_is_not_rounded_to_float32():
    assert value_of(SumMetric(), 0.1).item() == 0.1


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (1.0, 2.5),
        (7, 2.5),
        (torch.tensor([1.0, 3.0]), (1 + 2 * 3 + 3 + 4 * 3) / 8),
        (torch.tensor([[1.0], [0.0]]), 1.5),
        (torch.tensor([[1, 0], [0, 1]]), 2.5),
    ],
)
def test_weights_broadcast(weight, expected):
    assert value_of(MeanMetric(), (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), weight)).item() == expected


@pytest.mark.parametrize("weight", [torch.ones(2, 1), torch.ones(3)])
def test_values_do_not_broadcast_to_weights(weight):
    with pytest.raises(ValueError, match="MeanMetric: `weight` must broadcast to the shape of `value`"):
        MeanMetric().update(torch.ones(2), weight)


EXPECTED_WITHOUT_NAN = {SumMetric: 4.0, MeanMetric: 2.0, MinMetric: 1.0, MaxMetric: 3.0, CatMetric: [1.0, 3.0]}
EXPECTED_WITH_FIVE = {SumMetric: 9.0, MeanMetric: 3.0, MinMetric: 1.0, MaxMetric: 5.0, CatMetric: [1.0, 5.0, 3.0]}


@pytest.mark.parametrize("metric_class", ALL)
def test_nan_is_left_out_with_a_warning_by_default(metric_class):
    metric = metric_class()
    with pytest.warns(UserWarning, match=f"{metric_class.__name__}: NaN values were left out"):
        metric.update(torch.tensor([1.0, NAN, 3.0]))
    assert metric.compute().tolist() == EXPECTED_WITHOUT_NAN[metric_class]


@pytest.mark.parametrize("metric_class", ALL)
def test_nan_ignored(metric_class):
    value = value_of(metric_class("ignore"), torch.tensor([1.0, NAN, 3.0]), NAN, torch.tensor([NAN, NAN]))
    assert value.tolist() == EXPECTED_WITHOUT_NAN[metric_class]


@pytest.mark.parametrize("number", [5.0, 5])
@pytest.mark.parametrize("metric_class", ALL)
def test_nan_replaced(metric_class, number):
    given = torch.tensor([1.0, NAN, 3.0])
    assert value_of(metric_class(number), given).tolist() == EXPECTED_WITH_FIVE[metric_class]
    assert given[1].isnan(), "the caller's tensor must stay as it was"


@pytest.mark.parametrize("metric_class", ALL)
def test_nan_refused(metric_class):
    metric = metric_class("error")
    metric.update(torch.tensor([1.0, 3.0]))
    with pytest.raises(RuntimeError, match=f"{metric_class.__name__}: values must not be NaN .* 1 of 2"):
        metric.update(torch.tensor([2.0, NAN]))
    assert metric.compute().tolist() == EXPECTED_WITHOUT_NAN[metric_class]


@pytest.mark.parametrize("metric_class", ALL)
def test_nan_propagates_when_not_looked_for(metric_class):
    value = value_of(metric_class("disable"), torch.tensor([1.0, NAN]), torch.tensor([0.0, 9.0]))
    assert value.isnan().any()


@pytest.mark.parametrize(
    ("metric_class", "expected"),
    [
        (SumMetric, math.inf),
        (MeanMetric, math.inf),
        (MinMetric, 2.0),
        (MaxMetric, math.inf),
        (CatMetric, [math.inf, 2.0]),
    ],
)
def test_infinity_is_no_nan(metric_class, expected):
    assert value_of(metric_class(2.0), torch.tensor([math.inf, NAN])).tolist() == expected
    assert value_of(metric_class("error"), torch.tensor([math.inf, 2.0])).tolist() == expected


@pytest.mark.parametrize("metric_class", [SumMetric, MeanMetric])
@pytest.mark.parametrize("strategy", ["error", "warn", 2.0])
def test_a_sum_that_is_nan_from_infinities_has_lost_no_value(metric_class, strategy):
    assert value_of(metric_class(strategy), torch.tensor([math.inf, -math.inf])).isnan()


@pytest.mark.parametrize(
    ("strategy", "expected"), [("ignore", (1 * 2 + 4 * 1) / 3), (10.0, (1 * 2 + 10 + 10 + 4 * 1) / 5)]
)
def test_nan_in_a_value_or_in_its_weight_concerns_the_pair(strategy, expected):
    metric = MeanMetric(strategy)
    metric.update(torch.tensor([1.0, NAN, 3.0, 4.0]), torch.tensor([2.0, 2.0, NAN, 1.0]))
    assert metric.compute().item() == expected


def test_weights_count_when_nan_is_not_looked_for():
    assert value_of(MeanMetric("disable"), (torch.tensor([1.0, 2.0]), torch.tensor([3.0, 1.0]))).item() == 1.25


@pytest.mark.parametrize("strategy", ["drop", None, True, [1.0]])
@pytest.mark.parametrize("metric_class", ALL)
def test_unknown_nan_strategy(metric_class, strategy):
    with pytest.raises(ValueError, match=f"{metric_class.__name__}: `nan_strategy` must be one of"):
        metric_class(strategy)


@pytest.mark.parametrize("metric_class", ALL)
def test_complex_values_are_refused(metric_class):
    with pytest.raises(TypeError, match="`value` must be real"):
        metric_class().update(torch.ones(2, dtype=torch.complex64))


def test_cat_keeps_rows_and_dtype():
    value = value_of(
        CatMetric(), torch.tensor([[1, 2]]), torch.zeros(0, 2, dtype=torch.int64), torch.tensor([[3, 4], [5, 6]])
    )
    assert torch.equal(value, torch.tensor([[1, 2], [3, 4], [5, 6]]))


def test_cat_takes_numbers():
    assert torch.equal(value_of(CatMetric(), 1.0, torch.tensor(2.0), [3.0, 4.0]), torch.tensor([1.0, 2.0, 3.0, 4.0]))


def test_cat_drops_rows_with_nan():
    value = value_of(CatMetric("ignore"), torch.tensor([[1.0, NAN], [3.0, 4.0]]), torch.tensor([[5.0, 6.0]]))
    assert torch.equal(value, torch.tensor([[3.0, 4.0], [5.0, 6.0]]))


def test_cat_keeps_copies():
    given = torch.tensor([1.0, 2.0])
    metric = CatMetric()
    metric.update(given)
    given.zero_()
    assert metric.compute().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("metric_class", [SumMetric, MinMetric, MaxMetric])
def test_the_result_is_not_the_state(metric_class):
    metric = metric_class()
    metric.update(3.0)
    first = metric.compute()
    first.fill_(100.0)
    metric.update(torch.zeros(0))
    assert metric.compute().item() == 3.0
