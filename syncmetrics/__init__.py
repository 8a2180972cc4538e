"""Distributed-aware metrics for PyTorch: the value on N ranks is the value of one process, for one exchange."""

from syncmetrics.adapters import Adapter, register_adapter
from syncmetrics.collection import MetricCollection
from syncmetrics.errors import (
    PacketError,
    PeerError,
    PeerLostError,
    SchemaMismatchError,
    StateError,
    SyncError,
    SyncmetricsError,
    SyncTimeoutError,
)
from syncmetrics.faults import share_errors
from syncmetrics.helpers import gather_ragged, sync_and_compute, sync_states, synced
from syncmetrics.joining import join
from syncmetrics.logger import MetricLogger
from syncmetrics.metric import Metric
from syncmetrics.pending import PendingStates, PendingValue
from syncmetrics.rows import RowBuffer
from syncmetrics.states import dim_zero_cat
from syncmetrics.sync import SyncRecord, Trace, trace
from syncmetrics.transport import WORLD
from syncmetrics.transport.patience import set_sync_timeout
from syncmetrics.wrappers import ClasswiseWrapper

__version__ = "0.1.0"

__all__ = [
    "WORLD",
    "Adapter",
    "ClasswiseWrapper",
    "Metric",
    "MetricCollection",
    "MetricLogger",
    "PacketError",
    "PeerError",
    "PeerLostError",
    "PendingStates",
    "PendingValue",
    "RowBuffer",
    "SchemaMismatchError",
    "StateError",
    "SyncError",
    "SyncRecord",
    "SyncTimeoutError",
    "SyncmetricsError",
    "Trace",
    "__version__",
    "dim_zero_cat",
    "gather_ragged",
    "join",
    "register_adapter",
    "set_sync_timeout",
    "share_errors",
    "sync_and_compute",
    "sync_states",
    "synced",
    "trace",
]
