"""torchmetrics' metrics: how each is made, and what it is fed. A metric of every kind of state is among them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torchmetrics as tm
from torch import Tensor
from torchmetrics import (
    aggregation,
    audio,
    classification,
    clustering,
    detection,
    image,
    nominal,
    regression,
    retrieval,
    segmentation,
    shape,
    text,
    wrappers,
)

warnings.filterwarnings("ignore", module="torchmetrics")

Feed = Callable[[Any, int, torch.Generator], None]


@dataclass(frozen=True)
class Row:
    make: Callable[[], Any]
    feed: Feed


def _probs(*sizes: int, g: torch.Generator) -> Tensor:
    return torch.rand(sizes, generator=g)


def _ints(high: int, *sizes: int, g: torch.Generator) -> Tensor:
    return torch.randint(0, high, sizes, generator=g)


def binary(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_probs(n, g=g), _ints(2, n, g=g))


def binary_groups(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_probs(n, g=g), _ints(2, n, g=g), _ints(2, n, g=g))


def multiclass(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_probs(n, 4, g=g).softmax(1), _ints(4, n, g=g))


def multiclass_words(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_probs(n, 4, 3, g=g).softmax(1), _ints(4, n, 3, g=g))


def multilabel(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_probs(n, 3, g=g), _ints(2, n, 3, g=g))


def numbers(m: Any, n: int, g: torch.Generator) -> None:
    a = torch.randn(n, generator=g)
    m.update(a, a + torch.randn(n, generator=g))


def positive(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_probs(n, g=g) + 0.1, _probs(n, g=g) + 0.1)


def two_outputs(m: Any, n: int, g: torch.Generator) -> None:
    a = torch.randn(n, 2, generator=g)
    m.update(a, a + torch.randn(n, 2, generator=g))


def distributions(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_probs(n, 4, g=g).softmax(1), _probs(n, 4, g=g).softmax(1))


def ensembles(m: Any, n: int, g: torch.Generator) -> None:
    m.update(torch.randn(n, 4, generator=g), torch.randn(n, generator=g))


def values(m: Any, n: int, g: torch.Generator) -> None:
    m.update(torch.randn(n, generator=g))


def weighed(m: Any, n: int, g: torch.Generator) -> None:
    m.update(torch.randn(n, generator=g), _probs(n, g=g))


def queries(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_probs(n, g=g), _ints(2, n, g=g), indexes=_ints(3, n, g=g))


WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "and", "then"]


def _sentence(g: torch.Generator) -> str:
    return " ".join(WORDS[int(i)] for i in _ints(len(WORDS), 8, g=g))


def sentences(m: Any, n: int, g: torch.Generator) -> None:
    m.update([_sentence(g) for _ in range(n)], [_sentence(g) for _ in range(n)])


def references(m: Any, n: int, g: torch.Generator) -> None:
    m.update([_sentence(g) for _ in range(n)], [[_sentence(g), _sentence(g)] for _ in range(n)])


def answers(m: Any, n: int, g: torch.Generator) -> None:
    said = [{"prediction_text": _sentence(g), "id": str(i)} for i in range(n)]
    right = [{"answers": {"answer_start": [0], "text": [_sentence(g)]}, "id": str(i)} for i in range(n)]
    m.update(said, right)


def tokens(m: Any, n: int, g: torch.Generator) -> None:
    m.update(torch.randn(n, 5, 7, generator=g), _ints(7, n, 5, g=g))


def images(m: Any, n: int, g: torch.Generator, size: int = 16) -> None:
    a = _probs(n, 3, size, size, g=g)
    m.update(a, (a + 0.2 * _probs(n, 3, size, size, g=g)).clamp(0, 1))


def grey_images(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_probs(n, 1, 16, 16, g=g), _probs(n, 1, 16, 16, g=g))


def single_images(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_probs(n, 3, 16, 16, g=g))


def waves(m: Any, n: int, g: torch.Generator) -> None:
    a = torch.randn(n, 200, generator=g)
    m.update(a + 0.3 * torch.randn(n, 200, generator=g), a)


def speakers(m: Any, n: int, g: torch.Generator) -> None:
    a = torch.randn(n, 2, 100, generator=g)
    m.update(a + 0.3 * torch.randn(n, 2, 100, generator=g), a)


def spectra(m: Any, n: int, g: torch.Generator) -> None:
    m.update(torch.randn(n, 9, 10, 2, generator=g), torch.randn(n, 9, 10, 2, generator=g))


def clusters(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_ints(3, n, g=g), _ints(3, n, g=g))


def points(m: Any, n: int, g: torch.Generator) -> None:
    m.update(torch.randn(n, 2, generator=g), torch.arange(n) % 2)


def counts_of_ratings(m: Any, n: int, g: torch.Generator) -> None:
    first = _ints(6, n, g=g)
    m.update(torch.stack([first, 5 - first], 1))


def masks(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_ints(2, n, 3, 8, 8, g=g), _ints(2, n, 3, 8, 8, g=g))


def panoptic(m: Any, n: int, g: torch.Generator) -> None:
    m.update(_ints(2, n, 6, 6, 2, g=g), _ints(2, n, 6, 6, 2, g=g))


def clouds(m: Any, n: int, g: torch.Generator) -> None:
    m.update(torch.randn(n, 10, 3, generator=g), torch.randn(n, 10, 3, generator=g))


def tasks(m: Any, n: int, g: torch.Generator) -> None:
    m.update(
        {"class": _ints(2, n, g=g), "number": torch.randn(n, generator=g)},
        {"class": _ints(2, n, g=g), "number": torch.randn(n, generator=g)},
    )


ROWS: dict[str, Row] = {}


def _add(feed: Feed, *classes: Any, name: str = "", **settings: Any) -> None:
    for cls in classes:
        label = name or cls.__name__ + "".join(f", {k}={v}" for k, v in settings.items() if k in _SAID)
        assert label not in ROWS, label
        ROWS[label] = Row(functools.partial(cls, **settings), feed)


_SAID = ("thresholds", "average", "num_outputs", "reduction", "multidim_average")

_c = classification
_add(
    binary,
    *(_c.BinaryAUROC, _c.BinaryAccuracy, _c.BinaryAveragePrecision, _c.BinaryCalibrationError, _c.BinaryCohenKappa),
    *(_c.BinaryConfusionMatrix, _c.BinaryEER, _c.BinaryF1Score, _c.BinaryHammingDistance, _c.BinaryHingeLoss),
    *(_c.BinaryJaccardIndex, _c.BinaryMatthewsCorrCoef, _c.BinaryNegativePredictiveValue, _c.BinaryPrecision),
    *(_c.BinaryPrecisionRecallCurve, _c.BinaryROC, _c.BinaryRecall, _c.BinarySpecificity, _c.BinaryStatScores),
    _c.BinaryLogAUC,
)
_add(binary, _c.BinaryFBetaScore, beta=2.0)
_add(binary, _c.BinaryPrecisionAtFixedRecall, min_recall=0.5)
_add(binary, _c.BinaryRecallAtFixedPrecision, min_precision=0.5)
_add(binary, _c.BinarySensitivityAtSpecificity, min_specificity=0.5)
_add(binary, _c.BinarySpecificityAtSensitivity, min_sensitivity=0.5)
_add(binary, _c.BinaryAUROC, _c.BinaryAveragePrecision, _c.BinaryROC, _c.BinaryPrecisionRecallCurve, thresholds=20)
_add(binary_groups, _c.BinaryFairness, _c.BinaryGroupStatRates, num_groups=2)
_add(
    multiclass,
    *(_c.MulticlassAUROC, _c.MulticlassAccuracy, _c.MulticlassAveragePrecision, _c.MulticlassCalibrationError),
    *(_c.MulticlassCohenKappa, _c.MulticlassConfusionMatrix, _c.MulticlassEER, _c.MulticlassF1Score),
    *(_c.MulticlassHammingDistance, _c.MulticlassHingeLoss, _c.MulticlassJaccardIndex, _c.MulticlassMatthewsCorrCoef),
    *(_c.MulticlassPrecision, _c.MulticlassPrecisionRecallCurve, _c.MulticlassROC, _c.MulticlassRecall),
    *(_c.MulticlassSpecificity, _c.MulticlassStatScores, _c.MulticlassNegativePredictiveValue),
    num_classes=4,
)
_add(multiclass, _c.MulticlassFBetaScore, beta=2.0, num_classes=4)
_add(multiclass, _c.MulticlassRecallAtFixedPrecision, min_precision=0.3, num_classes=4)
_add(multiclass, _c.MulticlassAUROC, _c.MulticlassROC, num_classes=4, thresholds=20)
_add(multiclass, _c.MulticlassAccuracy, num_classes=4, average="micro")
_add(multiclass_words, _c.MulticlassExactMatch, num_classes=4)
_add(multiclass_words, _c.MulticlassAccuracy, _c.MulticlassStatScores, num_classes=4, multidim_average="samplewise")
_add(
    multilabel,
    *(_c.MultilabelAUROC, _c.MultilabelAccuracy, _c.MultilabelAveragePrecision, _c.MultilabelConfusionMatrix),
    *(_c.MultilabelCoverageError, _c.MultilabelExactMatch, _c.MultilabelF1Score, _c.MultilabelHammingDistance),
    *(_c.MultilabelJaccardIndex, _c.MultilabelMatthewsCorrCoef, _c.MultilabelPrecision, _c.MultilabelRecall),
    *(_c.MultilabelPrecisionRecallCurve, _c.MultilabelROC, _c.MultilabelRankingAveragePrecision),
    *(_c.MultilabelRankingLoss, _c.MultilabelSpecificity, _c.MultilabelStatScores),
    num_labels=3,
)
_r = regression
_add(
    numbers,
    *(_r.ConcordanceCorrCoef, _r.ExplainedVariance, _r.KendallRankCorrCoef, _r.LogCoshError, _r.MeanAbsoluteError),
    *(_r.MeanAbsolutePercentageError, _r.MeanSquaredError, _r.PearsonCorrCoef, _r.R2Score, _r.RelativeSquaredError),
    *(_r.SpearmanCorrCoef, _r.SymmetricMeanAbsolutePercentageError, _r.WeightedMeanAbsolutePercentageError),
    _r.NormalizedRootMeanSquaredError,
)
_add(numbers, _r.CriticalSuccessIndex, threshold=0.5)
_add(numbers, _r.MinkowskiDistance, p=3)
_add(positive, _r.MeanSquaredLogError, _r.TweedieDevianceScore)
_add(
    two_outputs,
    *(_r.ConcordanceCorrCoef, _r.KendallRankCorrCoef, _r.LogCoshError, _r.MeanAbsoluteError, _r.MeanSquaredError),
    *(_r.PearsonCorrCoef, _r.SpearmanCorrCoef, _r.NormalizedRootMeanSquaredError),
    num_outputs=2,
)
_add(two_outputs, _r.CosineSimilarity, reduction="none")
_add(two_outputs, _r.R2Score, name="R2Score of two outputs", multioutput="raw_values")
_add(distributions, _r.KLDivergence, _r.JensenShannonDivergence)
_add(distributions, _r.KLDivergence, reduction="none")
_add(ensembles, _r.ContinuousRankedProbabilityScore)

_add(values, aggregation.CatMetric, aggregation.MaxMetric, aggregation.MinMetric, aggregation.SumMetric)
_add(weighed, aggregation.MeanMetric)

_q = retrieval
_add(
    queries,
    *(_q.RetrievalAUROC, _q.RetrievalFallOut, _q.RetrievalHitRate, _q.RetrievalMAP, _q.RetrievalMRR),
    *(_q.RetrievalNormalizedDCG, _q.RetrievalPrecision, _q.RetrievalRPrecision, _q.RetrievalRecall),
)
_add(queries, _q.RetrievalPrecisionRecallCurve, max_k=3)
_add(queries, _q.RetrievalRecallAtFixedPrecision, min_precision=0.2, max_k=3)

_add(
    sentences,
    *(text.CharErrorRate, text.EditDistance, text.MatchErrorRate, text.WordErrorRate, text.WordInfoLost),
    *(text.WordInfoPreserved, text.ExtendedEditDistance),
)
_add(sentences, text.EditDistance, reduction="none")
_add(references, text.BLEUScore, text.CHRFScore, text.SacreBLEUScore, text.TranslationEditRate)
_add(references, text.CHRFScore, name="CHRFScore with sentences", return_sentence_level_score=True)
_add(sentences, text.ROUGEScore, rouge_keys=("rouge1", "rougeL"))
_add(answers, text.SQuAD)
_add(tokens, text.Perplexity)

_add(
    images,
    *(image.RelativeAverageSpectralError, image.RootMeanSquaredErrorUsingSlidingWindow, image.SpectralAngleMapper),
    *(image.SpatialCorrelationCoefficient, image.ErrorRelativeGlobalDimensionlessSynthesis),
    *(image.UniversalImageQualityIndex, image.SpectralDistortionIndex),
)
_add(images, image.PeakSignalNoiseRatio, image.StructuralSimilarityIndexMeasure, data_range=1.0)
_add(images, image.StructuralSimilarityIndexMeasure, data_range=1.0, reduction="none")
_add(
    functools.partial(images, size=24),
    image.MultiScaleStructuralSimilarityIndexMeasure,
    data_range=1.0,
    kernel_size=3,
    betas=(0.5, 0.5),
)
_add(functools.partial(images, size=41), image.VisualInformationFidelity)
_add(grey_images, image.PeakSignalNoiseRatioWithBlockedEffect, data_range=1.0)
_add(single_images, image.TotalVariation)
_add(single_images, image.TotalVariation, reduction="none")

_add(waves, audio.SignalNoiseRatio, audio.ScaleInvariantSignalNoiseRatio, audio.ScaleInvariantSignalDistortionRatio)
_add(waves, audio.SignalDistortionRatio, filter_length=16)
_add(spectra, audio.ComplexScaleInvariantSignalNoiseRatio)
_add(speakers, audio.SourceAggregatedSignalDistortionRatio)
_add(
    speakers,
    audio.PermutationInvariantTraining,
    metric_func=tm.functional.audio.scale_invariant_signal_noise_ratio,
)

_l = clustering
_add(
    clusters,
    *(_l.AdjustedMutualInfoScore, _l.AdjustedRandScore, _l.CompletenessScore, _l.FowlkesMallowsIndex),
    *(_l.HomogeneityScore, _l.MutualInfoScore, _l.NormalizedMutualInfoScore, _l.RandScore, _l.VMeasureScore),
)
_add(points, _l.CalinskiHarabaszScore, _l.DaviesBouldinScore, _l.DunnIndex)

_add(
    clusters, nominal.CramersV, nominal.PearsonsContingencyCoefficient, nominal.TheilsU, nominal.TschuprowsT,
    num_classes=3,
)  # fmt: skip
_add(counts_of_ratings, nominal.FleissKappa)

_add(masks, segmentation.DiceScore, segmentation.GeneralizedDiceScore, segmentation.MeanIoU, num_classes=3)
_add(masks, segmentation.HausdorffDistance, num_classes=3)
_add(panoptic, detection.PanopticQuality, detection.ModifiedPanopticQuality, things={0}, stuffs={1})
_add(clouds, shape.ProcrustesDisparity)


ROWS["MinMaxMetric"] = Row(lambda: wrappers.MinMaxMetric(_c.BinaryAccuracy()), binary)
ROWS["MultioutputWrapper"] = Row(lambda: wrappers.MultioutputWrapper(_r.R2Score(), 2), two_outputs)
ROWS["ClasswiseWrapper"] = Row(lambda: wrappers.ClasswiseWrapper(_c.MulticlassAccuracy(4, average=None)), multiclass)
ROWS["MultitaskWrapper"] = Row(
    lambda: wrappers.MultitaskWrapper({"class": _c.BinaryAccuracy(), "number": _r.MeanSquaredError()}), tasks
)
ROWS["BinaryTargetTransformer"] = Row(lambda: wrappers.BinaryTargetTransformer(_c.BinaryAUROC(), threshold=0), binary)
ROWS["composition, a + b"] = Row(lambda: _r.MeanSquaredError() + _r.MeanAbsoluteError(), numbers)
ROWS["MetricCollection"] = Row(
    lambda: tm.MetricCollection([_c.MulticlassPrecision(4), _c.MulticlassRecall(4), _c.MulticlassAUROC(4)]), multiclass
)
