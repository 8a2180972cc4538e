"""torchmetrics: its metrics in `synced`, all of them through the engine with `install`, and many at once with `fuse`.

Its meaning is kept (what `compute` sees, the order of lists of equal length, `tensor([])` where nobody has rows), and
is right where it is not by itself: ranks without data, lists of other lengths, other dtypes, means, exceptions.
"""

from syncmetrics.foreign.torchmetrics.adapter import TorchmetricsAdapter
from syncmetrics.foreign.torchmetrics.routing import fuse, install, uninstall

__all__ = ["TorchmetricsAdapter", "fuse", "install", "uninstall"]
