"""Rows of the table: metrics of labels and of scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from torch import Tensor

from tests.natives.native import Native, Samples

__all__ = ["ROWS"]


def _binary(n: int, generator: torch.Generator) -> Samples:
    return torch.rand(n, generator=generator), torch.randint(0, 2, (n,), generator=generator)


def _logits(n: int, generator: torch.Generator) -> Samples:
    preds, target = _binary(n, generator)
    return preds * 8 - 4, target


def _labels(n: int, generator: torch.Generator) -> Samples:
    return torch.randint(0, 2, (n,), generator=generator), torch.randint(0, 2, (n,), generator=generator)


def _classes(n: int, generator: torch.Generator) -> Samples:
    return torch.rand(n, 4, generator=generator).softmax(1), torch.randint(0, 4, (n,), generator=generator)


def _many(n: int, generator: torch.Generator) -> Samples:
    return torch.rand(n, 40, generator=generator), torch.randint(0, 40, (n,), generator=generator)


def _positions(n: int, generator: torch.Generator) -> Samples:
    return torch.randint(0, 4, (n, 5), generator=generator), torch.randint(0, 4, (n, 5), generator=generator)


def _bits(n: int, generator: torch.Generator) -> Samples:
    return torch.rand(n, 5, generator=generator), torch.randint(0, 2, (n, 5), generator=generator)


def _multilabel(n: int, generator: torch.Generator) -> Samples:
    return torch.rand(n, 3, generator=generator), torch.randint(0, 2, (n, 3), generator=generator)


def _multilabel_positions(n: int, generator: torch.Generator) -> Samples:
    return torch.rand(n, 3, 4, generator=generator), torch.randint(0, 2, (n, 3, 4), generator=generator)


def _of_labels(score: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Give what a function of scikit-learn says of predicted labels: of two classes, many classes or many labels."""

    def truth(preds: Tensor, target: Tensor) -> Any:
        if preds.dim() == 2 and target.dim() == 1:
            predicted = preds.argmax(1)
        else:
            predicted = (preds > 0.5).long() if preds.is_floating_point() else preds
        return score(target.numpy(), predicted.numpy(), **options)

    return truth


def _specificity(target: Any, predicted: Any) -> float:
    (tn, fp), _ = sk.confusion_matrix(target, predicted, labels=[0, 1])
    return tn / (tn + fp) if tn + fp else 0.0


def _npv(target: Any, predicted: Any) -> float:
    (tn, _), (fn, _) = sk.confusion_matrix(target, predicted, labels=[0, 1])
    return tn / (tn + fn) if tn + fn else 0.0


_SCORES: dict[str, tuple[dict[str, Any], Any]] = {
    "Precision": ({}, sk.precision_score),
    "Recall": ({}, sk.recall_score),
    "F1Score": ({}, sk.f1_score),
    "FBetaScore": ({"beta": 2.0}, lambda t, p, **o: sk.fbeta_score(t, p, beta=2.0, **o)),
    "JaccardIndex": ({}, sk.jaccard_score),
}
_PLAIN: dict[str, Any] = {
    "Accuracy": sk.accuracy_score,
    "HammingDistance": lambda t, p: 1 - sk.accuracy_score(t, p),
    "Specificity": _specificity,
    "NegativePredictiveValue": _npv,
}


def _rows() -> list[Native]:
    rows: list[Native] = []
    for name, (options, score) in _SCORES.items():
        rows += [
            Native(f"Binary{name}", _binary, options, truth=_of_labels(score, zero_division=0)),
            Native(f"Binary{name}", _binary, {**options, "ignore_index": 0}),
        ]
        for average in ("micro", "macro", "weighted", None):
            average_of = {"average": average, "zero_division": 0}
            # A macro average of scikit-learn takes the classes that occur, if it is not told which there are.
            labels = {"labels": range(4)} if average is None else {}
            rows += [
                Native(
                    f"Multiclass{name}",
                    _classes,
                    {**options, "num_classes": 4, "average": average},
                    truth=_of_labels(score, **average_of, **labels),
                ),
                Native(
                    f"Multilabel{name}",
                    _multilabel,
                    {**options, "num_labels": 3, "average": average},
                    truth=_of_labels(score, **average_of),
                ),
            ]
        rows.append(Native(f"Multiclass{name}", _classes, {**options, "num_classes": 4, "ignore_index": 1}))
    for name, score in _PLAIN.items():
        rows += [
            Native(f"Binary{name}", _logits, {"threshold": 0.3}),
            Native(f"Binary{name}", _labels, truth=_of_labels(score)),
            Native(f"Multilabel{name}", _multilabel, {"num_labels": 3, "ignore_index": 0}),
        ]
        rows += [
            Native(f"{task}{name}", draw, {**options, "average": average})
            for average in ("micro", "macro", "weighted", None)
            for task, draw, options in (
                ("Multiclass", _classes, {"num_classes": 4}),
                ("Multilabel", _multilabel, {"num_labels": 3}),
            )
        ]
    for name in ("Accuracy", "Precision", "Recall", "F1Score", "FBetaScore", "Specificity", "HammingDistance"):
        options = {"beta": 0.5} if name == "FBetaScore" else {}
        rows += [
            Native(f"Multiclass{name}", _classes, {**options, "num_classes": 4, "top_k": 2}),
            Native(f"Multiclass{name}", _many, {**options, "num_classes": 40}),
            Native(f"Binary{name}", _bits, {**options, "multidim_average": "samplewise"}),
            Native(f"Multiclass{name}", _positions, {**options, "num_classes": 4, "multidim_average": "samplewise"}),
            Native(
                f"Multilabel{name}",
                _multilabel_positions,
                {**options, "num_labels": 3, "multidim_average": "samplewise", "average": None},
            ),
        ]
    rows += [
        Native("BinaryStatScores", _binary),
        Native("BinaryStatScores", _bits, {"multidim_average": "samplewise"}),
    ]
    for average in ("micro", "macro", "weighted", None):
        rows += [
            Native("MulticlassStatScores", _classes, {"num_classes": 4, "average": average}),
            Native("MultilabelStatScores", _multilabel, {"num_labels": 3, "average": average}),
        ]
    for normalize in (None, "true", "pred", "all"):
        rows += [
            Native(
                "BinaryConfusionMatrix",
                _binary,
                {"normalize": normalize},
                truth=_of_labels(sk.confusion_matrix, labels=[0, 1], normalize=normalize),
            ),
            Native(
                "MulticlassConfusionMatrix",
                _classes,
                {"num_classes": 4, "normalize": normalize},
                truth=_of_labels(sk.confusion_matrix, labels=range(4), normalize=normalize),
            ),
            Native("MultilabelConfusionMatrix", _multilabel, {"num_labels": 3, "normalize": normalize}),
        ]
    for weights in (None, "linear", "quadratic"):
        truth = _of_labels(sk.cohen_kappa_score, labels=range(4), weights=weights)
        rows.append(Native("MulticlassCohenKappa", _classes, {"num_classes": 4, "weights": weights}, truth=truth))
    rows += [
        Native("BinaryCohenKappa", _binary, truth=_of_labels(sk.cohen_kappa_score)),
        Native("BinaryMatthewsCorrCoef", _binary, truth=_of_labels(sk.matthews_corrcoef)),
        Native("MulticlassMatthewsCorrCoef", _classes, {"num_classes": 4}, truth=_of_labels(sk.matthews_corrcoef)),
        Native("MultilabelMatthewsCorrCoef", _multilabel, {"num_labels": 3}),
        Native("MulticlassExactMatch", _positions, {"num_classes": 4}),
        Native("MulticlassExactMatch", _positions, {"num_classes": 4, "multidim_average": "samplewise"}),
        Native("MultilabelExactMatch", _multilabel, {"num_labels": 3}),
        Native("MultilabelExactMatch", _multilabel_positions, {"num_labels": 3, "multidim_average": "samplewise"}),
        Native("BinaryAUROC", _binary, truth=_of_scores(sk.roc_auc_score)),
        Native("BinaryAUROC", _binary, {"max_fpr": 0.4}, truth=_of_scores(sk.roc_auc_score, max_fpr=0.4)),
        Native("BinaryAUROC", _binary, {"shuffle_above": 0}, truth=_of_scores(sk.roc_auc_score), peer=False),
        Native("BinaryAveragePrecision", _binary, truth=_of_scores(sk.average_precision_score)),
        Native("BinaryROC", _binary, {"shuffle_above": 0}, peer=False),
    ]
    return rows


def _curve_rows() -> list[Native]:
    rows: list[Native] = []
    at = {
        "AUROC": {},
        "AveragePrecision": {},
        "ROC": {},
        "PrecisionRecallCurve": {},
        "EER": {},
        "PrecisionAtFixedRecall": {"min_recall": 0.4},
        "RecallAtFixedPrecision": {"min_precision": 0.4},
        "SensitivityAtSpecificity": {"min_specificity": 0.4},
        "SpecificityAtSensitivity": {"min_sensitivity": 0.4},
    }
    for name, options in at.items():
        for draw in (_binary, _ties):
            # Where scores are equal, torchmetrics leaves which sample comes first to the sort.
            # Below a curve whose first point is not (0, 0), as where scores are 1, it leaves the part before it out.
            is_cut = name == "AUROC" and draw is _ties
            rows += [
                Native(f"Binary{name}", draw, {**options, "thresholds": t}, peer=t is None or not is_cut)
                for t in (None, 7)
            ]
        rows += [
            Native(f"Binary{name}", _logits, {**options, "ignore_index": 0, "thresholds": [0.2, 0.5, 0.9]}, peer=False),
            Native(f"Multiclass{name}", _classes, {**options, "num_classes": 4}),
            Native(
                f"Multiclass{name}",
                _classes,
                {**options, "num_classes": 4, "thresholds": 9, "ignore_index": 2},
                # A class without samples is left out of averages, where torchmetrics counts it as 0.
                peer=name not in ("AUROC", "AveragePrecision"),
            ),
            Native(f"Multilabel{name}", _multilabel, {**options, "num_labels": 3}),
            Native(f"Multilabel{name}", _multilabel, {**options, "num_labels": 3, "thresholds": 9}),
        ]
        if name in ("AUROC", "AveragePrecision"):
            score = sk.roc_auc_score if name == "AUROC" else sk.average_precision_score
            rows += [
                Native(
                    f"{task}{name}",
                    draw,
                    {**settings, "average": average},
                    truth=_by_column(score, average),
                )
                for task, draw, settings in (
                    ("Multiclass", _classes, {"num_classes": 4}),
                    ("Multilabel", _multilabel, {"num_labels": 3}),
                )
                for average in ("weighted", None)
            ]
            rows.append(Native(f"Multilabel{name}", _multilabel, {"num_labels": 3, "average": "micro"}))
    return [row for place, row in enumerate(rows) if row.id not in {other.id for other in rows[:place]}]


def _ties(n: int, generator: torch.Generator) -> Samples:
    preds, target = _binary(n, generator)
    return (preds * 5).round() / 5, target


def _by_column(score: Callable[..., Any], average: str | None) -> Callable[..., Any]:
    def truth(preds: Tensor, target: Tensor) -> Any:
        columns = target.unsqueeze(1) == torch.arange(preds.shape[1]) if target.dim() == 1 else target
        return [score(columns.long().numpy(), preds.double().numpy(), average=average)]

    return truth


def _of_scores(score: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    def truth(preds: Tensor, target: Tensor) -> Any:
        if len(np.unique(target.numpy())) < 2:
            return None
        return score(target.numpy(), preds.double().numpy(), **options)

    return truth


def _class_logits(n: int, generator: torch.Generator) -> Samples:
    return 3 * torch.randn(n, 4, generator=generator), torch.randint(0, 4, (n,), generator=generator)


def _calibration(bins: int, norm: str) -> Callable[..., float]:
    """Fill the bins one by one."""

    def truth(preds: Tensor, target: Tensor) -> float:
        scores = preds.double().numpy()
        confidence, right = (
            (scores, target.numpy()) if scores.ndim == 1 else (scores.max(1), scores.argmax(1) == target.numpy())
        )
        bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
        apart, share = [], []
        for one in np.unique(bin_of):
            inside = bin_of == one
            apart.append(abs(confidence[inside].mean() - right[inside].mean()))
            share.append(inside.mean())
        apart, share = np.array(apart), np.array(share)
        return {"l1": (apart * share).sum(), "l2": np.sqrt((apart**2 * share).sum()), "max": apart.max()}[norm]

    return truth


def _reliability(preds: Tensor, target: Tensor) -> Any:
    right, confidence = calibration_curve(target.numpy(), preds.double().numpy(), n_bins=5)
    return confidence, right, np.histogram(preds.double().numpy(), bins=5, range=(0, 1))[0]


def _hinge(preds: Tensor, target: Tensor) -> float:
    return float((1 - preds.double() * (2 * target - 1)).clamp(min=0).mean())


def _class_hinge(preds: Tensor, target: Tensor) -> float:
    return float(sk.hinge_loss(target.numpy(), preds.double().numpy(), labels=range(4)))


def _log_loss(preds: Tensor, target: Tensor) -> float:
    """As scikit-learn has it; for logits, the cross entropy of torch in float64."""
    preds = preds.double()
    if bool(((preds >= 0) & (preds <= 1)).all()):
        function = torch.nn.functional.binary_cross_entropy if preds.dim() == 1 else torch.nn.functional.nll_loss
        return float(function(preds, target.double()) if preds.dim() == 1 else function(preds.log(), target))
    if preds.dim() == 1:
        return float(torch.nn.functional.binary_cross_entropy_with_logits(preds, target.double()))
    return float(torch.nn.functional.cross_entropy(preds, target))


def _of_rankings(score: Callable[..., Any]) -> Callable[..., float]:
    return lambda preds, target: float(score(target.numpy(), preds.double().numpy()))


def _loss_rows() -> list[Native]:
    rows = [
        Native("BinaryLogLoss", _binary, truth=_of_scores(sk.log_loss), exact=False, peer=False),
        Native("BinaryLogLoss", _logits, {"normalize": True}, truth=_log_loss, exact=False, peer=False),
        Native("BinaryLogLoss", _logits, {"exact": True}, truth=_log_loss, peer=False),
        Native("BinaryLogLoss", _logits, {"ignore_index": 0, "normalize": False}, exact=False, peer=False),
        Native("MulticlassLogLoss", _classes, {"num_classes": 4}, truth=_log_loss, exact=False, peer=False),
        Native("MulticlassLogLoss", _class_logits, {"num_classes": 4, "exact": True}, truth=_log_loss, peer=False),
        Native("MulticlassLogLoss", _classes, {"num_classes": 4, "ignore_index": 2}, exact=False, peer=False),
        Native("BinaryHingeLoss", _binary, truth=_hinge, exact=False),
        Native("BinaryHingeLoss", _logits, {"squared": True}, exact=False),
        Native("BinaryHingeLoss", _logits, {"exact": True, "ignore_index": 0}, peer=False),
        Native("MulticlassHingeLoss", _classes, {"num_classes": 4}, truth=_class_hinge, exact=False),
        Native("MulticlassHingeLoss", _class_logits, {"num_classes": 4, "squared": True}, exact=False),
        Native("MulticlassHingeLoss", _classes, {"num_classes": 4, "multiclass_mode": "one-vs-all"}, exact=False),
        Native("MulticlassHingeLoss", _classes, {"num_classes": 4, "exact": True, "ignore_index": 1}, peer=False),
    ]
    rows += [
        Native("BinaryCalibrationCurve", _binary, {"n_bins": 5}, truth=_reliability, peer=False),
        Native("BinaryCalibrationCurve", _logits, {"ignore_index": 0}, peer=False),
        Native("MulticlassCalibrationCurve", _classes, {"num_classes": 4}, peer=False),
    ]
    for norm in ("l1", "l2", "max"):
        rows += [
            Native("BinaryCalibrationError", _binary, {"norm": norm}, truth=_calibration(15, norm)),
            Native("BinaryCalibrationError", _logits, {"n_bins": 7, "norm": norm, "ignore_index": 0}),
            Native(
                "MulticlassCalibrationError", _classes, {"num_classes": 4, "norm": norm}, truth=_calibration(15, norm)
            ),
            Native("MulticlassCalibrationError", _class_logits, {"num_classes": 4, "n_bins": 7, "norm": norm}),
        ]
    rankings = {
        "MultilabelCoverageError": sk.coverage_error,
        "MultilabelRankingLoss": sk.label_ranking_loss,
        "MultilabelRankingAveragePrecision": sk.label_ranking_average_precision_score,
    }
    for name, score in rankings.items():
        rows += [
            Native(name, _multilabel, {"num_labels": 3}, truth=_of_rankings(score)),
            Native(name, _tied_multilabel, {"num_labels": 5}, truth=_of_rankings(score), peer=False),
            Native(name, _multilabel, {"num_labels": 3, "ignore_index": 0}, peer=False),
            Native(name, _multilabel_positions, {"num_labels": 3}, peer=False),
        ]
    for name in ("ROC", "PrecisionRecallCurve"):
        for average in ("micro", "macro"):
            # In a macro average torchmetrics takes recalls at precisions, which are no function.
            rows += [
                Native(f"Multiclass{name}", _classes, {"num_classes": 4, "average": average}, peer=average == "micro"),
                Native(
                    f"Multiclass{name}",
                    _classes,
                    {"num_classes": 4, "average": average, "thresholds": 9},
                    peer=False,  # torchmetrics cannot add a second batch
                ),
            ]
    return rows


def _tied_multilabel(n: int, generator: torch.Generator) -> Samples:
    preds, target = _bits(n, generator)
    return (preds * 4).round() / 4, target


ROWS = [*_rows(), *_curve_rows(), *_loss_rows()]
