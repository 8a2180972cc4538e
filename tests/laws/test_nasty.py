"""Law: on data that nobody means to have, the value of torchmetrics, a better one, or a message what to write."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.natives import ROWS
from tests.natives.native import Native, Samples, generator, leaves

pytest.importorskip("torchmetrics")

TABLE = [row for row in ROWS if all(isinstance(value, Tensor) for value in row.draw(1, generator(0)))]


def _at(place: int, change: Callable[[Tensor], Tensor]) -> Callable[[Samples], Samples]:
    return lambda samples: tuple(
        change(value) if index == min(place, len(samples) - 1) else value for index, value in enumerate(samples)
    )


def _floats(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda value: change(value) if value.is_floating_point() else value


def _with(number: float) -> Callable[[Tensor], Tensor]:
    def change(value: Tensor) -> Tensor:
        value = value.clone()
        value.view(-1)[0] = number
        return value

    return change


def _labels(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda value: value if value.is_floating_point() else change(value)


NASTY: dict[str, Callable[[Samples], Samples]] = {
    "targets of 0": _at(1, torch.zeros_like),
    "targets of 1": _at(1, torch.ones_like),
    "targets of 3": _at(1, _floats(lambda value: torch.full_like(value, 3.0))),
    "all ties": _at(0, lambda value: torch.full_like(value, 0.5) if value.is_floating_point() else value * 0),
    "one sample": lambda samples: tuple(value[:1] for value in samples),
    "no sample": lambda samples: tuple(value[:0] for value in samples),
    "probabilities that sum to 0.999": _at(0, _floats(lambda value: value * 0.999)),
    "labels in floats": _at(1, lambda value: value.float()),
    "labels in uint8": _at(1, _labels(lambda value: value.to(torch.uint8))),
    "labels in bools": _at(1, _labels(lambda value: value > 0)),
    "infinity": _at(0, _floats(_with(math.inf))),
    "minus infinity": _at(0, _floats(_with(-math.inf))),
    "NaN": _at(0, _floats(_with(math.nan))),
}

#: Where a value is another than that of torchmetrics: which metrics, on what, and why ours is the better one.
ARGUED = [
    ("Matthews", "0 where one side has one class, as in scikit-learn; a number without meaning there"),
    ("JaccardIndex", "0 where there is nothing, as zero_division says; NaN there"),
    ("AUROC|AveragePrecision", "a class without samples is left out of averages, and NaN alone; it counts 0 there"),
    ("PrecisionRecallCurve|Fixed|Sensitivity", "of a class without positives, and of equal scores, as in scikit-learn"),
    ("EER|ROC", "an infinite logit has all of the probability; NaN there, which sorts anywhere"),
    ("Calibration", "NaN without samples, and a confidence of 1 is in the last bin; 0, and a bin of its own, there"),
    ("HingeLoss", "an infinite logit has all of the probability; NaN there"),
    ("StatScores", "averages of no class are 0; NaN there"),
    ("RankingLoss|RankingAverage|Coverage", "equal scores are in the wrong order, as in scikit-learn; NaN for nothing"),
    ("Precision|F1Score|FBeta|Specificity|Accuracy|Hamming|NegativePredictive|Recall", "the lower class goes first"),
    ("Retrieval", "relevant documents come last among equal scores, so that no order of them matters"),
    ("Concordance", "0 where one side is constant, which is what the formula gives; NaN there"),
    ("LogCosh", "does not overflow"),
    ("RelativeSquaredError|R2Score|ExplainedVariance", "divided by nothing it is infinite, and NaN for one sample"),
    ("Spearman|Kendall|Pearson", "NaN where one side is constant, as in scipy"),
    ("StructuralSimilarity|PeakSignal", "kept in float64"),
    ("GeneralizedDice", "a class that is in no mask has the greatest weight of its own sample"),
    ("CatMetric", "an empty tensor without values; an empty list there"),
    (
        "MultilabelAccuracy|MultilabelHamming|Binary(Recall|F1|FBeta)",
        "bools are read as 0 and 1 before they are compared",
    ),
    ("Cosine|Tweedie|KLDivergence|Minkowski|Percentage|LogError", "not a number is not a number"),
    ("Wrapper|Composition|Transformer|MinMax", "as the metric inside"),
]
EACH = pytest.mark.parametrize("row", TABLE, ids=[row.id for row in TABLE])


@EACH
def test_a_value_or_a_message(row: Native) -> None:
    for what, change in NASTY.items():
        samples = change(row.draw(12, generator(3)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours, theirs = _tried(row.make(), row, samples), None
            if row.peer:
                theirs = _tried(row.make_peer(), row, samples)
        if isinstance(ours, Exception):
            assert type(ours) in (ValueError, TypeError, RuntimeError), (what, ours)
            assert re.match(r"[`A-Z]\w+(`|: )", str(ours)), (what, ours)
            assert len(str(ours)) > 60, (what, ours)  # it says what to write
            continue
        if theirs is None or isinstance(theirs, Exception) or _alike(ours, theirs):
            continue
        assert any(re.search(names, row.name) for names, _ in ARGUED), (what, ours, theirs)


@EACH
def test_a_batch_that_is_refused_leaves_nothing(row: Native) -> None:
    metric, batch = row.make(), row.draw(12, generator(4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric.update(*batch, **row.update)
        right = _numbers(metric.compute())
        for change in NASTY.values():
            other = row.make()
            other.update(*batch, **row.update)
            try:
                other.update(*change(row.draw(12, generator(3))), **row.update)
            except (ValueError, TypeError, RuntimeError):
                assert other.update_count == 1
                assert _alike(_numbers(other.compute()), right)


def _tried(metric: Any, row: Native, samples: Samples) -> Any:
    try:
        metric.update(*samples, **row.update)
        return _numbers(metric.compute())
    except Exception as error:
        return error


def _numbers(value: Any) -> list[Tensor]:
    return [leaf.double().flatten() for leaf in leaves(value)]


def _alike(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return len(ours) == len(theirs) and all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)
        for a, b in zip(ours, theirs, strict=True)
    )
