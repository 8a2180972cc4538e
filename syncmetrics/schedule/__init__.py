"""When a sync runs, and on whom: in the background, every n-th step, on one rank, with ranks that leave early.

It works on nodes and routes, and knows no metric.
"""

from syncmetrics.schedule.join import join
from syncmetrics.schedule.share_errors import share_errors

__all__ = ["join", "share_errors"]
