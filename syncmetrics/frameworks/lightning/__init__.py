"""Lightning: `self.log` and `self.log_dict` take our metrics and collections, whatever they give.

Nothing has to be called. When a metric is made in a process that has loaded Lightning, `LightningModule.log` and
`log_dict` learn three things: a metric or collection is logged as one scalar view for each of its `output_names`, and
all views of an epoch share one sync; a value that `compute()` returned is that of all ranks, and is logged as it is;
and a value that is about to be averaged where the metric was meant is told of once.
"""

from syncmetrics.frameworks.lightning.callback import MetricsCallback, MetricsCheckpoint
from syncmetrics.frameworks.lightning.hook import install, meet, uninstall
from syncmetrics.frameworks.lightning.pictures import log_picture

__all__ = ["MetricsCallback", "MetricsCheckpoint", "install", "log_picture", "meet", "uninstall"]
