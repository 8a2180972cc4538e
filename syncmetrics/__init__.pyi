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
    errors as errors,
)
from syncmetrics import (
    foreign as foreign,
)
from syncmetrics import (
    frameworks as frameworks,
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
    transport as transport,
)
from syncmetrics import (
    wrappers as wrappers,
)
from syncmetrics.aggregation import CatMetric as CatMetric
from syncmetrics.aggregation import MaxMetric as MaxMetric
from syncmetrics.aggregation import MeanMetric as MeanMetric
from syncmetrics.aggregation import MinMetric as MinMetric
from syncmetrics.aggregation import Quantile as Quantile
from syncmetrics.aggregation import SumMetric as SumMetric
from syncmetrics.classification import BinaryAccuracy as BinaryAccuracy
from syncmetrics.classification import BinaryAUROC as BinaryAUROC
from syncmetrics.classification import BinaryAveragePrecision as BinaryAveragePrecision
from syncmetrics.classification import MulticlassAccuracy as MulticlassAccuracy
from syncmetrics.classification import MulticlassConfusionMatrix as MulticlassConfusionMatrix
from syncmetrics.classification import MulticlassF1Score as MulticlassF1Score
from syncmetrics.classification import MulticlassPrecision as MulticlassPrecision
from syncmetrics.classification import MulticlassRecall as MulticlassRecall
from syncmetrics.data import EvalSampler as EvalSampler
from syncmetrics.data import valid_mask as valid_mask
from syncmetrics.errors import PacketError as PacketError
from syncmetrics.errors import PeerError as PeerError
from syncmetrics.errors import PeerLostError as PeerLostError
from syncmetrics.errors import SchemaMismatchError as SchemaMismatchError
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
from syncmetrics.metric import Metric as Metric
from syncmetrics.metric import MetricCollection as MetricCollection
from syncmetrics.metric import PendingStates as PendingStates
from syncmetrics.metric import PendingValue as PendingValue
from syncmetrics.metric import sync_and_compute as sync_and_compute
from syncmetrics.metric import synced as synced
from syncmetrics.regression import MeanAbsoluteError as MeanAbsoluteError
from syncmetrics.regression import MeanSquaredError as MeanSquaredError
from syncmetrics.regression import SpearmanCorrCoef as SpearmanCorrCoef
from syncmetrics.retrieval import RetrievalMAP as RetrievalMAP
from syncmetrics.retrieval import RetrievalMRR as RetrievalMRR
from syncmetrics.schedule import join as join
from syncmetrics.schedule import share_errors as share_errors
from syncmetrics.shuffle import distinct_mask as distinct_mask
from syncmetrics.states import RowBuffer as RowBuffer
from syncmetrics.states import dim_zero_cat as dim_zero_cat
from syncmetrics.sync import SyncRecord as SyncRecord
from syncmetrics.sync import Trace as Trace
from syncmetrics.sync import trace as trace
from syncmetrics.testing import assert_matches_single_process as assert_matches_single_process
from syncmetrics.testing import run_ranks as run_ranks
from syncmetrics.transport import WORLD as WORLD
from syncmetrics.transport import set_sync_timeout as set_sync_timeout
from syncmetrics.wrappers import ClasswiseWrapper as ClasswiseWrapper

__version__: str
