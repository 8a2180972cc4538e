"""Distributed-aware metrics for PyTorch: the value on N ranks is the value of one process, for one exchange.

Every public name is here, `syncmetrics.NAME`, and is imported when it is first used. The metrics are also in modules by
family, as in torchmetrics: `syncmetrics.classification`, `.regression`, `.aggregation`, `.retrieval`, `.wrappers`.
"""

import importlib

from syncmetrics import registry

__version__ = "0.1.0"

#: Where each public name comes from. `__init__.pyi` says the same to type checkers and editors.
_ROOMS = {
    "aggregation": (
        "CatMetric",
        "MaxMetric",
        "MeanMetric",
        "Median",
        "MinMetric",
        "Quantile",
        "RunningMean",
        "RunningSum",
        "SumMetric",
    ),
    "checkpoint": ("StatefulMetrics", "load_state", "save_state"),
    "classification": (
        "AUROC",
        "EER",
        "ROC",
        "Accuracy",
        "AveragePrecision",
        "BinaryAUROC",
        "BinaryAccuracy",
        "BinaryAveragePrecision",
        "BinaryCalibrationCurve",
        "BinaryCalibrationError",
        "BinaryCohenKappa",
        "BinaryConfusionMatrix",
        "BinaryEER",
        "BinaryF1Score",
        "BinaryFBetaScore",
        "BinaryHammingDistance",
        "BinaryHingeLoss",
        "BinaryJaccardIndex",
        "BinaryLogLoss",
        "BinaryMatthewsCorrCoef",
        "BinaryNegativePredictiveValue",
        "BinaryPrecision",
        "BinaryPrecisionAtFixedRecall",
        "BinaryPrecisionRecallCurve",
        "BinaryROC",
        "BinaryRecall",
        "BinaryRecallAtFixedPrecision",
        "BinarySensitivityAtSpecificity",
        "BinarySpecificity",
        "BinarySpecificityAtSensitivity",
        "BinaryStatScores",
        "CalibrationCurve",
        "CalibrationError",
        "CohenKappa",
        "ConfusionMatrix",
        "ExactMatch",
        "F1Score",
        "FBetaScore",
        "HammingDistance",
        "HingeLoss",
        "JaccardIndex",
        "LogLoss",
        "MatthewsCorrCoef",
        "MulticlassAUROC",
        "MulticlassAccuracy",
        "MulticlassAveragePrecision",
        "MulticlassCalibrationCurve",
        "MulticlassCalibrationError",
        "MulticlassCohenKappa",
        "MulticlassConfusionMatrix",
        "MulticlassEER",
        "MulticlassExactMatch",
        "MulticlassF1Score",
        "MulticlassFBetaScore",
        "MulticlassHammingDistance",
        "MulticlassHingeLoss",
        "MulticlassJaccardIndex",
        "MulticlassLogLoss",
        "MulticlassMatthewsCorrCoef",
        "MulticlassNegativePredictiveValue",
        "MulticlassPrecision",
        "MulticlassPrecisionAtFixedRecall",
        "MulticlassPrecisionRecallCurve",
        "MulticlassROC",
        "MulticlassRecall",
        "MulticlassRecallAtFixedPrecision",
        "MulticlassSensitivityAtSpecificity",
        "MulticlassSpecificity",
        "MulticlassSpecificityAtSensitivity",
        "MulticlassStatScores",
        "MultilabelAUROC",
        "MultilabelAccuracy",
        "MultilabelAveragePrecision",
        "MultilabelConfusionMatrix",
        "MultilabelCoverageError",
        "MultilabelEER",
        "MultilabelExactMatch",
        "MultilabelF1Score",
        "MultilabelFBetaScore",
        "MultilabelHammingDistance",
        "MultilabelJaccardIndex",
        "MultilabelMatthewsCorrCoef",
        "MultilabelNegativePredictiveValue",
        "MultilabelPrecision",
        "MultilabelPrecisionAtFixedRecall",
        "MultilabelPrecisionRecallCurve",
        "MultilabelROC",
        "MultilabelRankingAveragePrecision",
        "MultilabelRankingLoss",
        "MultilabelRecall",
        "MultilabelRecallAtFixedPrecision",
        "MultilabelSensitivityAtSpecificity",
        "MultilabelSpecificity",
        "MultilabelSpecificityAtSensitivity",
        "MultilabelStatScores",
        "NegativePredictiveValue",
        "Precision",
        "PrecisionAtFixedRecall",
        "PrecisionRecallCurve",
        "Recall",
        "RecallAtFixedPrecision",
        "SensitivityAtSpecificity",
        "Specificity",
        "SpecificityAtSensitivity",
        "StatScores",
    ),
    "data": ("EvalSampler", "valid_mask"),
    "diagnose": (),
    "errors": (
        "PacketError",
        "PeerError",
        "PeerLostError",
        "ReplicaMismatchError",
        "SchemaMismatchError",
        "StackLine",
        "Standing",
        "StateError",
        "SyncError",
        "SyncRefusedError",
        "SyncTimeoutError",
        "SyncmetricsError",
    ),
    "foreign": ("Adapter", "gather_ragged", "register_adapter", "sync_states"),
    "frameworks": (),
    "image": ("PeakSignalNoiseRatio", "StructuralSimilarityIndexMeasure"),
    "logger": (
        "CSVSink",
        "ConsoleSink",
        "JSONLinesSink",
        "MLflowSink",
        "MetricLogger",
        "TensorBoardSink",
        "WandbSink",
    ),
    "metric": (
        "Coverage",
        "Metric",
        "MetricCollection",
        "PendingStates",
        "PendingValue",
        "coverage",
        "sync_and_compute",
        "synced",
    ),
    "plotting": (),
    "regression": (
        "ConcordanceCorrCoef",
        "CosineSimilarity",
        "ExplainedVariance",
        "KLDivergence",
        "KendallRankCorrCoef",
        "LogCoshError",
        "MeanAbsoluteError",
        "MeanAbsolutePercentageError",
        "MeanSquaredError",
        "MeanSquaredLogError",
        "MinkowskiDistance",
        "PearsonCorrCoef",
        "R2Score",
        "RelativeSquaredError",
        "SpearmanCorrCoef",
        "SymmetricMeanAbsolutePercentageError",
        "TweedieDevianceScore",
        "WeightedMeanAbsolutePercentageError",
    ),
    "retrieval": (
        "RetrievalAUROC",
        "RetrievalFallOut",
        "RetrievalHitRate",
        "RetrievalMAP",
        "RetrievalMRR",
        "RetrievalNormalizedDCG",
        "RetrievalPrecision",
        "RetrievalPrecisionRecallCurve",
        "RetrievalRPrecision",
        "RetrievalRecall",
        "RetrievalRecallAtFixedPrecision",
    ),
    "schedule": ("join", "share_errors"),
    "segmentation": ("DiceScore", "GeneralizedDiceScore", "MeanIoU"),
    "shuffle": ("distinct_mask",),
    "states": ("RowBuffer", "dim_zero_cat", "exact_add", "exact_value"),
    "sync": ("Estimate", "Price", "SyncRecord", "Trace", "estimate", "set_sync_budget", "trace"),
    "testing": ("assert_matches_single_process", "run_ranks"),
    "text": (
        "BLEUScore",
        "CharErrorRate",
        "EditDistance",
        "MatchErrorRate",
        "Perplexity",
        "SacreBLEUScore",
        "WordErrorRate",
        "WordInfoLost",
        "WordInfoPreserved",
    ),
    "transport": ("WORLD", "over", "set_shared_memory", "set_sync_timeout"),
    "wrappers": (
        "BinaryTargetTransformer",
        "BootStrapper",
        "ClasswiseWrapper",
        "CompositionalMetric",
        "LambdaInputTransformer",
        "MetricInputTransformer",
        "MetricTracker",
        "MinMaxMetric",
        "MultioutputWrapper",
        "MultitaskWrapper",
        "Running",
    ),
}
_WHERE = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = sorted([*_WHERE, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


# Who wants to know our metrics, who knows others, and who draws: these rooms are imported when it comes to that.
registry.enter_room_of_recognisers("syncmetrics.foreign")
registry.enter_composer("syncmetrics.wrappers.composition")
registry.enter_room_of_pictures("syncmetrics.plotting")
registry.enter_host("torchmetrics.metric", "syncmetrics.foreign.hosts")
registry.enter_host("torchmetrics.wrappers.tracker", "syncmetrics.foreign.hosts")
registry.enter_host("lightning.pytorch.core.module", "syncmetrics.frameworks.lightning")
registry.enter_host("pytorch_lightning.core.module", "syncmetrics.frameworks.lightning")


def __getattr__(name: str) -> object:
    """Import a public name, or a room, when it is first asked for (PEP 562)."""
    if name in _WHERE:
        value = getattr(importlib.import_module(f"syncmetrics.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return importlib.import_module(f"syncmetrics.{name}")
    if name.startswith("_"):
        raise AttributeError(f"module 'syncmetrics' has no attribute {name!r}")
    raise importlib.import_module("syncmetrics.missing").error_for(name, [*_WHERE, *_ROOMS])


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE, *_ROOMS])
