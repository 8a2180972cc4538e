"""Metrics around a metric: they have no sync of their own, and no states but those of what they remember."""

from syncmetrics.wrappers.bootstrapping import BootStrapper
from syncmetrics.wrappers.classwise import ClasswiseWrapper
from syncmetrics.wrappers.composition import CompositionalMetric
from syncmetrics.wrappers.minmax import MinMaxMetric
from syncmetrics.wrappers.multioutput import MultioutputWrapper
from syncmetrics.wrappers.multitask import MultitaskWrapper
from syncmetrics.wrappers.running import Running
from syncmetrics.wrappers.tracker import MetricTracker
from syncmetrics.wrappers.transformations import BinaryTargetTransformer, LambdaInputTransformer, MetricInputTransformer

__all__ = [
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
]
