"""The public names, for type checkers and editors; see `__init__.py`."""

from syncmetrics import (
    aggregation as aggregation,
)
from syncmetrics import (
    checkpoint as checkpoint,
)
from syncmetrics import (
    classification as classification,
)
from syncmetrics import (
    data as data,
)
from syncmetrics import (
    diagnose as diagnose,
)
from syncmetrics import (
    errors as errors,
)
from syncmetrics import (
    foreign as foreign,
)
from syncmetrics import (
    frameworks as frameworks,
)
from syncmetrics import (
    image as image,
)
from syncmetrics import (
    logger as logger,
)
from syncmetrics import (
    metric as metric,
)
from syncmetrics import (
    plotting as plotting,
)
from syncmetrics import (
    regression as regression,
)
from syncmetrics import (
    retrieval as retrieval,
)
from syncmetrics import (
    schedule as schedule,
)
from syncmetrics import (
    segmentation as segmentation,
)
from syncmetrics import (
    shuffle as shuffle,
)
from syncmetrics import (
    states as states,
)
from syncmetrics import (
    sync as sync,
)
from syncmetrics import (
    testing as testing,
)
from syncmetrics import (
    text as text,
)
from syncmetrics import (
    transport as transport,
)
from syncmetrics import (
    wrappers as wrappers,
)
from syncmetrics.aggregation import CatMetric as CatMetric
from syncmetrics.aggregation import MaxMetric as MaxMetric
from syncmetrics.aggregation import MeanMetric as MeanMetric
from syncmetrics.aggregation import Median as Median
from syncmetrics.aggregation import MinMetric as MinMetric
from syncmetrics.aggregation import Quantile as Quantile
from syncmetrics.aggregation import RunningMean as RunningMean
from syncmetrics.aggregation import RunningSum as RunningSum
from syncmetrics.aggregation import SumMetric as SumMetric
from syncmetrics.checkpoint import StatefulMetrics as StatefulMetrics
from syncmetrics.checkpoint import load_state as load_state
from syncmetrics.checkpoint import save_state as save_state
from syncmetrics.classification import AUROC as AUROC
from syncmetrics.classification import EER as EER
from syncmetrics.classification import ROC as ROC
from syncmetrics.classification import Accuracy as Accuracy
from syncmetrics.classification import AveragePrecision as AveragePrecision
from syncmetrics.classification import BinaryAccuracy as BinaryAccuracy
from syncmetrics.classification import BinaryAUROC as BinaryAUROC
from syncmetrics.classification import BinaryAveragePrecision as BinaryAveragePrecision
from syncmetrics.classification import BinaryCalibrationCurve as BinaryCalibrationCurve
from syncmetrics.classification import BinaryCalibrationError as BinaryCalibrationError
from syncmetrics.classification import BinaryCohenKappa as BinaryCohenKappa
from syncmetrics.classification import BinaryConfusionMatrix as BinaryConfusionMatrix
from syncmetrics.classification import BinaryEER as BinaryEER
from syncmetrics.classification import BinaryF1Score as BinaryF1Score
from syncmetrics.classification import BinaryFBetaScore as BinaryFBetaScore
from syncmetrics.classification import BinaryHammingDistance as BinaryHammingDistance
from syncmetrics.classification import BinaryHingeLoss as BinaryHingeLoss
from syncmetrics.classification import BinaryJaccardIndex as BinaryJaccardIndex
from syncmetrics.classification import BinaryLogLoss as BinaryLogLoss
from syncmetrics.classification import BinaryMatthewsCorrCoef as BinaryMatthewsCorrCoef
from syncmetrics.classification import BinaryNegativePredictiveValue as BinaryNegativePredictiveValue
from syncmetrics.classification import BinaryPrecision as BinaryPrecision
from syncmetrics.classification import BinaryPrecisionAtFixedRecall as BinaryPrecisionAtFixedRecall
from syncmetrics.classification import BinaryPrecisionRecallCurve as BinaryPrecisionRecallCurve
from syncmetrics.classification import BinaryRecall as BinaryRecall
from syncmetrics.classification import BinaryRecallAtFixedPrecision as BinaryRecallAtFixedPrecision
from syncmetrics.classification import BinaryROC as BinaryROC
from syncmetrics.classification import BinarySensitivityAtSpecificity as BinarySensitivityAtSpecificity
from syncmetrics.classification import BinarySpecificity as BinarySpecificity
from syncmetrics.classification import BinarySpecificityAtSensitivity as BinarySpecificityAtSensitivity
from syncmetrics.classification import BinaryStatScores as BinaryStatScores
from syncmetrics.classification import CalibrationCurve as CalibrationCurve
from syncmetrics.classification import CalibrationError as CalibrationError
from syncmetrics.classification import CohenKappa as CohenKappa
from syncmetrics.classification import ConfusionMatrix as ConfusionMatrix
from syncmetrics.classification import ExactMatch as ExactMatch
from syncmetrics.classification import F1Score as F1Score
from syncmetrics.classification import FBetaScore as FBetaScore
from syncmetrics.classification import HammingDistance as HammingDistance
from syncmetrics.classification import HingeLoss as HingeLoss
from syncmetrics.classification import JaccardIndex as JaccardIndex
from syncmetrics.classification import LogLoss as LogLoss
from syncmetrics.classification import MatthewsCorrCoef as MatthewsCorrCoef
from syncmetrics.classification import MulticlassAccuracy as MulticlassAccuracy
from syncmetrics.classification import MulticlassAUROC as MulticlassAUROC
from syncmetrics.classification import MulticlassAveragePrecision as MulticlassAveragePrecision
from syncmetrics.classification import MulticlassCalibrationCurve as MulticlassCalibrationCurve
from syncmetrics.classification import MulticlassCalibrationError as MulticlassCalibrationError
from syncmetrics.classification import MulticlassCohenKappa as MulticlassCohenKappa
from syncmetrics.classification import MulticlassConfusionMatrix as MulticlassConfusionMatrix
from syncmetrics.classification import MulticlassEER as MulticlassEER
from syncmetrics.classification import MulticlassExactMatch as MulticlassExactMatch
from syncmetrics.classification import MulticlassF1Score as MulticlassF1Score
from syncmetrics.classification import MulticlassFBetaScore as MulticlassFBetaScore
from syncmetrics.classification import MulticlassHammingDistance as MulticlassHammingDistance
from syncmetrics.classification import MulticlassHingeLoss as MulticlassHingeLoss
from syncmetrics.classification import MulticlassJaccardIndex as MulticlassJaccardIndex
from syncmetrics.classification import MulticlassLogLoss as MulticlassLogLoss
from syncmetrics.classification import MulticlassMatthewsCorrCoef as MulticlassMatthewsCorrCoef
from syncmetrics.classification import MulticlassNegativePredictiveValue as MulticlassNegativePredictiveValue
from syncmetrics.classification import MulticlassPrecision as MulticlassPrecision
from syncmetrics.classification import MulticlassPrecisionAtFixedRecall as MulticlassPrecisionAtFixedRecall
from syncmetrics.classification import MulticlassPrecisionRecallCurve as MulticlassPrecisionRecallCurve
from syncmetrics.classification import MulticlassRecall as MulticlassRecall
from syncmetrics.classification import MulticlassRecallAtFixedPrecision as MulticlassRecallAtFixedPrecision
from syncmetrics.classification import MulticlassROC as MulticlassROC
from syncmetrics.classification import MulticlassSensitivityAtSpecificity as MulticlassSensitivityAtSpecificity
from syncmetrics.classification import MulticlassSpecificity as MulticlassSpecificity
from syncmetrics.classification import MulticlassSpecificityAtSensitivity as MulticlassSpecificityAtSensitivity
from syncmetrics.classification import MulticlassStatScores as MulticlassStatScores
from syncmetrics.classification import MultilabelAccuracy as MultilabelAccuracy
from syncmetrics.classification import MultilabelAUROC as MultilabelAUROC
from syncmetrics.classification import MultilabelAveragePrecision as MultilabelAveragePrecision
from syncmetrics.classification import MultilabelConfusionMatrix as MultilabelConfusionMatrix
from syncmetrics.classification import MultilabelCoverageError as MultilabelCoverageError
from syncmetrics.classification import MultilabelEER as MultilabelEER
from syncmetrics.classification import MultilabelExactMatch as MultilabelExactMatch
from syncmetrics.classification import MultilabelF1Score as MultilabelF1Score
from syncmetrics.classification import MultilabelFBetaScore as MultilabelFBetaScore
from syncmetrics.classification import MultilabelHammingDistance as MultilabelHammingDistance
from syncmetrics.classification import MultilabelJaccardIndex as MultilabelJaccardIndex
from syncmetrics.classification import MultilabelMatthewsCorrCoef as MultilabelMatthewsCorrCoef
from syncmetrics.classification import MultilabelNegativePredictiveValue as MultilabelNegativePredictiveValue
from syncmetrics.classification import MultilabelPrecision as MultilabelPrecision
from syncmetrics.classification import MultilabelPrecisionAtFixedRecall as MultilabelPrecisionAtFixedRecall
from syncmetrics.classification import MultilabelPrecisionRecallCurve as MultilabelPrecisionRecallCurve
from syncmetrics.classification import MultilabelRankingAveragePrecision as MultilabelRankingAveragePrecision
from syncmetrics.classification import MultilabelRankingLoss as MultilabelRankingLoss
from syncmetrics.classification import MultilabelRecall as MultilabelRecall
from syncmetrics.classification import MultilabelRecallAtFixedPrecision as MultilabelRecallAtFixedPrecision
from syncmetrics.classification import MultilabelROC as MultilabelROC
from syncmetrics.classification import MultilabelSensitivityAtSpecificity as MultilabelSensitivityAtSpecificity
from syncmetrics.classification import MultilabelSpecificity as MultilabelSpecificity
from syncmetrics.classification import MultilabelSpecificityAtSensitivity as MultilabelSpecificityAtSensitivity
from syncmetrics.classification import MultilabelStatScores as MultilabelStatScores
from syncmetrics.classification import NegativePredictiveValue as NegativePredictiveValue
from syncmetrics.classification import Precision as Precision
from syncmetrics.classification import PrecisionAtFixedRecall as PrecisionAtFixedRecall
from syncmetrics.classification import PrecisionRecallCurve as PrecisionRecallCurve
from syncmetrics.classification import Recall as Recall
from syncmetrics.classification import RecallAtFixedPrecision as RecallAtFixedPrecision
from syncmetrics.classification import SensitivityAtSpecificity as SensitivityAtSpecificity
from syncmetrics.classification import Specificity as Specificity
from syncmetrics.classification import SpecificityAtSensitivity as SpecificityAtSensitivity
from syncmetrics.classification import StatScores as StatScores
from syncmetrics.data import EvalSampler as EvalSampler
from syncmetrics.data import valid_mask as valid_mask
from syncmetrics.errors import PacketError as PacketError
from syncmetrics.errors import PeerError as PeerError
from syncmetrics.errors import PeerLostError as PeerLostError
from syncmetrics.errors import ReplicaMismatchError as ReplicaMismatchError
from syncmetrics.errors import SchemaMismatchError as SchemaMismatchError
from syncmetrics.errors import StackLine as StackLine
from syncmetrics.errors import Standing as Standing
from syncmetrics.errors import StateError as StateError
from syncmetrics.errors import SyncError as SyncError
from syncmetrics.errors import SyncmetricsError as SyncmetricsError
from syncmetrics.errors import SyncRefusedError as SyncRefusedError
from syncmetrics.errors import SyncTimeoutError as SyncTimeoutError
from syncmetrics.foreign import Adapter as Adapter
from syncmetrics.foreign import gather_ragged as gather_ragged
from syncmetrics.foreign import register_adapter as register_adapter
from syncmetrics.foreign import sync_states as sync_states
from syncmetrics.logger import ConsoleSink as ConsoleSink
from syncmetrics.logger import CSVSink as CSVSink
from syncmetrics.logger import JSONLinesSink as JSONLinesSink
from syncmetrics.logger import MetricLogger as MetricLogger
from syncmetrics.logger import MLflowSink as MLflowSink
from syncmetrics.logger import TensorBoardSink as TensorBoardSink
from syncmetrics.logger import WandbSink as WandbSink
from syncmetrics.metric import Coverage as Coverage
from syncmetrics.metric import Metric as Metric
from syncmetrics.metric import MetricCollection as MetricCollection
from syncmetrics.metric import PendingStates as PendingStates
from syncmetrics.metric import PendingValue as PendingValue
from syncmetrics.metric import coverage as coverage
from syncmetrics.metric import sync_and_compute as sync_and_compute
from syncmetrics.metric import synced as synced
from syncmetrics.regression import ConcordanceCorrCoef as ConcordanceCorrCoef
from syncmetrics.regression import CosineSimilarity as CosineSimilarity
from syncmetrics.regression import ExplainedVariance as ExplainedVariance
from syncmetrics.regression import KendallRankCorrCoef as KendallRankCorrCoef
from syncmetrics.regression import KLDivergence as KLDivergence
from syncmetrics.regression import LogCoshError as LogCoshError
from syncmetrics.regression import MeanAbsoluteError as MeanAbsoluteError
from syncmetrics.regression import MeanAbsolutePercentageError as MeanAbsolutePercentageError
from syncmetrics.regression import MeanSquaredError as MeanSquaredError
from syncmetrics.regression import MeanSquaredLogError as MeanSquaredLogError
from syncmetrics.regression import MinkowskiDistance as MinkowskiDistance
from syncmetrics.regression import PearsonCorrCoef as PearsonCorrCoef
from syncmetrics.regression import R2Score as R2Score
from syncmetrics.regression import RelativeSquaredError as RelativeSquaredError
from syncmetrics.regression import SpearmanCorrCoef as SpearmanCorrCoef
from syncmetrics.regression import SymmetricMeanAbsolutePercentageError as SymmetricMeanAbsolutePercentageError
from syncmetrics.regression import TweedieDevianceScore as TweedieDevianceScore
from syncmetrics.regression import WeightedMeanAbsolutePercentageError as WeightedMeanAbsolutePercentageError
from syncmetrics.retrieval import RetrievalAUROC as RetrievalAUROC
from syncmetrics.retrieval import RetrievalFallOut as RetrievalFallOut
from syncmetrics.retrieval import RetrievalHitRate as RetrievalHitRate
from syncmetrics.retrieval import RetrievalMAP as RetrievalMAP
from syncmetrics.retrieval import RetrievalMRR as RetrievalMRR
from syncmetrics.retrieval import RetrievalNormalizedDCG as RetrievalNormalizedDCG
from syncmetrics.retrieval import RetrievalPrecision as RetrievalPrecision
from syncmetrics.retrieval import RetrievalPrecisionRecallCurve as RetrievalPrecisionRecallCurve
from syncmetrics.retrieval import RetrievalRecall as RetrievalRecall
from syncmetrics.retrieval import RetrievalRecallAtFixedPrecision as RetrievalRecallAtFixedPrecision
from syncmetrics.retrieval import RetrievalRPrecision as RetrievalRPrecision
from syncmetrics.schedule import join as join
from syncmetrics.schedule import share_errors as share_errors
from syncmetrics.shuffle import distinct_mask as distinct_mask
from syncmetrics.states import RowBuffer as RowBuffer
from syncmetrics.states import dim_zero_cat as dim_zero_cat
from syncmetrics.states import exact_add as exact_add
from syncmetrics.states import exact_value as exact_value
from syncmetrics.sync import Estimate as Estimate
from syncmetrics.sync import Price as Price
from syncmetrics.sync import SyncRecord as SyncRecord
from syncmetrics.sync import Trace as Trace
from syncmetrics.sync import estimate as estimate
from syncmetrics.sync import set_sync_budget as set_sync_budget
from syncmetrics.sync import trace as trace
from syncmetrics.testing import assert_matches_single_process as assert_matches_single_process
from syncmetrics.testing import run_ranks as run_ranks
from syncmetrics.transport import WORLD as WORLD
from syncmetrics.transport import over as over
from syncmetrics.transport import set_shared_memory as set_shared_memory
from syncmetrics.transport import set_sync_timeout as set_sync_timeout
from syncmetrics.wrappers import BinaryTargetTransformer as BinaryTargetTransformer
from syncmetrics.wrappers import BootStrapper as BootStrapper
from syncmetrics.wrappers import ClasswiseWrapper as ClasswiseWrapper
from syncmetrics.wrappers import CompositionalMetric as CompositionalMetric
from syncmetrics.wrappers import LambdaInputTransformer as LambdaInputTransformer
from syncmetrics.wrappers import MetricInputTransformer as MetricInputTransformer
from syncmetrics.wrappers import MetricTracker as MetricTracker
from syncmetrics.wrappers import MinMaxMetric as MinMaxMetric
from syncmetrics.wrappers import MultioutputWrapper as MultioutputWrapper
from syncmetrics.wrappers import MultitaskWrapper as MultitaskWrapper
from syncmetrics.wrappers import Running as Running

__version__: str
from syncmetrics.image import PeakSignalNoiseRatio as PeakSignalNoiseRatio
from syncmetrics.image import StructuralSimilarityIndexMeasure as StructuralSimilarityIndexMeasure
from syncmetrics.segmentation import DiceScore as DiceScore
from syncmetrics.segmentation import GeneralizedDiceScore as GeneralizedDiceScore
from syncmetrics.segmentation import MeanIoU as MeanIoU
from syncmetrics.text import BLEUScore as BLEUScore
from syncmetrics.text import CharErrorRate as CharErrorRate
from syncmetrics.text import EditDistance as EditDistance
from syncmetrics.text import MatchErrorRate as MatchErrorRate
from syncmetrics.text import Perplexity as Perplexity
from syncmetrics.text import SacreBLEUScore as SacreBLEUScore
from syncmetrics.text import WordErrorRate as WordErrorRate
from syncmetrics.text import WordInfoLost as WordInfoLost
from syncmetrics.text import WordInfoPreserved as WordInfoPreserved
