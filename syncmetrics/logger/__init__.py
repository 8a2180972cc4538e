"""A logger for plain training loops: values and metrics of all ranks, synced in one exchange an epoch.

`MetricLogger` is what a loop calls; a `Sink` is where rank 0 writes what came out.
"""

from syncmetrics.logger.console import ConsoleSink
from syncmetrics.logger.files import CSVSink, JSONLinesSink
from syncmetrics.logger.logger import MetricLogger
from syncmetrics.logger.records import Record, Sink
from syncmetrics.logger.trackers import MLflowSink, TensorBoardSink, WandbSink

__all__ = [
    "CSVSink",
    "ConsoleSink",
    "JSONLinesSink",
    "MLflowSink",
    "MetricLogger",
    "Record",
    "Sink",
    "TensorBoardSink",
    "WandbSink",
]
