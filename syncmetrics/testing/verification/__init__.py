"""Is a metric right on any number of ranks, and if not, why? `verify` tries to break it, and names the mistake.

`batches` draws what `update` takes, `laws` are what has to hold, `probes` look into states and `update`, `causes` name
what is behind a broken law, and `report` says all of it.
"""

from syncmetrics.testing.verification.batches import NoBatchesError
from syncmetrics.testing.verification.report import Check, Mistake, Report
from syncmetrics.testing.verification.verifier import verify

__all__ = ["Check", "Mistake", "NoBatchesError", "Report", "verify"]
